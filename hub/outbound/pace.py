"""When each message of a lane may be handed off: a place in every rate that it falls under.

The rates of a sender, of a campaign, of a mailbox provider, and those that several channels share, are rows that all
processes lock in turn. Rates of one recipient are kept by the lane, where it alone writes to them.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import sqlalchemy as sa
from sqlalchemy import Connection

from hub.channels import Channel
from hub.contract import ChannelConfig
from hub.model import Purpose
from hub.outbound.job import Job
from hub.outbound.scopes import Scopes, Wait, is_campaign, per_second
from hub.policy.rates import Bucket, Learned, Learning, Rates
from hub.render.segments import segments
from hub.store.schema import rate

_AHEAD = 0.25  # seconds that places are taken in advance, so that no turn is missed while the database works
_CAMPAIGN = 0.5  # the same of campaigns: what they miss is lost to them
_PAIRS = 10_000  # recipients that are remembered

Scope = Literal["account", "sender", "pair", "domain"]


@dataclass(slots=True)
class _Known:
    """The rows as this lane last saw them, by the monotonic clock, which nobody sets back.

    ``ahead``: of it is the clock that all share, in seconds.
    """

    rates: Rates = field(default_factory=Rates)
    buckets: dict[str, Bucket] = field(default_factory=dict)
    ahead: float = field(default_factory=lambda: time.time() - time.monotonic())


class Pace:
    """``handed``: when what falls under further rates is handed off, by the monotonic clock, in this process."""

    def __init__(
        self, channel: Channel, config: ChannelConfig, marketing_share: float, handed: Rates | None = None
    ) -> None:
        can = channel.capabilities
        self._rate = config.rate or can.rate
        self._segments = can.sms_segments
        self._sender, self._marketing = f"sender:{channel.name}", f"marketing:{channel.name}"
        self._account = f"account:{config.shares}" if config.shares and config.shared_rate else None
        self._limits: dict[str, Bucket] = {}
        if self._rate:
            self._limits[self._sender] = per_second(self._rate)
            self._limits[self._marketing] = per_second(self._rate * marketing_share)
        if self._account and config.shared_rate:
            self._limits[self._account] = per_second(config.shared_rate)
        pair = Bucket(1, *can.pair) if can.pair else None
        self._pair = None if config.shares else pair
        self._pairs = Rates()
        self._scopes = Scopes(channel, pair, config.shares)
        self._further: dict[int, dict[str, Bucket]] = {}  # of the batch, by delivery
        self._promised = Rates()
        self._handed = handed if handed is not None else Rates()
        self._known = _Known(buckets=dict(self._limits))

    @property
    def prepaid(self) -> bool:
        """Whether a message's place is wide enough for all its parts."""
        return self._segments

    def advertise(self, share: float) -> None:
        """The part of the sender's rate that advertising takes from now on, if it has a rate."""
        if self._rate:
            limit = per_second(self._rate * share)
            self._limits[self._marketing] = self._known.buckets[self._marketing] = limit

    def room(self, marketing: bool = False) -> int | None:
        """How many more messages may be claimed, as far as is known; None: as many as one likes."""
        keys = self._keys(marketing)
        if not keys:
            return None
        now = time.monotonic()
        return max(0, min(math.floor(self._places(key, now)) for key in keys))

    def delay(self, marketing: bool = False) -> float:
        """Seconds until there is room for one."""
        now = time.monotonic()
        waits = [(1 - self._places(key, now)) * self._known.buckets[key].gap for key in self._keys(marketing)]
        frozen = [self._known.rates.frozen.get(key, 0.0) - now - _AHEAD for key in self._keys(marketing)]
        return max([0.0, *waits, *frozen])

    def _places(self, key: str, now: float) -> float:
        known, bucket = self._known, self._known.buckets[key]
        if known.rates.frozen.get(key, 0.0) > now + _AHEAD:
            return 0.0
        return (now + _AHEAD - max(now, known.rates.arrivals.get(key, 0.0))) / bucket.gap + bucket.burst + 1e-9

    def _keys(self, marketing: bool) -> list[str]:
        return [key for key in self._limits if marketing or key != self._marketing]

    def wait(self, identity_id: int | None) -> float:
        """Seconds until this recipient may get the next message; 0 if that is soon enough to be claimed.

        A place far ahead would keep the sender's rate from everybody before it.
        """
        if self._pair is None or identity_id is None:
            return 0.0
        now = time.monotonic()
        key = f"pair:{identity_id}"
        left = self._pairs.earliest({key: self._pair}, now) - now
        return left if left > _AHEAD else 0.0

    def waits(self, connection: Connection, rows: Sequence[Any], *, promise: bool = True) -> dict[int, Wait]:
        """Which of these due deliveries are not to be claimed yet. Asked for the batch that is taken next.

        ``promise``: they are put off until then, so those after them come later.
        """
        found = {row.id: Wait(left, "pair") for row in rows if (left := self.wait(row.identity_id))}
        self._further = self._scopes.of(connection, rows)
        if not self._further:
            return found
        since = time.monotonic()
        now = since + self._known.ahead
        limits = {key: bucket for each in self._further.values() for key, bucket in each.items()}
        known = {row.key: row for row in connection.execute(sa.select(rate).where(rate.c.key.in_(limits)))}
        real, buckets = _rates(known, now), self._effective(known, limits, now)
        for row in rows:
            wanted = {key: buckets[key] for key in self._further.get(row.id, ())}
            if not wanted or row.id in found:
                continue
            turn = real.earliest(wanted, now)
            ahead = _CAMPAIGN if all(map(is_campaign, wanted)) else _AHEAD
            if turn <= now + ahead:
                real.reserve(wanted, now)
                continue
            slowest = max(wanted, key=lambda key: real.earliest({key: wanted[key]}, now))
            left = turn - now
            # The first time, since all would come back at once.
            if promise and not (row.reason or "").startswith("RATE_"):
                singly = {key: replace(bucket, burst=1.0) for key, bucket in wanted.items()}
                left = self._promised.reserve(singly, since + left) - since
            found[row.id] = Wait(left - ahead, slowest)
        return found

    def recall(self, connection: Connection) -> None:
        """What was taken before this worker: else it would claim what has to wait for long."""
        if self._limits:
            rows, now = _lock(connection, self._limits)
            ahead = now - time.monotonic()
            buckets = self._effective(rows, self._limits, now)
            self._known = _Known(_by_another_clock(_rates(rows, now), -ahead), buckets, ahead)

    def take(self, connection: Connection, jobs: Sequence[Job]) -> None:
        """Give each job its turn. Whoever takes places commits soon: others wait for the rows."""
        for job in jobs:
            job.rates = job.rates or self._further.get(job.id, {})
        limits = {**self._limits, **{key: bucket for job in jobs for key, bucket in job.rates.items()}}
        if not jobs or not (limits or self._pair):
            return
        self._scopes.forget(connection)
        rows, now = _lock(connection, limits)
        rates, buckets = _rates(rows, now), self._effective(rows, limits, now)
        ahead = now - time.monotonic()
        for key in rows:  # what was held up here does not catch up
            if (at := self._handed.arrivals.get(key)) is not None:
                rates.arrivals[key] = max(rates.arrivals[key], at + ahead)
        pairs = Rates(dict(self._pairs.arrivals), self._pairs.frozen)  # of a copy: the transaction may run again
        for job in jobs:
            wanted = {key: buckets[key] for key in self._keys(job.purpose is Purpose.marketing)}
            wanted |= {key: buckets[key].times(self._cost(job)) for key in job.rates}
            both = Rates(rates.arrivals, rates.frozen)
            pair = f"pair:{job.identity_id}"
            if self._pair is not None and job.identity_id is not None:
                wanted[pair] = self._pair
                both.arrivals[pair] = pairs.arrivals.get(pair, -math.inf) + ahead
            turn = both.reserve(wanted, now, self._cost(job))
            if pair in both.arrivals:
                pairs.arrivals[pair] = both.arrivals.pop(pair) - ahead
            job.turn = turn - ahead
        _save(connection, rows, rates, now)
        self._known = _Known(_by_another_clock(rates, -ahead), buckets, ahead)
        self._pairs = _recent(pairs, now - ahead)

    def slot(self, job: Job) -> float:
        """When it may be handed off at last, by the monotonic clock: at its turn, or later if its campaign's were.

        Who has missed its slot asks again.
        """
        wanted = {key: bucket for key, bucket in job.rates.items() if is_campaign(key)}
        for key, bucket in wanted.items():
            if job.slot is not None and self._handed.arrivals[key] <= job.slot + bucket.gap + 1e-6:
                self._handed.arrivals[key] = job.slot  # nobody has a later one
        job.slot = self._handed.reserve(wanted, max(job.turn, time.monotonic()))
        return job.slot

    def _cost(self, job: Job) -> float:
        return float(max(1, segments(job.content.text).count)) if self._segments else 1.0

    def slow_down(self, connection: Connection, scope: Scope, after: float | None, job: Job | None = None) -> None:
        """The provider found us too fast: the rate is cut, and comes back bit by bit. A pair only rests."""
        if scope == "pair" and self._pair is not None and job is not None:
            self._pairs.freeze(f"pair:{job.identity_id}", time.monotonic() + (after or 0.0))
            return
        key, limit = self._blamed(scope, job)
        if key is None or limit is None:
            return
        rows, now = _lock(connection, [key])
        how = _learning(limit)
        learned = _learned(rows[key], how)
        learned.throttled(now, how, after)
        values: dict[str, Any] = {"held_until": max(learned.held_until, 0.0), "at": now}
        if scope != "pair":
            values |= {
                "learned": learned.rate, "cut_at": max(learned.cut_at, 0.0), "raised_at": learned.raised_at,
            }  # fmt: skip
        connection.execute(sa.update(rate).where(rate.c.key == key).values(values))
        if key in self._limits:
            self._known.buckets[key] = _at(limit, learned.rate)
            self._known.rates.freeze(key, learned.held_until - now + time.monotonic())

    def _blamed(self, scope: Scope, job: Job | None) -> tuple[str | None, Bucket | None]:
        if scope in ("pair", "domain"):
            further = job.rates if job is not None else {}
            return next(((key, each) for key, each in further.items() if key.startswith(f"{scope}:")), (None, None))
        key = self._account if scope == "account" and self._account else self._sender
        return key, self._limits.get(key)

    def _effective(
        self, rows: Mapping[str, sa.Row[tuple[float, ...]]], limits: Mapping[str, Bucket], now: float
    ) -> dict[str, Bucket]:
        """The buckets at the rates that have been learnt."""
        found = dict(limits)
        for key, row in rows.items():
            if row.learned is None:
                continue
            how = _learning(limits[key])
            learned = _learned(row, how)
            learned.went_well(now, how)
            found[key] = _at(limits[key], learned.rate)
        if self._sender in found and found[self._sender].count < limits[self._sender].count:
            part = found[self._sender].count / limits[self._sender].count
            found[self._marketing] = found[self._marketing].share(part)
        return found


