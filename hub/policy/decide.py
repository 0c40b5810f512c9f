"""May this message go out now? One pure function, asked immediately before hand-off and for every preview."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import Any, Literal

import msgspec

from hub.model import readable
from hub.policy import limits, mail, order, quiet, window
from hub.policy.ledger import Book, Event, Target
from hub.policy.limits import Allowance, Candidate, Reached, Sent
from hub.policy.pack import ChannelRules, Policy
from hub.policy.quiet import Place
from hub.policy.verdict import Verdict, Word
from hub.policy.window import Approach, TemplateState

_PAUSE = timedelta(seconds=30)  # how soon a message asks again that waits for an event


@dataclass(frozen=True, slots=True)
class Intent:
    """A message that somebody wants to send. ``essential``: safety or security, also after a complaint.

    ``urgent``: False lets transactional messages keep quiet hours too. ``key``: spreads deferred messages.
    """

    purpose: str
    medium: str
    expires_at: datetime
    topic: str | None = None
    sender: str | None = None
    actor: Literal["human", "bot"] = "bot"
    template: TemplateState | None = None
    tag: str | None = None
    essential: bool = False
    urgent: bool = True
    fallback_available: bool = False
    mail: mail.Mail | None = None
    key: str = ""
    answers_no: bool = False  # the hub's own answer to STOP or HELP, which a no does not keep back


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known at the moment of the decision. ``address``: canonical; None: not reachable on this channel.

    ``events``: ledger entries of the address and of the person. ``held``: why the sender is held by its provider.
    ``turn``: when the rates have room; asked for, not yet spent. ``epoch``: of the ledger as it was read.
    ``epoch_now``: the same at this moment, where both are known. ``ledger_at``: when its newest entry was made, by the
    clock of who made it, which may be ahead of ours: what is written counts at once.
    """

    address: str | None
    events: tuple[Event, ...] = ()
    persons: tuple[str, ...] = ()
    places: tuple[Place, ...] = ()
    jurisdiction: str | None = None
    holidays: frozenset[date] = frozenset()
    outbound: Literal["on", "off"] = "on"
    campaign_paused: bool = False
    duplicate: bool = False
    held: str | None = None
    sender_disabled: bool = False
    reassigned: bool = False
    rules: ChannelRules | None = None
    last_inbound: datetime | None = None
    session_open: bool = False
    country_restricted: bool = False
    history: tuple[Sent, ...] = ()
    reached: Reached | None = None  # None: no such quota
    month: Allowance | None = None
    allowance: Allowance | None = None  # of a sender that is warming up
    health: str = "OK"
    backoff_until: datetime | None = None
    turn: tuple[str, datetime] | None = None
    epoch: int | None = None
    epoch_now: int | None = None
    ledger_at: datetime | None = None


class Check(msgspec.Struct, frozen=True):
    """One rule and what it saw, for the explanation. ``name``: reason code if it failed, else the rule's."""

    name: str
    ok: bool
    detail: str


@dataclass(frozen=True, slots=True)
class Decision:
    """``not_before``: with "defer", when to ask again. ``notes``: remarks of the ledger.

    ``epoch``: of the recipient's ledger when it was read; another one at the hand-off means: decide again.
    """

    verdict: Word
    reason: str  # "ALLOWED" or the code of the failed check that counts
    checks: list[Check] = field(default_factory=list)
    not_before: datetime | None = None
    version: str = ""
    notes: tuple[str, ...] = ()
    detail: str = ""
    epoch: int | None = None
    late: bool = False  # allowed although the window has closed, since a person answers

    @property
    def all_reasons(self) -> list[str]:
        return [check.name for check in self.checks if not check.ok]


def decide(facts: Facts, intent: Intent, now: datetime, policy: Policy) -> Decision:
    """Pure. Every check is made and kept; the first that fails, in the order of the table, gives the verdict."""
    if intent.purpose not in ("reply", "transactional", "marketing"):
        raise ValueError(f"no purpose of a message to a customer: {intent.purpose!r}")
    case = _Case(facts, intent, now, policy, _book(facts, intent, now, policy))
    made = [(name, check(case)) for name, check in _CHECKS]
    checks = [
        Check(name, True, verdict.detail)
        if verdict.ok
        else Check(verdict.reason, not order.counts(verdict, intent.purpose), verdict.detail)
        for name, verdict in made
    ]
    chosen = order.first([verdict for _, verdict in made], intent.purpose, intent.fallback_available, policy)
    notes = tuple(note for _, verdict in made for note in verdict.notes)
    if chosen.ok:
        late = any(verdict.reason == window.LATE for _, verdict in made)
        return Decision("allow", "ALLOWED", checks, None, policy.version, notes, epoch=facts.epoch, late=late)
    word, not_before = _bounded(chosen, intent, now)
    return Decision(word, chosen.reason, checks, not_before, policy.version, notes, chosen.detail, facts.epoch)


