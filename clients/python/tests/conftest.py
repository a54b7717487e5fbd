from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Callable, Iterator, List

import pytest

from real import RealServer

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(autouse=True)
def no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the environment of the one who runs the tests says does not count."""
    for name in [n for n in os.environ if n.startswith("VISUTILITY_")]:
        monkeypatch.delenv(name)


@pytest.fixture(scope="session")
def binary() -> Path:
    """The server, built from this tree; where it was already and nothing changed, that takes a moment only."""
    path = ROOT / "bin" / "python-tests" / "visutility"
    subprocess.run(["go", "build", "-o", str(path), "./cmd/visutility"], cwd=ROOT, check=True, env={**os.environ, "CGO_ENABLED": "0"})
    return path


@pytest.fixture
def serve(binary: Path, tmp_path: Path) -> Iterator[Callable[..., RealServer]]:
    """Starts real servers, which end with the test."""
    servers: List[RealServer] = []

    def start(*args: str) -> RealServer:
        directory = tmp_path / f"server{len(servers)}"
        directory.mkdir()
        servers.append(RealServer(binary, directory, *args))
        return servers[-1]

    yield start
    for s in servers:
        s.kill()
