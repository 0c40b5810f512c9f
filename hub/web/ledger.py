"""``/local/v1/consent``: the ledger for the commands on this machine: look, write by hand, import, export."""

from __future__ import annotations

import hashlib
import json
from datetime import datetime
from typing import Annotated, Any, Literal

import sqlalchemy as sa
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, StringConstraints, ValidationError, model_validator
from pydantic_core import ErrorDetails
from sqlalchemy import Connection

from hub import consent, customers, feedback, identity
from hub.confirmations import not_erased
from hub.consent import Source
from hub.context import Context
from hub.customers import parse_address
from hub.model import Proof, private_id, public_id, readable
from hub.outbound.judge import whereabouts_of
from hub.policy import pack
from hub.policy.address import spellings
from hub.policy.advice import told
from hub.policy.ledger import ANY, Book, Event, Scope, Target
from hub.policy.places import Known, whereabouts
from hub.policy.quiet import zone_of
from hub.store.schema import consent_event, customer, hold
from hub.store.schema import identity as identity_table
from hub.web.api.problem import not_found
from hub.web.api.route import Answer, Call, Route

Word = Annotated[str, StringConstraints(min_length=1, max_length=200, strip_whitespace=True)]
Basis = Literal[
    "express_written", "express", "double_opt_in", "soft_opt_in", "implied_purchase", "implied_inquiry",
]  # fmt: skip


class Entry(BaseModel):
    """One row of an import, or one word written by hand. ``at``: when the person said it."""

    model_config = ConfigDict(extra="forbid")

    type: Literal["grant", "revoke", "resolve"]
    address: Word = Field(description='Address ("tel:+447700900123"), or "cus_…" for the person on all of them.')
    channel: Word = Field(ANY, description='Medium ("sms"); a permission has to name one.')
    purpose: Literal["marketing", "transactional", "*"] = "marketing"
    topic: Word = ANY
    sender: Word = ANY
    basis: Basis | None = None
    source: Word | None = Field(None, description="Where it was said: website, shop, call, paper form.")
    at: AwareDatetime | None = None
    evidence: str = Field("", max_length=4000, description="Wording shown, page, document: what would prove it.")
    time_zone: Word | None = Field(None, description="IANA name; kept with the customer.")
    opt_out_offered: bool | None = None
    similar_products: bool | None = None

    @model_validator(mode="after")
    def _is_complete(self) -> Entry:
        if self.time_zone is not None:
            zone_of(self.time_zone)
        if not self.source:
            raise ValueError("source is missing: say where this was said (website, shop, call, paper form)")
        if self.type != "grant":
            return self
        if self.basis is None or self.at is None:
            raise ValueError("a permission needs basis and at, the time when it was given")
        if self.channel == ANY:
            raise ValueError("a permission has to name its channel (sms, email, whatsapp …)")
        if self.basis.startswith("express") and not self.evidence.strip():
            raise ValueError(f"{self.basis} needs evidence: the wording that was shown, and where it is kept")
        return self


class Entries(BaseModel):
    """``rows`` as they were read; each is judged by itself. ``origin``: the file, or who wrote. ``lines``: where each
    row began there, if not one on each line."""

    model_config = ConfigDict(extra="forbid")

    rows: Annotated[list[dict[str, Any]], Field(max_length=1000)]
    origin: Word
    way: Literal["import", "cli"] = "import"
    lines: Annotated[list[int], Field(max_length=1000)] = []

    @model_validator(mode="after")
    def _has_all_lines(self) -> Entries:
        if self.lines and len(self.lines) != len(self.rows):
            raise ValueError("lines: one for each row")
        return self


class Judged(BaseModel):
    line: int
    result: Literal["applied", "already", "refused"]
    problem: str | None = None


class JudgedView(BaseModel):
    items: list[Judged]


class LedgerEntry(BaseModel):
    id: int
    subject: str
    type: str
    actor: str
    source: str
    channel: str
    purpose: str
    topic: str
    sender: str
    basis: str | None
    reason: str | None
    at: datetime
    recorded_at: datetime
    evidence: dict[str, Any]
    hash: str | None


