"""Courier: the background thread's work, from the outbox to the server."""

from __future__ import annotations

import logging
import time
import uuid
from typing import Dict, List

from .backoff import Backoff
from .event import ROUTES, Fault, Pending
from .outbox import Outbox, split
from .server import Answer, Server

logger = logging.getLogger("visutility")

MOST_BODY = 1 << 20  # bytes of a batch before compression; servers and proxies take that much
# The server knows a key for ten minutes. From then on the same batch would count again.
KEY_LIFE = 540.0
RETRIED = frozenset((401, 403, 408, 425, 429))  # and all from 500 on
UNHARMED = frozenset((401, 403, 425))  # of those, answered before anything was taken in


def report(box: Outbox) -> None:
    """Logs what is new."""
    for note in box.notes():
        logger.warning("%s (said once; see Client.stats)", note)


class Parcel:
    """Events that go to the server as one body, under one idempotency key for ever."""

    def __init__(self, path: str, lines: List[bytes], resent: bool = False) -> None:
        self.path = path
        self.lines = lines
        self.resent = resent  # what the server left of another parcel
        self.key = uuid.uuid4().hex
        self.reached: float | None = None  # when the server may first have taken it in

    def body(self) -> bytes:
        return b"[" + b",".join(self.lines) + b"]"


class Courier:
    """Sends batches, one after the other, until the outbox is closed and empty."""

    def __init__(self, box: Outbox, server: Server, backoff: Backoff, age: float, timeout: float) -> None:
        self._box = box
        self._server = server
        self._backoff = backoff
        self._age = age
        self._timeout = timeout

    def run(self) -> None:
        """The thread. It ends after :meth:`Outbox.close`."""
        while True:
            closing = self._box.closing  # read first: what was put before is in the queue
            self._box.wait(self._age)
            while self._round():
                pass
            if closing:
                break
        self._server.close()

    def _round(self) -> bool:
        items = self._box.take()
        events, marks = split(items)
        parcels = self._pack(events)
        while parcels:
            report(self._box)
            parcel = parcels.pop(0)
            try:
                parcels[:0] = self._deliver(parcel)
            except Exception as e:  # or this thread would end and nobody notice
                self._server.close()
                self._box.fail("internal", len(parcel.lines), repr(e))
                logger.exception("fault in the client")
        report(self._box)
        for mark in marks:
            mark.set()
        return bool(items)

    def _pack(self, events: List[Pending]) -> List[Parcel]:
        """Encodes events into parcels by route; those that break a rule are dropped here."""
        parcels: List[Parcel] = []
        open_parcels: Dict[str, Parcel] = {}
        sizes: Dict[str, int] = {}
        for encode, args in events:
            try:
                line = encode(*args)
            except Fault as e:
                self._box.fail(e.reason, 1, str(e))
                continue
            except Exception as e:  # a subclass of str, say, with ideas of its own
                self._box.fail("invalid", 1, f"an argument cannot be encoded: {type(e).__name__}")
                continue
            path = ROUTES[encode]
            if path not in open_parcels or sizes[path] + len(line) > MOST_BODY:
                open_parcels[path], sizes[path] = Parcel(path, []), 0
                parcels.append(open_parcels[path])
            open_parcels[path].lines.append(line)
            sizes[path] += len(line) + 1
        return parcels

    def _deliver(self, parcel: Parcel) -> List[Parcel]:
        """Sends a parcel until its fate is decided. What it returns is to be sent in its place."""
        n = len(parcel.lines)
        plain = parcel.body()
        body, encoding = self._server.pack(plain)
        while True:
            timeout = self._box.left(self._timeout)
            if timeout <= 0:
                self._box.fail("undelivered", n, "closed before they could be sent")
                return []
            if parcel.reached is not None and time.monotonic() - parcel.reached > KEY_LIFE:
                self._box.fail("expired", n, "no clear answer for nine minutes; sent again they might count twice")
                return []
            began = time.monotonic()
            answer = self._server.post(parcel.path, body, encoding, parcel.key, timeout)
            if 200 <= answer.status < 300:
                self._backoff.reset()
                self._box.succeed(n)
                return []
            if answer.status == 415 and encoding:
                self._server.compress = False
                body, encoding = plain, ""
                continue
            if 0 < answer.status < 500 and answer.status not in RETRIED:
                self._backoff.reset()
                return self._refused(parcel, answer)
            if answer.reached and answer.status not in UNHARMED and parcel.reached is None:
                parcel.reached = began
            self._again(answer)

    def _again(self, answer: Answer) -> None:
        """Waits until the same is worth sending again."""
        if answer.status in (401, 403):
            self._server.read_token()
        reason = {0: "unreachable", 401: "unauthorized", 403: "unauthorized"}.get(answer.status, f"http_{answer.status}")
        self._box.retry(reason, answer.error)
        report(self._box)
        self._box.pause(self._backoff.next(answer.retry_after), answer.retry_after is not None)

    def _refused(self, parcel: Parcel, answer: Answer) -> List[Parcel]:
        """Of a parcel that will never be taken as it is, drops what is bad and returns the rest."""
        n = len(parcel.lines)
        if answer.status == 413 and n > 1:
            half = n // 2
            return [Parcel(parcel.path, lines, parcel.resent) for lines in (parcel.lines[:half], parcel.lines[half:])]
        bad: Dict[int, str] = {}
        for index, reason in answer.faults:
            if index is not None and index < n:
                bad.setdefault(index, "refused_" + reason if reason else "refused")
        if answer.status in (400, 422) and bad and not parcel.resent:
            for reason in bad.values():
                self._box.fail(reason, 1, answer.error)
            rest = [line for i, line in enumerate(parcel.lines) if i not in bad]
            return [Parcel(parcel.path, rest, resent=True)] if rest else []
        for i in range(n):
            self._box.fail(bad.get(i) or self._reason(answer), 1, answer.error)
        return []

    @staticmethod
    def _reason(answer: Answer) -> str:
        """The word for a whole parcel that was refused."""
        if answer.status == 413:
            return "too_large"
        if answer.status in (400, 422):
            reason = answer.faults[0][1] if answer.faults else ""
            return "refused_" + reason if reason else "refused"
        return f"http_{answer.status}"