def _at(limit: Bucket, count: float) -> Bucket:
    return replace(limit, count=count, burst=min(limit.burst, per_second(count).burst))


def _learning(limit: Bucket) -> Learning:
    return Learning(minimum=limit.count * 0.05, maximum=limit.count, step=limit.count * 0.05)


def _learned(row: sa.Row[tuple[float, ...]], how: Learning) -> Learned:
    current = how.maximum if row.learned is None else row.learned
    return Learned(current, row.held_until, row.cut_at or -math.inf, row.raised_at)


def _lock(
    connection: Connection, keys: Iterable[str]
) -> tuple[dict[str, sa.Row[tuple[float, ...]]], float]:
    """The rows, which others wait for until the commit, and the time by the clock that all share.

    What was written at a time that has not come yet is of before that clock was set back, and is moved back with it.
    """
    wanted = sorted(keys)
    query = sa.select(rate).where(rate.c.key.in_(wanted)).order_by(rate.c.key).with_for_update()
    rows = {row.key: row for row in connection.execute(query)} if wanted else {}
    if missing := [key for key in wanted if key not in rows]:
        connection.execute(sa.insert(rate), [{"key": key} for key in missing])
        rows = {row.key: row for row in connection.execute(query)}
    now = time.time()
    if connection.dialect.name != "sqlite":
        now = float(connection.execute(sa.select(sa.extract("epoch", sa.func.clock_timestamp()))).scalar_one())
    if any(row.at > now for row in rows.values()):
        times = (rate.c.arrival, rate.c.held_until, rate.c.cut_at, rate.c.raised_at)
        back = {each.name: each - (rate.c.at - now) for each in times}
        connection.execute(sa.update(rate).where(rate.c.key.in_(wanted), rate.c.at > now).values(**back, at=now))
        rows = {row.key: row for row in connection.execute(query)}
    return rows, now