class Standing(BaseModel):
    """What would become of a message of each purpose, as far as the ledger has a say."""

    address: str
    purpose: str
    topic: str | None = Field(None, description="Of advertising; None: a message that names none.")
    channel: str
    verdict: str
    reason: str
    detail: str


class LedgerView(BaseModel):
    customer: str | None
    standing: list[Standing]
    entries: list[LedgerEntry]


class ExportView(BaseModel):
    items: list[LedgerEntry]
    broken: list[int] = Field([], description="Entries whose hash does not fit: somebody changed the ledger.")


class HoldView(BaseModel):
    key: str
    reason: str
    at: datetime


class HoldsView(BaseModel):
    items: list[HoldView]


class ShowQuery(BaseModel):
    model_config = ConfigDict(extra="forbid")

    at: AwareDatetime | None = Field(None, description="How things stood then; now if left out.")


class ExportQuery(BaseModel):
    model_config = ConfigDict(extra="forbid")

    after: int = Field(0, description="Id of the last entry that is known already.")
    limit: int = Field(500, ge=1, le=1000)


async def show(call: Call) -> Answer:
    query: ShowQuery = call.query
    when = query.at or call.hub.clock()

    def work(connection: Connection) -> LedgerView | None:
        who = call.path["who"]
        number = customers.find(connection, who)
        addresses = _addresses(connection, number) if number is not None else _one(who)
        secret = call.hub.context().secret
        if number is None and not any(consent.concerning(connection, secret, each) for each in addresses):
            return None
        people = tuple(consent.person(each) for each in identity.family(connection, number)) if number else ()
        standing = [each for address in addresses for each in _standing(connection, call, address, when)]
        return LedgerView(
            customer=public_id("customer", number) if number else None,
            standing=standing,
            entries=_entries(connection, [*addresses, *people], when),
        )

    found = await call.hub.store.read(work)
    if found is None:
        raise not_found("customer or address", call.path["who"])
    return Answer.of(found)


def _one(who: str) -> list[str]:
    try:
        return [str(parse_address(who))]
    except ValueError:
        return []


def _addresses(connection: Connection, number: int) -> list[str]:
    people = identity.family(connection, number)
    query = sa.select(identity_table.c.address).where(identity_table.c.customer_id.in_(people))
    return list(connection.execute(query.order_by(identity_table.c.id)).scalars())


_PROFILE = (
    sa.select(identity_table.c.address, customer.c.time_zone, customer.c.country, customer.c.attributes)
    .join(customer, customer.c.id == identity_table.c.customer_id)
)  # fmt: skip


def _standing(connection: Connection, call: Call, address: str, when: datetime) -> list[Standing]:
    """As a message is decided on, or was; but for where the person lives, which is known as of today."""
    scheme, _, value = address.partition(":")
    policy, secret = pack.default(), call.hub.context().secret
    known = identity.find(connection, [address]).get(address)
    people = tuple(map(consent.person, identity.family_at(connection, known, when))) if known is not None else ()
    profile = connection.execute(_PROFILE.where(identity_table.c.address == address)).first()
    where = whereabouts(Known(number=value if scheme == "tel" else None), policy)
    if profile is not None:
        where = whereabouts_of(profile, policy)
    answers = known is not None and known.proof is not Proof.claimed
    media = {each.medium for each in call.hub.channels.values() if each.role == "contact" and each.scheme == scheme}
    found = []
    for medium in sorted(media) or [ANY]:
        topics = [("marketing", topic) for topic in (None, *call.hub.settings.topics)]
        for purpose, topic in (("reply", None), ("transactional", None), *topics):
            target = Target(address, medium, purpose, topic, jurisdiction=where.jurisdiction, persons=people)
            made = consent.standing(connection, target, when, secret, answers=answers)
            found.append(
                Standing(
                    address=address,
                    purpose=purpose,
                    topic=topic,
                    channel=medium,
                    verdict=made.word,
                    reason=made.reason,
                    detail=made.detail,
                )
            )
    return found


def _entries(connection: Connection, subjects: list[str], until: datetime) -> list[LedgerEntry]:
    names = {name for each in subjects for name in spellings(each)}
    query = sa.select(consent_event).where(consent_event.c.address.in_(names), consent_event.c.recorded_at <= until)
    return [_shown(row) for row in connection.execute(query.order_by(consent_event.c.id))]


