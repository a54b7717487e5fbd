"""Against the real server: nothing is lost and nothing counts twice."""

from __future__ import annotations

import math
import subprocess
import sys
import threading
import time
import urllib.request
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Callable, Dict

import pytest

from real import RealServer
from stub import Reply, Request, Stub
from visutility import Client
from waiting import PATIENCE, until

Serve = Callable[..., RealServer]

MINUTES_AGO = 1800


def test_metrics_arrive_as_they_were_logged(serve: Serve) -> None:
    server = serve()
    with Client(server.url) as client:
        when = datetime.now(timezone.utc).replace(microsecond=0)
        client.log("fraud", accuracy=0.91, recall=0.7, count=500, version="7", time=when, labels={"country": "DE"})
        assert client.flush(PATIENCE)
        assert (client.stats().accepted, client.stats().dropped) == (2, {})
        want = {when.strftime("%Y-%m-%dT%H:%M:%SZ"): (0.91, 500)}
        until(lambda: server.samples("fraud", "accuracy") == want, "the accuracy")


def test_what_the_server_refuses_takes_nothing_else_along(serve: Serve, caplog: pytest.LogCaptureFixture) -> None:
    server = serve()
    with Client(server.url, batch_age=PATIENCE) as client:
        began = time.time() - MINUTES_AGO
        for i in range(20):
            client.log("fraud", accuracy=0.9, time=began + i)
        client.log("fraud", accuracy=0.9, time=time.time() + 200_000)
        assert client.flush(PATIENCE)
        assert (client.stats().accepted, client.stats().dropped) == (20, {"refused_future": 1})
        until(lambda: len(server.samples("fraud", "accuracy")) == 20, "the rest of the batch")
    assert [r.message for r in caplog.records if "refused_future" in r.message and "events[20].time" in r.message]


def test_a_compressed_body_is_understood(serve: Serve) -> None:
    server = serve()
    with Client(server.url) as client:
        for i in range(500):
            client.log("fraud", accuracy=0.9, time=time.time() - i)
        assert client.flush(PATIENCE)
        assert client.stats().accepted == 500


def test_restarts_in_between_lose_nothing_and_count_nothing_twice(serve: Serve) -> None:
    server = serve()
    began = int(time.time()) - MINUTES_AGO
    with Client(server.url, batch_size=7, batch_age=0.01, max_backoff=0.3) as client:
        for i in range(300):
            client.log("fraud", accuracy=i / 1000, count=10, time=began + i)
            if i % 100 == 50:
                # At least the batch under way meets the dead server, and waits for the next.
                server.kill()
                client.log("fraud", recall=0.5)
                until(lambda: "127.0.0.1" in client.stats().last_error, "a failed attempt")
                server.start()
        assert client.flush(PATIENCE)
        stats = client.stats()
        assert (stats.accepted, stats.dropped, stats.queued) == (303, {}, 0)
        assert stats.retried > 0
    until(lambda: len(server.samples("fraud", "accuracy")) == 300, "all events")
    assert set(server.samples("fraud", "accuracy").values()) == {(i / 1000, 10) for i in range(300)}


@pytest.mark.parametrize("restart", [False, True])
def test_an_answer_that_is_lost_counts_nothing_twice(serve: Serve, restart: bool) -> None:
    server = serve()

    def hand_on(n: int, request: Request) -> Reply:
        post = urllib.request.Request(server.url + request.path, request.raw, {**request.headers})
        with urllib.request.urlopen(post, timeout=PATIENCE) as answer:
            assert answer.status == 200
        if n == 0 and restart:
            server.kill()
            server.start()
        return Reply(hang_up=n < 2)

    began = int(time.time()) - MINUTES_AGO
    with Stub(hand_on) as middle, Client(middle.url) as client:
        for i in range(30):
            client.log("fraud", accuracy=0.9, count=10, time=began + i)
        assert client.flush(PATIENCE)
        assert (client.stats().accepted, client.stats().retried) == (30, 2)
        assert len({r.key for r in middle.requests}) == 1
    until(lambda: len(server.samples("fraud", "accuracy")) == 30, "all events")
    assert {count for _, count in server.samples("fraud", "accuracy").values()} == {10}


@pytest.fixture
def joining(serve: Serve, tmp_path: Path) -> RealServer:
    """A server whose windows are short, and wait for their labels for much longer than it takes to log them."""
    settings = tmp_path / "ingest.yaml"
    settings.write_text("predictions: {fraud: {window: 2s, mature_after: 15s, min_samples: 5}, demand: {window: 2s, mature_after: 15s}}")
    return serve("--ingest", str(settings))


