"""Retries, refusals and limits, against a stub that answers as it is told."""

from __future__ import annotations

import email.utils
import random
import socket
import time
from typing import List

import pytest

import visutility.courier
import visutility.server
from stub import Reply, Request, Stub, problem
from visutility import Client
from visutility.backoff import Backoff
from waiting import PATIENCE, until


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504])
def test_what_may_pass_is_sent_again_under_the_same_key(status: int) -> None:
    with Stub(lambda n, _: Reply(status if n < 2 else 200)) as stub, Client(stub.url, max_backoff=0.01) as client:
        client.log("fraud", accuracy=0.9)
        assert client.flush(PATIENCE)
        stats = client.stats()
        assert (stats.accepted, stats.retried, stats.dropped) == (1, 2, {})
    assert len({(r.key, r.raw) for r in stub.requests}) == 1 and len(stub.requests) == 3


def test_every_batch_has_a_key_of_its_own() -> None:
    with Stub() as stub, Client(stub.url) as client:
        for _ in range(3):
            client.log("fraud", accuracy=0.9)
            assert client.flush(PATIENCE)
    assert len({r.key for r in stub.requests}) == 3


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize("form", ["seconds", "date"])
def test_the_server_says_when_to_come_back(status: int, form: str) -> None:
    came: List[float] = []

    def busy(n: int, request: Request) -> Reply:
        came.append(time.time())
        # A date has whole seconds only: two of them are one at least.
        value = "1" if form == "seconds" else email.utils.formatdate(time.time() + 2, usegmt=True)
        return Reply(status, (("Retry-After", value),)) if n == 0 else Reply()

    with Stub(busy) as stub, Client(stub.url, max_backoff=0.01, batch_size=5, max_queue=20) as client:
        for _ in range(100):  # meanwhile
            client.log("fraud", accuracy=0.9)
        assert client.flush(PATIENCE)
        assert came[1] - came[0] >= 0.99
        stats = client.stats()
        assert stats.accepted + stats.dropped["queue_full"] == 100
        assert 20 <= stats.accepted <= 30, "what waited was kept"
        assert stats.retried == 1


def test_waits_double_up_to_a_limit_with_chance() -> None:
    b = Backoff(3, random.Random(1))
    waits = [b.next(None) for _ in range(8)]
    for got, full in zip(waits, [0.2, 0.4, 0.8, 1.6, 3, 3, 3, 3]):
        assert full / 2 <= got <= full
    assert len(set(waits)) == 8
    assert 20 <= b.next(20) <= 25
    assert b.next(1e9) <= 750, "no server can ask for for ever"
    b.reset()
    assert b.next(None) <= 0.2
    for _ in range(2000):
        b.next(None)


def test_bad_events_that_the_server_names_are_dropped_and_the_rest_goes_once_more() -> None:
    def strict(n: int, request: Request) -> Reply:
        return problem(("events[1].value", "range"), ("events[1].time", "past"), ("events[3]", "series_limit"), ("events[99]", "odd"), ("x", "y")) if n == 0 else Reply()

    with Stub(strict) as stub, Client(stub.url, batch_age=PATIENCE) as client:
        for i in range(5):
            client.log("fraud", accuracy=i)
        assert client.flush(PATIENCE)
        assert (client.stats().accepted, client.stats().retried) == (3, 0)
        assert client.stats().dropped == {"refused_range": 1, "refused_series_limit": 1}
    assert [[e["value"] for e in r.events] for r in stub.requests] == [[0, 1, 2, 3, 4], [0, 2, 4]]
    assert len({r.key for r in stub.requests}) == 2, "it is another body"


def test_a_rest_that_is_refused_too_is_dropped() -> None:
    with Stub(lambda *_: problem(("events[0].value", "range"))) as stub, Client(stub.url, batch_age=PATIENCE) as client:
        for i in range(5):
            client.log("fraud", accuracy=i)
        assert client.flush(PATIENCE)
        assert client.stats().dropped == {"refused_range": 5}
    assert len(stub.requests) == 2


@pytest.mark.parametrize(
    "reply, reason",
    [
        (Reply(400, body=b"<html>no"), "refused"),
        (Reply(400, body=b'{"errors": 7}'), "refused"),
        (Reply(422, body=b'{"errors": [7, {"location": 7, "reason": "Not A Word"}]}'), "refused"),
        (problem(("header.Idempotency-Key", "too_long")), "refused_too_long"),
        (Reply(404), "http_404"),
        (Reply(301, (("Location", "/elsewhere"),)), "http_301"),
        (Reply(413), "too_large"),
        (Reply(415), "http_415"),
    ],
)
def test_what_sending_again_would_not_mend_is_dropped(reply: Reply, reason: str) -> None:
    with Stub(lambda n, _: reply if n == 0 else Reply()) as stub, Client(stub.url) as client:
        client.log("fraud", accuracy=0.9)
        assert client.flush(PATIENCE)
        client.log("fraud", accuracy=0.9)
        assert client.flush(PATIENCE)
        assert (client.stats().accepted, client.stats().dropped) == (1, {reason: 1})


