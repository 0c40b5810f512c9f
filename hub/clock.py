"""Time and row ids, passed in wherever they are needed."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

Clock = Callable[[], datetime]  # the current instant, with a zone

_EPOCH_MS = 1_704_067_200_000  # 2024-01-01: leaves 41 bits of milliseconds until 2093
_SEQUENCE_BITS = 16
_NODE_BITS = 5


def system_clock() -> datetime:
    return datetime.now(UTC)


class Ids:
    """Row ids that grow with time, so that every index grows at one end.

    41 bits of milliseconds, 5 of ``node`` (processes on one PostgreSQL), 16 of sequence; never repeats or steps back,
    even if the clock does (``start_after`` what was made before). Safe between threads.
    """

    def __init__(self, clock: Clock, node: int = 0) -> None:
        if not 0 <= node < 1 << _NODE_BITS:
            raise ValueError(f"node {node} out of range 0 to {(1 << _NODE_BITS) - 1}")
        self._clock = clock
        self._node = node << _SEQUENCE_BITS
        self._tick = 0
        self._sequence = 0
        self._lock = threading.Lock()

    def start_after(self, number: int) -> None:
        """Further ids are greater: that one was made when the clock was ahead of what it is now."""
        with self._lock:
            tick = number >> (_NODE_BITS + _SEQUENCE_BITS)
            if tick >= self._tick:
                self._tick, self._sequence = tick + 1, 0

    def take(self, count: int) -> list[int]:
        with self._lock:
            tick = self._now()
            return [self._after(tick) for _ in range(count)]

    def __call__(self) -> int:
        with self._lock:
            return self._after(self._now())

    def move(self, node: int) -> None:
        """Go on as another node, with greater ids than any before."""
        with self._lock:
            self._node = node << _SEQUENCE_BITS
            self._tick, self._sequence = self._tick + 1, 0

    def _now(self) -> int:
        return int(self._clock().timestamp() * 1000) - _EPOCH_MS

    def _after(self, tick: int) -> int:
        if tick > self._tick:
            self._tick, self._sequence = tick, 0
        else:
            self._sequence += 1
            if self._sequence >> _SEQUENCE_BITS:
                self._tick, self._sequence = self._tick + 1, 0
        return self._tick << (_NODE_BITS + _SEQUENCE_BITS) | self._node | self._sequence


def id_floor(moment: datetime) -> int:
    """The smallest id made at ``moment`` or later."""
    return max(0, int(moment.timestamp() * 1000) - _EPOCH_MS) << (_NODE_BITS + _SEQUENCE_BITS)


def id_time(number: int) -> datetime:
    """When an id was made, to the millisecond."""
    milliseconds = (number >> (_NODE_BITS + _SEQUENCE_BITS)) + _EPOCH_MS
    return datetime.fromtimestamp(0, UTC) + timedelta(milliseconds=milliseconds)
