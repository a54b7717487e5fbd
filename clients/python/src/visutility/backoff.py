"""Backoff: how long to wait before sending again."""

from __future__ import annotations

import random

FIRST = 0.2  # seconds
SPREAD = 0.25  # of what the server asks for, so that clients do not all come back at once
LONGEST_ASKED = 600.0  # seconds: a server that asks for more is asked again


class Backoff:
    """Waits that double from 0.2 s up to ``longest`` seconds, each shortened by up to a half at random."""

    def __init__(self, longest: float, rng: random.Random | None = None) -> None:
        self._longest = longest
        self._rng = rng or random.Random()
        self._failures = 0

    def reset(self) -> None:
        """After a success."""
        self._failures = 0

    def next(self, asked: float | None) -> float:
        """The seconds to wait after one more failure; ``asked`` is what the server said (Retry-After)."""
        self._failures += 1
        if asked is not None:
            return min(asked, LONGEST_ASKED) * self._rng.uniform(1, 1 + SPREAD)
        wait = min(self._longest, FIRST * 2.0 ** min(self._failures - 1, 30))
        return wait * self._rng.uniform(0.5, 1)
