"""What was said and what became of it, to be read: the same views for the API, the commands and the demo."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import Any, Literal

import sqlalchemy as sa
from pydantic import BaseModel, Field
from sqlalchemy import Connection

from hub import identity, media, quotes
from hub.model import Attachment, decode_content, public_id
from hub.store.base import chunks
from hub.store.schema import amendment, attempt, conversation, customer, decision, delivery, message, receipt
from hub.store.schema import identity as identity_table

Link = Callable[[int, str | None], str]  # a media row's id and name → a signed URL
_PENDING = ("queued", "sending", "indoubt")


class AuthorView(BaseModel):
    kind: str
    name: str


class FileView(BaseModel):
    kind: str
    name: str | None = None
    mime: str | None = None
    size: int | None = Field(None, description="Bytes.")
    state: str = Field(description="pending, stored or failed.")
    url: str | None = Field(None, description="Where to get it, for some days.")
    error: str | None = None


class Choice(BaseModel):
    id: str
    title: str


class Place(BaseModel):
    latitude: float
    longitude: float
    name: str | None = None
    address: str | None = None


class AmendmentView(BaseModel):
    """A later fact about a message: an edit, a deletion, a reaction (+👍 or, taken back, -👍)."""

    kind: str
    by: str
    value: str
    at: datetime


class MessageView(BaseModel):
    id: str
    conversation: str
    direction: Literal["in", "out", "note"] = Field(description="note: for the business only.")
    channel: str = Field(description="Where it was written: a channel, the desk, api.")
    via: str | None = Field(None, description="The channel it went out by.")
    address: str | None = Field(None, description="Whom it came from or went to.")
    author: AuthorView
    purpose: str
    subject: str | None = None
    text: str
    attachments: list[FileView] = []
    buttons: list[Choice] = []
    selection: Choice | None = None
    location: Place | None = None
    unsupported: str | None = Field(None, description="The provider's name of a kind that cannot be shown.")
    reply_to: str | None = Field(None, description="The message that it answers, reacts to or tells of.")
    automatic: bool = Field(False, description="Written by a machine.")
    at: datetime = Field(description="When it was written, as the provider says.")
    recorded_at: datetime
    state: str = Field(description="received, note, or how far the delivery is.")
    reason: str | None = None
    amendments: list[AmendmentView] = []


class CheckView(BaseModel):
    name: str
    ok: bool
    detail: str


class DecisionView(BaseModel):
    at: datetime
    verdict: str
    reason: str
    all_reasons: list[str] = []
    checks: list[CheckView] = []
    not_before: datetime | None = None
    policy_version: str | None = None


class AttemptView(BaseModel):
    number: int
    started_at: datetime
    finished_at: datetime | None = None
    outcome: str | None = None
    code: str | None = None
    detail: str | None = None


class ReceiptView(BaseModel):
    part: int
    external_id: str
    state: str
    detail: dict[str, Any] | str = {}
    at: datetime


class DeliveryView(BaseModel):
    id: str
    kind: str = Field(description="contact: to the customer; post: shown at the desk.")
    channel: str
    address: str | None = None
    state: str
    reason: str | None = None
    code: str | None = None
    created_at: datetime
    expires_at: datetime
    next_try_at: datetime | None = Field(None, description="When it is looked at next, while it waits.")
    decisions: list[DecisionView] = []
    attempts: list[AttemptView] = []
    receipts: list[ReceiptView] = []


class MessageDetail(MessageView):
    customer: str
    external_id: str | None = None
    html: str | None = None
    full_text: str | None = Field(None, description="The whole mail where text is only its new part.")
    deliveries: list[DeliveryView] = []


class ConversationView(BaseModel):
    id: str
    customer: str
    customer_name: str | None = None
    state: str
    assignee: str | None = None
    priority: int = 0
    labels: list[str] = []
    opened_at: datetime
    last_at: datetime
    waiting_since: datetime | None = None
    snoozed_until: datetime | None = None
    resolved_at: datetime | None = None
    reply_channel: str | None = None
    preview: str = ""


# --- timelines ---


def timeline(
    connection: Connection, link: Link, customer_id: int, *, before: int | None = None, limit: int = 50
) -> list[tuple[int, MessageView]]:
    """(row id, message) of a customer and all merged into them, on every channel, newest first. Notes included."""
    people = identity.family(connection, customer_id)
    theirs = sa.select(message).join(conversation, conversation.c.id == message.c.conversation_id)
    return _newest(connection, link, theirs.where(conversation.c.customer_id.in_(people)), before, limit)


def episode(
    connection: Connection, link: Link, conversation_id: int, *, before: int | None = None, limit: int = 50
) -> list[tuple[int, MessageView]]:
    """(row id, message) of one conversation, newest first. Notes included."""
    its = sa.select(message).where(message.c.conversation_id == conversation_id)
    return _newest(connection, link, its, before, limit)


def _newest(
    connection: Connection, link: Link, query: sa.Select[Any], before: int | None, limit: int
) -> list[tuple[int, MessageView]]:
    if before is not None:
        query = query.where(message.c.id < before)
    rows = connection.execute(query.order_by(message.c.id.desc()).limit(limit)).all()
    values = _plain(connection, link, rows)
    return [(row.id, MessageView(**each)) for row, each in zip(rows, values, strict=True)]


def explain(connection: Connection, link: Link, message_id: int) -> MessageDetail | None:
    """One message with everything that happened to it: deliveries, decisions, attempts, receipts, amendments."""
    row = connection.execute(sa.select(message).where(message.c.id == message_id)).first()
    if row is None:
        return None
    [values] = _plain(connection, link, [row])
    content = decode_content(row.content)
    who = (
        sa.select(sa.func.coalesce(customer.c.merged_into, customer.c.id))
        .join(conversation, conversation.c.customer_id == customer.c.id)
        .where(conversation.c.id == row.conversation_id)
    )
    return MessageDetail(
        **values,
        customer=public_id("customer", connection.execute(who).scalar_one()),
        external_id=row.external_id,
        html=content.html,
        full_text=content.full_text,
        deliveries=_deliveries(connection, message_id),
    )


def message_of(connection: Connection, delivery_id: int) -> int | None:
    """The message a delivery carries."""
    query = sa.select(delivery.c.message_id).where(delivery.c.id == delivery_id)
    return connection.execute(query).scalar_one_or_none()


def _plain(connection: Connection, link: Link, rows: Sequence[Any]) -> list[dict[str, Any]]:
    ids = [row.id for row in rows]
    sent = _sent(connection, ids)
    files = media.of_messages(connection, ids)
    later = _amendments(connection, ids)
    about = quotes.targets(connection, [_reply(row, sent.get(row.id)) for row in rows])
    written_by = {row.identity_id for row in rows if row.identity_id is not None}
    addresses = _addresses(connection, written_by | {each.identity_id for each in sent.values()})
    return [
        _message(row, link, sent.get(row.id), files.get(row.id, []), addresses)
        | {"amendments": later.get(row.id, []), "reply_to": _named(about.get(row.id))}
        for row in rows
    ]


def _reply(row: Any, going: Any | None) -> quotes.Reply:
    """What an agent reacts to is named as on the channel where it is."""
    return row.id, row.conversation_id, going.channel if going else row.channel, row.reply_to


def _named(target: tuple[int, str] | None) -> str | None:
    return public_id("message", target[0]) if target else None


def _message(
    row: Any, link: Link, going: Any | None, files: Sequence[media.File], addresses: dict[int, str]
) -> dict[str, Any]:
    content = decode_content(row.content)
    direction = "in" if row.inbound else "note" if row.purpose == "note" else "out"
    shown = [_file(file, link) for file in files] or [_unfetched(each) for each in content.attachments]
    return {
        "id": public_id("message", row.id),
        "conversation": public_id("conversation", row.conversation_id),
        "direction": direction,
        "channel": row.channel,
        "via": going.channel if going else None,
        "address": addresses.get(going.identity_id if going else row.identity_id),
        "author": AuthorView(kind=row.author_kind, name=row.author_name),
        "purpose": row.purpose,
        "subject": content.subject,
        "text": content.text,
        "attachments": shown,
        "buttons": [Choice(id=each.id, title=each.title) for each in content.buttons],
        "selection": content.selection and Choice(id=content.selection.id, title=content.selection.title),
        "location": content.location and _place(content.location),
        "unsupported": content.unsupported,
        "automatic": bool(row.automatic),
        "at": row.provider_at,
        "recorded_at": row.recorded_at,
        "state": {"in": "received", "note": "note"}.get(direction) or (going.state if going else "unsent"),
        "reason": going.reason if going else None,
    }


def _place(found: Any) -> Place:
    return Place(latitude=found.latitude, longitude=found.longitude, name=found.name, address=found.address)


def _file(file: media.File, link: Link) -> FileView:
    name = file.name or file.source.name
    url = link(file.id, name) if file.state == "stored" else None
    return FileView(
        kind=file.source.kind, name=name, mime=file.mime, size=file.size, state=file.state, url=url, error=file.error
    )


def _unfetched(file: Attachment) -> FileView:
    return FileView(kind=file.kind, name=file.name, mime=file.mime, size=file.size, state="pending")


def _sent(connection: Connection, message_ids: Iterable[int]) -> dict[int, Any]:
    """Each message's last delivery to the customer."""
    found: dict[int, Any] = {}
    columns = (
        delivery.c.message_id, delivery.c.channel, delivery.c.state, delivery.c.reason, delivery.c.identity_id
    )
    for some in chunks(message_ids):
        query = sa.select(*columns).where(delivery.c.message_id.in_(some), delivery.c.kind == "contact")
        found.update((row.message_id, row) for row in connection.execute(query.order_by(delivery.c.id)))
    return found


