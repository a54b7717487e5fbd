"""A small HTTP server that answers as a test says, and remembers what it was sent."""

from __future__ import annotations

import gzip
import json
import threading
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Callable, Dict, List, Tuple

from waiting import PATIENCE


@dataclass(frozen=True)
class Request:
    path: str
    headers: Dict[str, str]
    raw: bytes

    @property
    def plain(self) -> bytes:
        return gzip.decompress(self.raw) if self.headers.get("content-encoding") == "gzip" else self.raw

    @property
    def events(self) -> List[Dict[str, Any]]:
        found: List[Dict[str, Any]] = json.loads(self.plain)
        return found

    @property
    def key(self) -> str:
        return self.headers["idempotency-key"]


@dataclass(frozen=True)
class Reply:
    status: int = 200
    headers: Tuple[Tuple[str, str], ...] = ()
    body: bytes = b""
    hang_up: bool = False  # instead of answering
    leave: bool = False  # after answering, unannounced


def problem(*errors: Tuple[str, str]) -> Reply:
    """A refusal in the words of the server."""
    body = {"status": 422, "detail": "see errors", "errors": [{"location": where, "message": "is wrong", "reason": reason} for where, reason in errors]}
    return Reply(422, (("Content-Type", "application/problem+json"),), json.dumps(body).encode())


class Stub:
    """Listens as long as it is entered. ``answer`` is called for each request, which counts from 0."""

    def __init__(self, answer: Callable[[int, Request], Reply] = lambda n, request: Reply()) -> None:
        self.requests: List[Request] = []
        self.changed = threading.Condition()
        stub = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                raw = self.rfile.read(int(self.headers["Content-Length"]))
                request = Request(self.path, {k.lower(): v for k, v in self.headers.items()}, raw)
                with stub.changed:
                    n = len(stub.requests)
                    stub.requests.append(request)
                    stub.changed.notify_all()
                reply = answer(n, request)
                if reply.hang_up:
                    self.close_connection = True
                    return
                self.send_response(reply.status)
                for name, value in reply.headers:
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(reply.body)))
                self.end_headers()
                self.wfile.write(reply.body)
                if reply.leave:
                    self.close_connection = True

            def log_message(self, format: str, *args: object) -> None:
                pass

        class Quiet(ThreadingHTTPServer):
            def handle_error(self, request: object, client_address: object) -> None:
                pass  # a client that is gone

        self._server = Quiet(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Stub:
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def await_requests(self, n: int) -> List[Request]:
        with self.changed:
            assert self.changed.wait_for(lambda: len(self.requests) >= n, PATIENCE), f"{len(self.requests)} requests, want {n}"
            return list(self.requests)

    def events(self) -> List[Dict[str, Any]]:
        return [e for r in self.requests for e in r.events]