def test_a_body_that_is_too_large_is_halved_until_it_fits() -> None:
    def small(n: int, request: Request) -> Reply:
        return Reply(413 if len(request.events) > 3 or request.events[0]["value"] == 7 else 200)

    with Stub(small) as stub, Client(stub.url, batch_age=PATIENCE) as client:
        for i in range(10):
            client.log("fraud", accuracy=i)
        assert client.flush(PATIENCE)
        assert client.stats().accepted + client.stats().dropped["too_large"] == 10
        assert client.stats().dropped["too_large"] == 1
    assert len({r.key for r in stub.requests}) == len(stub.requests)


def test_large_events_are_spread_over_bodies_of_a_mebibyte() -> None:
    features = {f"{i:03} {'ä' * 98}": "ö" * 128 for i in range(256)}  # as large as they get
    with Stub() as stub, Client(stub.url, batch_age=PATIENCE) as client:
        for i in range(9):
            client.log_prediction("fraud", str(i), score=1, features=features)
        assert client.flush(PATIENCE)
        assert (client.stats().accepted, client.stats().dropped) == (9, {})
    assert [len(r.events) for r in stub.requests] == [2, 2, 2, 2, 1]
    assert all(len(r.plain) <= 1 << 20 for r in stub.requests)


def test_large_bodies_are_compressed_as_long_as_the_server_takes_it() -> None:
    with Stub(lambda n, r: Reply(415 if n > 1 and "content-encoding" in r.headers else 200)) as stub, Client(stub.url, batch_age=PATIENCE) as client:
        client.log("fraud", accuracy=0.9)
        assert client.flush(PATIENCE)
        for _ in range(3):
            for _ in range(100):
                client.log("fraud", accuracy=0.9)
            assert client.flush(PATIENCE)
        assert (client.stats().accepted, client.stats().retried) == (301, 0)
    assert [r.headers.get("content-encoding") for r in stub.requests] == [None, "gzip", "gzip", None, None]
    assert len(stub.requests[1].raw) < len(stub.requests[1].plain) / 5
    assert stub.requests[2].key == stub.requests[3].key


def test_a_connection_is_used_again_and_opened_again() -> None:
    close = (("Connection", "close"),)
    with Stub(lambda n, _: Reply(200, close if n == 1 else ())) as stub, Client(stub.url) as client:
        for _ in range(4):
            client.log("fraud", accuracy=0.9)
            assert client.flush(PATIENCE)
        assert (client.stats().accepted, client.stats().retried) == (4, 0)


@pytest.mark.parametrize("keep_open, retried", [(0.0, 0), (PATIENCE, 2)])
def test_an_idle_connection_that_the_server_closed_costs_no_event(monkeypatch: pytest.MonkeyPatch, keep_open: float, retried: int) -> None:
    monkeypatch.setattr(visutility.server, "KEEP_OPEN", keep_open)
    with Stub(lambda *_: Reply(leave=True)) as stub, Client(stub.url) as client:
        for _ in range(3):
            client.log("fraud", accuracy=0.9)
            assert client.flush(PATIENCE)
        assert (client.stats().accepted, client.stats().retried) == (3, retried)


def test_what_may_have_arrived_is_not_sent_again_once_the_key_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(visutility.courier, "KEY_LIFE", 0.0)
    with Stub(lambda n, _: Reply(hang_up=n == 0)) as stub, Client(stub.url, max_backoff=0.01) as client:
        client.log("fraud", accuracy=0.9)
        assert client.flush(PATIENCE)
        assert client.stats().dropped == {"expired": 1}
        client.log("fraud", accuracy=0.9)
        assert client.flush(PATIENCE)
    assert len(stub.requests) == 2


def test_what_cannot_have_arrived_is_kept_for_as_long_as_there_is_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(visutility.courier, "KEY_LIFE", 0.0)
    with socket.create_server(("127.0.0.1", 0)) as s:
        port = s.getsockname()[1]
    with Client(f"http://127.0.0.1:{port}", max_backoff=0.01) as client:
        client.log("fraud", accuracy=0.9)
        until(lambda: client.stats().retried > 3, "refused connections")
        assert client.stats().queued == 1
        assert "cannot connect" in client.stats().last_error
        client.close(0)
        assert client.stats().dropped == {"undelivered": 1}


def test_a_fault_in_the_client_ends_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    real = visutility.server.Server.post
    calls: List[int] = []

    def faulty(self: visutility.server.Server, path: str, body: bytes, encoding: str, key: str, timeout: float) -> visutility.server.Answer:
        calls.append(1)
        if len(calls) == 1:
            raise KeyError("a fault")
        return real(self, path, body, encoding, key, timeout)

    monkeypatch.setattr(visutility.server.Server, "post", faulty)
    with Stub() as stub, Client(stub.url) as client:
        for _ in range(2):
            client.log("fraud", accuracy=0.9)
            assert client.flush(PATIENCE)
        assert (client.stats().accepted, client.stats().dropped) == (1, {"internal": 1})


def test_an_address_with_a_path_and_a_token() -> None:
    with Stub() as stub, Client(stub.url + "/behind/a/proxy/", "secret") as client:
        client.log("fraud", accuracy=0.9)
        assert client.flush(PATIENCE)
        assert "secret" not in repr(client)
    (request,) = stub.requests
    assert (request.path, request.headers["authorization"]) == ("/behind/a/proxy/api/v1/metrics", "Bearer secret")