def _addresses(connection: Connection, identity_ids: Iterable[int | None]) -> dict[int, str]:
    found: dict[int, str] = {}
    for some in chunks(number for number in identity_ids if number is not None):
        query = sa.select(identity_table.c.id, identity_table.c.address).where(identity_table.c.id.in_(some))
        found.update((row.id, row.address) for row in connection.execute(query))
    return found


def _amendments(connection: Connection, message_ids: Iterable[int]) -> dict[int, list[AmendmentView]]:
    found: defaultdict[int, list[AmendmentView]] = defaultdict(list)
    for some in chunks(message_ids):
        query = sa.select(amendment).where(amendment.c.message_id.in_(some)).order_by(amendment.c.id)
        for row in connection.execute(query):
            found[row.message_id].append(AmendmentView(kind=row.kind, by=row.by, value=row.value, at=row.at))
    return found


# --- what became of a message ---


def _deliveries(connection: Connection, message_id: int) -> list[DeliveryView]:
    wanted = sa.select(delivery).where(delivery.c.message_id == message_id, delivery.c.kind.in_(("contact", "post")))
    rows = connection.execute(wanted.order_by(delivery.c.id)).all()
    addresses = _addresses(connection, {row.identity_id for row in rows})
    return [
        DeliveryView(
            id=public_id("delivery", row.id),
            kind=row.kind,
            channel=row.channel,
            address=addresses.get(row.identity_id),
            state=row.state,
            reason=row.reason,
            code=row.code,
            created_at=row.created_at,
            expires_at=row.expires_at,
            next_try_at=row.due_at if row.state in _PENDING else None,
            decisions=_decisions(connection, row.id),
            attempts=_attempts(connection, row.id),
            receipts=_receipts(connection, row.id),
        )
        for row in rows
    ]


