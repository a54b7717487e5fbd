"""What a caller sees: logging never waits, never raises, and everything is accounted for."""

from __future__ import annotations

import logging
import math
import threading
import time
from datetime import datetime
from decimal import Decimal
from typing import Any, Callable, Dict, cast

import pytest

import visutility
from stub import Reply, Stub
from visutility import Client
from waiting import PATIENCE, until


def test_a_time_that_is_not_given_is_that_of_the_call() -> None:
    with Stub() as stub, Client(stub.url, batch_age=PATIENCE) as client:
        before = time.time()
        client.log("fraud", accuracy=0.9)
        client.log_label("fraud", "1", label=1)
        after = time.time()
        assert client.flush(PATIENCE)
    assert all(before - 0.001 <= e["time"] <= after + 0.001 for e in stub.events())


class Scalar:
    """As NumPy and PyTorch have them: no float, changed in place."""

    def __init__(self, value: float) -> None:
        self.value = value

    def __float__(self) -> float:
        return self.value

    def item(self) -> float:
        return self.value


def test_numbers_of_other_libraries_are_taken_as_they_are_now() -> None:
    running = Scalar(0.9)
    features = {"amount": 1.0}
    labels = {"country": "DE"}
    with Stub() as stub, Client(stub.url, batch_age=PATIENCE) as client:
        client.log("fraud", accuracy=running, labels=labels)
        client.log("fraud", recall=Decimal("0.5"))
        client.log_prediction("fraud", "1", prediction=cast(Any, running), features=features)
        running.value, features["amount"], labels["country"] = 0.1, 2.0, "FR"
        assert client.flush(PATIENCE)
    metrics, predictions = (r.events for r in sorted(stub.requests, key=lambda r: r.path))
    assert [(e["value"], e.get("labels")) for e in metrics] == [(0.9, {"country": "DE"}), (0.5, None)]
    assert [(e["prediction"], e["features"]) for e in predictions] == [(0.9, {"amount": 1.0})]


class Hostile:
    def __float__(self) -> float:
        raise RuntimeError("hostile")

    __index__ = __float__
    __str__ = __float__  # type: ignore[assignment]
    __repr__ = __float__  # type: ignore[assignment]
    __hash__ = __float__  # type: ignore[assignment]

    def __eq__(self, other: object) -> bool:
        raise RuntimeError("hostile")


class Name(str):
    def isascii(self) -> bool:
        raise RuntimeError("hostile")


BAD: Dict[str, Callable[[Any], None]] = {
    "no model": lambda c: c.log(None, a=1),
    "an empty model": lambda c: c.log("", a=1),
    "dots": lambda c: c.log("..", a=1),
    "a long model": lambda c: c.log("ä" * 129, a=1),
    "a control character": lambda c: c.log("fr\x00aud", a=1),
    "a bidi control": lambda c: c.log("fr\u202eaud", a=1),
    "half a surrogate": lambda c: c.log("fr\ud800aud", a=1),
    "no metric": lambda c: c.log("fraud"),
    "an empty metric": lambda c: c.log("fraud", **{"": 1}),
    "text": lambda c: c.log("fraud", a="0.9"),
    "None": lambda c: c.log("fraud", a=None),
    "a complex number": lambda c: c.log("fraud", a=1j),
    "a huge integer": lambda c: c.log("fraud", a=10**400),
    "a hostile value": lambda c: c.log("fraud", a=Hostile()),
    "a hostile model": lambda c: c.log(Hostile(), a=1),
    "a hostile name": lambda c: c.log(Name("fraud"), a=1),
    "a hostile count": lambda c: c.log("fraud", a=1, count=Hostile()),
    "a hostile time": lambda c: c.log("fraud", a=1, time=Hostile()),
    "hostile labels": lambda c: c.log("fraud", a=1, labels=Hostile()),
    "a fraction as count": lambda c: c.log("fraud", a=1, count=1.5),
    "a count below zero": lambda c: c.log("fraud", a=1, count=-1),
    "a number as version": lambda c: c.log("fraud", a=1, version=7),
    "a naive time": lambda c: c.log("fraud", a=1, time=datetime(2026, 1, 31)),
    "milliseconds": lambda c: c.log("fraud", a=1, time=1.7e12),
    "no time": lambda c: c.log("fraud", a=1, time=math.nan),
    "a list of labels": lambda c: c.log("fraud", a=1, labels=["x"]),
    "a number as label": lambda c: c.log("fraud", a=1, labels={"x": 1}),
    "too many labels": lambda c: c.log("fraud", a=1, labels={str(i): "x" for i in range(17)}),
    "no id": lambda c: c.log_prediction("fraud", None, score=1),
    "nothing predicted": lambda c: c.log_prediction("fraud", "1"),
    "bytes predicted": lambda c: c.log_prediction("fraud", "1", prediction=b"x"),
    "a list of features": lambda c: c.log_prediction("fraud", "1", score=1, features=[1, 2]),
    "a list as feature": lambda c: c.log_prediction("fraud", "1", score=1, features={"a": [1]}),
    "a hostile feature": lambda c: c.log_prediction("fraud", "1", score=1, features={"a": Hostile()}),
    "too many features": lambda c: c.log_prediction("fraud", "1", score=1, features={str(i): i for i in range(257)}),
    "a long feature": lambda c: c.log_prediction("fraud", "1", score=1, features={"a" * 201: 1}),
    "a number as label of a prediction": lambda c: c.log_prediction("fraud", "1", score=1, labels={"x": 1}),
    "more than certain": lambda c: c.log_prediction("fraud", "1", score=1.01),
    "an empty class": lambda c: c.log_prediction("fraud", "1", prediction=""),
    "an astronomical number": lambda c: c.log_prediction("fraud", "1", prediction=-1e101),
    "an unlimited class": lambda c: c.log_prediction("fraud", "1", prediction=2**63),
    "no label": lambda c: c.log_label("fraud", "1", label=None),
}


