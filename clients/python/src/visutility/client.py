"""Client: what a program that serves a model uses."""

from __future__ import annotations

import atexit
import os
import ssl
import sys
import threading
import time as clock
import weakref
from datetime import datetime
from types import TracebackType
from typing import Any, Mapping, SupportsFloat, Type, Union

from .backoff import Backoff
from .courier import Courier, report
from .event import Encoder, Fault, Scalar, encode_label, encode_metric, encode_prediction, take_mapping, take_number, take_scalar
from .outbox import Outbox
from .server import Server
from .settings import Token, server_url
from .stats import Stats

Time = Union[datetime, float]

TIDY = 0.5  # seconds for the thread to count what is left when the time is over

now = clock.time  # looked up once: log is called for every inference, perhaps


class Client:
    """Sends metrics, predictions and labels to one server, from any thread, in the background.

    ``url`` is the server's address; defaults to $VISUTILITY_URL, else http://127.0.0.1:8080.
    ``token`` is what ``serve --token-file`` was given; defaults to the content of the file $VISUTILITY_TOKEN_FILE, else to
    $VISUTILITY_TOKEN, else none is sent. The file is read again when the token is refused.

    An address or token that cannot be one raises ValueError here. Nothing is sent or started before the first event.

    ``max_queue``: events that may wait; more are dropped (``queue_full``). Defaults to 10,000.
    ``batch_size``, ``batch_age``: a batch goes when it has so many events, or after so many seconds. Default to 500 and 1 s.
    ``timeout``: seconds for each step of a request. Defaults to 10.
    ``max_backoff``: the longest wait between attempts, in seconds, unless the server asks for more. Defaults to 30.
    ``exit_timeout``: how long :meth:`close`, and so the end of the program, may take to deliver what waits, in seconds. Defaults to 5.
    ``compress``: gzip larger bodies. Defaults to True.
    ``context``: TLS settings, for a private authority say. Defaults to the system's.

    After ``os.fork`` the child starts afresh, with an empty queue and counters of zero: what waited is the parent's to send.
    """

    def __init__(
        self,
        url: str | None = None,
        token: str | None = None,
        *,
        max_queue: int = 10_000,
        batch_size: int = 500,
        batch_age: float = 1.0,
        timeout: float = 10.0,
        max_backoff: float = 30.0,
        exit_timeout: float = 5.0,
        compress: bool = True,
        context: ssl.SSLContext | None = None,
    ) -> None:
        positive = dict(max_queue=max_queue, batch_size=batch_size, batch_age=batch_age, timeout=timeout, max_backoff=max_backoff)
        for name, value in positive.items():
            if not value > 0:
                raise ValueError(f"{name} is {value}; it must be above 0")
        self._url = server_url(url)
        self._token = Token(token)
        self._max_queue = max_queue
        self._batch_size = batch_size
        self._batch_age = batch_age
        self._timeout = timeout
        self._max_backoff = max_backoff
        self._exit_timeout = exit_timeout
        self._compress = compress
        self._context = context
        self._begin()
        _clients.add(self)

    def log(
        self,
        model: str,
        /,
        *,
        count: int | None = None,
        version: str | None = None,
        time: Time | None = None,
        labels: Mapping[str, str] | None = None,
        **metrics: SupportsFloat,
    ) -> None:
        """Logs what was measured of a model: any metrics by name, such as ``accuracy=0.91``.

        ``count``: the samples behind the values. Defaults to 1.
        ``version``: the version of the model that was measured.
        ``time``: when it was true, as a datetime with a time zone or as seconds since 1970. Defaults to now.
        ``labels``: tell segments of the model apart, at most 16.

        A value is made a float at once, whatever number it is. One that is none, or NaN or infinite, is dropped and counted.
        Names that are no identifiers are passed as ``**{"recall@10": 0.7}``.
        """
        try:
            when = now() if time is None else time
            if labels is not None:
                labels = take_mapping(labels, "labels")
        except Exception as e:
            self._fault(e, max(1, len(metrics)))
            return
        if not metrics:
            self._fault(Fault("invalid", "log was given no metric, such as accuracy=0.91"))
        for name, value in metrics.items():
            try:
                if type(value) is not float:
                    value = take_number(value, "the value")
                if self._idle:
                    self._start()
                self._box.put((encode_metric, (model, name, value, count, version, when, labels)))
            except Exception as e:
                self._fault(e)

    def log_prediction(
        self,
        model: str,
        id: str,
        /,
        *,
        prediction: Scalar | None = None,
        score: SupportsFloat | None = None,
        features: Mapping[str, Scalar | None] | None = None,
        version: str | None = None,
        time: Time | None = None,
        labels: Mapping[str, str] | None = None,
    ) -> None:
        """Logs one prediction, so that the server can measure it once its label is known.

        ``id`` is what :meth:`log_label` will name it by. ``prediction`` is the class or the number that was predicted, ``score`` the probability
        of the positive class, 0 to 1: at least one of the two. ``features`` are what it was predicted from, to watch for drift, at most 256;
        those that are None, NaN or "" are missing values and left out. ``version``, ``time`` and ``labels`` as in :meth:`log`.
        """
        try:
            args = (
                model,
                id,
                take_scalar(prediction, "prediction"),
                None if score is None else take_number(score, "score"),
                take_mapping(features, "features"),
                version,
                take_mapping(labels, "labels"),
            )
            self._put(encode_prediction, *args, now() if time is None else time)
        except Exception as e:
            self._fault(e)

    def log_label(self, model: str, id: str, /, *, label: Scalar, time: Time | None = None) -> None:
        """Logs what was true of a prediction, by the ``id`` it was logged with. ``time``: when that became known. Defaults to now."""
        try:
            self._put(encode_label, model, id, take_scalar(label, "label"), now() if time is None else time)
        except Exception as e:
            self._fault(e)

    def flush(self, timeout: float = 10.0) -> bool:
        """Sends what waits without waiting for a full batch. True once all that was logged before is delivered or dropped; False after ``timeout`` seconds."""
        if self._closed or self._permit:  # ended, or never begun
            return True
        return self._box.mark().wait(timeout)

    def close(self, timeout: float | None = None) -> bool:
        """Delivers what waits and ends the thread. It takes ``timeout`` seconds at most, and half a second to count what is left;
        defaults to ``exit_timeout``.

        What is not delivered by then is dropped and counted (``undelivered``), what is logged later too (``closed``).
        True when nothing was left over. It is called at the end of the program, and may be called again.
        """
        seconds = max(0.0, self._exit_timeout if timeout is None else timeout)
        self._end(seconds)
        self._join(seconds + TIDY)
        stats = self.stats()
        return stats.queued == 0 and "undelivered" not in stats.dropped

    def stats(self) -> Stats:
        """What became of the events so far. See :class:`Stats`."""
        return self._box.stats()

    def __enter__(self) -> Client:
        return self

    def __exit__(self, kind: Type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<visutility.Client {self._url.geturl()}>"

    def _begin(self) -> None:
        """Everything that is of one process. A forked child begins again."""
        self._box = Outbox(self._max_queue, self._batch_size)
        self._permit = [True]  # to start the thread: popping it is a single step, of which a lock is not safe in signal handlers
        self._thread: threading.Thread | None = None
        self._idle = True  # no thread: it is still to be started, or was closed
        self._closed = False

    def _put(self, encode: Encoder, *args: Any) -> None:
        if self._idle:
            self._start()
        self._box.put((encode, args))

    def _fault(self, e: Exception, n: int = 1) -> None:
        """Counts what was wrong with a call, whatever it was."""
        if isinstance(e, Fault):
            self._box.drop(e.reason, n, str(e))
        else:
            self._box.drop("invalid", n, f"an argument raises {type(e).__name__}")
        try:
            if self._idle:
                self._start()  # the thread logs it
        except Exception:
            self._report()  # there is none

    def _run(self, courier: Courier) -> None:
        """The thread. It holds the client: one that nobody else holds any more delivers all the same."""
        courier.run()

    def _end(self, seconds: float) -> None:
        """Takes no more events and gives the thread so long for those that wait."""
        self._closed = self._idle = True
        self._box.close(seconds)

    def _join(self, seconds: float) -> None:
        """Waits so long for the thread, then drops what it has not taken."""
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(max(0.0, seconds))
        self._box.abandon()
        self._report()

    def _report(self) -> None:
        """Logs what the thread no longer will."""
        try:
            report(self._box)
        except Exception:
            pass  # a filter of the program's own, say

    def _start(self) -> None:
        """Starts the thread, once. Who comes second does not wait for it: the queue is there already."""
        if self._closed:
            raise Fault("closed", "logged after close")
        try:
            self._permit.pop()
        except IndexError:
            return
        try:
            server = Server(self._url, self._token, self._context, self._compress)
            courier = Courier(self._box, server, Backoff(self._max_backoff), self._batch_age, self._timeout)
            thread = threading.Thread(target=self._run, args=(courier,), name="visutility", daemon=True)
            thread.start()
        except Exception as e:
            self._permit.append(True)
            raise Fault("undelivered", f"no thread can be started; is the program ending? ({type(e).__name__})") from None
        self._thread, self._idle = thread, False
        if self._closed:  # meanwhile
            self._end(0)
        if "multiprocessing.process" in sys.modules:
            from multiprocessing import process, util

            if process.parent_process() is not None:  # such a child ends without atexit, but runs these
                util.Finalize(None, _close_all, exitpriority=10)


_clients: weakref.WeakSet[Client] = weakref.WeakSet()


def _close_all() -> None:
    """Closes every client, all at the same time."""
    clients = list(_clients)
    until = clock.monotonic() + TIDY
    for c in clients:
        c._end(c._exit_timeout)
    for c in clients:
        c._join(until + c._exit_timeout - clock.monotonic())


def _after_fork() -> None:
    for c in list(_clients):
        c._begin()


atexit.register(_close_all)
if hasattr(os, "register_at_fork"):  # not on Windows, where nothing forks
    os.register_at_fork(after_in_child=_after_fork)
