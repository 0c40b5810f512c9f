"""What is done to messages later: edits, deletions, reactions. They have their effect in the order they were made, in
whichever they come."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import msgspec
import sqlalchemy as sa
from sqlalchemy import Connection

from hub import desk, media, unsent
from hub.channels import Channel
from hub.context import Context
from hub.contract import MessageDeleted, MessageEdited, Reacted
from hub.model import Attachment, Content, decode_content, encode
from hub.quotes import Named, deletion_key, find_message, message_key
from hub.store.base import chunks
from hub.store.schema import amendment, delivery, event, message, parked_amendment, receipt

Amendment = MessageEdited | MessageDeleted | Reacted
Applied = tuple[Channel, Amendment]
_KINDS: dict[str, type[Amendment]] = {"edit": MessageEdited, "delete": MessageDeleted, "reaction": Reacted}
_STRANGER = timedelta(days=7)  # a message that has not come by then, as long as providers repeat one, never will
_encoder = msgspec.json.Encoder()


def apply(connection: Connection, context: Context, channel: Channel, happening: Amendment, inbox_id: int) -> bool:
    """Give it its effect; what comes before its message waits for it. Returns whether it had one now."""
    message_id = find_message(connection, channel.name, happening.external_id)
    contact = channel.role == "contact"
    if contact and isinstance(happening, MessageEdited) and _is_deleted(connection, channel, happening):
        unsent.forget(connection, [inbox_id], happening.external_id)
        return False
    if message_id is None or not (contact or _is_written(connection, message_id)):
        if contact and isinstance(happening, MessageDeleted):
            _never_show(connection, channel, happening)
        elif contact or not isinstance(happening, Reacted):
            _park(connection, context, channel, happening, message_id, inbox_id)
        return False
    value = happening.text if isinstance(happening, MessageEdited) else ""
    if isinstance(happening, MessageDeleted):
        place = unsent.place_in_album(connection, message_id, happening.external_id)
        if place is None and _is_told(connection, message_id):
            return False
        value = "" if place is None else f"file {place}"
    if _is_older(connection, message_id, happening):
        return False
    files: list[Attachment] | None = []
    if isinstance(happening, MessageEdited) and contact:
        files = _take_edit(connection, context, channel, happening, message_id, inbox_id)
    if files is None:
        return False
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
    return True


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
    key = deletion_key(channel.name, edited.external_id)
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


def _take_parked(connection: Connection, messages: Collection[Named]) -> list[Any]:
    """What waits for these (channel, external id), as it came."""
    found: list[Any] = []
    for some in chunks(name for _, name in messages):
        query = sa.select(parked_amendment).where(parked_amendment.c.external_id.in_(some))
        rows = connection.execute(query.order_by(parked_amendment.c.id)).all()
        found += [row for row in rows if (row.channel, row.external_id) in messages]
    for taken in chunks(row.id for row in found):
        connection.execute(sa.delete(parked_amendment).where(parked_amendment.c.id.in_(taken)))
    return found


def catch_up(connection: Connection, context: Context, messages: Collection[Named]) -> list[Applied]:
    """Give what came before these messages its effect. Returns what had one."""
    if not messages or connection.execute(sa.select(parked_amendment.c.id).limit(1)).first() is None:
        return []
    return _apply_parked(connection, context, _take_parked(connection, messages))


def _apply_parked(connection: Connection, context: Context, parked: Iterable[Any]) -> list[Applied]:
    applied: list[Applied] = []
    for row in parked:
        channel = context.channels[row.channel]
        kind = msgspec.json.decode(row.event)["type"]
        happening = msgspec.json.decode(row.event, type=_KINDS[kind])
        if apply(connection, context, channel, happening, row.inbox_id):
            applied.append((channel, happening))
    return applied


def rejoin(connection: Connection, context: Context) -> None:
    """Give what waited for the answer to a send, or for an agent's message to find its thread, its effect; drop what is
    of no message of ours."""
    found = connection.execute(_known_messages(context)).all()
    _apply_parked(connection, context, _take_parked(connection, {(row.channel, row.external_id) for row in found}))
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
