"""Waiting for a condition, with an end."""

from __future__ import annotations

import threading
import time
from typing import Callable, TypeVar

PATIENCE = 60.0  # seconds: far more than anything takes, even on a busy machine

T = TypeVar("T")


def until(condition: Callable[[], T], what: str) -> T:
    """What the condition gives once it is true."""
    end = time.monotonic() + PATIENCE
    pause = threading.Event()
    while True:
        found = condition()
        if found:
            return found
        assert time.monotonic() < end, f"waited {PATIENCE} s for {what}"
        pause.wait(0.02)