def _bounded(chosen: Verdict, intent: Intent, now: datetime) -> tuple[Word, datetime | None]:
    """A deferred message always has a time to ask again, and never one after it has expired."""
    if chosen.word != "defer":
        return chosen.word, None
    wanted = chosen.not_before if chosen.not_before is not None else now + _PAUSE
    return "defer", max(min(wanted, intent.expires_at), now + timedelta(milliseconds=1))


@dataclass(frozen=True, slots=True)
class _Case:
    facts: Facts
    intent: Intent
    now: datetime
    policy: Policy
    book: Book | None

    @property
    def rules(self) -> ChannelRules:
        return self.facts.rules if self.facts.rules is not None else self.policy.channel(self.intent.medium)


def _if(failed: object, word: Word, reason: str, detail: str, otherwise: str, at: datetime | None = None) -> Verdict:
    return Verdict(word, reason, at, detail) if failed else Verdict(detail=otherwise)


def _expired(case: _Case) -> Verdict:
    until = f"good until {readable(case.intent.expires_at)}"
    return _if(case.now >= case.intent.expires_at, "block", "MSG_EXPIRED", until, until)


def _duplicate(case: _Case) -> Verdict:
    return _if(case.facts.duplicate, "block", "MSG_DUPLICATE", "the same message went out before", "not sent before")


def _paused(case: _Case) -> Verdict:
    words = f"outbound is {case.facts.outbound}"
    return _if(case.facts.outbound == "off", "defer", "TENANT_PAUSED", words, words)


def _campaign(case: _Case) -> Verdict:
    return _if(case.facts.campaign_paused, "defer", "CAMPAIGN_PAUSED", "its campaign is paused", "not paused")


def _held(case: _Case) -> Verdict:
    if case.facts.sender_disabled:
        return Verdict("fallback", "SENDER_DISABLED", detail="the sender is switched off")
    return _if(case.facts.held, "defer", "SENDER_HELD", str(case.facts.held), "the sender is not held")


def _reachable(case: _Case) -> Verdict:
    if case.facts.reassigned:
        return Verdict("block", "NUMBER_REASSIGNED", detail="its owner has left it, and nobody has written since")
    address = case.facts.address
    return _if(address is None, "fallback", "ADDRESS_INVALID", "no address on this channel", str(address))


def _book(facts: Facts, intent: Intent, now: datetime, policy: Policy) -> Book | None:
    if facts.address is None:
        return None
    target = Target(
        address=facts.address,
        channel=intent.medium,
        purpose=intent.purpose,
        topic=intent.topic,
        sender=intent.sender,
        jurisdiction=facts.jurisdiction,
        persons=facts.persons,
        essential=intent.essential,
    )
    return Book(facts.events, target, max(now, facts.ledger_at or now), policy)


def _suppressed(case: _Case) -> Verdict:
    return (case.book and case.book.suppressed()) or Verdict(detail="not suppressed")


def _revoked(case: _Case) -> Verdict:
    if case.intent.answers_no:
        return Verdict(detail="the one answer to STOP or HELP")
    return (case.book and case.book.revoked()) or Verdict(detail="not opted out")


def _reviewed(case: _Case) -> Verdict:
    return (case.book and case.book.held()) or Verdict(detail="no unclear message waits for a person")


def _permitted(case: _Case) -> Verdict:
    return case.book.permitted() if case.book else Verdict(detail="there is nobody to ask about")


def _window(case: _Case) -> Verdict:
    if case.facts.country_restricted:
        return Verdict("fallback", "PROVIDER_COUNTRY_RESTRICTED", detail="the provider does not send this there")
    how = Approach(
        case.intent.purpose,
        case.facts.last_inbound,
        case.intent.actor,
        case.intent.template,
        case.intent.tag,
        case.facts.session_open,
    )
    return window.check(how, case.rules, case.now, case.policy, timedelta(seconds=case.policy.window_guard_s))


