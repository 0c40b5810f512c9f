"""What an account's quotas leave, for a batch: people of a day, messages of a month, a new sender's warming up.

Each use is a row that goes away with its period. Whoever counts locks the account's rows first, so that several lanes
and processes count together.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any, Protocol
from zoneinfo import ZoneInfo

import sqlalchemy as sa
from sqlalchemy import Connection

from hub.channels import Channel, Quotas
from hub.model import Purpose
from hub.outbound.health import reception
from hub.policy import limits
from hub.policy.decide import Decision
from hub.policy.limits import Allowance, Reached
from hub.policy.pack import ChannelRules, Policy
from hub.policy.window import unasked
from hub.store.bulk import SOME, among, insert_many, update_many
from hub.store.schema import quota, quota_use

_LATEST = 36_500  # periods that are foreseen
_KEY = quota_use.c.key == sa.bindparam("key")
_SINCE = quota_use.c.at >= sa.bindparam("since")
_PEOPLE = sa.select(sa.func.count()).select_from(quota_use).where(_KEY, _SINCE)
_AMOUNT = sa.select(sa.func.coalesce(sa.func.sum(quota_use.c.amount), 0)).where(_KEY, _SINCE)
_KNOWN = sa.select(quota_use.c.identity_id).where(_KEY, _SINCE, quota_use.c.identity_id.in_(SOME))
_COUNTED = sa.select(quota_use.c.delivery_id).where(_KEY, quota_use.c.delivery_id.in_(SOME))
_AGED_OUT = sa.delete(quota_use).where(_KEY, ~_SINCE)
_UNDO = sa.delete(quota_use).where(_KEY, quota_use.c.delivery_id.in_(SOME))
_OLDEST = sa.select(quota_use.c.at).where(_KEY, _SINCE).order_by(quota_use.c.at)


def warm_key(channel: Channel, address: str, policy: Policy) -> str:
    """A sender is known to each mailbox provider by itself, else as one."""
    return f"warm:{channel.name}:{policy.mailbox(address)}" if channel.scheme == "mailto" else f"warm:{channel.name}"


@dataclass(frozen=True, slots=True)
class Batch:
    """Rows of ``delivery`` that are decided together, and of ``identity`` by id."""

    connection: Connection
    channel: Channel
    quotas: Quotas
    rows: Sequence[Any]
    recipients: Mapping[int, Any]
    rules: ChannelRules
    policy: Policy
    now: datetime

    @property
    def today(self) -> date:
        return self.now.astimezone(ZoneInfo(self.quotas.zone)).date()

    def start_of(self, day: date) -> datetime:
        return datetime(day.year, day.month, day.day, tzinfo=ZoneInfo(self.quotas.zone))

    def counted(self, key: str) -> set[int]:
        """Those of the deliveries that count already: they are decided again."""
        return {row.delivery_id for row in among(self.connection, _COUNTED, [row.id for row in self.rows], key=key)}


class _Quota(Protocol):
    def took(self, row: Any, made: Decision) -> None: ...

    def will_take(self, row: Any) -> datetime:
        """Its place comes then, and is the next one's no more."""

    def keep(self) -> None: ...


class Tally:
    """The quotas of a batch: ``facts`` of a row, ``took`` once it is decided, ``keep`` in the end.

    ``lock``: the batch is to be kept, and nobody else decides by the same quotas until that has committed.
    ``ahead``: it is only foreseen, and so many come before, by key; who has to wait has a place too, and is added.
    """

    def __init__(
        self,
        batch: Batch,
        last_inbound: Mapping[int, datetime],
        *,
        lock: bool,
        ahead: Counter[str] | None = None,
    ) -> None:
        self._people = self._month = self._warm = None
        quotas = batch.quotas
        warm = _warm_keys(batch)
        keys = [quotas.people_key] if quotas.people is not None else []
        keys += [quotas.month_key] if quotas.monthly is not None else []
        known = _lock(batch.connection, [*keys, *warm]) if lock else _look(batch.connection, [*keys, *warm])
        if quotas.people is not None:
            self._people = _People(batch, quotas.people, last_inbound, known[quotas.people_key], ahead)
        if quotas.monthly is not None:
            self._month = _Month(batch, quotas.monthly, known[quotas.month_key], ahead)
        if quotas.warm_up is not None:
            self._warm = _WarmUp(batch, quotas.warm_up, {key: known[key] for key in warm}, ahead)

    def facts(self, row: Any) -> dict[str, Any]:
        """Values for ``Facts``."""
        return {
            "reached": self._people and self._people.reached(row),
            "month": self._month and self._month.spent(row),
            "allowance": self._warm and self._warm.allowance(row),
        }

    def took(self, row: Any, made: Decision) -> None:
        """What is allowed counts for the rows after it."""
        for each in self._all():
            each.took(row, made)

    def will_take(self, row: Any) -> datetime | None:
        """When it has a place in all of them, which it takes; None: no quota counts it."""
        return max((each.will_take(row) for each in self._all()), default=None)

    def keep(self) -> None:
        for each in self._all():
            each.keep()

    def _all(self) -> list[_Quota]:
        return [each for each in (self._people, self._month, self._warm) if each is not None]