@pytest.mark.parametrize("call", BAD.values(), ids=BAD.keys())
def test_a_wrong_argument_is_counted_and_raises_nothing(call: Callable[[Any], None], caplog: pytest.LogCaptureFixture) -> None:
    with Stub() as stub, Client(stub.url) as client:
        call(client)
        call(client)
        client.log("fraud", fine=1)
        assert client.flush(PATIENCE)
        assert (client.stats().accepted, client.stats().dropped) == (1, {"invalid": 2})
    assert len(caplog.records) == 1, "said once"
    assert caplog.records[0].name == "visutility" and caplog.records[0].levelno == logging.WARNING


def test_what_is_not_finite_is_counted_and_the_rest_of_the_call_sent() -> None:
    with Stub() as stub, Client(stub.url) as client:
        client.log("fraud", accuracy=math.nan, recall=math.inf, f1=0.8)
        client.log_prediction("fraud", "1", score=-math.inf)
        client.log_prediction("fraud", "1", score=1, features={"a": math.inf})
        assert client.flush(PATIENCE)
        stats = client.stats()
        assert (stats.accepted, stats.dropped, stats.lost) == (1, {"nan": 1, "inf": 3}, 4)
    assert [e["metric"] for e in stub.events()] == ["f1"]


def test_a_slow_server_delays_nobody_and_a_full_queue_is_counted() -> None:
    answer = threading.Event()

    def slow(*_: object) -> Reply:
        answer.wait(PATIENCE)
        return Reply()

    with Stub(slow) as stub, Client(stub.url, max_queue=100, batch_size=10, timeout=PATIENCE) as client:
        client.log("fraud", accuracy=0.9)
        assert not client.flush(0.01)
        stub.await_requests(1)
        before = time.thread_time()
        for _ in range(1000):
            client.log("fraud", accuracy=0.9)
        # The processor's time, not the clock's, for the machine may be busy: to wait takes none, but then the server would not have been waited for.
        assert time.thread_time() - before < 1
        assert not answer.is_set() and len(stub.requests) == 1
        stats = client.stats()
        # The mark of the flush has one of the places.
        assert (stats.accepted, stats.lost, stats.queued) == (0, stats.dropped["queue_full"], 1001 - stats.lost)
        assert 99 <= stats.queued <= 101
        answer.set()
        assert client.flush(PATIENCE)
        assert client.stats().accepted == stats.queued


def test_a_batch_goes_when_it_is_full_or_old() -> None:
    with Stub() as stub, Client(stub.url, batch_size=5, batch_age=PATIENCE) as client:
        for _ in range(5):
            client.log("fraud", accuracy=0.9)
        assert len(stub.await_requests(1)[0].events) == 5
    with Stub() as stub, Client(stub.url, batch_age=0.05) as client:
        client.log("fraud", accuracy=0.9)
        assert len(stub.await_requests(1)[0].events) == 1


def test_close_takes_its_time_and_no_more() -> None:
    hold = threading.Event()

    def never(*_: object) -> Reply:
        hold.wait(PATIENCE)
        return Reply(503)

    with Stub(never) as stub:
        client = Client(stub.url, batch_size=1)
        client.log("fraud", accuracy=0.9)
        stub.await_requests(1)
        client.log("fraud", accuracy=0.9)
        assert not client.close(0.05)
        assert client.stats().dropped["undelivered"] == 1
        hold.set()  # the one under way is decided by its answer
        until(lambda: client.stats().queued == 0, "the end of the thread")
        assert client.stats().dropped == {"undelivered": 2}
        client.log("fraud", accuracy=0.9)
        client.log_label("fraud", "1", label=1)
        assert client.stats().dropped == {"undelivered": 2, "closed": 2}
        assert client.flush(0) and not client.close()


def test_close_does_not_sit_out_a_long_wait() -> None:
    """Between two attempts of its own choice it hurries, for the server may be back."""
    with Stub(lambda n, _: Reply(503 if n < 12 else 200)) as stub:
        client = Client(stub.url, batch_age=0.01, max_backoff=PATIENCE * 100)
        client.log("fraud", accuracy=0.9)
        stub.await_requests(2)
        assert client.close(PATIENCE)
        assert client.stats().accepted == 1


def test_a_client_without_events_starts_nothing() -> None:
    before = threading.active_count()
    with Client("http://127.0.0.1:1") as client:
        assert client.flush() and threading.active_count() == before
        assert client.stats() == visutility.Stats()


def test_a_signal_handler_may_log_at_any_moment() -> None:
    import signal

    with Stub() as stub, Client(stub.url, max_queue=50, batch_size=10) as client:
        logged = [0]

        def handler(*_: object) -> None:
            logged[0] += 1
            client.log("fraud", accuracy=0.9)

        old = signal.signal(signal.SIGALRM, handler)
        try:
            signal.setitimer(signal.ITIMER_REAL, 0.0005, 0.0005)
            for _ in range(20_000):
                client.log("fraud", accuracy=0.9)
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, old)
        assert client.flush(PATIENCE)
        stats = client.stats()
        assert logged[0] > 0 and stats.queued == 0 and stats.lost > 0
        assert stats.accepted + stats.lost == 20_000 + logged[0]