def _content(case: _Case) -> Verdict:
    if case.intent.mail is None:
        return Verdict(detail="nothing is demanded of the content")
    found = mail.check(case.intent.mail)
    return _if(found != "OK", "block", found, mail.LACKING.get(found, found), "the mail carries it all")


def _time(case: _Case) -> Verdict:
    intent, policy = case.intent, case.policy
    if intent.purpose == "reply" or (intent.purpose == "transactional" and intent.urgent) or not case.rules.quiet:
        return Verdict(detail=f"quiet hours do not concern a {intent.purpose} message on {intent.medium}")
    if not case.facts.places:
        detail = "nobody knows where the recipient is: set their time zone or country"
        return Verdict("block", "NO_SEND_WINDOW", detail=detail)
    return quiet.check(
        case.facts.places,
        case.now,
        policy,
        expires_at=intent.expires_at,
        guard=timedelta(seconds=policy.quiet_guard_s),
        holidays=case.facts.holidays,
        spread=timedelta(seconds=policy.spread_s),
        who=intent.key,
    )


def _caps(case: _Case) -> Verdict:
    intent = case.intent
    one = Candidate(intent.medium, intent.purpose, intent.topic, case.facts.jurisdiction, intent.expires_at)
    return limits.caps(case.policy.caps, case.facts.history, one, case.now)


def _month(case: _Case) -> Verdict:
    if case.facts.month is None:
        return Verdict(detail="no quota of messages")
    if case.intent.purpose in case.rules.free:
        return Verdict(detail=f"a {case.intent.purpose} may cost nothing, and is counted if it did")
    return limits.month(case.facts.month, case.intent.expires_at)


def _people(case: _Case) -> Verdict:
    if case.facts.reached is None:
        return Verdict(detail="no quota of people")
    if not window.unasked(case.intent.purpose, case.facts.last_inbound, case.rules, case.now):
        return Verdict(detail="an answer counts for nothing")
    return limits.people(case.facts.reached)


def _warm_up(case: _Case) -> Verdict:
    if case.facts.allowance is None or case.intent.purpose != "marketing":
        return Verdict(detail="not warming up")
    return limits.warming(case.facts.allowance)


def _health(case: _Case) -> Verdict:
    return limits.breaker(case.facts.health, case.intent.purpose)


def _rates(case: _Case) -> Verdict:
    resting, turn = case.facts.backoff_until, case.facts.turn
    if resting is not None and resting > case.now:
        return Verdict("defer", "BACKOFF_PROVIDER", resting, f"the provider asked to wait until {readable(resting)}")
    if turn is None:
        return Verdict(detail="the lane paces itself")
    return _if(turn[1] > case.now, "defer", turn[0], f"room at {readable(turn[1])}", "there is room now", turn[1])


def _unchanged(case: _Case) -> Verdict:
    read, now = case.facts.epoch, case.facts.epoch_now
    changed = read is not None and now is not None and read != now
    return _if(changed, "defer", "CONSENT_CHANGED", "the ledger changed meanwhile", "the ledger is as it was read")


_CHECKS: Iterable[tuple[str, Callable[[_Case], Verdict]]] = (
    ("MSG_EXPIRED", _expired),
    ("MSG_DUPLICATE", _duplicate),
    ("TENANT_PAUSED", _paused),
    ("CAMPAIGN_PAUSED", _campaign),
    ("SENDER_HELD", _held),
    ("ADDRESS_INVALID", _reachable),
    ("SUPPRESSED", _suppressed),
    ("CONSENT_REVOKED", _revoked),
    ("OPT_OUT_REVIEW_HOLD", _reviewed),
    ("CONSENT_MISSING", _permitted),
    ("WINDOW_CLOSED", _window),
    ("CONTENT", _content),
    ("QUIET_HOURS", _time),
    ("CAPS", _caps),
    ("QUOTA_MONTHLY", _month),
    ("QUOTA_UNIQUE_24H", _people),
    ("WARMUP_DAY", _warm_up),
    ("HEALTH", _health),
    ("RATE", _rates),
    ("CONSENT_CHANGED", _unchanged),
)


def explanation(made: Decision) -> dict[str, Any]:
    """What is stored beside verdict and reason."""
    return {
        "checks": made.checks,
        "all_reasons": made.all_reasons,
        "not_before": made.not_before,
        "policy_version": made.version,
        "notes": list(made.notes),
        "epoch": made.epoch,
    }
