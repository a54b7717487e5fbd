"""Forks, ends of programs, settings from the environment."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from stub import Reply, Stub
from visutility import Client
from waiting import PATIENCE

needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="nothing forks here")
forks_with_threads = pytest.mark.filterwarnings("ignore:This process .* is multi-threaded")


@needs_fork
@forks_with_threads
def test_a_forked_child_starts_afresh() -> None:
    with Stub() as stub, Client(stub.url, batch_age=PATIENCE) as client:
        client.log("fraud", accuracy=0.1)
        assert client.flush(PATIENCE)
        client.log("fraud", accuracy=0.2)  # waits while the fork happens
        child = os.fork()
        if child == 0:
            ok = client.stats().accepted == 0 and client.stats().queued == 0
            client.log("fraud", accuracy=0.3)
            ok = client.flush(PATIENCE) and client.stats().accepted == 1 and ok
            os._exit(0 if ok else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        client.log("fraud", accuracy=0.4)
        assert client.flush(PATIENCE)
        assert client.stats().accepted == 3
    assert sorted(e["value"] for e in stub.events()) == [0.1, 0.2, 0.3, 0.4]
    assert len({r.key for r in stub.requests}) == len(stub.requests)


@needs_fork
@forks_with_threads
def test_a_child_of_multiprocessing_delivers_at_its_end() -> None:
    with Stub() as stub, Client(stub.url, batch_age=PATIENCE, exit_timeout=PATIENCE) as client:
        client.log("fraud", accuracy=0.1)
        child = multiprocessing.get_context("fork").Process(target=lambda: client.log("fraud", accuracy=0.2))
        child.start()
        child.join(PATIENCE)
        assert child.exitcode == 0
        assert [e["value"] for e in stub.events()] == [0.2]


def run(program: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run([sys.executable, "-c", program], stderr=subprocess.PIPE, text=True, timeout=PATIENCE)


def test_the_end_of_a_program_waits_so_long_for_a_dead_server_and_says_what_is_lost() -> None:
    began = time.monotonic()
    done = run("import visutility; visutility.Client('http://127.0.0.1:1', exit_timeout=0.5).log('fraud', accuracy=0.9)")
    assert done.returncode == 0 and time.monotonic() - began < PATIENCE / 2
    assert "undelivered" in done.stderr and "cannot connect" in done.stderr and "Traceback" not in done.stderr


def test_a_program_that_fails_delivers_too() -> None:
    with Stub() as stub:
        done = run(f"import visutility; visutility.Client({stub.url!r}, batch_age=60).log('fraud', accuracy=0.9); 1/0")
        assert done.returncode == 1
        assert [e["value"] for e in stub.events()] == [0.9]


def test_several_clients_end_at_the_same_time() -> None:
    hold = threading.Event()

    def never(*_: object) -> Reply:
        hold.wait(PATIENCE)
        return Reply(503)

    with Stub(never) as stub:
        began = time.monotonic()
        run(f"import visutility\nfor _ in range(200): visutility.Client({stub.url!r}, exit_timeout=1).log('fraud', accuracy=0.9)")
        assert time.monotonic() - began < PATIENCE / 2, "one after the other would take 200 s"
        hold.set()


def test_settings_come_from_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with Stub() as stub:
        monkeypatch.setenv("VISUTILITY_URL", stub.url.replace("http://", ""))
        monkeypatch.setenv("VISUTILITY_TOKEN", " of the environment\n")
        with Client() as client:
            client.log("fraud", accuracy=0.9)
        (tmp_path / "token").write_text("of the file\n")
        monkeypatch.setenv("VISUTILITY_TOKEN_FILE", str(tmp_path / "token"))
        with Client() as client:
            client.log("fraud", accuracy=0.9)
        with Client(token="given") as client:
            client.log("fraud", accuracy=0.9)
    assert [r.headers["authorization"] for r in stub.requests] == ["Bearer of the environment", "Bearer of the file", "Bearer given"]


@pytest.mark.parametrize("url", ["ftp://x", "http://", "http://u:p@x", "http://x:port", "http://x?q", "http://[::1"])
def test_a_url_that_is_none_is_refused_at_once(url: str) -> None:
    with pytest.raises(ValueError) as e:
        Client(url)
    assert "u:p" not in str(e.value)


def test_a_token_that_is_none_is_refused_at_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with pytest.raises(ValueError) as e:
        Client(token="secret\r\nX-Injected: 1")
    assert "secret" not in str(e.value)
    monkeypatch.setenv("VISUTILITY_TOKEN_FILE", str(tmp_path / "none"))
    with pytest.raises(FileNotFoundError):
        Client()


@pytest.mark.parametrize("option", ["max_queue", "batch_size", "batch_age", "timeout", "max_backoff"])
def test_an_option_out_of_range_is_refused_at_once(option: str) -> None:
    with pytest.raises(ValueError, match=option):
        Client(**{option: 0})  # type: ignore[arg-type]
