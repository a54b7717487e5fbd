"""Outbox: the bounded queue between those who log and the one who sends, and the account of both."""

from __future__ import annotations

import threading
import time
from collections import deque
from queue import Empty, SimpleQueue
from typing import Deque, Dict, List, Tuple, Union

from .event import Pending
from .stats import Stats

MOST_REASONS = 64  # words to count under; the server brings some of them
HASTE = 0.2  # seconds between attempts while closing


class Outbox:
    """Holds at most ``most`` events, beside those being sent.

    :meth:`put` takes no lock: appending to a deque and putting into a SimpleQueue are atomic, and may be interrupted
    by a signal handler or a finalizer that logs too. The lock guards the counters alone and is never held
    while anything is waited for; it is re-entrant for the same handlers.
    """

    def __init__(self, most: int, batch: int) -> None:
        self._most = most
        self._batch = batch
        self._queue: Deque[Union[Pending, threading.Event]] = deque()
        self._wake: SimpleQueue[None] = SimpleQueue()
        self._woken = False
        self._lock = threading.RLock()
        self._flying = 0
        self._accepted = 0
        self._retried = 0
        self._drops: Deque[Tuple[str, int, str]] = deque()
        self._settling = False
        self._dropped: Dict[str, int] = {}
        self._last_error = ""
        self._noted: Dict[str, None] = {}
        self._notes: Deque[Tuple[str, str]] = deque()
        self._deadline: float | None = None

    # What the callers' threads do.

    def put(self, pending: Pending) -> None:
        """Takes an event in, or drops it when there is no room."""
        n = len(self._queue)
        if n >= self._most:
            self.drop("queue_full", 1, f"{self._most} events wait already")
            return
        self._queue.append(pending)
        if n + 1 >= self._batch and not self._woken:
            self._woken = True
            self._wake.put(None)

    def drop(self, reason: str, n: int, text: str) -> None:
        """Counts events that never got in. Nothing is logged here, since a log handler may be slow."""
        self._drops.append((reason, n, text))
        self._settle()

    def mark(self) -> threading.Event:
        """An event of threading that is set once all that was put before is decided."""
        mark = threading.Event()
        self._queue.append(mark)
        self._wake.put(None)
        return mark

    def close(self, seconds: float) -> None:
        """Gives the sender so many seconds more; what was given before is not extended."""
        deadline = time.monotonic() + seconds
        self._deadline = deadline if self._deadline is None else min(deadline, self._deadline)
        self._wake.put(None)

    def abandon(self) -> None:
        """Drops what still waits: the time is over."""
        while True:
            items = self.take()
            if not items:
                return
            events, marks = split(items)
            self.fail("undelivered", len(events), "closed before they could be sent")
            for mark in marks:
                mark.set()

    def stats(self) -> Stats:
        """The account now."""
        with self._lock:
            self._settle()
            waiting = sum(1 for item in list(self._queue) if not isinstance(item, threading.Event))
            return Stats(self._accepted, dict(self._dropped), self._retried, waiting + self._flying, self._last_error)

    # What the sender's thread does.

    def wait(self, seconds: float) -> None:
        """Waits until a batch is full, somebody flushes or closes, or the time is over."""
        if self._deadline is None:
            try:
                self._wake.get(timeout=seconds)
            except Empty:
                pass

    def pause(self, seconds: float, asked: bool) -> None:
        """Waits before another attempt; while closing only as long as there is time, and hastily unless the server asked."""
        began = time.monotonic()
        while True:
            now = time.monotonic()
            until = began + seconds
            if self._deadline is not None:
                until = min(until if asked else min(until, now + HASTE), self._deadline)
                time.sleep(max(0.0, until - now))
                return
            if now >= until:
                return
            self.wait(until - now)

    @property
    def closing(self) -> bool:
        return self._deadline is not None

    def left(self, most: float) -> float:
        """The seconds that remain until the time is over, up to ``most``; 0 once it is."""
        if self._deadline is None:
            return most
        return min(most, max(0.0, self._deadline - time.monotonic()))

    def take(self) -> List[Union[Pending, threading.Event]]:
        """The oldest events, up to a batch, with the marks between them. They count as queued until decided."""
        self._woken = False
        items: List[Union[Pending, threading.Event]] = []
        with self._lock:
            while len(items) < self._batch and self._queue:
                item = self._queue.popleft()
                items.append(item)
                self._flying += not isinstance(item, threading.Event)
        return items

    def succeed(self, n: int) -> None:
        """The server has them."""
        with self._lock:
            self._flying -= n
            self._accepted += n

    def fail(self, reason: str, n: int, text: str) -> None:
        """Events that were taken are dropped."""
        with self._lock:
            self._flying -= n
            self.drop(reason, n, text)

    def retry(self, reason: str, text: str) -> None:
        """Something will be sent again."""
        with self._lock:
            self._retried += 1
            self._last_error = text
            self._note(reason, "sending again: " + text)

    def notes(self) -> List[str]:
        """What is to be logged: once for each reason, ever."""
        found = []
        while self._notes:
            reason, text = self._notes.popleft()
            found.append(f"{reason}: {text}")
        return found

    def _settle(self) -> None:
        """Counts the drops. A signal handler that gets in between leaves its own to the one it interrupted, or to the next:
        adding to a counter is no single step."""
        with self._lock:
            if self._settling:
                return
            self._settling = True
            try:
                while self._drops:
                    self._count(*self._drops.popleft())
            finally:
                self._settling = False

    def _count(self, reason: str, n: int, text: str) -> None:
        if n <= 0:
            return
        if reason not in self._dropped and len(self._dropped) >= MOST_REASONS:
            reason = "other"
        self._dropped[reason] = self._dropped.get(reason, 0) + n
        self._last_error = f"{reason}: {text}"
        self._note(reason, "dropping: " + text)

    def _note(self, reason: str, text: str) -> None:
        if reason not in self._noted and len(self._noted) < 2 * MOST_REASONS:
            self._noted[reason] = None
            self._notes.append((reason, text))
            self._wake.put(None)


def split(items: List[Union[Pending, threading.Event]]) -> Tuple[List[Pending], List[threading.Event]]:
    """Events and marks apart."""
    events: List[Pending] = []
    marks: List[threading.Event] = []
    for item in items:
        if isinstance(item, threading.Event):
            marks.append(item)
        else:
            events.append(item)
    return events, marks
