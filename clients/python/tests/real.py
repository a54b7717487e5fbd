"""The real server, as a process."""

from __future__ import annotations

import json
import subprocess
import urllib.request
from pathlib import Path
from typing import Any, Dict, List, Tuple

from waiting import PATIENCE, until


class RealServer:
    def __init__(self, binary: Path, directory: Path, *args: str) -> None:
        self._binary = binary
        self._directory = directory
        self._args = args
        self._listen = "127.0.0.1:0"
        self._process: subprocess.Popen[bytes] | None = None
        self.start()

    @property
    def url(self) -> str:
        return "http://" + self._listen

    def start(self) -> None:
        """Starts it, again at the address it had, and waits until it is ready."""
        addr = self._directory / "addr"
        addr.unlink(missing_ok=True)
        args = ["serve", "--listen", self._listen, "--addr-file", str(addr), "--data", str(self._directory / "data"), *self._args]
        with open(self._directory / "log", "ab") as log:
            process = subprocess.Popen([self._binary, *args], stdout=log, stderr=log, cwd=self._directory)
        self._process = process

        def ready() -> bool:
            assert process.poll() is None, (self._directory / "log").read_text()
            if not addr.exists() or not addr.read_text().strip():
                return False
            self._listen = addr.read_text().strip()
            try:
                with urllib.request.urlopen(self.url + "/readyz", timeout=PATIENCE) as answer:
                    return bool(answer.status == 200)
            except OSError:
                return False

        until(ready, "the server to be ready")

    def kill(self) -> None:
        """Ends it as a crash would."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(PATIENCE)
            self._process = None

    def history(self, model: str, metric: str, token: str = "") -> List[Dict[str, Any]]:
        """The series of a metric. Until the model is known, none."""
        request = urllib.request.Request(f"{self.url}/api/v1/models/{model}/history?metric={metric}")
        if token:
            request.add_header("Authorization", "Bearer " + token)
        try:
            with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
                series: List[Dict[str, Any]] = json.load(answer)["series"]
                return series
        except urllib.error.HTTPError as e:
            e.close()
            assert e.code == 404
            return []

    def samples(self, model: str, metric: str, token: str = "") -> Dict[str, Tuple[float, int]]:
        """What the history holds: time to value and number of samples."""
        return {p["time"]: (p["last"], p["count"]) for s in self.history(model, metric, token) for p in s["points"]}

    def counter(self, name: str) -> float:
        """A counter of /metrics."""
        with urllib.request.urlopen(self.url + "/metrics", timeout=PATIENCE) as answer:
            for line in answer.read().decode().splitlines():
                if line.startswith(name + " "):
                    return float(line.split()[1])
        raise AssertionError(f"no {name}")