def _shown(row: Any) -> LedgerEntry:
    return LedgerEntry(
        id=row.id,
        subject=row.address,
        type=row.kind,
        actor=row.actor,
        source=row.source,
        channel=row.scope_channel,
        purpose=row.scope_purpose,
        topic=row.scope_topic,
        sender=row.scope_sender,
        basis=row.basis,
        reason=row.reason,
        at=row.occurred_at,
        recorded_at=row.recorded_at,
        evidence=json.loads(row.evidence),
        hash=row.hash.hex() if row.hash else None,
    )


async def export(call: Call) -> Answer:
    query: ExportQuery = call.query

    def work(connection: Connection) -> ExportView:
        wanted = sa.select(consent_event).where(consent_event.c.id > query.after)
        items = [_shown(row) for row in connection.execute(wanted.order_by(consent_event.c.id).limit(query.limit))]
        last = len(items) < query.limit
        return ExportView(items=items, broken=list(consent.broken_links(connection)) if last else [])

    return Answer.of(await call.hub.store.read(work))


async def write(call: Call) -> Answer:
    """Each row by itself: what cannot be taken is named, the rest is applied."""
    draft: Entries = call.body

    def work(connection: Connection, context: Context) -> JudgedView:
        items = []
        for line, row in zip(draft.lines or range(1, len(draft.rows) + 1), draft.rows, strict=True):
            try:
                items.append(_apply(connection, context, row, line, draft))
            except ValidationError as error:
                items.append(Judged(line=line, result="refused", problem=_problem(error)))
            except ValueError as error:
                items.append(Judged(line=line, result="refused", problem=str(error)))
        return JudgedView(items=items)

    return Answer.of(await call.hub.write(work))


async def holds(call: Call) -> Answer:
    def work(connection: Connection) -> HoldsView:
        rows = connection.execute(sa.select(hold).order_by(hold.c.at)).all()
        return HoldsView(items=[HoldView(key=row.key, reason=row.reason, at=row.at) for row in rows])

    return Answer.of(await call.hub.store.read(work))


async def release(call: Call) -> Answer:
    key = call.path["key"]
    if not await call.hub.write(lambda connection, _: feedback.lift(connection, key)):
        raise not_found("hold", key)
    return await holds(call)


def _problem(error: ValidationError) -> str:
    return "; ".join(_words(each) for each in error.errors(include_url=False, include_context=False))


def _words(error: ErrorDetails) -> str:
    place = ".".join(map(str, error["loc"]))
    match error["type"]:
        case "missing":
            return f"{place} is missing"
        case "extra_forbidden":
            return f"unknown column {place}; there are {', '.join(Entry.model_fields)}"
    words = error["msg"].removeprefix("Value error, ")
    return f"{place}: {words}" if place else words


def _apply(connection: Connection, context: Context, row: dict[str, Any], line: int, draft: Entries) -> Judged:
    """Raises: ValueError, ValidationError."""
    entry = Entry.model_validate({name: value for name, value in row.items() if value not in ("", None)})
    if entry.type == "resolve" and draft.way == "import":
        raise ValueError("a review is ended by hand: hub consent resolve")
    subject = _subject(connection, entry)
    scope = Scope(entry.channel, entry.purpose, entry.topic, entry.sender)
    rejected = None
    if entry.type == "grant":
        not_erased(connection, context, subject)
        rejected = _rejected(connection, context, subject, scope, by_hand=draft.way == "cli")
    elif (at := consent.kept_out(connection, context.secret, subject)) is not None:
        words = f"SUPP_ERASED: they were erased on {readable(at)}; nothing goes there, so nothing was recorded"
        return Judged(line=line, result="already", problem=words)
    actor: Literal["import", "agent"] = "import" if draft.way == "import" else "agent"
    evidence: dict[str, Any] = {"says": entry.evidence, "source": entry.source, "origin": draft.origin}
    if draft.way == "import":
        evidence["row"] = line
    evidence |= {name: getattr(entry, name) for name in _FLAGS if getattr(entry, name) is not None}
    made = Event(
        type=entry.type,
        at=min(entry.at or context.now, context.now),
        subject=subject,
        actor=actor,
        scope=scope,
        basis=entry.basis,
        source=draft.way,
        evidence=evidence,
    )
    change = consent.word("opt_in" if entry.type == "grant" else "opt_out", scope)
    if rejected is not None:
        change = "rejected"
    if entry.type == "resolve":
        _not_too_late(connection, context, subject)
        change = "resolved"
    source: Source = draft.way
    key = hashlib.sha256(json.dumps([subject, entry.model_dump(mode="json")], sort_keys=True).encode()).hexdigest()
    number = consent.append(
        connection,
        made,
        change=change,
        channel=None,
        source=source,
        now=context.now,
        key=f"{draft.way}:{key}" if draft.way == "import" else None,
    )
    if rejected is not None:
        return Judged(line=line, result="refused", problem=rejected)
    if entry.time_zone is not None:
        _keep_zone(connection, subject, entry.time_zone)
    if not subject.startswith("customer:"):
        consent.digest(connection, subject, context.now)
    return Judged(line=line, result="already" if number is None else "applied")


