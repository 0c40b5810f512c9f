"""The consent ledger in the database: append, read for the policy, check the chain."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import cache
from typing import Any, Literal

import sqlalchemy as sa
from itsdangerous import BadSignature, URLSafeSerializer
from sqlalchemy import Connection

from hub import tombstones
from hub.model import private_id, public_id, readable
from hub.policy import pack
from hub.policy.address import spellings
from hub.policy.classify import Asked, Reading, Surroundings, classify
from hub.policy.languages import of_number
from hub.policy.ledger import ANY, Book, Event, Scope, Target, against, resolve
from hub.policy.replies import auto_reply
from hub.policy.verdict import Verdict
from hub.store.base import chunks
from hub.store.bulk import SOME, among, select_many
from hub.store.schema import consent_event, identity, link, micros, suppression

Change = Literal["opt_out", "opt_in", "bounced", "lifted"]
Told = Change | Literal["blocked", "unblocked"]  # what only a provider tells
Source = Literal["keyword", "provider", "api", "agent", "import", "page", "cli"]
_OWN_WORD = ("keyword", "provider", "page")  # the person's own, or passed on by their provider
WORDS = ("opt_in", "opt_out", "opt_in_marketing", "opt_out_marketing")
REFUSALS = ("revoke", "object", "suppress")
_OF_THE_LINE = ("hard_bounce", "soft_bounce")  # of an address, not of who has it
_SUPPRESSION = ("address", "reason", "since")
_CLOSED = ("SUPP_PROVIDER_OPTOUT", "CONSENT_REVOKED_ALL")  # what people say no by, and take back
_REPEATED = timedelta(days=7)  # for so long providers repeat what did not get through; what is older has a wrong clock
_CLOCKS = timedelta(minutes=1)  # by which a provider's may differ from ours
_CHAIN = 7236524  # PostgreSQL lock: entries are chained one after the other
_EVENTS = sa.select(consent_event).where(consent_event.c.address.in_(SOME)).order_by(consent_event.c.id)
_HASHED = [each.name for each in consent_event.columns if each.name not in ("id", "hash")]


def person(customer_id: int) -> str:
    """What entries are filed under that concern somebody wherever they are written to."""
    return f"customer:{public_id('customer', customer_id)}"


# --- append ---


def append(
    connection: Connection,
    entry: Event,
    *,
    change: str,
    channel: str | None,
    source: Source,
    now: datetime,
    key: str | None = None,
) -> int | None:
    """Add one entry, known from ``now`` on. Returns its id; None if ``key`` is there already."""
    if connection.dialect.name == "postgresql":
        connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_CHAIN)))
    if key is not None and connection.execute(sa.select(consent_event.c.id).where(consent_event.c.key == key)).first():
        return None
    row: dict[str, Any] = {
        "address": spellings(entry.subject)[0],
        "channel": channel,
        "change": change,
        "source": source,
        "evidence": json.dumps(dict(entry.evidence), sort_keys=True, default=str),
        "occurred_at": entry.at,
        "recorded_at": now,
        "kind": entry.type,
        "actor": entry.actor,
        "scope_channel": entry.scope.channel,
        "scope_purpose": entry.scope.purpose,
        "scope_topic": entry.scope.topic,
        "scope_sender": entry.scope.sender,
        "basis": entry.basis,
        "reason": entry.reason,
        "verified": entry.verified,
        "of_id": int(entry.of) if entry.of else None,
        "until": entry.until,
        "key": key,
    }
    row["hash"] = _link(_last_hash(connection), row)
    number = connection.execute(sa.insert(consent_event).values(row).returning(consent_event.c.id)).scalar_one()
    _changed(connection, entry.subject)
    return int(number)


def _last_hash(connection: Connection) -> bytes:
    query = sa.select(consent_event.c.hash).order_by(consent_event.c.id.desc()).limit(1)
    return connection.execute(query).scalar_one_or_none() or b""


def _link(before: bytes, row: Any) -> bytes:
    values = [micros(value) if isinstance(value := row[name], datetime) else value for name in _HASHED]
    return hashlib.sha256(before + json.dumps(values).encode()).digest()


def _changed(connection: Connection, subject: str) -> None:
    """Whoever is about to write there has to ask again."""
    concerned: sa.ColumnElement[bool] = identity.c.address.in_(spellings(subject))
    if subject.startswith("customer:"):
        concerned = identity.c.customer_id == private_id("customer", subject.partition(":")[2])
    connection.execute(
        sa.update(identity).where(concerned).values(consent_epoch=identity.c.consent_epoch + 1)
    )


def record(
    connection: Connection,
    address: str,
    change: Told,
    *,
    channel: str | None,
    source: Source,
    evidence: dict[str, Any],
    at: datetime,
    now: datetime,
    covers: Literal["all", "marketing"] = "all",
    scope: Scope | None = None,
) -> None:
    """What somebody or their provider said, in one word. What covers only marketing suppresses nothing else."""
    at = min(at, now)
    if source == "provider" and change in ("opt_out", "blocked"):
        at = _no_from(events(connection, [address]).get(address, ()), at, now)
    where = scope if scope is not None else Scope(purpose=ANY if covers == "all" else covers)
    name = word(change, where if where.topic != ANY else Scope(purpose=ANY if covers == "all" else covers))
    for entry in _entries(connection, address, change, source, evidence, at, where, now):
        append(connection, entry, change=name, channel=channel, source=source, now=now)
    digest(connection, address, now)


def _no_from(known: Iterable[Event], at: datetime, now: datetime) -> datetime:
    """Since when a no counts: since it was said at ``at``, so that what they have allowed since stays allowed.

    No clock makes it weaker that may be wrong, or is not the one that the yes was timed by: then it counts from now.
    """
    elsewhere = any(
        each.type == "grant" and each.actor == "subject" and each.source not in ("keyword", "provider") and each.at > at
        for each in known
    )
    return now if elsewhere or at < now - _REPEATED else at


def word(change: str, scope: Scope) -> str:
    """The change in one word. What is said of one topic is no last word on advertising (``WORDS``)."""
    if scope.topic != ANY:
        return f"{change}_topic"
    return change if scope.purpose == ANY else f"{change}_{scope.purpose}"


def _entries(
    connection: Connection,
    address: str,
    change: Told,
    source: Source,
    evidence: dict[str, Any],
    at: datetime,
    scope: Scope,
    now: datetime,
) -> list[Event]:
    own = source in _OWN_WORD
    said: dict[str, Any] = {"at": at, "subject": address, "evidence": evidence, "source": source}
    match change:
        case "opt_out" if own:
            return [Event("revoke", actor="subject" if source != "provider" else "provider", scope=scope, **said)]
        case "opt_out":  # a colleague's block, which a colleague may lift
            return [Event("suppress", actor="agent", scope=scope, reason="manual", **said)]
        case "opt_in" if own:
            return [Event("grant", actor="subject", basis="express", scope=scope, verified=True, **said)]
        case "opt_in":
            lift = Event("lift", actor="agent", reason="manual", **said)
            grant = Event("grant", actor="agent", basis="express", scope=scope, **said)
            return [lift, grant] if _blocked_by_hand(connection, address, now) else [grant]
        case "blocked":
            return [Event("suppress", actor="provider", reason="blocked_by_user", **said)]
        case "unblocked":  # it lets us through again, and says nothing of what the person wants to get
            return [Event("lift", actor="subject", reason="blocked_by_user", **said)]
        case "bounced":
            return [Event("suppress", actor="provider", reason="hard_bounce", **said)]
        case "lifted":
            return [Event("lift", actor="agent", verified=True, reason="hard_bounce", **said)]


def _blocked_by_hand(connection: Connection, address: str, now: datetime) -> bool:
    found = _book(connection, address, now, "transactional").suppressed()
    return found is not None and found.reason == "SUPP_MANUAL"


# --- read ---


def events(
    connection: Connection, subjects: Iterable[str], secret: bytes | None = None
) -> dict[str, tuple[Event, ...]]:
    """The entries filed under each address or person, as the policy reads them. One query per few hundred.

    ``secret``: with those from before an address was erased, which count as ever; but for the erasure itself.
    """
    wanted = set(subjects)
    asked: dict[str, list[str]] = {}
    for subject in wanted:
        for name in spellings(subject):
            asked.setdefault(name, []).append(subject)
    if secret is not None:
        for subject, name in tombstones.names(connection, secret, wanted).items():
            asked.setdefault(name, []).append(subject)
    found: dict[str, list[Event]] = {}
    for row in among(connection, _EVENTS, asked.keys()):
        if row.kind == "erase" and row.address.startswith(tombstones.ERASED):
            continue  # the tombstone tells of it
        entry = event_of(row)
        for subject in asked[row.address]:
            mine = entry if entry.subject == subject else replace(entry, subject=subject)
            found.setdefault(subject, []).append(mine)
    return {subject: tuple(each) for subject, each in found.items()}


def event_of(row: Any) -> Event:
    return Event(
        type=row.kind,
        at=row.occurred_at,
        subject=row.address,
        actor=row.actor,
        scope=Scope(row.scope_channel, row.scope_purpose, row.scope_topic, row.scope_sender),
        id=str(row.id),
        basis=row.basis,
        reason=row.reason,
        verified=bool(row.verified),
        source=row.source,
        recorded_at=row.recorded_at,
        of=None if row.of_id is None else str(row.of_id),
        until=row.until,
        evidence=json.loads(row.evidence),
    )


def standing(
    connection: Connection, target: Target, now: datetime, secret: bytes | None = None, *, answers: bool = False
) -> Verdict:
    """What the ledger said to a message at ``now``, which may be any instant of the past.

    ``secret``: what was erased counts too. ``answers``: but not against an answer, since they have written again.
    """
    known = concerning(connection, secret, target.address, target.persons)
    if answers and target.purpose == "reply":
        known = [each for each in known if each.type != "erase"]
    return resolve(known, target, now, pack.default())


def concerning(
    connection: Connection, secret: bytes | None, address: str, people: Sequence[str] = ()
) -> list[Event]:
    """All that counts at an address and for these people; with the ``secret``, its erasure and what was before it."""
    entries = [each for some in events(connection, [address, *people], secret).values() for each in some]
    erased = {} if secret is None else tombstones.buried(connection, secret, [address])
    return [*entries, *(Event("erase", at, address, "subject") for at in erased.values())]


def kept_out(connection: Connection, secret: bytes, address: str) -> datetime | None:
    """When somebody was erased from whom nothing has come since. Nothing goes there, so no refusal is filed."""
    at = tombstones.buried(connection, secret, [address]).get(address)
    if at is None:
        return None
    known = sa.select(identity.c.id).where(identity.c.address.in_(spellings(address))).limit(1)
    back = connection.execute(known).first() is not None or bool(events(connection, [address]))
    return None if back else at


def _book(connection: Connection, address: str, now: datetime, purpose: str) -> Book:
    known = events(connection, [address]).get(address, ())
    return Book(known, Target(address, ANY, purpose), now, pack.default())


def digest(connection: Connection, address: str, now: datetime) -> None:
    """Keep ``suppression`` what the ledger says about any message there."""
    book = _book(connection, address, now, "transactional")
    verdict = book.suppressed() or book.revoked()
    names = spellings(address)
    connection.execute(sa.delete(suppression).where(suppression.c.address.in_(names)))
    if verdict is None:
        return
    reason = "bounced" if verdict.reason == "SUPP_HARD_BOUNCE" else "opt_out"
    query = sa.select(consent_event.c.id, consent_event.c.occurred_at).where(
        consent_event.c.address.in_(names), consent_event.c.kind.in_(("revoke", "object", "suppress", "erase"))
    )
    latest = consent_event.c.occurred_at.desc(), consent_event.c.id.desc()
    last = connection.execute(query.order_by(*latest).limit(1)).one()
    connection.execute(
        sa.insert(suppression).values(address=names[0], reason=reason, event_id=last.id, since=last.occurred_at)
    )


def suppressions(connection: Connection, addresses: Iterable[str]) -> dict[str, tuple[tuple[str, datetime], ...]]:
    """Reasons not to write, by address."""
    wanted = {each: spellings(each) for each in set(addresses)}
    held: dict[str, tuple[tuple[str, datetime], ...]] = {}
    names = {name for some in wanted.values() for name in some}
    for address, reason, since in select_many(connection, suppression, _SUPPRESSION, "address", names):
        held[address] = (*held.get(address, ()), (reason, since))
    if not held:
        return {}
    found = {each: tuple(why for name in names for why in held.get(name, ())) for each, names in wanted.items()}
    return {address: reasons for address, reasons in found.items() if reasons}


def refused_in_person(connection: Connection, address: str) -> bool:
    """Whether the last thing that the person at this address said or let their provider tell us was a no.

    A no to marketing alone counts too: nobody else may take it back.
    """
    query = (
        sa.select(consent_event.c.change)
        .where(
            consent_event.c.address.in_(spellings(address)),
            consent_event.c.change.in_(WORDS),
            consent_event.c.source.in_(_OWN_WORD),
        )
        .order_by(consent_event.c.occurred_at.desc(), consent_event.c.id.desc())
        .limit(1)
    )
    return str(connection.execute(query).scalar_one_or_none()).startswith("opt_out")


def opted_in(connection: Connection, addresses: Iterable[str]) -> set[str]:
    """Addresses whose last word on messages, or on marketing, was an opt-in."""
    wanted = set(addresses)
    said: dict[str, Any] = {}
    for some in chunks({name for each in wanted for name in spellings(each)}):
        query = (
            sa.select(consent_event.c.address, consent_event.c.change, consent_event.c.occurred_at, consent_event.c.id)
            .where(consent_event.c.address.in_(some), consent_event.c.change.in_(WORDS))
            .order_by(consent_event.c.occurred_at, consent_event.c.id)
        )
        said.update((row.address, row) for row in connection.execute(query))
    found = set()
    for address in wanted:
        last = [said[name] for name in spellings(address) if name in said]
        if last and max(last, key=lambda row: (row.occurred_at, row.id)).change.startswith("opt_in"):
            found.add(address)
    return found


def broken_links(connection: Connection) -> Sequence[int]:
    """Ids of entries that are not what was written, or before which one is missing. Empty: the ledger is whole."""
    wrong: list[int] = []
    erased: set[int] = set()
    before = b""
    for row in connection.execute(sa.select(consent_event).order_by(consent_event.c.id)):
        if row.hash is None:  # older than the chain
            continue
        if row.hash != _link(before, row._mapping):
            wrong.append(row.id)
        elif row.kind == "erase":
            erased.update(json.loads(row.evidence).get("entries", ()))
        before = row.hash
    return [each for each in wrong if each not in erased]


def part(connection: Connection, kept: int, parted: int, now: datetime) -> None:
    """Before two people are told apart again: what either refused while they were taken for one counts for both."""
    since = sa.select(sa.func.min(link.c.at)).where(
        link.c.from_customer == parted, link.c.to_customer == kept, link.c.kind == "merge", link.c.undone_at.is_(None)
    )
    merged_at = connection.execute(since).scalar_one_or_none()
    said = events(connection, [person(kept)]).get(person(kept), ())
    for each in said:
        if each.type in REFUSALS and merged_at is not None and each.known_at >= merged_at:
            copy = replace(each, subject=person(parted), evidence={**each.evidence, "copied_from": each.id})
            append(connection, copy, change="opt_out", channel=None, source="api", now=now)


def blocked(connection: Connection, addresses: Iterable[str], now: datetime) -> list[str]:
    """Those of these that are closed because somebody has blocked us."""
    found = suppressions(connection, addresses)
    books = {address: _book(connection, address, now, "transactional") for address in found}
    verdicts = {address: book.suppressed() for address, book in books.items()}
    return [address for address, why in verdicts.items() if why is not None and why.reason == "SUPP_BLOCKED_BY_USER"]


def move(connection: Connection, old: str, new: str | None, now: datetime) -> None:
    """Somebody has left an address for another one. What they refused there counts at the new one, and what they
    allowed there ends: that is for whoever has it next to say."""
    known = events(connection, [old]).get(old, ())
    for each in against(known, now, pack.default()):
        if new is not None and each.reason not in _OF_THE_LINE:
            copy = replace(each, subject=new, evidence={**each.evidence, "copied_from": each.id})
            said: Any = each.source
            change = word("opt_out", each.scope) if each.type in ("revoke", "object") else each.type
            append(connection, copy, change=change, channel=None, source=said, now=now)
    left = Event("reassign", now, old, "provider")
    append(connection, left, change="moved", channel=None, source="provider", now=now)
    for address in (old, new):
        if address is not None:
            digest(connection, address, now)


# --- what people write ---


def heard(
    connection: Connection,
    text: str,
    *,
    address: str,
    customer_id: int,
    channel: str,
    medium: str,
    locale: str | None,
    topics: Mapping[str, str],
    external_id: str,
    at: datetime,
    now: datetime,
    answered: bool,
    last_outbound: Callable[[], str | None],
    family: Callable[[], Iterable[int]],
) -> tuple[str | None, str | None]:
    """Record what a message, written at ``at``, says about messages. ``topics``: of advertising, with what people call
    them. ``answered``: by the provider. ``family``: ids of the customer and all merged ones.

    Returns what the desk should be told, and what the customer is answered, with {business} in it.
    """
    policy = pack.default()
    here = _surroundings(policy.version, medium)
    scheme, _, value = address.partition(":")
    languages = ((locale,) if locale else ()) + (of_number(value, policy) if scheme == "tel" else ())
    called = {word: name for name, title in topics.items() for word in (name, title)}
    reading = classify(text, languages, here=here, topics=called, lists=policy.keywords)
    if reading.kind == "ambiguous" or (reading.kind == "none" and reading.rule):
        known = events(connection, [address]).get(address, ())
        refusal = _refusal(known, medium, now)
        asks = policy.channel(medium).confirm == "reply" and _pending(known, at) is not None
        pending = asks and refusal != "CONSENT_REVOKED_ALL"  # who said STOP since was asked no more
        asked = Asked(_purpose(last_outbound()), pending, refusal == "SUPP_PROVIDER_OPTOUT")
        reading = classify(text, languages, asked, here, called, policy.keywords)
    if reading.kind == "none" or (reading.kind == "opt_in" and text.lstrip().startswith("/")):
        return None, None  # "/start" is what an app writes when a chat is opened
    known = events(connection, [address]).get(address, ())
    confirmed = _refusal(known, medium, now) in _CLOSED
    if reading.kind != "opt_in":
        at = _no_from(known, at, now)
    evidence = {"external_id": external_id, "rule": reading.rule}
    where = _Heard(connection, address, person(customer_id), family, channel, medium, called, evidence, at, now)
    notice = where.act(reading)
    reply = policy.replies.get(reading.kind)
    if not reply or (reading.scope or "").startswith(("channel:", "topic:")):
        return notice, None
    if reading.kind == "opt_out" and where.reopened():
        return notice, None
    late = (now - at).total_seconds()
    made = auto_reply(reading.kind, late, already_confirmed=confirmed, provider_replied=answered)
    return notice, reply if made.send else None


@cache
def _surroundings(version: str, medium: str) -> Surroundings:
    """``version``: of the policy that counts."""
    policy = pack.default()
    called = {name: rules.words for name, rules in policy.channels.items()}  # what people call each medium
    return Surroundings(medium, policy.channel(medium).carrier, called)


def _purpose(word: str | None) -> Literal["reply", "transactional", "marketing"] | None:
    return word if word in ("reply", "transactional", "marketing") else None  # type: ignore[return-value]  # narrowed by the comparison


def _pending(known: Sequence[Event], at: datetime) -> Event | None:
    """The subscription that a word of confirmation of that time is about."""
    confirmed = {each.of for each in known if each.type == "confirm"}
    life = timedelta(hours=pack.default().doi_ttl_h)
    waiting = [
        each
        for each in known
        if each.type == "grant" and each.basis == "double_opt_in" and each.id not in confirmed
        and each.at - _CLOCKS <= at <= each.at + life
    ]
    return waiting[-1] if waiting else None


def _refusal(known: Sequence[Event], medium: str, now: datetime) -> str | None:
    """Why nothing goes to their address there; None: something may."""
    if not known:
        return None
    book = Book(known, Target(known[0].subject, medium, "transactional"), now, pack.default())
    verdict = book.suppressed() or book.revoked()
    return None if verdict is None else verdict.reason


@dataclass(frozen=True, slots=True)
class _Heard:
    connection: Connection
    address: str
    person: str
    family: Callable[[], Iterable[int]]
    channel: str
    medium: str
    topics: Mapping[str, str]  # by what people call them
    evidence: dict[str, Any]
    at: datetime  # when they said it
    now: datetime

    def act(self, reading: Reading) -> str | None:
        match reading.kind:
            case "opt_out":
                return self._out(reading.scope)
            case "opt_in":
                return self._in()
            case "wrong_party":
                self._add("revoke", self.address, "opt_out_marketing", Scope(purpose="marketing"), "wrong_party")
                return f"Wrong number: {self.address} says they are somebody else; no marketing goes there."
            case "ambiguous":
                return self._unclear()
        return None

    def _out(self, scope: str | None) -> str:
        kind, _, name = (scope or "").partition(":")
        if kind == "channel":
            self._add("revoke", self.person, "opt_out", Scope(channel=name), None)
            return f"Opted out of {name}: nothing more goes to them there."
        if kind == "topic":
            scope_ = Scope(purpose="marketing", topic=self.topics[name])
            self._add("revoke", self.address, word("opt_out", scope_), scope_, None)
            return f"Opted out of {name}: no advertising about it goes to {self.address}."
        if kind == "all":
            self._add("revoke", self.person, "opt_out", Scope(), None)
        self._add("revoke", self.address, "opt_out", Scope(), None)
        if self.reopened():
            said = f"A no of {self.address}, said {readable(self.at)}, came late."
            return f"{said} They have opted in since, which counts."
        everywhere = " and to their other addresses" if kind == "all" else ""
        return f"Opted out: nothing more goes to {self.address}{everywhere} until they write START."

    def _in(self) -> str:
        known = events(self.connection, [self.address]).get(self.address, ())
        asked = _pending(known, self.at) if pack.default().channel(self.medium).confirm == "reply" else None
        if asked is not None:
            entry = Event(
                "confirm", max(self.at, asked.at), self.address, scope=asked.scope, verified=True, of=asked.id,
                source="keyword", evidence=self.evidence,
            )  # fmt: skip
            self._append(entry, word("opt_in", entry.scope))
            if _refusal(known, self.medium, self.now) not in _CLOSED:  # they allow what our question was about
                return f"Confirmed: {self.address} allows what they were asked for."
        narrow = self._stopped()
        self._add("grant", self.address, "opt_in", Scope(), None)
        for scope in narrow:
            self._add("grant", self.address, "opt_in", scope, None)
        return self._opened()

    def _stopped(self) -> list[Scope]:
        """What START takes back beside a no to everything: each no that reaches this channel, in its own words."""
        scopes = [each.scope for book in self._books().values() for each in book.standing() if each.type == "revoke"]
        family = pack.default().family
        return [
            replace(scope, channel=medium)
            for scope in dict.fromkeys(scopes)
            if scope != Scope() and scope.topic == ANY
            for medium in ((ANY,) if scope.channel == ANY else family(scope.channel))
        ]

    def _opened(self) -> str:
        """What START has brought."""
        found = {purpose: book.suppressed() or book.revoked() for purpose, book in self._books().items()}
        if (against := found["transactional"]) is not None:
            return f"{self.address} wrote START, and is still closed: {against.detail} ({against.reason})."
        if (against := found["marketing"]) is not None:
            return f"Opted in again: {self.address} may be written to, without advertising: {against.detail}."
        return f"Opted in again: {self.address} may be written to."

    def _books(self) -> dict[str, Book]:
        """What the ledger says to each purpose of a message by this channel. No topic: those have their own no."""
        persons = tuple(map(person, self.family()))
        found = events(self.connection, [self.address, *persons])
        known = [each for some in found.values() for each in some]
        purposes = ("transactional", "marketing", "reply")
        to = Target(self.address, self.medium, sender=self.channel, persons=persons)
        return {each: Book(known, replace(to, purpose=each), self.now, pack.default()) for each in purposes}

    def _unclear(self) -> str | None:
        """Holds marketing until a person has looked. They are told where there is a permission that this holds up."""
        known = events(self.connection, [self.address]).get(self.address, ())
        yes = [each for each in known if each.type == "grant" and each.actor == "subject" and each.at > self.at]
        # Nobody could look at what came late: their time begins now, unless the person has been clear since.
        self._add("hold", self.address, "hold", Scope(), None, at=self.at if yes else self.now)
        if yes or not any(each.type == "grant" for each in known):
            return None
        hours = pack.default().review_h
        return (
            f"Unclear whether {self.address} wants no more marketing. It is held; if nobody looks within {hours:g} h, "
            f"it counts as a no. To end this: hub consent resolve {self.address} --stop (or --keep)"
        )

    def reopened(self) -> bool:
        """Whether a no of theirs has been taken back."""
        return _refusal(events(self.connection, [self.address])[self.address], self.medium, self.now) is None

    def _add(
        self,
        kind: Literal["revoke", "grant", "hold"],
        subject: str,
        change: str,
        scope: Scope,
        reason: str | None,
        *,
        at: datetime | None = None,
    ) -> None:
        basis = "express" if kind == "grant" else None
        entry = Event(
            kind, at or self.at, subject, "subject", scope, basis=basis, reason=reason, verified=True,
            source="keyword", evidence=self.evidence,
        )  # fmt: skip
        self._append(entry, change)

    def _append(self, entry: Event, change: str) -> None:
        append(self.connection, entry, change=change, channel=self.channel, source="keyword", now=self.now)
        if not entry.subject.startswith("customer:"):
            digest(self.connection, entry.subject, self.now)


class PreferenceLinks:
    """Links to somebody's page, ``{public_url}/preferences/<token>``. They do not expire: a no is always welcome."""

    def __init__(self, public_url: str, secret: bytes) -> None:
        self._public_url = public_url
        self._serializer = URLSafeSerializer(secret, salt="preferences")

    def make(self, address: str, topic: str | None = None) -> str:
        """``topic``: what its one click refuses; the page is about all of them."""
        return f"{self._public_url}/preferences/{self._serializer.dumps([address, topic] if topic else address)}"

    def read(self, token: str) -> tuple[str, str | None] | None:
        """The address and the topic that a token names; None if it is forged."""
        try:
            value = self._serializer.loads(token)
        except BadSignature:
            return None
        match value:
            case str():
                return value, None
            case [str() as address, str() as topic]:
                return address, topic
        return None
