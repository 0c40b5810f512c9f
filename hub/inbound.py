"""From the inbox to conversations: translate raw requests, then apply a batch of events in one transaction."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from itertools import groupby
from operator import attrgetter
from typing import Any

import msgspec
import sqlalchemy as sa
from sqlalchemy import Connection

from hub import (
    albums,
    amendments,
    approvals,
    consent,
    continuation,
    conversations,
    deliveries,
    desk,
    echoes,
    feedback,
    identity,
    media,
    moves,
    statuses,
    unsent,
)
from hub.channels import Channel
from hub.context import Context
from hub.contract import (
    AccountChanged,
    ActionTaken,
    AnyAdapter,
    ConsentChanged,
    Event,
    MessageDeleted,
    MessageEchoed,
    MessageEdited,
    MessageReceived,
    Reacted,
    Request,
    StatusChanged,
    Unparseable,
)
from hub.model import Content, Proof, encode, is_public_id, private_id
from hub.quotes import deletion_key, digest, find_message, message_key
from hub.store.base import InboxRow, chunks
from hub.store.bulk import insert_many, select_many
from hub.store.schema import (
    alert,
    conversation,
    customer,
    delivery,
    event,
    inbox,
    message,
    quarantine,
)
from hub.store.schema import identity as identity_table

_NOT_REDEEMED = continuation.Redeemed(None, None)
_ANCESTORS = 5  # of a mail that are looked for, the nearest first
_encoder = msgspec.json.Encoder()
_headers = msgspec.json.Decoder(dict[str, str])
_beside_text = attrgetter(
    "subject", "forwarded", "html", "attachments", "location", "selection", "unsupported", "full_text"
)


@dataclass(slots=True)
class Translated:
    """What an adapter made of one inbox row. ``error``: it could make nothing of it."""

    row: InboxRow
    channel: Channel | None
    events: list[Event] = field(default_factory=list)
    error: str | None = None


@dataclass(slots=True)
class Fresh:
    """An event that has had no effect yet. ``message_id``: given to a new message."""

    source: Translated
    channel: Channel
    event: Event
    message_id: int | None


def request_of(row: InboxRow) -> Request:
    return Request(row.method, row.url, _headers.decode(row.headers), row.body, row.received_at)


def translate(row: InboxRow, channel: Channel | None, adapter: AnyAdapter | None) -> Translated:
    """Never raises: whatever an adapter does to one request stays with that request."""
    if channel is None or adapter is None:
        return Translated(row, None, error=f"no channel named {row.channel!r} is configured")
    try:
        return Translated(row, channel, adapter.receive(request_of(row)))
    except Unparseable as error:
        return Translated(row, channel, error.events, error=str(error))
    except Exception as error:
        return Translated(row, channel, error=f"{type(error).__name__} in the adapter")


def apply(connection: Connection, context: Context, batch: Sequence[Translated]) -> int:
    """Give every event its effect, once. Returns how many messages of customers are new."""
    _quarantine(connection, context, [each for each in batch if each.error is not None])
    count = 0
    # In the order they came: a customer who writes after the agent resolved reopens, before that does not.
    for kind, run in groupby(_fresh(connection, context, batch), key=_kind):
        fresh = list(run)
        if kind == "echo":
            echoes.show(connection, context, [
                (each.channel, each.event, each.source.row.id)
                for each in fresh if isinstance(each.event, MessageEchoed)
            ])
        elif kind == "contact":
            count += _from_customers(connection, context, fresh)
        elif kind == "move":  # who is behind an address is another one from here on
            for each in fresh:
                count += _from_customers(connection, context, [each])
        else:
            for each in fresh:
                desk.handle(connection, context, each.channel, each.event, each.message_id, each.source.row.id)
                _amend(connection, context, [each])
    _keep_no_echoes(connection, batch)
    return count


def _keep_no_echoes(connection: Connection, batch: Sequence[Translated]) -> None:
    """What the desk tells that means nothing to us: our own posts come back, with what customers wrote in them."""
    silent = {each.row.id for each in batch if each.channel and each.channel.role == "desk"}
    silent -= {each.row.id for each in batch if each.events or each.error is not None}
    for some in chunks(silent):
        connection.execute(sa.update(inbox).where(inbox.c.id.in_(some)).values(body=b"{}"))


def _kind(fresh: Fresh) -> str:
    if isinstance(fresh.event, MessageReceived) and fresh.event.former and fresh.channel.role == "contact":
        return "move"
    return "echo" if isinstance(fresh.event, MessageEchoed) else fresh.channel.role


def _from_customers(connection: Connection, context: Context, fresh: Sequence[Fresh]) -> int:
    count = _messages(connection, context, fresh)
    for each in fresh:
        if isinstance(each.event, ConsentChanged):
            _consent_changed(connection, context, each, each.event)
        elif isinstance(each.event, AccountChanged):
            _account_changed(connection, context, each.channel, each.event)
    _amend(connection, context, fresh)
    found = [(each.channel.name, each.event) for each in fresh if isinstance(each.event, StatusChanged)]
    statuses.apply(connection, context, found)
    return count


# --- once ---


def event_key(channel: str, happening: Event) -> bytes | None:
    """What makes two deliveries the same event; None where repeating does no harm."""
    match happening:
        case MessageReceived():
            return digest(channel, "message", happening.external_id)
        case ConsentChanged():
            return digest(channel, "consent", happening.external_id, happening.change)
        case MessageEdited():
            files = [each.content_id for each in happening.attachments if each.content_id is not None]
            return digest(channel, "edit", happening.external_id, happening.at.isoformat(), happening.text, *files)
        case MessageDeleted():
            return deletion_key(channel, happening.external_id)
        case Reacted():
            sender, at = str(happening.sender.address), happening.at.isoformat()
            told = "-" if happening.removed else "+", happening.event_id
            return digest(channel, "reaction", happening.external_id, sender, happening.emoji, at, *told)
        case ActionTaken():
            return digest(channel, "action", happening.external_id)
        case AccountChanged():
            return digest(channel, "account", happening.external_id)
        case MessageEchoed():
            return digest(channel, "echo", happening.external_id)
        case _:
            return None


def _fresh(connection: Connection, context: Context, batch: Sequence[Translated]) -> list[Fresh]:
    """The events without those that were applied before, or that come twice in the batch."""
    items = [
        (each, each.channel, happening, event_key(each.channel.name, happening))
        for each in batch
        if each.channel is not None
        for happening in each.events
    ]
    keys_of_all = [key for *_, key in items if key is not None]
    seen = {row[0] for row in select_many(connection, event, ("key",), "key", keys_of_all)}
    fresh: list[Fresh] = []
    keys: list[dict[str, Any]] = []
    again: list[tuple[bytes, int, str]] = []
    ids = iter(context.ids.take(len(keys_of_all)))
    for source, channel, happening, key in items:
        if key is None:
            fresh.append(Fresh(source, channel, happening, None))
        elif key not in seen:
            seen.add(key)
            message_id = next(ids) if isinstance(happening, MessageReceived) else None
            keys.append({"key": key, "message_id": message_id})
            fresh.append(Fresh(source, channel, happening, message_id))
        elif isinstance(happening, MessageReceived | MessageEdited) and channel.role == "contact":
            again.append((deletion_key(channel.name, happening.external_id), source.row.id, happening.external_id))
    insert_many(connection, event, keys)
    gone = {row[0] for row in select_many(connection, event, ("key",), "key", [each[0] for each in again])}
    for key, inbox_id, external_id in dict.fromkeys(again):
        if key in gone:  # they took it back, and it was brought once more
            unsent.forget(connection, [inbox_id], external_id)
    return fresh


# --- messages of customers ---


def _messages(connection: Connection, context: Context, contact: Sequence[Fresh]) -> int:
    arrived = [
        (each, each.event, each.message_id)
        for each in contact
        if isinstance(each.event, MessageReceived) and each.message_id is not None
    ]
    if not arrived:
        return 0
    redeemed: dict[int, continuation.Redeemed] = {}
    if any(continuation.token_in(happening) for _, happening, _ in arrived):
        came = [(each.channel.name, happening, message_id) for each, happening, message_id in arrived]
        redeemed = continuation.redeem(connection, context, came)
        arrived = [(each, continuation.plain(happening), message_id) for each, happening, message_id in arrived]
    moved = {
        message_id: words
        for _, happening, message_id in arrived
        if happening.former and (words := moves.follow(connection, context, happening))
    }
    for _, happening, message_id in arrived:
        if message_id in moved and content_of(happening).empty():
            _tell_moved(connection, context, happening, moved[message_id])
    arrived = [each for each in arrived if not (each[1].former and content_of(each[1]).empty())]
    people = _people(connection, context, [happening for _, happening, _ in arrived])
    _lift_blocks(connection, context, [(each, happening) for each, happening, _ in arrived])
    locales = _locales(connection, {known.customer_id for known in people.values()})
    episodes = conversations.Episodes(connection, context, {known.customer_id for known in people.values()})
    rows: list[dict[str, Any]] = []
    posts: list[tuple[int, int]] = []
    notices: list[tuple[int, str]] = []
    answers: list[tuple[int, str, int, str]] = []
    wrote: list[tuple[str, int, int]] = []
    for _, happening, _ in arrived:
        if happening.album:
            happening.attachments = [replace(file, part=happening.external_id) for file in happening.attachments]
    joined = _albums(connection, arrived)
    for each, happening, message_id in arrived:
        known = people[f"{happening.sender.scheme}:{happening.sender.value}"]
        link = redeemed.get(message_id, _NOT_REDEEMED)
        hint = link.conversation or _hint(happening)
        if hint is None and (happening.reply_to or happening.references):
            hint = _referenced(connection, each.channel, happening, known)
        episode = episodes.for_message(known.customer_id, hint)
        if not happening.automatic:
            episodes.customer_wrote(episode, happening.text, each.channel.name, known.id, context.now)
            wrote.append((each.channel.name, known.customer_id, known.id))
        if message_id not in joined:
            rows.append(_row(context, each.channel, happening, message_id, known, episode.id, each.source.row.id))
            if link.notice is None or not content_of(happening).empty():  # else nothing was said but the token
                posts.append((episode.id, message_id))
        if link.notice:
            notices.append((episode.id, link.notice))
        if message_id in moved:
            notices.append((episode.id, moved[message_id]))
        notice, said = _keyword(connection, context, each, happening, known, locales.get(known.customer_id))
        if said:
            answers.append((episode.id, each.channel.name, known.id, said))
        if notice:
            notices.append((episode.id, notice))
    episodes.save()
    insert_many(connection, message, rows)
    deliveries.release(connection, context, wrote)
    for each, happening, message_id in arrived:
        inbox_id, name, files = each.source.row.id, each.channel.name, happening.attachments
        if message_id in joined:
            key = message_key(name, happening.external_id)
            albums.add(connection, context, name, inbox_id, joined[message_id], key, happening.text, files)
        elif files:
            media.expect(connection, context, name, inbox_id, [(message_id, files)])
    deliveries.to_desk(connection, context, posts)
    for episode_id, name, identity_id, said in answers:
        deliveries.answer(connection, context, episode_id, name, identity_id, said)
    for episode_id, notice in notices:
        deliveries.notify_desk(connection, context, episode_id, notice)
    return len(rows)


def _tell_moved(connection: Connection, context: Context, told: MessageReceived, words: str) -> None:
    """Where they wrote last. Whoever has a new address and says nothing begins no conversation."""
    address = str(told.sender.address)
    people = identity.family(connection, identity.find(connection, [address])[address].customer_id)
    last = sa.select(sa.func.max(conversation.c.id)).where(conversation.c.customer_id.in_(people))
    number = connection.execute(last).scalar_one()
    if number is not None:
        deliveries.tell_thread(connection, context, number, words)


def _albums(connection: Connection, arrived: Sequence[tuple[Fresh, MessageReceived, int]]) -> dict[int, int]:
    """Messages that join an earlier one, which may be among these: its id by theirs."""
    items = [
        (digest(each.channel.name, "album", str(happening.sender.address), happening.album), message_id)
        for each, happening, message_id in arrived
        if happening.album and happening.attachments
    ]
    return albums.joined(connection, items) if items else {}


def _people(
    connection: Connection, context: Context, events: Sequence[MessageReceived]
) -> dict[str, identity.Known]:
    """Whose address each sender is; customers and identities are made where there are none."""
    addresses = {f"{happening.sender.scheme}:{happening.sender.value}" for happening in events}
    people = identity.find(connection, addresses)
    customers: list[dict[str, Any]] = []
    identities: list[dict[str, Any]] = []
    for happening in events:
        party = happening.sender
        address = f"{party.scheme}:{party.value}"
        known = people.get(address)
        if known is None:
            person = identity.new_customer(context, party.name)
            row = identity.new_identity(context, person["id"], party)
            customers.append(person)
            identities.append(row)
            people[address] = identity.Known(row["id"], address, person["id"], party.proof, party.name)
        elif known.proof is Proof.claimed and party.proof is not Proof.claimed:
            identity.strengthen(connection, known, party)
            known.proof = party.proof
    identity.insert(connection, customers, identities)
    return _join(connection, context, events, people, addresses)


def _join(
    connection: Connection,
    context: Context,
    events: Sequence[MessageReceived],
    people: dict[str, identity.Known],
    addresses: set[str],
) -> dict[str, identity.Known]:
    """Attach the further addresses that senders proved to be theirs."""
    proven = [
        (happening, party)
        for happening in events
        if happening.also and happening.sender.proof is not Proof.claimed
        for party in happening.also
        if party.proof is not Proof.claimed
    ]
    if not proven:
        return people
    for happening, party in proven:
        address = str(happening.sender.address)
        owner = identity.find(connection, [address])[address]
        reason = f"{address} proved {party.address} ({party.proof})"
        identity.attach(connection, context, owner.customer_id, party, reason)
    return identity.find(connection, addresses)


def _hint(happening: MessageReceived) -> int | None:
    if happening.thread is None or not is_public_id("conversation", happening.thread):
        return None
    return private_id("conversation", happening.thread)


def _referenced(
    connection: Connection, channel: Channel, happening: MessageReceived, known: identity.Known
) -> int | None:
    """The conversation of a mail that this one names as its ancestor, if the sender takes part in it."""
    for external_id in [happening.reply_to, *reversed(happening.references)][:_ANCESTORS]:
        ancestor = find_message(connection, channel.name, external_id) if external_id else None
        if ancestor is None:
            continue
        family = identity.family(connection, known.customer_id)
        query = (
            sa.select(conversation.c.id)
            .join(message, message.c.conversation_id == conversation.c.id)
            .where(message.c.id == ancestor, conversation.c.customer_id.in_(family))
        )
        return connection.execute(query).scalar_one_or_none()
    return None


def _row(
    context: Context,
    channel: Channel,
    happening: MessageReceived,
    message_id: int,
    known: identity.Known,
    conversation_id: int,
    inbox_id: int,
) -> dict[str, Any]:
    sender = happening.sender
    return {
        "id": message_id,
        "conversation_id": conversation_id,
        "identity_id": known.id,
        "channel": channel.name,
        "inbound": True,
        "author_kind": "customer",
        "author_name": identity.called(sender, known),
        "purpose": "reply",
        "content": _content(happening),
        "external_id": happening.external_id,
        "reply_to": happening.reply_to,
        "proof": str(happening.sender.proof),
        "automatic": happening.automatic,
        "provider_at": happening.at,
        "recorded_at": context.now,
        "inbox_id": inbox_id,
    }


def _content(happening: MessageReceived) -> str:
    """As it is stored. Most messages are but text: these take little room."""
    return encode(content_of(happening) if any(_beside_text(happening)) else {"text": happening.text})


def content_of(happening: MessageReceived) -> Content:
    return Content(
        text=happening.text,
        subject=happening.subject or ("Forwarded" if happening.forwarded else None),
        html=happening.html,
        attachments=happening.attachments,
        location=happening.location,
        selection=happening.selection,
        unsupported=happening.unsupported,
        full_text=happening.full_text,
    )


# --- consent ---


def _lift_blocks(
    connection: Connection, context: Context, arrived: Sequence[tuple[Fresh, MessageReceived]]
) -> None:
    """Who had blocked us and writes has lifted that, also where no provider tells so."""
    wrote = {str(happening.sender.address): (each, happening) for each, happening in arrived if not happening.automatic}
    for address in consent.blocked(connection, wrote, context.now):
        each, happening = wrote[address]
        lifted = ConsentChanged(happening.external_id, happening.sender, "unblocked", happening.at)
        _consent_changed(connection, context, each, lifted)


@dataclass(frozen=True, slots=True)
class _Said:
    """Words of a customer. ``answered``: by the provider."""

    channel: Channel
    text: str
    external_id: str
    at: datetime
    answered: bool


def _keyword(
    connection: Connection,
    context: Context,
    fresh: Fresh,
    happening: MessageReceived,
    known: identity.Known,
    locale: str | None,
) -> tuple[str | None, str | None]:
    words = happening.text or happening.subject or ""  # an empty mail says what it says in its subject
    if not words or happening.automatic or happening.forwarded:
        return None, None
    at = min(happening.at, fresh.source.row.received_at)
    said = _Said(fresh.channel, words, happening.external_id, at, _is_answered(fresh, happening, words))
    return _hear(connection, context, said, known, locale)


def _hear(
    connection: Connection, context: Context, said: _Said, known: identity.Known, locale: str | None
) -> tuple[str | None, str | None]:
    """What somebody says about messages goes into the ledger. Returns what the desk should be told, and what they are
    answered."""
    notice, answer = consent.heard(
        connection,
        said.text,
        address=known.address,
        customer_id=known.customer_id,
        channel=said.channel.name,
        medium=said.channel.medium,
        locale=locale,
        topics=context.topics,
        external_id=said.external_id,
        at=said.at,
        now=context.now,
        answered=said.answered,
        last_outbound=lambda: _last_outbound(connection, known.id),
        family=lambda: identity.family(connection, known.customer_id),
    )
    return notice, answer.format(business=context.business) if answer else None


def _is_answered(fresh: Fresh, happening: MessageReceived, said: str) -> bool:
    """Whether the provider has done that: it knows the word, or tells us itself what it took the message for."""
    if said.strip().lower() in fresh.channel.capabilities.answers:
        return True
    beside = (each for each in fresh.source.events if isinstance(each, ConsentChanged))
    return any(each.external_id == happening.external_id for each in beside)


def _last_outbound(connection: Connection, identity_id: int) -> str | None:
    """Purpose of what we last sent there."""
    query = (
        sa.select(delivery.c.purpose)
        .join(conversation, conversation.c.id == delivery.c.conversation_id)
        .join(identity_table, identity_table.c.customer_id == conversation.c.customer_id)
        .where(
            identity_table.c.id == identity_id,
            delivery.c.identity_id == identity_id,
            delivery.c.kind == "contact",
            delivery.c.state.in_(("sent", "delivered", "read", "unknown")),
        )
        .order_by(delivery.c.id.desc())
        .limit(1)
    )
    return connection.execute(query).scalar_one_or_none()


def _locales(connection: Connection, people: set[int]) -> dict[int, str]:
    """Languages of customers who have one set."""
    rows = select_many(connection, customer, ("id", "locale"), "id", people, "locale IS NOT NULL")
    return {row[0]: row[1] for row in rows}


def _consent_changed(connection: Connection, context: Context, fresh: Fresh, changed: ConsentChanged) -> None:
    consent.record(
        connection,
        str(changed.sender.address),
        changed.change,
        channel=fresh.channel.name,
        source="provider",
        evidence={"external_id": changed.external_id},
        at=min(changed.at, fresh.source.row.received_at),
        now=context.now,
        covers=changed.covers,
    )


def _account_changed(connection: Connection, context: Context, channel: Channel, news: AccountChanged) -> None:
    detail = f"{news.what}: {news.state}" + (f" ({news.detail})" if news.detail else "")
    values = {"at": context.now, "kind": "account", "channel": channel.name, "detail": detail}
    connection.execute(sa.insert(alert).values(values))
    feedback.told(connection, context, channel, news)
    if news.template is not None:
        approvals.learn(connection, channel.name, news.template, news.at)


# --- later facts ---


def _amend(connection: Connection, context: Context, fresh: Sequence[Fresh]) -> None:
    """Also what came before these messages."""
    names = [(each.channel.name, each.event.external_id) for each in fresh if isinstance(each.event, MessageReceived)]
    applied = amendments.catch_up(connection, context, set(names))
    for each in fresh:
        if isinstance(each.event, amendments.Amendment) and amendments.apply(
            connection, context, each.channel, each.event, each.source.row.id
        ):
            applied.append((each.channel, each.event))
    for channel, happening in applied:
        if channel.role == "contact" and isinstance(happening, MessageEdited):
            _hear_edit(connection, context, channel, happening)


def _hear_edit(connection: Connection, context: Context, channel: Channel, edited: MessageEdited) -> None:
    """Who changes a message into STOP says it."""
    address = str(edited.sender.address)
    known = identity.find(connection, [address]).get(address)
    message_id = find_message(connection, channel.name, edited.external_id)
    if known is None or message_id is None or not edited.text:
        return
    place = sa.select(message.c.conversation_id).where(message.c.id == message_id, message.c.inbound.is_(True))
    conversation_id = connection.execute(place).scalar_one_or_none()
    if conversation_id is None:
        return
    locale = _locales(connection, {known.customer_id}).get(known.customer_id)
    said = _Said(channel, edited.text, edited.external_id, min(edited.at, context.now), answered=False)
    notice, answer = _hear(connection, context, said, known, locale)
    if answer:
        deliveries.answer(connection, context, conversation_id, channel.name, known.id, answer)
    if notice:
        deliveries.notify_desk(connection, context, conversation_id, notice)


def _quarantine(connection: Connection, context: Context, broken: Iterable[Translated]) -> None:
    for each in broken:
        assert each.error is not None
        known = connection.execute(
            sa.select(quarantine.c.inbox_id).where(quarantine.c.inbox_id == each.row.id)
        ).first()
        if known:
            continue
        connection.execute(
            sa.insert(quarantine).values(
                inbox_id=each.row.id, channel=each.row.channel, error=each.error, at=context.now
            )
        )
        detail = f"inbox {each.row.id}: {each.error}; after the fix: hub replay {each.row.id}"
        connection.execute(
            sa.insert(alert).values(at=context.now, kind="unparseable", channel=each.row.channel, detail=detail)
        )


def fetch_again(connection: Connection, context: Context, batch: Sequence[Translated]) -> None:
    """Files of customers that were given up."""
    for each in batch:
        if each.channel is None or each.channel.role != "contact":
            continue
        for happening in each.events:
            if isinstance(happening, MessageReceived | MessageEdited | MessageEchoed) and happening.attachments:
                message_id = find_message(connection, each.channel.name, happening.external_id)
                if message_id is not None:
                    media.again(connection, context, message_id, each.row.id)


def release(connection: Connection, context: Context, inbox_ids: Sequence[int]) -> None:
    """These rows have been replayed successfully."""
    connection.execute(
        sa.update(quarantine)
        .where(quarantine.c.inbox_id.in_(inbox_ids), quarantine.c.solved_at.is_(None))
        .values(solved_at=context.now)
    )
