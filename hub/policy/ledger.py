"""The consent ledger as values, and its fold: what somebody allowed and refused, as of any instant.

Events belong to one address or to one person. A refusal may come from either, a permission only from the address it
is about. State is never stored by itself: it is read from the events, whose order of arrival does not matter.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any, Literal

from hub.model import readable
from hub.policy.pack import Policy
from hub.policy.verdict import Verdict

Type = Literal[
    "grant", "confirm", "revoke", "object", "suppress", "lift", "erase", "reassign", "hold", "resolve"
]  # fmt: skip
Actor = Literal["subject", "agent", "import", "api", "provider", "system", "legal"]
ANY = "*"

# Which of several suppressions is named: the one that is hardest to undo.
SUPPRESSIONS = (
    "erased", "legal", "complaint", "provider_optout", "manual", "hard_bounce", "blocked_by_user", "soft_bounce"
)  # fmt: skip
_BLOCKED = {
    "erased": "their data was erased",
    "complaint": "they complained",
    "provider_optout": "they opted out at the provider",
    "hard_bounce": "nothing arrives at this address",
    "soft_bounce": "too much of late did not arrive at this address",
    "blocked_by_user": "they have blocked us",
    "manual": "a colleague has blocked them",
    "legal": "blocked for legal reasons",
}
_SPARES_ESSENTIAL = ("complaint",)
_ENDED_BY_START = ("provider_optout", "blocked_by_user")  # written from the address itself


@dataclass(frozen=True, slots=True)
class Scope:
    """What an event is about; ``"*"`` is everything."""

    channel: str = ANY
    purpose: str = ANY
    topic: str = ANY
    sender: str = ANY

    def parts(self) -> tuple[str, str, str, str]:
        return (self.channel, self.purpose, self.topic, self.sender)


@dataclass(frozen=True, slots=True)
class Event:
    """One entry. ``subject``: canonical address, or a person's id. ``of``: the grant that is confirmed.

    ``until``: a suppression that ends by itself, or a permission given for a time.
    """

    type: Type
    at: datetime
    subject: str
    actor: Actor = "subject"
    scope: Scope = Scope()
    id: str = ""
    basis: str | None = None
    reason: str | None = None
    verified: bool = False
    source: str | None = None
    recorded_at: datetime | None = None
    of: str | None = None
    until: datetime | None = None
    evidence: Mapping[str, Any] = field(default_factory=dict)

    @property
    def known_at(self) -> datetime:
        return self.at if self.recorded_at is None else self.recorded_at


@dataclass(frozen=True, slots=True)
class Target:
    """A message to be sent. ``persons``: ids of who has the address, merged ones too."""

    address: str
    channel: str
    purpose: str = "marketing"
    topic: str | None = None
    sender: str | None = None
    jurisdiction: str | None = None
    persons: tuple[str, ...] = ()
    essential: bool = False


def resolve(events: Iterable[Event], target: Target, now: datetime, policy: Policy) -> Verdict:
    """Pure. What the ledger, as it was known at ``now``, says to ``target``."""
    book = Book(events, target, now, policy)
    against = book.suppressed() or book.revoked()
    if against is not None:
        return against
    held, permitted = book.held(), book.permitted()
    # What can never go is not kept for a review.
    return held if held is not None and (held.word == "block" or permitted.ok) else permitted


def against(events: Iterable[Event], now: datetime, policy: Policy) -> list[Event]:
    """Each no, block and unclear message at one address that stands, whatever it is about."""
    known = [each if each.type != "object" else _objection(each) for each in events]
    return [
        each
        for each in known
        if each.type in ("revoke", "object", "suppress", "hold")
        and Book(known, Target(each.subject, *each.scope.parts()), now, policy).stands(each)
    ]


class Book:
    """The events that concern one target, and what they say. None: nothing against it."""

    def __init__(self, events: Iterable[Event], target: Target, now: datetime, policy: Policy) -> None:
        self.target, self.now, self.policy = target, now, policy
        known = [each if each.type != "object" else _objection(each) for each in events if each.known_at <= now]
        mine = [each for each in known if each.subject == target.address]
        theirs = [each for each in known if each.subject in target.persons]
        self.grants = sorted((each for each in mine if each.type == "grant" and each.at <= now), key=_order)
        self.confirms = [each for each in mine if each.type == "confirm" and each.actor == "subject"]
        self.lifts = [each for each in (*mine, *theirs) if each.type == "lift"]
        self.resets = [each for each in mine if each.type in ("erase", "reassign")]
        self.denials = sorted((each for each in (*mine, *theirs)), key=_order)

    # --- suppressions ---

    def suppressed(self) -> Verdict | None:
        active = {each.reason or "manual": each for each in self._suppressions() if self._stands(each)}
        for reason in (*SUPPRESSIONS, *sorted(active.keys() - set(SUPPRESSIONS))):
            if reason in active:
                detail = f"{_BLOCKED.get(reason, reason)} since {readable(active[reason].at)}"
                if found := self._unless_reply(f"SUPP_{reason.upper()}", detail):
                    return found
        return None

    def _suppressions(self) -> Iterable[Event]:
        for each in self.denials:
            if each.type == "erase":
                yield Event("suppress", each.at, each.subject, each.actor, reason="erased")
            elif each.type == "suppress" and self._reaches(each.scope) and not self._spared(each):
                yield each

    def _spared(self, block: Event) -> bool:
        """Complaints are about advertising, and about what is not needed."""
        return block.reason in _SPARES_ESSENTIAL and self.target.essential and self.target.purpose != "marketing"

    def _stands(self, block: Event) -> bool:
        if block.until is not None and self.now >= block.until:
            return False
        if block.reason == "erased":
            return not any(self._proves(each) and each.at > block.at for each in self.grants)
        if block.reason in _ENDED_BY_START and any(_from_handset(each, block.at) for each in self.grants):
            return False
        return not any(
            each.reason == block.reason
            and each.at > block.at
            and self._may_lift(each)
            and self._reaches(each.scope)
            for each in self.lifts
        )

    def _may_lift(self, lift: Event) -> bool:
        allowed = self.policy.lift_actors.get(lift.reason or "manual", ())
        return lift.actor in allowed or (lift.verified and f"{lift.actor}_verified" in allowed)

    def _proves(self, grant: Event) -> bool:
        """Somebody who owns the address wants to be known again."""
        return grant.actor == "subject" and (grant.verified or self._confirmed(grant))

    # --- refusals ---

    def revoked(self) -> Verdict | None:
        standing = self.standing()
        if not standing:
            return None
        everything = [each for each in standing if each.scope.purpose == ANY]
        first = (everything or standing)[0]
        code = "CONSENT_REVOKED_ALL" if everything else "CONSENT_REVOKED"
        source = "" if first.actor == "subject" else f", told by: {first.actor}"
        detail = f"they opted out of {_words(first.scope)} on {readable(first.at)}{source}"
        return self._unless_reply(code, detail, self._rejected_grants())

    def standing(self) -> list[Event]:
        """Each no that reaches the target and has not been taken back."""
        return [each for each in self._refusals() if not self._reopened(each, self.now)]

    def stands(self, each: Event) -> bool:
        """Whether a no, a block or an unclear message that is about the target has not been taken back."""
        if each.type == "suppress":
            return self._stands(each)
        return not self._reopened(each, self.now) and not (each.type == "hold" and self._reviewed(each))

    def refused(self, scope: Scope) -> bool:
        """Whether they said a no that is as wide themselves, and have allowed nothing since."""
        allowed = [each.at for each in self.denials if each.type in ("grant", "confirm") and each.actor == "subject"]
        return any(
            each.type in ("revoke", "object")
            and each.actor in ("subject", "provider")
            and self._within(scope, each.scope)
            and not any(at > each.at for at in allowed)
            for each in self.denials
        )

    def _refusals(self) -> list[Event]:
        return [each for each in self.denials if each.type in ("revoke", "object") and self._reaches(each.scope)]

    def _reopened(self, refusal: Event, by: datetime) -> bool:
        """A later word of the person themselves, that covers the target and is no wider than the refusal."""
        return any(
            each.actor == "subject"
            and refusal.at < each.at <= by
            and self._covers(each.scope)
            and self._within(each.scope, refusal.scope)
            and not self._void(each)
            and not self._unconfirmed(each)
            for each in self.grants
        )

    def _rejected_grants(self) -> tuple[str, ...]:
        rejected = any(self._covers(each.scope) and self._rejected(each) for each in self.grants)
        return ("GRANT_REJECTED_PRIOR_REVOKE",) if rejected else ()

    def _rejected(self, grant: Event) -> bool:
        """Nobody but the person takes back the person's no, not even for later."""
        if grant.actor == "subject":
            return False
        return any(each.at <= grant.at and not self._reopened(each, grant.at) for each in self._refusals())

    def _unless_reply(self, code: str, detail: str, notes: tuple[str, ...] = ()) -> Verdict | None:
        exempt = self.policy.channel(self.target.channel).reply_despite
        if self.target.purpose == "reply" and code in exempt:
            return None
        return Verdict("block", code, detail=detail, notes=notes)

    # --- reviews ---

    def held(self) -> Verdict | None:
        """An unclear message holds marketing until a person has looked; if nobody does, it was a no."""
        if self.target.purpose != "marketing":
            return None
        for each in self.denials:
            if each.type != "hold" or not self._reaches(each.scope) or self._reviewed(each):
                continue
            ends = each.at + timedelta(hours=self.policy.review_h)
            if self.now < ends:
                return Verdict("defer", "OPT_OUT_REVIEW_HOLD", ends, f"unclear message of {readable(each.at)}")
            if not self._reopened(each, self.now):
                detail = f"nobody looked at their unclear message of {readable(each.at)}"
                return Verdict("block", "CONSENT_REVOKED", detail=detail)
        return None

    def _reviewed(self, hold: Event) -> bool:
        """In time: afterwards it is the person's no, which is not for anybody else to take back."""
        ends = hold.at + timedelta(hours=self.policy.review_h)
        reviews = (each for each in self.denials if each.type == "resolve" and each.of in (None, hold.id))
        return any(hold.at <= each.at <= ends for each in reviews)

    # --- permissions ---

    def permitted(self) -> Verdict:
        if self.target.purpose != "marketing":
            return Verdict(detail=f"{self.target.purpose} needs no opt-in")
        found = {"CONSENT_MISSING": "marketing without an opt-in"}
        for each in self.grants:
            if self._void(each) or self._rejected(each) or self._undone(each):
                continue
            code, detail = self._judged(each)
            if code == "OK":
                return Verdict(detail=detail)
            found[code] = detail
        code = next(each for each in _NEAREST if each in found)
        return Verdict("block", code, detail=found[code], notes=self._rejected_grants())

    def _judged(self, grant: Event) -> tuple[str, str]:
        when = f"{grant.basis} of {readable(grant.at)}"
        if not self._covers(grant.scope):
            return "CONSENT_SCOPE_MISMATCH", f"{when} is for {_words(grant.scope)}"
        if self._unconfirmed(grant):
            return "CONSENT_PENDING", f"{when} has not been confirmed in time"
        if not self._sufficient(grant):
            wanted = self.policy.requirements(self.target.jurisdiction, self.target.channel)
            return "CONSENT_INSUFFICIENT", f"{when}; {self.target.jurisdiction or 'anywhere'} wants {', '.join(wanted)}"
        ends = self._ends(grant)
        if ends is not None and self.now >= ends:
            return "CONSENT_EXPIRED", f"{when} ended {readable(ends)}"
        return "OK", when

    def _sufficient(self, grant: Event) -> bool:
        wanted = self.policy.requirements(self.target.jurisdiction, self.target.channel)
        if grant.evidence.get("condition_of_purchase"):
            return False
        if grant.basis == "double_opt_in":
            return bool({"double_opt_in", "express_written", "express"} & set(wanted))
        if grant.basis == "soft_opt_in" and not self._soft(grant):
            return False
        return grant.basis in wanted

    def _soft(self, grant: Event) -> bool:
        """Own customers, own similar products, and a way out offered when the address was given."""
        said = grant.evidence
        offered = bool(said.get("opt_out_offered")) and bool(said.get("similar_products"))
        return offered and said.get("own_customer", True) and self.target.channel in self.policy.soft_opt_in_on

    def _ends(self, grant: Event) -> datetime | None:
        months = self.policy.implied_months.get(grant.basis or "")
        derived = add_months(grant.at, months) if months is not None else None
        return min((each for each in (derived, grant.until) if each is not None), default=None)

    def _unconfirmed(self, grant: Event) -> bool:
        return grant.basis == "double_opt_in" and not self._confirmed(grant)

    def _confirmed(self, grant: Event) -> bool:
        latest = grant.at + timedelta(hours=self.policy.doi_ttl_h)
        return grant.basis == "double_opt_in" and any(
            each.of == grant.id and grant.at <= each.at <= latest for each in self.confirms
        )

    def _void(self, grant: Event) -> bool:
        """Given by an earlier owner of the number, or before the erasure."""
        return any(each.at >= grant.at for each in self.resets)

    def _undone(self, grant: Event) -> bool:
        """Taken back, and only part of it given again since. START restores what STOP took, being just as wide."""
        for refusal in self._refusals():
            if refusal.at < grant.at:
                continue
            mirrored = any(
                each.actor == "subject" and each.at > refusal.at and self._as_wide(each.scope, refusal.scope)
                for each in self.grants
                if not self._void(each) and not self._unconfirmed(each)
            )
            if not mirrored:
                return True
        return False

    # --- scopes ---

    def _covers(self, scope: Scope) -> bool:
        """A permission is read narrowly."""
        wanted = (self.target.channel, self.target.purpose, self.target.topic, self.target.sender)
        return all(given in (ANY, want) for given, want in zip(scope.parts(), wanted, strict=True))

    def _reaches(self, scope: Scope) -> bool:
        """A refusal is read widely: it closes the whole family of the medium, and what may be of its topic."""
        channel = scope.channel == ANY or self.target.channel in self.policy.family(scope.channel)
        topic = scope.topic in (ANY, self.target.topic) or self.target.topic is None
        return (
            channel and topic
            and scope.purpose in (ANY, self.target.purpose)
            and scope.sender in (ANY, self.target.sender)
        )  # fmt: skip

    def _within(self, narrow: Scope, wide: Scope) -> bool:
        channel = wide.channel == ANY or narrow.channel in self.policy.family(wide.channel)
        rest = zip(narrow.parts()[1:], wide.parts()[1:], strict=True)
        return channel and all(outer in (ANY, inner) for inner, outer in rest)

    def _as_wide(self, one: Scope, other: Scope) -> bool:
        return self._within(one, other) and one.parts()[1:] == other.parts()[1:]