_FLAGS = ("opt_out_offered", "similar_products")


def _subject(connection: Connection, entry: Entry) -> str:
    if not entry.address.startswith("cus_"):
        return str(parse_address(entry.address))
    if entry.type == "grant":
        raise ValueError("a permission is for one address: name it instead of the customer")
    number = customers.find(connection, entry.address)
    if number is None:
        raise ValueError(f"no customer is known as {entry.address!r}")
    return consent.person(number)


def _rejected(
    connection: Connection, context: Context, subject: str, scope: Scope, *, by_hand: bool
) -> str | None:
    """Why a permission is recorded without effect: the person's own no. By hand a colleague's block is lifted.

    Raises: ValueError if the address is closed for another reason.
    """
    people: tuple[str, ...] = ()
    known = identity.find(connection, [subject]).get(subject)
    if known is not None:
        people = tuple(consent.person(each) for each in identity.family(connection, known.customer_id))
    topic = None if scope.topic == ANY else scope.topic
    sender = None if scope.sender == ANY else scope.sender
    target = Target(subject, scope.channel, "marketing", topic, sender, persons=people)
    book = Book(consent.concerning(connection, context.secret, subject, people), target, context.now, pack.default())
    if (against := book.revoked()) is not None:
        words = f"{against.reason}, {against.detail}; only the person can take that back"
        return f"GRANT_REJECTED_PRIOR_REVOKE: {words}; recorded, without effect"
    if (block := book.suppressed()) is None:
        return None
    if block.reason != "SUPP_MANUAL" or not by_hand:
        raise ValueError(told(block.reason, block.detail))
    lift = Event("lift", context.now, subject, "agent", reason="manual", source="cli")
    consent.append(connection, lift, change="lifted", channel=None, source="cli", now=context.now)
    return None


def _not_too_late(connection: Connection, context: Context, subject: str) -> None:
    """An unclear message at which nobody looked in time is a no by now."""
    known = consent.events(connection, [subject]).get(subject, ())
    book = Book(known, Target(subject, ANY, "marketing"), context.now, pack.default())
    over = book.held()
    if over is not None and over.word == "block" and book.revoked() is None:
        raise ValueError(f"{over.detail} in time, so it counts as a no; only they can take that back, by START")


def _keep_zone(connection: Connection, subject: str, zone: str) -> None:
    known = identity.find(connection, [subject]).get(subject)
    number = known.customer_id if known else None
    if subject.startswith("customer:"):
        number = private_id("customer", subject.partition(":")[2])
    if number is not None:
        connection.execute(sa.update(customer).where(customer.c.id == number).values(time_zone=zone))


ROUTES = (
    Route("GET", "/consent/{who}", show, "Ledger and standing of a customer or an address", "admin", LedgerView,
          query=ShowQuery),
    Route("GET", "/consent", export, "The whole ledger, oldest first", "admin", ExportView, query=ExportQuery),
    Route("GET", "/holds", holds, "What sends nothing until somebody has looked", "admin", HoldsView),
    Route("DELETE", "/holds/{key}", release, "Let it send again", "admin", HoldsView),
    Route("POST", "/consent", write, "Entries written by hand or imported", "admin", JudgedView, body=Entries),
)