def window_of(at: float) -> str:
    """The end of the window of a time, at which it is measured."""
    return datetime.fromtimestamp((int(at) // 2 + 1) * 2, timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def test_predictions_and_labels_become_measurements(joining: RealServer, caplog: pytest.LogCaptureFixture) -> None:
    later = time.time()
    earlier = datetime.fromtimestamp(later - 4, timezone(timedelta(hours=2)))
    with Client(joining.url, batch_age=PATIENCE) as client:
        for i in range(10):
            id, fraud = f"ä {i}", i < 5
            features: Dict[str, str | float | None] = {"amount": 10.0 * i, "country": "DE", "age": None, "iq": math.nan, "job": ""}
            client.log_prediction("fraud", id, prediction=fraud, score=0.9 if fraud else 0.2, features=features, version="7", time=earlier, labels={"shop": "a"})
            client.log_prediction("fraud", id + "!", score=0.5, features={**features, "country": "FR"}, version="7", time=later, labels={"shop": "a"})
            client.log_prediction("demand", id, prediction=40 + i % 2, time=later)
        client.log_prediction("fraud", "from the future", prediction=True, time=later + 200_000)
        assert client.flush(PATIENCE)
        for i in range(10):
            client.log_label("fraud", f"ä {i}", label=i < 4)
            client.log_label("demand", f"ä {i}", label=41.5)
        client.log_label("fraud", "from the future", label=True, time=later + 200_000)
        assert client.flush(PATIENCE)
        assert (client.stats().accepted, client.stats().dropped) == (50, {"refused_future": 2})
    assert len([r for r in caplog.records if "refused_future" in r.message]) == 1

    first, second = window_of(earlier.timestamp()), window_of(later)
    (series,) = until(lambda: joining.history("fraud", "accuracy"), "the accuracy of the mature window")
    assert (series["version"], series["labels"]) == ("7", {"shop": "a"})
    assert joining.samples("fraud", "accuracy") == {first: (0.9, 10)}
    assert joining.samples("fraud", "recall") == {first: (1.0, 10)}
    until(lambda: joining.samples("demand", "mae") == {second: (1.0, 10)}, "the error of the numbers")
    # Of the countries, none was there before; of the amounts, all.
    until(lambda: second in joining.samples("fraud", "drift.country"), "the drift")
    assert joining.samples("fraud", "drift.country")[second][0] > 1
    assert joining.samples("fraud", "drift.amount")[second][0] < 0.01
    assert not joining.history("fraud", "drift.job") and not joining.history("fraud", "drift.iq")
    until(lambda: joining.samples("fraud", "label_coverage") == {first: (1.0, 10), second: (0.0, 10)}, "the coverage")


def test_predictions_and_labels_count_once_over_lost_answers_and_a_restart(joining: RealServer) -> None:
    def hand_on(n: int, request: Request) -> Reply:
        post = urllib.request.Request(joining.url + request.path, request.raw, {**request.headers})
        with urllib.request.urlopen(post, timeout=PATIENCE) as answer:
            assert answer.status == 200
        if n == 0:
            joining.kill()
            joining.start()
        return Reply(hang_up=n % 2 == 0)

    began = time.time()
    with Stub(hand_on) as middle, Client(middle.url, max_backoff=0.01) as client:
        for i in range(40):
            client.log_prediction("demand", str(i), prediction=i, time=began)
        assert client.flush(PATIENCE)
        for i in range(40):
            client.log_label("demand", str(i), label=i + 2)
        assert client.flush(PATIENCE)
        assert client.stats().accepted == 80 and client.stats().retried >= 2
    until(lambda: joining.samples("demand", "mae") == {window_of(began): (2.0, 40)}, "the error")


def test_a_bad_token_keeps_the_events_until_the_file_has_the_right_one(serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    right = "right-right-right-right"
    (tmp_path / "server.token").touch(0o600)
    (tmp_path / "server.token").write_text(right)
    server = serve("--token-file", str(tmp_path / "server.token"))
    token = tmp_path / "client.token"
    token.write_text("wrong-wrong-wrong-wrong\n")
    monkeypatch.setenv("VISUTILITY_TOKEN_FILE", str(token))
    monkeypatch.setenv("VISUTILITY_URL", server.url)
    with Client(max_backoff=0.2) as client:
        client.log("fraud", accuracy=0.9)
        until(lambda: client.stats().retried > 1, "a second refusal")
        assert client.stats().queued == 1
        token.write_text(right + "\n")
        assert client.flush(PATIENCE)
        assert client.stats().accepted == 1
        until(lambda: server.samples("fraud", "accuracy", right), "the event")
    said = [r.message for r in caplog.records if "unauthorized" in r.message]
    assert len(said) == 1
    assert "right-right" not in caplog.text and "wrong-wrong" not in caplog.text


def test_a_program_that_ends_delivers_what_waits(serve: Serve) -> None:
    server = serve()
    program = f"""
import visutility
client = visutility.Client({server.url!r}, batch_age=60, exit_timeout={PATIENCE})
for i in range(3): client.log("fraud", accuracy=0.9)
"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=PATIENCE)
    assert server.counter("visutility_events_accepted_total") == 3


def test_many_threads_log_at_once(serve: Serve) -> None:
    server = serve()
    with Client(server.url, max_queue=100_000, batch_age=0.01) as client:

        def work() -> None:
            for _ in range(500):
                client.log("fraud", accuracy=0.9, f1=0.8)

        threads = [threading.Thread(target=work) for _ in range(8)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        assert client.flush(PATIENCE)
        assert client.stats().accepted == 8000
    assert server.counter("visutility_events_accepted_total") == 8000