def _rates(rows: Mapping[str, sa.Row[tuple[float, ...]]], now: float) -> Rates:
    early = {key: max(0.0, row.at - now) for key, row in rows.items()}  # of rows that are not locked: as in ``_lock``
    return Rates(
        {key: row.arrival - early[key] for key, row in rows.items()},
        {key: row.held_until - early[key] for key, row in rows.items()},
    )


def _by_another_clock(rates: Rates, ahead: float) -> Rates:
    return Rates(*({key: at + ahead for key, at in each.items()} for each in (rates.arrivals, rates.frozen)))


def _save(
    connection: Connection, rows: Mapping[str, sa.Row[tuple[float, ...]]], rates: Rates, now: float
) -> None:
    changed = [
        {"name": key, "arrives": rates.arrivals[key]} for key, row in rows.items() if rates.arrivals[key] != row.arrival
    ]
    if changed:
        mine = sa.update(rate).where(rate.c.key == sa.bindparam("name"))
        connection.execute(mine.values(arrival=sa.bindparam("arrives"), at=now), changed)


def _recent(pairs: Rates, now: float) -> Rates:
    if len(pairs.arrivals) <= _PAIRS:
        return pairs
    return Rates(*({name: at for name, at in each.items() if at > now} for each in (pairs.arrivals, pairs.frozen)))
