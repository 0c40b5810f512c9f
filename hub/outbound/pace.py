"""How many parts a sender may hand off now. One lane owns a sender, so a counter in memory is exact."""

from __future__ import annotations

import math


class Pace:
    """``rate`` parts per second, never more than about a second's worth at once; None: no limit."""

    def __init__(self, rate: float | None) -> None:
        self._rate = rate
        self._burst = max(1.0, rate or 1.0)
        self._tokens = self._burst
        self._at = 0.0

    def grant(self, wanted: int, now: float) -> int:
        """How many of ``wanted`` may go at ``now`` (seconds, monotonic). They are spent by ``spend``."""
        if self._rate is None:
            return wanted
        self._tokens = min(self._burst, self._tokens + (now - self._at) * self._rate) if self._at else self._tokens
        self._at = now
        return min(wanted, max(0, math.floor(self._tokens)))

    def spend(self, parts: int) -> None:
        self._tokens -= parts

    def delay(self) -> float:
        """Seconds until the next one may go."""
        if self._rate is None or self._tokens >= 1:
            return 0.0
        return (1 - self._tokens) / self._rate
