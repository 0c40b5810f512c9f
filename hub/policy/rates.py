"""Rates: reservations over several keys at once, learned ceilings, and how long a provider asks us to wait.

GCRA: of each key only the theoretical arrival time of the next token is kept. A reservation takes its place in every
key or in none, and what is refused costs nothing.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from email.utils import parsedate_to_datetime

from hub.policy.pack import Policy


@dataclass(frozen=True, slots=True)
class Bucket:
    """``count`` per ``period_s`` seconds, ``burst`` at once after a rest."""

    count: float
    period_s: float = 1.0
    burst: float = 1.0

    @property
    def gap(self) -> float:
        """Seconds from one token to the next."""
        return self.period_s / self.count

    def times(self, cost: float) -> Bucket:
        """As if what costs so much elsewhere cost one here."""
        return replace(self, count=self.count * cost, burst=self.burst * cost) if cost != 1.0 else self

    def share(self, part: float) -> Bucket:
        """The second bucket of marketing, which leaves the rest of the rate to replies."""
        return replace(self, count=self.count * part, burst=max(1.0, self.burst * part))


@dataclass(slots=True)
class Rates:
    """The state of all keys. Times are seconds of one clock, the store's."""

    arrivals: dict[str, float] = field(default_factory=dict)
    frozen: dict[str, float] = field(default_factory=dict)

    def earliest(self, wanted: Mapping[str, Bucket], at: float, cost: float = 1.0) -> float:
        """When a message of that cost (SMS: segments) may go. Changes nothing."""
        time = at
        while True:
            later = max([time, *(self._one(key, bucket, time, cost) for key, bucket in wanted.items())])
            if later - time < 1e-9:
                return later
            time = later

    def _one(self, key: str, bucket: Bucket, time: float, cost: float) -> float:
        arrival = max(time, self.arrivals.get(key, -math.inf)) + cost * bucket.gap
        # What costs more than the burst may go after a rest, and is paid back; else it would wait for ever.
        free = arrival - max(bucket.burst, cost) * bucket.gap
        return max(free, self.frozen.get(key, -math.inf))

    def reserve(self, wanted: Mapping[str, Bucket], at: float, cost: float = 1.0) -> float:
        """Take a place in every key; returns when its turn comes."""
        turn = self.earliest(wanted, at, cost)
        for key, bucket in wanted.items():
            self.arrivals[key] = max(turn, self.arrivals.get(key, -math.inf)) + cost * bucket.gap
        return turn

    def admit(self, wanted: Mapping[str, Bucket], at: float, cost: float = 1.0) -> tuple[bool, float]:
        """Take a place if it is free now. Else nothing is spent, and the time tells when to ask again."""
        turn = self.earliest(wanted, at, cost)
        if turn > at + 1e-9:
            return False, turn
        return True, self.reserve(wanted, at, cost)

    def give_back(self, wanted: Mapping[str, Bucket], cost: float = 1.0) -> None:
        """A reservation that will not be used."""
        for key, bucket in wanted.items():
            if key in self.arrivals:
                self.arrivals[key] -= cost * bucket.gap

    def freeze(self, key: str, until: float) -> None:
        """The provider wants to hear nothing on this key; the longest freeze counts."""
        self.frozen[key] = max(until, self.frozen.get(key, -math.inf))


@dataclass(frozen=True, slots=True)
class Learning:
    """How a rate follows what the provider tolerates. Rates per second, times in seconds."""

    minimum: float = 1.0
    maximum: float = 1.0
    beta: float = 0.7
    step: float = 0.05
    step_s: float = 10.0
    default_hold_s: float = 10.0
    cut_cooldown_s: float = 2.0
    longest_hold_s: float = 3600.0


@dataclass(slots=True)
class Learned:
    """One scope's learned rate; kept in the store, so that a restart does not hammer again."""

    rate: float
    held_until: float = -math.inf
    cut_at: float = -math.inf
    raised_at: float = 0.0

    def throttled(self, at: float, how: Learning, after: float | None = None) -> None:
        """One cut for a volley from requests in flight; the longest hold wins."""
        if at - self.cut_at >= how.cut_cooldown_s:
            self.rate = max(how.minimum, self.rate * how.beta)
            self.cut_at = at
        hold = how.default_hold_s if after is None else min(max(after, 0.0), how.longest_hold_s)
        self.held_until = max(self.held_until, at + hold)
        self.raised_at = self.held_until

    def went_well(self, at: float, how: Learning) -> None:
        """Rises by a step for each stretch of clean traffic since the hold."""
        steps = math.floor((at - self.raised_at) / how.step_s + 1e-9)
        if at < self.held_until or steps < 1:
            return
        self.rate = min(how.maximum, self.rate + steps * how.step)
        self.raised_at += steps * how.step_s

    def may_send(self, at: float) -> bool:
        return at >= self.held_until


_SECONDS = re.compile(r"[0-9]+(?:\.[0-9]+)?")


def retry_after(header: str | None, now: datetime, attempt: int, policy: Policy) -> tuple[float, str]:
    """Seconds to wait and where that comes from: "header" (seconds or HTTP date, at most the policy's), "backoff"."""
    said = _asked(header, now)
    if said is not None and said >= 0:
        return min(said, policy.max_retry_after_s), "header"
    doubled = policy.default_backoff_s * 2 ** min(max(attempt, 1) - 1, 30)
    return min(doubled, policy.max_retry_after_s), "backoff"


def _asked(header: str | None, now: datetime) -> float | None:
    text = (header or "").strip()
    if _SECONDS.fullmatch(text):
        return float(text)
    try:
        at = parsedate_to_datetime(text)
    except (ValueError, TypeError):
        return None
    return (at - now).total_seconds() if at.tzinfo else None
