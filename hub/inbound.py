"""From the inbox to conversations: translate raw requests, then apply a batch of events in one transaction."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from itertools import groupby
from operator import attrgetter
from typing import Any

import msgspec
import sqlalchemy as sa
from sqlalchemy import Connection

from hub import (
    albums,
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
from hub.model import Attachment, Content, Proof, decode_content, encode, is_public_id, private_id
from hub.quotes import digest, find_message, message_key
from hub.store.base import InboxRow, chunks
from hub.store.bulk import insert_many, select_many
from hub.store.schema import (
    alert,
    amendment,
    conversation,
    customer,
    delivery,
    event,
    inbox,
    message,
    parked_amendment,
    quarantine,
    receipt,
)
from hub.store.schema import identity as identity_table

_NOT_REDEEMED = continuation.Redeemed(None, None)
Amendment = MessageEdited | MessageDeleted | Reacted
_AMENDMENTS: dict[str, type[Amendment]] = {"edit": MessageEdited, "delete": MessageDeleted, "reaction": Reacted}
_STRANGER = timedelta(days=7)  # a message that has not come by then, as long as providers repeat one, never will
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
                _amend_all(connection, context, [each])
                desk.handle(connection, context, each.channel, each.event, each.message_id, each.source.row.id)
                _overtaken(connection, context, [each])
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
    _overtaken(connection, context, fresh)
    _amend_all(connection, context, fresh)
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
            return _deletion(channel, happening.external_id)
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


def _deletion(channel: str, external_id: str) -> bytes:
    return digest(channel, "delete", external_id)


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
            again.append((_deletion(channel.name, happening.external_id), source.row.id, happening.external_id))
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
        "author_name": happening.sender.name or known.name or identity.nickname(sender.scheme, sender.value),
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


def _keyword(
    connection: Connection,
    context: Context,
    fresh: Fresh,
    happening: MessageReceived,
    known: identity.Known,
    locale: str | None,
) -> tuple[str | None, str | None]:
    """What the message says about messages goes into the ledger. Returns what the desk should be told, and what
    the customer is answered."""
    said = happening.text or happening.subject or ""  # an empty mail says what it says in its subject
    if not said or happening.automatic or happening.forwarded:
        return None, None
    channel = fresh.channel
    notice, answer = consent.heard(
        connection,
        said,
        address=known.address,
        customer_id=known.customer_id,
        channel=channel.name,
        medium=channel.medium,
        locale=locale,
        topics=context.topics,
        external_id=happening.external_id,
        at=min(happening.at, fresh.source.row.received_at),
        now=context.now,
        answered=_is_answered(fresh, happening, said),
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


def _amend_all(connection: Connection, context: Context, fresh: Sequence[Fresh]) -> None:
    for each in fresh:
        if isinstance(each.event, MessageEdited | MessageDeleted | Reacted):
            _amend(connection, context, each.channel, each.event, each.source.row.id)


def _amend(connection: Connection, context: Context, channel: Channel, happening: Amendment, inbox_id: int) -> None:
    """An edit, a deletion or a reaction of a message we have; what comes before its message waits for it."""
    message_id = find_message(connection, channel.name, happening.external_id)
    contact = channel.role == "contact"
    if contact and isinstance(happening, MessageEdited) and _is_deleted(connection, channel, happening):
        unsent.forget(connection, [inbox_id], happening.external_id)
        return
    if message_id is None or not (contact or _is_written(connection, message_id)):
        if contact and isinstance(happening, MessageDeleted):
            _never_show(connection, channel, happening)
        elif contact or not isinstance(happening, Reacted):
            _park(connection, context, channel, happening, message_id, inbox_id)
        return
    value = happening.text if isinstance(happening, MessageEdited) else ""
    if isinstance(happening, MessageDeleted):
        place = unsent.place_in_album(connection, message_id, happening.external_id)
        if place is None and _is_told(connection, message_id):
            return
        value = "" if place is None else f"file {place}"
    if _is_older(connection, message_id, happening):
        return
    files: list[Attachment] | None = []
    if isinstance(happening, MessageEdited) and contact:
        files = _take_edit(connection, context, channel, happening, message_id, inbox_id)
    if files is None:
        return
    if isinstance(happening, Reacted):
        value = ("-" if happening.removed else "+") + happening.emoji
    connection.execute(
        sa.insert(amendment).values(
            message_id=message_id,
            kind=happening.type,
            by=str(happening.sender.address),
            value=value,
            at=happening.at,
            inbox_id=inbox_id,
        )
    )
    if contact:
        note = desk.show_amendment(connection, context, message_id, happening, other_file=bool(files))
        if files and note is not None:
            media.expect(connection, context, channel.name, inbox_id, [(note, files)])
        if isinstance(happening, MessageDeleted):
            unsent.erase(connection, context, message_id, happening.external_id, inbox_id)
    elif isinstance(happening, Reacted):
        desk.react(connection, context, channel, message_id, happening)
    else:
        desk.amend(connection, context, message_id, happening)


def _is_older(connection: Connection, message_id: int, happening: Amendment) -> bool:
    """Whether they have written or done something else there since."""
    if isinstance(happening, MessageDeleted):  # each ends something, whenever it comes
        return False
    since = sa.select(amendment.c.id).where(
        amendment.c.message_id == message_id, amendment.c.kind == happening.type, amendment.c.at > happening.at
    )
    if isinstance(happening, Reacted):
        since = since.where(amendment.c.by == str(happening.sender.address))
    return connection.execute(since.limit(1)).first() is not None


def _take_edit(
    connection: Connection, context: Context, channel: Channel, edited: MessageEdited, message_id: int, inbox_id: int
) -> list[Attachment] | None:
    """Files that an edit brought; they stand beside those that the message had. None if it changes nothing we see."""
    stored = connection.execute(sa.select(message.c.content).where(message.c.id == message_id)).scalar()
    if stored is None:
        return []
    content = decode_content(stored)
    files = _other_files(content, edited)
    if not files:
        return None if _says_the_same(connection, message_id, content, edited) else []
    first = len(content.attachments)
    content.attachments += files
    connection.execute(sa.update(message).where(message.c.id == message_id).values(content=encode(content)))
    media.expect(connection, context, channel.name, inbox_id, [(message_id, files)], first)
    return files


def _other_files(content: Content, edited: MessageEdited) -> list[Attachment]:
    count = len(edited.attachments)
    known = [each for each in content.attachments if each.part in (None, edited.external_id)][-count:] if count else []
    if len(known) == count and all(map(_is_same, known, edited.attachments)):
        return []
    return [replace(each, part=known[-1].part if known else None) for each in edited.attachments]


def _says_the_same(connection: Connection, message_id: int, content: Content, edited: MessageEdited) -> bool:
    edits = sa.select(amendment.c.value).where(amendment.c.message_id == message_id, amendment.c.kind == "edit")
    last = connection.execute(edits.order_by(amendment.c.id.desc()).limit(1)).scalar()
    said = content.text if last is None else last
    if any(each.part not in (None, edited.external_id) for each in content.attachments):
        return f"\n{edited.text}\n" in f"\n{said}\n" or not edited.text  # an album has the words of all its messages
    return bool(edited.text == said)


def _is_same(one: Attachment, other: Attachment) -> bool:
    if one.content_id is None or other.content_id is None:
        return (one.kind, one.name, one.size) == (other.kind, other.name, other.size)
    return one.content_id == other.content_id


def _never_show(connection: Connection, channel: Channel, deleted: MessageDeleted) -> None:
    """What was taken back before it came counts as known when it comes, and its edits go."""
    key = message_key(channel.name, deleted.external_id)
    if connection.execute(sa.select(event.c.key).where(event.c.key == key)).first() is None:
        connection.execute(sa.insert(event).values(key=key, message_id=None))
    edits = [row.inbox_id for row in _take_parked(connection, {(channel.name, deleted.external_id)})]
    unsent.forget(connection, {*edits}, deleted.external_id)


def _is_deleted(connection: Connection, channel: Channel, edited: MessageEdited) -> bool:
    key = _deletion(channel.name, edited.external_id)
    return connection.execute(sa.select(event.c.key).where(event.c.key == key)).first() is not None


def _park(
    connection: Connection,
    context: Context,
    channel: Channel,
    happening: Amendment,
    message_id: int | None,
    inbox_id: int,
) -> None:
    connection.execute(
        sa.insert(parked_amendment).values(
            channel=channel.name,
            external_id=happening.external_id,
            event=_encoder.encode(happening).decode(),
            message_id=message_id,
            inbox_id=inbox_id,
            at=context.now,
        )
    )


def _take_parked(connection: Connection, messages: Collection[tuple[str, str]]) -> list[Any]:
    """What waits for these (channel, external id), as it came."""
    found: list[Any] = []
    for some in chunks(name for _, name in messages):
        query = sa.select(parked_amendment).where(parked_amendment.c.external_id.in_(some))
        rows = connection.execute(query.order_by(parked_amendment.c.id)).all()
        found += [row for row in rows if (row.channel, row.external_id) in messages]
    for taken in chunks(row.id for row in found):
        connection.execute(sa.delete(parked_amendment).where(parked_amendment.c.id.in_(taken)))
    return found


def _overtaken(connection: Connection, context: Context, fresh: Sequence[Fresh]) -> None:
    """Give what came before these messages its effect."""
    messages = {
        (each.channel.name, each.event.external_id) for each in fresh if isinstance(each.event, MessageReceived)
    }
    if messages and connection.execute(sa.select(parked_amendment.c.id).limit(1)).first() is not None:
        _amend_with(connection, context, _take_parked(connection, messages))


def _amend_with(connection: Connection, context: Context, parked: Iterable[Any]) -> None:
    for row in parked:
        kind = msgspec.json.decode(row.event)["type"]
        happening = msgspec.json.decode(row.event, type=_AMENDMENTS[kind])
        _amend(connection, context, context.channels[row.channel], happening, row.inbox_id)


def rejoin(connection: Connection, context: Context) -> None:
    """Give what waited for the answer to a send, or for an agent's message to find its thread, its effect; drop what is
    of no message of ours."""
    found = connection.execute(_known_messages(context)).all()
    _amend_with(connection, context, _take_parked(connection, {(row.channel, row.external_id) for row in found}))
    connection.execute(sa.delete(parked_amendment).where(_strange(context)))


def rejoins(connection: Connection, context: Context) -> bool:
    """Whether ``rejoin`` has anything to do."""
    old = sa.select(parked_amendment.c.id).where(_strange(context))
    return any(connection.execute(query.limit(1)).first() is not None for query in (_known_messages(context), old))


def _known_messages(context: Context) -> sa.Select[*tuple[Any, ...]]:
    here = receipt.c.channel == parked_amendment.c.channel, receipt.c.external_id == parked_amendment.c.external_id
    known = sa.or_(
        sa.exists().where(*here, receipt.c.delivery_id == delivery.c.id, delivery.c.message_id.is_not(None)),
        sa.exists().where(message.c.id == parked_amendment.c.message_id),
    )
    columns = parked_amendment.c.channel, parked_amendment.c.external_id
    return sa.select(*columns).where(parked_amendment.c.channel.in_(context.channels), known).distinct()


def _strange(context: Context) -> sa.ColumnElement[bool]:
    return parked_amendment.c.at < context.now - _STRANGER


def _is_written(connection: Connection, message_id: int) -> bool:
    return connection.execute(sa.select(message.c.id).where(message.c.id == message_id)).first() is not None


def _is_told(connection: Connection, message_id: int) -> bool:
    """Whether it has been deleted as a whole."""
    whole = amendment.c.kind == "delete", amendment.c.value == ""
    query = sa.select(amendment.c.id).where(amendment.c.message_id == message_id, *whole)
    return connection.execute(query).first() is not None


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
