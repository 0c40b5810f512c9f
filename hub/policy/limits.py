"""What is scarce about a person, a sender or a day: caps, quotas, warm-up, breakers."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta

from hub.model import readable
from hub.policy.pack import Breaker, CapRule, Warmup
from hub.policy.verdict import OK, Verdict, Word

_COUNTED = ("reserved", "accepted", "queued", "sending", "indoubt", "unknown", "sent", "delivered", "read")


@dataclass(frozen=True, slots=True)
class Sent:
    """A message somebody got, or that is on its way to them. ``status``: failed ones do not count."""

    at: datetime
    channel: str = "*"
    purpose: str = "marketing"
    status: str = "sent"
    topic: str | None = None


@dataclass(frozen=True, slots=True)
class Candidate:
    """The next message to the same person."""

    channel: str
    purpose: str = "marketing"
    topic: str | None = None
    jurisdiction: str | None = None
    expires_at: datetime | None = None


def caps(rules: Iterable[CapRule], history: Sequence[Sent], one: Candidate, now: datetime) -> Verdict:
    """Rolling windows over every campaign and channel. Waits until the oldest that is too many has aged out."""
    if one.purpose != "marketing":
        return Verdict(detail=f"{one.purpose} is not capped")
    hit: Verdict = OK
    seen: list[str] = []
    for rule in rules:
        if not _applies(rule, one):
            continue
        found = _capped(rule, history, one, now)
        seen.append(f"{rule.code}: {found.detail}")
        if found.word == "block":
            return found
        if not found.ok and (hit.not_before is None or _later(found, hit)):
            hit = found
    return hit if not hit.ok else Verdict(detail="; ".join(seen) or "no cap applies")


def _later(one: Verdict, other: Verdict) -> bool:
    return one.not_before is not None and other.not_before is not None and one.not_before > other.not_before


def _applies(rule: CapRule, one: Candidate) -> bool:
    channel = rule.channel in ("*", one.channel)
    place = rule.jurisdiction is None or one.jurisdiction == rule.jurisdiction
    return channel and place and rule.topic in (None, "*", one.topic)


def _capped(rule: CapRule, history: Sequence[Sent], one: Candidate, now: datetime) -> Verdict:
    length = timedelta(hours=rule.hours)
    counted = sorted(each.at for each in history if _counts(rule, each, one) and now < each.at + length)
    room = rule.max - len(counted)
    detail = f"{len(counted)} of {rule.max} in {rule.hours:g} h"
    if room > 0:
        return Verdict(detail=detail)
    if rule.max <= 0:
        return Verdict("block", rule.code, detail=detail)
    at = counted[-rule.max] + length
    if one.expires_at is not None and at >= one.expires_at:
        return Verdict("block", rule.code, detail=f"{detail}; would expire before {readable(at)}")
    return Verdict("defer", rule.code, at, detail)


def _counts(rule: CapRule, sent: Sent, one: Candidate) -> bool:
    if sent.purpose != "marketing" or sent.status not in _COUNTED or rule.channel not in ("*", sent.channel):
        return False
    topic = one.topic if rule.same_topic else rule.topic
    return topic in (None, "*", sent.topic)


@dataclass(frozen=True, slots=True)
class Reached:
    """How many people an account has written to unasked in the rolling period. ``known``: this one is among them.

    ``frees_at``: if it is full, when there is room for this one.
    """

    limit: int
    used: int
    known: bool = False
    frees_at: datetime | None = None


def people(reached: Reached) -> Verdict:
    """People reached outside of their windows in a rolling period: repeats are free, the rest waits for room."""
    words = f"{reached.used} of {reached.limit} people"
    if reached.known:
        return Verdict(detail=f"{words}, and this one is among them")
    if reached.used < reached.limit:
        return Verdict(detail=words)
    if reached.limit <= 0:
        return Verdict("block", "QUOTA_UNIQUE_24H", detail="nobody may be written to unasked: the limit is 0")
    return Verdict("defer", "QUOTA_UNIQUE_24H", reached.frees_at, words)


def unique_recipients(
    sent: Iterable[tuple[str, datetime]], to: str, limit: int | None, now: datetime, length: timedelta, in_window: bool
) -> Verdict:
    """The same from a list of (person, at)."""
    if in_window:
        return Verdict(detail="inside a window nothing is counted")
    if limit is None:
        return Verdict(detail="no limit")
    last: dict[str, datetime] = {}
    for who, at in sent:
        if now < at + length:
            last[who] = max(at, last.get(who, at))
    full = 0 < limit <= len(last)
    frees_at = sorted(last.values())[len(last) - limit] + length if full else None
    return people(Reached(limit, len(last), to in last, frees_at))


@dataclass(frozen=True, slots=True)
class Allowance:
    """Messages of a month or a day. ``what``: which, in words that follow a number."""

    limit: int
    used: int
    resets_at: datetime
    what: str


def month(spent: Allowance, expires_at: datetime) -> Verdict:
    """Waits for the next month if it may; else goes another way, or nowhere."""
    words = f"{spent.used} of {spent.limit} {spent.what}"
    if spent.used < spent.limit:
        return Verdict(detail=words)
    detail = f"{words}; more from {readable(spent.resets_at)}"
    word: Word = "defer" if spent.resets_at < expires_at else "fallback"
    return Verdict(word, "QUOTA_MONTHLY", spent.resets_at, detail)


def warming(today: Allowance) -> Verdict:
    words = f"{today.used} of {today.limit} {today.what}"
    if today.used < today.limit:
        return Verdict(detail=words)
    return Verdict("defer", "WARMUP_DAY", today.resets_at, words)


def health(
    delivered: int, complaints: int, hard_bounces: int, limits: Breaker, *, minimum_of_all: bool = False
) -> str:
    """ "OK", "OK_LOW_VOLUME", "SLOW_…" or "PAUSE_…": how well the last days' marketing was received.

    ``minimum_of_all``: of what was sent, not only of what was delivered.
    """
    if delivered + (hard_bounces if minimum_of_all else 0) < limits.minimum:
        return "OK_LOW_VOLUME"
    complained = complaints / delivered if delivered >= limits.minimum else 0.0
    if complained >= limits.complaint_pause:
        return "PAUSE_COMPLAINT_RATE"
    if hard_bounces / (delivered + hard_bounces) >= limits.bounce_pause:
        return "PAUSE_BOUNCE_RATE"
    return "SLOW_COMPLAINT_RATE" if complained >= limits.complaint_slow else "OK"


def breaker(state: str, purpose: str) -> Verdict:
    if purpose != "marketing" or not state.startswith("PAUSE"):
        return Verdict(detail=state)
    code = "BREAKER_COMPLAINT" if "COMPLAINT" in state else "BREAKER_BOUNCE"
    return Verdict("defer", code, detail=f"marketing of this sender is paused: {state}")


def warm_up(start: int, target: int, days: Iterable[str], pace: Warmup) -> int:
    """Today's allowance of a new sender: grows after healthy days, holds after slow ones, shrinks after bad ones."""
    quota = min(start, target)
    for day in days:
        if day.startswith("PAUSE"):
            quota = max(1, int(quota * pace.cut))
        elif day.startswith("OK"):
            quota = min(target, max(quota + 1, int(quota * pace.growth)))
    return quota


def deadline(received: date, business_days: int, holidays: Iterable[date] = ()) -> date:
    """The last of so many business days after ``received``. An alarm only: a no is obeyed at once."""
    free = frozenset(holidays)
    day = received
    while business_days > 0:
        day += timedelta(days=1)
        if day.weekday() < 5 and day not in free:
            business_days -= 1
    return day
