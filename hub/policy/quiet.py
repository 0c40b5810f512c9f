"""Quiet hours: when marketing may arrive at somebody whose place is known more or less well."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import cache, lru_cache
from zoneinfo import ZoneInfo

from hub.model import readable
from hub.policy.pack import Policy, QuietRule
from hub.policy.verdict import Verdict

_NEAR, _HORIZON = 3, 35  # days searched for an opening; rules repeat weekly, holidays cluster
_DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Place:
    """Where the recipient may be: a time zone, and the names of the rules that hold there ("US", "US-FL")."""

    zone: str
    rules: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Span:
    """Half open: ``start`` belongs to it, ``end`` does not."""

    start: datetime
    end: datetime


@lru_cache(maxsize=1024)
def zone_of(name: str) -> ZoneInfo:
    """Raises: ValueError for a zone nobody knows."""
    try:
        return ZoneInfo(name)
    except (KeyError, OSError, ValueError):
        raise ValueError(f"unknown time zone {name!r} (use a name like Europe/Paris)") from None


def check(
    places: Sequence[Place],
    now: datetime,
    policy: Policy,
    *,
    expires_at: datetime | None = None,
    guard: timedelta = timedelta(),
    holidays: Iterable[date] = (),
    spread: timedelta = timedelta(),
    who: str = "",
) -> Verdict:
    """Open in every place at once, or when next. ``guard``: a close this near counts as closed already.

    ``spread``: what was deferred to an opening is spread over this long after it, evenly by ``who``.
    Raises: ValueError for a zone or rule nobody knows.
    """
    now = now.astimezone(UTC)
    resolved = [(zone_of(place.zone), [_rule(policy, name) for name in place.rules]) for place in places]
    free = frozenset(holidays)
    following = _next_open(resolved, now, guard, free, _NEAR) or _next_open(resolved, now, guard, free, _HORIZON)
    if following is None:
        return Verdict("block", "NO_SEND_WINDOW", detail=f"no time in {_HORIZON} days is open in {_names(places)}")
    if following.start <= now:
        return Verdict("allow", detail=f"open in {_names(places)} until {readable(following.end)}")
    reason = "QUIET_HOURS" if all(_opens_today(each, now, free) for each in resolved) else "NO_SEND_DAY"
    at = following.start + _share(spread, following, guard, who)
    if expires_at is not None and at >= expires_at:
        detail = f"good until {readable(expires_at)}, {_names(places)} opens {readable(at)}"
        return Verdict("block", "MSG_EXPIRES_BEFORE_WINDOW", detail=detail)
    return Verdict("defer", reason, at, f"closed in {_names(places)}, opens {readable(following.start)}")


def holidays(places: Iterable[Place], now: datetime, policy: Policy) -> frozenset[date]:
    """Public holidays of the places where nothing is sent on them, as far as ``check`` looks."""
    names = {name for place in places for name in place.rules if _rule(policy, name).no_holidays}
    return frozenset[date]().union(*(_holidays(name, now.year) for name in sorted(names)))


@cache
def _holidays(name: str, year: int) -> frozenset[date]:
    """Of a country or a part of it ("FR", "US-AL"), and of the years beside. None where nobody keeps a list."""
    from holidays import country_holidays  # takes a moment, and few ask

    country, _, region = name.partition("-")
    try:
        return frozenset(country_holidays(country, region or None, range(year - 1, year + 2)))
    except NotImplementedError:  # what the package raises for places that it does not know
        return frozenset()


def _rule(policy: Policy, name: str) -> QuietRule:
    if name not in policy.quiet_rules:
        raise ValueError(f"unknown quiet rule {name!r} (known: {', '.join(policy.quiet_rules)})")
    return policy.quiet_rules[name]


def _names(places: Sequence[Place]) -> str:
    return ", ".join(f"{place.zone} ({'+'.join(place.rules)})" for place in places) or "no known place"


Resolved = tuple[ZoneInfo, list[QuietRule]]


def _opens_today(place: Resolved, now: datetime, holidays: frozenset[date]) -> bool:
    zone, rules = place
    today = now.astimezone(zone).date()
    return all(_hours(rule, today, holidays) is not None for rule in rules)


def _hours(rule: QuietRule, day: date, holidays: frozenset[date]) -> tuple[str, str] | None:
    return None if rule.no_holidays and day in holidays else rule.of(day)


def _next_open(
    places: Sequence[Resolved], now: datetime, guard: timedelta, holidays: frozenset[date], days: int
) -> Span | None:
    """The span that is open in all places and not over (less the guard) at ``now``."""
    if not places or any(not rules for _, rules in places):
        return None
    common: list[Span] | None = None
    for zone, rules in places:
        for rule in rules:
            spans = _spans(zone, rule, now, holidays, days)
            common = spans if common is None else _both(common, spans)
    usable = (Span(each.start, each.end - guard) for each in common or ())
    return next((each for each in usable if each.start < each.end and now < each.end), None)


def _spans(zone: ZoneInfo, rule: QuietRule, now: datetime, holidays: frozenset[date], days: int) -> list[Span]:
    today = now.astimezone(zone).date()
    spans: list[Span] = []
    for offset in range(-1, days):
        day = today + offset * _DAY
        hours = _hours(rule, day, holidays)
        if hours is None:
            continue
        start, end = instant(day, hours[0], zone, opening=True), instant(day, hours[1], zone, opening=False)
        if spans and spans[-1].end == start:  # "00:00" to "24:00" has no seam
            spans[-1] = Span(spans[-1].start, end)
        elif start < end:
            spans.append(Span(start, end))
    return spans


def _both(one: Sequence[Span], other: Sequence[Span]) -> list[Span]:
    found: list[Span] = []
    i = j = 0
    while i < len(one) and j < len(other):
        start, end = max(one[i].start, other[j].start), min(one[i].end, other[j].end)
        if start < end:
            found.append(Span(start, end))
        if one[i].end < other[j].end:
            i += 1
        else:
            j += 1
    return found


def instant(day: date, clock: str, zone: ZoneInfo, *, opening: bool) -> datetime:
    """That wall clock as an instant. One that occurs twice opens at the second and closes at the first; one that
    is skipped is the first instant after the gap."""
    if clock == "24:00":
        day, clock = day + _DAY, "00:00"
    local = datetime.combine(day, time.fromisoformat(clock), zone)
    first, second = local.replace(fold=0).astimezone(UTC), local.replace(fold=1).astimezone(UTC)
    if second < first:  # in a gap the later offset is the larger one
        return _jump(second, first, zone)
    return second if opening else first


def _jump(low: datetime, high: datetime, zone: ZoneInfo) -> datetime:
    """The instant between these two at which the zone's offset changes."""
    before = low.astimezone(zone).utcoffset()
    while high - low > timedelta(seconds=1):
        middle = low + timedelta(seconds=(high - low) // timedelta(seconds=2))
        if middle.astimezone(zone).utcoffset() == before:
            low = middle
        else:
            high = middle
    return high


def _share(spread: timedelta, span: Span, guard: timedelta, who: str) -> timedelta:
    if not spread:
        return timedelta()
    room = min(spread, (span.end - span.start) / 2)
    number = int.from_bytes(hashlib.blake2b(who.encode(), digest_size=4).digest(), "big")
    return timedelta(seconds=int(room.total_seconds() * number / 2**32))