class _Uses:
    """Rows of one key, and what the batch adds. Periods end before ``since``."""

    def __init__(self, batch: Batch, key: str, since: datetime) -> None:
        self._batch, self._key, self._since = batch, key, since
        self.counted = batch.counted(key)
        self._added: dict[int, dict[str, Any]] = {}
        self._dropped: set[int] = set()

    @property
    def period(self) -> dict[str, Any]:
        return {"key": self._key, "since": self._since}

    def add(self, row: Any) -> None:
        self._added[row.id] = {
            "key": self._key, "delivery_id": row.id, "identity_id": row.identity_id, "at": self._batch.now, "amount": 1
        }  # fmt: skip

    def drop(self, row: Any) -> None:
        """It does not go out after all; what of it is out stays paid for."""
        if row.id in self.counted and row.part == 0:
            self._dropped.add(row.id)

    def keep(self) -> None:
        if not self._added and not self._dropped:
            return
        self._batch.connection.execute(_AGED_OUT, self.period)
        if again := self.counted & (self._added.keys() | self._dropped):
            self._batch.connection.execute(_UNDO, {"key": self._key, "some": list(again)})
        insert_many(self._batch.connection, quota_use, list(self._added.values()))


class _People:
    """One row for each person, of the last message to them."""

    def __init__(
        self,
        batch: Batch,
        limit: int,
        last_inbound: Mapping[int, datetime],
        known: _Known,
        ahead: Counter[str] | None,
    ) -> None:
        self._batch, self._last_inbound = batch, last_inbound
        self._limit = limit if known.allowed is None else min(limit, known.allowed)  # the provider may allow fewer
        self._key, self._turn = known.key, known.turn
        self._length = timedelta(hours=batch.policy.quota_hours)
        self._uses = _Uses(batch, known.key, batch.now - self._length + timedelta(microseconds=1))
        period = self._uses.period
        self._used: int = batch.connection.execute(_PEOPLE, period).scalar_one()
        self._known = {row.identity_id for row in among(batch.connection, _KNOWN, batch.recipients, **period)}
        self._before = frozenset(self._known)
        self._renewed: dict[int, dict[str, Any]] = {}
        self._places: list[datetime] = []  # of people who count, the next ones to age out
        self._told = False
        self._ahead = ahead
        self._ages: dict[int, datetime] = {}  # of those that count, by place

    def reached(self, row: Any) -> Reached:
        known = row.identity_id in self._known
        used = self._used
        if self._ahead is not None:
            used = min(used + self._ahead[self._key], max(used, self._limit))
        full = not known and 0 < self._limit <= used
        if not full:
            return Reached(self._limit, used, known)
        frees_at = self._next() + self._length if self._ahead is None else self._frees_at(self._ahead[self._key])
        return Reached(self._limit, used, known, frees_at)

    def _frees_at(self, ahead: int) -> datetime:
        """When there is room for one who comes after so many that do not count yet: each place is free a day later."""
        rounds, first = divmod(ahead, self._limit)
        place = self._used + first - self._limit
        begin = self._batch.now if place < 0 else self._age(place) + self._length
        return begin + min(rounds, _LATEST) * self._length

    def _age(self, place: int) -> datetime:
        if place not in self._ages:
            some = _OLDEST.offset(place).limit(len(self._batch.rows))
            found = self._batch.connection.execute(some, self._uses.period).scalars()
            self._ages.update(enumerate(found, place))
        return self._ages.get(place, self._batch.now)

    def will_take(self, row: Any) -> datetime:
        seen = self._last_inbound.get(row.identity_id)
        now, unknown = self._batch.now, row.identity_id not in self._known
        if self._ahead is None or not unknown or not unasked(row.purpose, seen, self._batch.rules, now):
            return now
        at = self._frees_at(self._ahead[self._key]) if self._limit > 0 else now
        self._ahead[self._key] += 1
        self._known.add(row.identity_id)
        return at

    def _next(self) -> datetime:
        self._places = self._places or self._look() or [self._batch.now]
        return self._places[0]

    def _look(self) -> list[datetime]:
        """Those whose places nobody was told of yet come first, so that what waits does not come back all at once."""
        execute, period, size = self._batch.connection.execute, self._uses.period, len(self._batch.rows)
        early = _OLDEST.offset(self._used - self._limit)  # a limit that was lowered waits for more than one
        first = execute(early.limit(1), period).scalar()
        if first is None:
            return []
        after = first if self._turn is None else max(first, self._turn + timedelta(microseconds=1))
        found = list(execute(_OLDEST.where(after <= quota_use.c.at).limit(size), period).scalars())
        return found or list(execute(early.limit(size), period).scalars())

    def took(self, row: Any, made: Decision) -> None:
        if made.reason == "QUOTA_UNIQUE_24H" and self._places:
            self._turn, self._told = self._places.pop(0), True
        seen = self._last_inbound.get(row.identity_id)
        if made.verdict != "allow" or not unasked(row.purpose, seen, self._batch.rules, self._batch.now):
            self._uses.drop(row)
            return
        if row.identity_id not in self._known:
            self._used += 1
            self._known.add(row.identity_id)
            self._uses.add(row)
        elif row.identity_id in self._before:  # they count from now on, whatever becomes of this message
            number = row.id if row.id in self._uses.counted else -row.identity_id
            self._renewed[row.identity_id] = {
                "key": self._key, "identity_id": row.identity_id, "at": self._batch.now, "delivery_id": number
            }  # fmt: skip

    def keep(self) -> None:
        update_many(self._batch.connection, quota_use, ("key", "identity_id"), list(self._renewed.values()))
        self._uses.keep()
        if self._told:
            turn = sa.update(quota).where(quota.c.key == self._key).values(turn=self._turn)
            self._batch.connection.execute(turn)


