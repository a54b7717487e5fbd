"""Server: one connection to the server, kept open between requests."""

from __future__ import annotations

import email.utils
import gzip
import http.client
import json
import re
import ssl
import time
from dataclasses import dataclass, field
from typing import List, Tuple
from urllib.parse import SplitResult

from .settings import Token
from .version import __version__

KEEP_OPEN = 15.0  # seconds without use after which a connection is not trusted to be open any more
GZIP_FROM = 1024  # bytes below which compression does not pay
MOST_ANSWER = 256 << 10  # bytes that are read of an answer


@dataclass(frozen=True)
class Answer:
    """What became of a request. ``status`` 0: no answer, ``error`` says why."""

    status: int
    error: str = ""
    reached: bool = True
    """False: it is certain that the server took nothing in."""
    retry_after: float | None = None
    faults: List[Tuple[int | None, str]] = field(default_factory=list)
    """The bad events that the server names: index in the body (None: not said) and reason."""


class Server:
    """Posts to one server. It is for one thread."""

    def __init__(self, url: SplitResult, token: Token, context: ssl.SSLContext | None, compress: bool) -> None:
        self._url = url
        self._token = token
        self._bearer = ""
        self._context = context
        self._connection: http.client.HTTPConnection | None = None
        self._used = 0.0
        self.compress = compress
        self.read_token()

    def pack(self, body: bytes) -> Tuple[bytes, str]:
        """The body as it is sent, and its content encoding, "" for none."""
        if self.compress and len(body) >= GZIP_FROM:
            return gzip.compress(body, 5), "gzip"
        return body, ""

    def post(self, path: str, body: bytes, encoding: str, key: str, timeout: float) -> Answer:
        """Sends a body of JSON once. ``timeout``: the seconds for each of connecting, writing and reading."""
        headers = {
            "Content-Type": "application/json",
            "Idempotency-Key": key,
            "User-Agent": "visutility-python/" + __version__,
        }
        if encoding:
            headers["Content-Encoding"] = encoding
        if self._bearer:
            headers["Authorization"] = "Bearer " + self._bearer
        try:
            connection = self._connect(timeout)
        except (OSError, http.client.HTTPException, ValueError) as e:
            self.close()
            return Answer(0, f"cannot connect to {self._url.netloc}: {_words(e)}", reached=False)
        try:
            connection.request("POST", self._url.path.rstrip("/") + path, body, headers)
            response = connection.getresponse()
            content = response.read(MOST_ANSWER)
            if not response.isclosed():  # there is more than that
                self.close()
            self._used = time.monotonic()
        except (OSError, http.client.HTTPException) as e:
            self.close()
            return Answer(0, f"no answer from {self._url.netloc}: {_words(e)}")
        return _answer(response, content)

    def read_token(self) -> None:
        """Reads the token, again after it was refused. As long as that is impossible the old one stays."""
        try:
            self._bearer = self._token.read()
        except (OSError, ValueError):
            pass

    def close(self) -> None:
        """Ends the connection. The next request opens another."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _connect(self, timeout: float) -> http.client.HTTPConnection:
        if self._connection is not None and time.monotonic() - self._used > KEEP_OPEN:
            self.close()
        if self._connection is None:
            host, port = self._url.hostname or "", self._url.port
            if self._url.scheme == "https":
                self._connection = http.client.HTTPSConnection(host, port, timeout=timeout, context=self._context)
            else:
                self._connection = http.client.HTTPConnection(host, port, timeout=timeout)
            self._connection.connect()
        self._connection.timeout = timeout
        sock = self._connection.sock
        if sock is None:  # the server said that it would close
            self._connection.connect()
        else:
            sock.settimeout(timeout)
        return self._connection


def _words(e: BaseException) -> str:
    return str(e) or type(e).__name__


def _answer(response: http.client.HTTPResponse, content: bytes) -> Answer:
    if 200 <= response.status < 300:
        return Answer(response.status)
    error = f"the server answers {response.status} {response.reason}"
    problem: object = None
    try:
        problem = json.loads(content)
    except ValueError:
        pass  # not from our server: a proxy's page, say
    faults: List[Tuple[int | None, str]] = []
    if isinstance(problem, dict):
        if isinstance(problem.get("detail"), str):
            error += ": " + problem["detail"][:200]
        errors = problem.get("errors")
        for e in errors if isinstance(errors, list) else []:
            faults.append(_fault(e))
        if isinstance(errors, list) and errors and isinstance(errors[0], dict):
            error += f" ({str(errors[0].get('location'))[:80]} {str(errors[0].get('message'))[:200]})"
    retry_after = _retry_after(response.getheader("Retry-After"))
    return Answer(response.status, error, retry_after=retry_after, faults=faults)


_index = re.compile(r"\w+\[(\d{1,9})\]")
_word = re.compile(r"[a-z][a-z0-9_]{0,39}")


def _fault(e: object) -> Tuple[int | None, str]:
    """The index in events[3].value, and the reason, a word, "" where there is none."""
    if not isinstance(e, dict):
        return None, ""
    at = _index.match(str(e.get("location")))
    reason = str(e.get("reason"))
    return int(at[1]) if at else None, reason if "reason" in e and _word.fullmatch(reason) else ""


def _retry_after(header: str | None) -> float | None:
    """The seconds that a Retry-After asks for: a number, or a date."""
    if header is None:
        return None
    if header.strip().isdecimal():
        return float(header[:12])
    try:
        return max(0.0, email.utils.parsedate_to_datetime(header).timestamp() - time.time())
    except (TypeError, ValueError, OverflowError):
        return None
