"""What logging costs the thread that logs, in nanoseconds a call: while the background thread has nothing to do, and
while it sends, to another process that answers at once, and the two contend for the interpreter.

    python benchmark.py
"""

from __future__ import annotations

import http.server
import statistics
import subprocess
import sys
import time
from typing import Callable

import visutility

BATCH = 500


class Sink(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        pass


def sink() -> None:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Sink)
    print(server.server_port, flush=True)
    server.serve_forever()


def rounds(client: visutility.Client, call: Callable[[], None], calls: int) -> float:
    """The median of many rounds, each into an empty queue."""
    found = []
    for _ in range(60_000 // calls):
        client.flush()
        began = time.perf_counter_ns()
        for _ in range(calls):
            call()
        found.append((time.perf_counter_ns() - began) / calls)
    return statistics.median(found)


def measure(client: visutility.Client, name: str, events: int, call: Callable[[], None]) -> None:
    quiet = rounds(client, call, BATCH // events // 2)
    busy = rounds(client, call, 3000)
    print(f"{name:36} {quiet:7.0f} {busy:7.0f}")


def main(port: str) -> None:
    url = "http://127.0.0.1:" + port
    features = {f"f{i}": 0.5 for i in range(20)}
    print(f"{'ns a call':36}   quiet sending")
    with visutility.Client(url, batch_size=BATCH, batch_age=60) as client:
        measure(client, "an empty function", 1, lambda: None)
        measure(client, "log, 1 metric", 1, lambda: client.log("fraud", accuracy=0.91))
        measure(client, "log, 1 metric, count and version", 1, lambda: client.log("fraud", accuracy=0.91, count=500, version="7"))
        measure(client, "log, 3 metrics", 3, lambda: client.log("fraud", accuracy=0.91, recall=0.7, precision=0.8))
        measure(client, "log_prediction, 20 features", 1, lambda: client.log_prediction("fraud", "1", prediction=True, score=0.9, features=features))
        measure(client, "log_label", 1, lambda: client.log_label("fraud", "1", label=True))
        client.flush()
        stats = client.stats()
        if stats.lost or stats.queued:
            raise SystemExit(f"not all was delivered: {stats}")


if __name__ == "__main__":
    if sys.argv[1:] == ["sink"]:
        sink()
    with subprocess.Popen([sys.executable, __file__, "sink"], stdout=subprocess.PIPE, text=True) as child:
        try:
            assert child.stdout is not None
            main(child.stdout.readline().strip())
        finally:
            child.kill()