class _Month:
    def __init__(self, batch: Batch, limit: int, known: _Known, ahead: Counter[str] | None) -> None:
        self._batch, self._limit = batch, limit
        self._key, self._ahead = known.key, Counter[str]() if ahead is None else ahead
        self._first = batch.today.replace(day=1)
        self._spent = known.spent_until is not None and known.spent_until > batch.now
        self._uses = _Uses(batch, known.key, batch.start_of(self._first))
        self._used = int(batch.connection.execute(_AMOUNT, self._uses.period).scalar_one())

    def spent(self, row: Any) -> Allowance | None:
        """None for what is counted already."""
        if row.id in self._uses.counted:
            return None
        what = f"messages of {self._first:%B} ({self._batch.quotas.zone})"
        if self._spent:
            what += "; the provider says that all are spent"
        limit = min(self._limit, self._used) if self._spent else self._limit
        used = min(self._used + self._ahead[self._key], max(self._used, limit))
        return Allowance(limit, used, self._resets_at(), what)

    def _resets_at(self) -> datetime:
        """When there is room after those that come before."""
        left = 0 if self._spent else max(0, self._limit - self._used)
        later = self._ahead[self._key] - left
        return next_month(self._batch.quotas, self._batch.now, 1 + max(0, later) // max(1, self._limit))

    def will_take(self, row: Any) -> datetime:
        if row.purpose in self._batch.rules.free:
            return self._batch.now
        now = self.spent(row)
        self._ahead[self._key] += 1
        return self._batch.now if now is None or now.used < now.limit else now.resets_at

    def took(self, row: Any, made: Decision) -> None:
        if made.verdict != "allow":
            self._uses.drop(row)
        elif row.purpose not in self._batch.rules.free and row.id not in self._uses.counted:
            self._used += 1
            self._uses.add(row)

    def keep(self) -> None:
        self._uses.keep()


class _WarmUp:
    def __init__(self, batch: Batch, starts: date, known: Mapping[str, _Known], ahead: Counter[str] | None) -> None:
        self._batch, self._starts = batch, batch.start_of(starts)
        self._today = batch.start_of(batch.today)
        self._pace = batch.policy.warmup
        self._known = known
        self._uses = {key: _Uses(batch, key, self._today) for key in known}
        self._allowed = {key: self._grown(each) for key, each in known.items()}
        self._used = {key: self._since(key, self._today) for key in known}
        self._ahead = Counter[str]() if ahead is None else ahead

    @property
    def _target(self) -> int:
        return self._batch.quotas.target or self._pace.target

    def _since(self, key: str, since: datetime) -> int:
        return int(self._batch.connection.execute(_AMOUNT, {"key": key, "since": since}).scalar_one())

    def _grown(self, known: _Known) -> int:
        """Today's allowance: that of the last day, and how that day's messages were received if there were any."""
        first = self._batch.quotas.first or self._pace.first
        if known.day is None or known.allowed is None:
            return min(first, self._target)
        if known.day >= self._today or not self._since(known.key, known.day):
            return known.allowed
        group = self._batch.policy.domains.get(known.key.split(":")[-1])
        domains = group.domains if group is not None and known.key.count(":") > 1 else ()
        limit = self._batch.policy.breaker.model_copy(update={"minimum": self._pace.minimum})
        since, channel = known.day, self._batch.channel.name
        day = reception(self._batch.connection, channel, since, limit, domains, minimum_of_all=True)
        return limits.warm_up(known.allowed, self._target, [day], self._pace)

    def allowance(self, row: Any) -> Allowance | None:
        """None for what is no advertising, or counted already, or once the sender is warm."""
        key = self._key(row)
        if key is None or row.id in self._uses[key].counted:
            return None
        to = f" to {key.split(':')[2]}" if key.count(":") > 1 else ""
        if self._batch.now < self._starts:
            what = f"messages{to}: the sender's first day is {self._starts:%Y-%m-%d}"
            return Allowance(0, 0, self._resets_at(key), what)
        if self._allowed[key] >= self._target:
            return None
        what = f"messages{to} today, while the sender is warmed up to {self._target} a day"
        used = min(self._used[key] + self._ahead[key], max(self._used[key], self._allowed[key]))
        return Allowance(self._allowed[key], used, self._resets_at(key), what)

    def _resets_at(self, key: str) -> datetime:
        """The day for one after those that come before, if all goes well until then."""
        later, allowed, day = self._ahead[key], self._allowed[key], self._batch.start_of(self._starts.date())
        if self._batch.now >= self._starts:
            later -= max(0, allowed - self._used[key])
            allowed, day = self._tomorrows(allowed), _tomorrow(self._batch)
        while later >= allowed and allowed < self._target:
            later -= allowed
            allowed, day = self._tomorrows(allowed), self._batch.start_of(day.date() + timedelta(days=1))
        return day

    def _tomorrows(self, allowed: int) -> int:
        return limits.warm_up(allowed, self._target, ["OK"], self._pace)

    def will_take(self, row: Any) -> datetime:
        key = self._key(row)
        today = None if key is None else self.allowance(row)
        if key is None or today is None:
            return self._batch.now
        self._ahead[key] += 1
        return self._batch.now if today.used < today.limit else today.resets_at

    def _key(self, row: Any) -> str | None:
        to = self._batch.recipients.get(row.identity_id)
        advertising = to is not None and row.purpose == Purpose.marketing
        return warm_key(self._batch.channel, to.address, self._batch.policy) if to and advertising else None

    def took(self, row: Any, made: Decision) -> None:
        key = self._key(row)
        if key is None:
            return
        if made.verdict != "allow":
            self._uses[key].drop(row)
        elif row.id not in self._uses[key].counted:
            self._used[key] += 1
            self._uses[key].add(row)

    def keep(self) -> None:
        for key, each in self._uses.items():
            each.keep()
            if self._batch.now >= self._starts and self._known[key].day != self._today:
                values = {"day": self._today, "allowed": self._allowed[key]}
                self._batch.connection.execute(sa.update(quota).where(quota.c.key == key).values(values))


def _warm_keys(batch: Batch) -> list[str]:
    if batch.quotas.warm_up is None:
        return []
    to = [batch.recipients[row.identity_id] for row in batch.rows
          if row.purpose == Purpose.marketing and row.identity_id in batch.recipients]  # fmt: skip
    return sorted({warm_key(batch.channel, each.address, batch.policy) for each in to})


def _tomorrow(batch: Batch) -> datetime:
    return batch.start_of(batch.today + timedelta(days=1))


def next_month(quotas: Quotas, now: datetime, count: int = 1) -> datetime:
    """The first moment of the month after so many, not after the year 9999."""
    zone = ZoneInfo(quotas.zone)
    today = now.astimezone(zone).date()
    year, month = divmod(today.year * 12 + today.month - 1 + count, 12)
    return datetime(min(year, 9999), month + 1, 1, tzinfo=zone)


# --- rows of accounts ---


@dataclass(frozen=True, slots=True)
class _Known:
    """A row of ``quota``."""

    key: str
    turn: datetime | None = None
    spent_until: datetime | None = None
    day: datetime | None = None
    allowed: int | None = None


def _look(connection: Connection, keys: Iterable[str], *, lock: bool = False) -> dict[str, _Known]:
    wanted = sorted(keys)
    query = sa.select(quota).where(quota.c.key.in_(wanted)).order_by(quota.c.key)
    rows = connection.execute(query.with_for_update() if lock else query) if wanted else ()
    return {key: _Known(key) for key in wanted} | {row.key: _Known(*row) for row in rows}


def _lock(connection: Connection, keys: Sequence[str]) -> dict[str, _Known]:
    """The rows, which others wait for until the commit."""
    make(connection, keys)
    return _look(connection, keys, lock=True)


def make(connection: Connection, keys: Iterable[str]) -> None:
    """Rows for these keys, where there are none yet."""
    there = set(connection.execute(sa.select(quota.c.key).where(quota.c.key.in_(list(keys)))).scalars())
    missing = sorted(set(keys) - there)
    if missing:  # whoever else makes one meanwhile makes us begin again
        connection.execute(sa.insert(quota), [{"key": key} for key in missing])