# The reason that is named when no permission suffices: the one that is nearest to sufficing.
_NEAREST = (
    "CONSENT_PENDING", "CONSENT_EXPIRED", "CONSENT_INSUFFICIENT", "CONSENT_SCOPE_MISMATCH", "CONSENT_MISSING"
)  # fmt: skip


def _objection(event: Event) -> Event:
    """One that names no purpose is against advertising (GDPR Art. 21)."""
    if event.scope.purpose != ANY:
        return event
    return replace(event, scope=replace(event.scope, purpose="marketing"))


def _order(event: Event) -> tuple[datetime, str, str]:
    return (event.at, event.type, event.id)


def _from_handset(grant: Event, since: datetime) -> bool:
    """The network lets messages through again when START comes from the phone itself."""
    return grant.actor == "subject" and grant.source == "keyword" and grant.at > since


def _words(scope: Scope) -> str:
    names = ("channel", "purpose", "topic", "sender")
    said = [f"{name} {part}" for name, part in zip(names, scope.parts(), strict=True) if part != ANY]
    return ", ".join(said) or "everything"


def add_months(moment: datetime, months: int) -> datetime:
    """The same day that many months later, or the last of the month."""
    year, month = divmod(moment.year * 12 + moment.month - 1 + months, 12)
    for day in range(moment.day, 27, -1):
        try:
            return moment.replace(year=year, month=month + 1, day=day)
        except ValueError:
            continue
    return moment.replace(year=year, month=month + 1)


