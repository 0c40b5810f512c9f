"""The parts every provider simulator is made of: an append-only ledger and a plan of faults.

A simulator shares no code, clock or database with the hub, so its ledger can be the oracle of a test.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

FaultKind = Literal[
    "throttle",  # 429 (or the provider's own form of it), with its retry-after
    "error",  # 5xx, nothing accepted
    "error_after",  # 5xx, although accepted
    "drop_before",  # connection cut, nothing accepted
    "drop_after",  # accepted, then the connection is cut
    "late_accept",  # connection cut, accepted some time later
    "slow",  # answers late
    "reject",  # the provider's own permanent refusal
]


@dataclass(frozen=True, slots=True)
class Line:
    number: int
    kind: str  # "request", "accept", "fault", "deliver", "acked", "callback", "query"
    data: dict[str, Any]


class Ledger:
    """What the provider saw and did, in order. With ``path`` each line is on disk before ``write`` returns."""

    def __init__(self, path: Path | None = None) -> None:
        self._lines: list[Line] = []
        self._changed = asyncio.Event()
        self._file = path.open("a", encoding="utf-8") if path else None

    def write(self, kind: str, **data: Any) -> Line:
        line = Line(len(self._lines) + 1, kind, data)
        self._lines.append(line)
        if self._file:
            self._file.write(json.dumps({"number": line.number, "kind": kind, **data}, default=str) + "\n")
            self._file.flush()
            os.fdatasync(self._file.fileno())
        self._changed.set()
        self._changed = asyncio.Event()
        return line

    def of(self, kind: str, **match: Any) -> list[Line]:
        """Lines of one kind whose data has these values."""
        return [line for line in self if line.kind == kind and match.items() <= line.data.items()]

    async def wait_for(self, kind: str, *, count: int = 1, timeout: float = 50.0, **match: Any) -> list[Line]:
        """Those lines once there are ``count`` of them. Raises TimeoutError with what is there instead."""
        try:
            async with asyncio.timeout(timeout):
                while len(found := self.of(kind, **match)) < count:
                    await self._changed.wait()
        except TimeoutError:
            last = [(line.kind, line.data) for line in self._lines[-10:]]
            raise TimeoutError(f"{len(found)} of {count} {kind} {match} after {timeout} s; last: {last}") from None
        return found

    def __iter__(self) -> Iterator[Line]:
        return iter(list(self._lines))

    def __len__(self) -> int:
        return len(self._lines)

    def close(self) -> None:
        if self._file:
            self._file.close()


@dataclass(slots=True)
class Fault:
    """``delay``: seconds of "slow" and "late_accept", or the retry-after of "throttle". ``code``: of "reject"."""

    kind: FaultKind
    delay: float = 1.0
    code: str | None = None


@dataclass(slots=True)
class Faults:
    """Which request suffers what: explicit ones first (in order), then by rate from a seeded generator."""

    seed: int = 0
    rates: dict[FaultKind, float] = field(default_factory=dict)  # share of requests, 0 to 1
    delay: float = 1.0
    queued: list[Fault] = field(default_factory=list)
    duplicate_callbacks: bool = False
    shuffle_callbacks: bool = False
    _random: random.Random | None = None

    def next(self) -> Fault | None:
        """The fault of the next request, if any."""
        if self.queued:
            return self.queued.pop(0)
        if not self.rates:
            return None
        draw = self.random.random()
        for kind, share in self.rates.items():
            if draw < share:
                return Fault(kind, self.delay)
            draw -= share
        return None

    @property
    def random(self) -> random.Random:
        if self._random is None:
            self._random = random.Random(self.seed)  # noqa: S311 - a repeatable plan, not a secret
        return self._random


class Simulator:
    """What the demo and the tests ask of any provider's simulator. A subclass is the provider's manual in code.

    It checks what we sign, answers with the provider's real bodies, keeps ``ledger`` and obeys ``faults``.
    ``webhook_url`` is set by who starts it, once the hub's address is known; what happens is posted there.
    """

    def __init__(self, *, ledger: Ledger | None = None, faults: Faults | None = None) -> None:
        self.ledger = Ledger() if ledger is None else ledger  # an empty one is false
        self.faults = faults or Faults()
        self.webhook_url: str | None = None

    async def start(self, port: int = 0) -> None:
        """Listen on 127.0.0.1 (0: any free port)."""
        raise TypeError("a simulator listens")

    async def stop(self) -> None:
        raise TypeError("a simulator stops")

    def config(self) -> dict[str, Any]:
        """Settings of a channel that talks to this simulator (plain values, ready for ``Adapter.Config``)."""
        raise TypeError("a simulator is configured")