def _decisions(connection: Connection, delivery_id: int) -> list[DecisionView]:
    query = sa.select(decision).where(decision.c.delivery_id == delivery_id).order_by(decision.c.id)
    return [
        DecisionView(at=row.at, verdict=row.verdict, reason=row.reason, **json.loads(row.detail))
        for row in connection.execute(query)
    ]


def _attempts(connection: Connection, delivery_id: int) -> list[AttemptView]:
    query = sa.select(attempt).where(attempt.c.delivery_id == delivery_id).order_by(attempt.c.id)
    names = AttemptView.model_fields
    return [AttemptView(**{name: getattr(row, name) for name in names}) for row in connection.execute(query)]


def _receipts(connection: Connection, delivery_id: int) -> list[ReceiptView]:
    query = sa.select(receipt).where(receipt.c.delivery_id == delivery_id).order_by(receipt.c.id)
    return [
        ReceiptView(
            part=max(row.part, -1 - row.part),
            external_id=row.external_id,
            state=row.state,
            detail=_detail(row.detail),
            at=row.at,
        )
        for row in connection.execute(query)
    ]


def _detail(text: str) -> dict[str, Any] | str:
    """What the provider said: figures as JSON, or why it failed in words."""
    try:
        value = json.loads(text)
    except ValueError:
        return text
    return value if isinstance(value, dict) else text


# --- conversations ---


def conversations(
    connection: Connection,
    *,
    state: str | None = None,
    assignee: str | None = None,
    unassigned: bool = False,
    people: Sequence[int] | None = None,
    before: int | None = None,
    limit: int = 50,
) -> list[tuple[int, ConversationView]]:
    """(row id, conversation), newest first. ``people``: only conversations of these customers."""
    query = _CONVERSATIONS
    if state is not None:
        query = query.where(conversation.c.state == state)
    if assignee is not None:
        query = query.where(conversation.c.assignee == assignee)
    if unassigned:
        query = query.where(conversation.c.assignee.is_(None))
    if people is not None:
        query = query.where(conversation.c.customer_id.in_(people))
    if before is not None:
        query = query.where(conversation.c.id < before)
    rows = connection.execute(query.order_by(conversation.c.id.desc()).limit(limit)).all()
    return [(row.id, _conversation(row)) for row in rows]


def one_conversation(connection: Connection, conversation_id: int) -> ConversationView | None:
    row = connection.execute(_CONVERSATIONS.where(conversation.c.id == conversation_id)).first()
    return _conversation(row) if row else None


_PERSON = customer.alias("person")  # who a merged customer is now
_CONVERSATIONS = (
    sa.select(
        conversation,
        sa.func.coalesce(customer.c.merged_into, customer.c.id).label("person_id"),
        _PERSON.c.name.label("person_name"),
    )
    .join(customer, customer.c.id == conversation.c.customer_id)
    .join(_PERSON, _PERSON.c.id == sa.func.coalesce(customer.c.merged_into, customer.c.id))
)
_SAME = (
    "state", "assignee", "priority", "opened_at", "last_at", "waiting_since", "snoozed_until", "resolved_at",
    "reply_channel", "preview",
)


def _conversation(row: Any) -> ConversationView:
    return ConversationView(
        id=public_id("conversation", row.id),
        customer=public_id("customer", row.person_id),
        customer_name=row.person_name,
        labels=json.loads(row.labels),
        **{name: getattr(row, name) for name in _SAME},
    )
