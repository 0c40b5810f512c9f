"""A message that its author took back: what it said goes, wherever the hub has it. That there was one stays."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import replace
from typing import Any
from urllib.parse import quote_plus

import sqlalchemy as sa
from sqlalchemy import Connection

from hub import deliveries, media, quotes
from hub.context import Context
from hub.model import Attachment, Content, decode_content, encode
from hub.store.base import holds
from hub.store.schema import amendment, conversation, desk_thread, inbox, message

_GONE = encode(Content(unsupported="deleted message"))
_FILES = "Files of it may have been posted here: delete those by hand."
_FILE = "It was file {} of those that were sent together: if it has been posted here, delete it by hand."
_FOLLOWING = 50_000  # raw deliveries that are looked through for repetitions and edits
_NAMES = ("id", "mid", "message_id", "messageId", "original_message_id", "ts")  # by which it says whose part it is
# What stays of an object that a provider wrote about the message: enough to read the rest of the delivery again.
_PLAIN = {"id", "mid", "from", "type", "timestamp", "emoji", "action", "ts", "thread_ts"}


def erase(connection: Connection, context: Context, message_id: int, external_id: str, told_in: int) -> None:
    """Empty a customer's message, its edits, files and raw deliveries, and what the desk shows of it; of an album that
    one of its files.

    ``told_in``: the inbox row that tells of the deletion.
    """
    query = sa.select(message.c.conversation_id, message.c.content, message.c.inbox_id)
    row = connection.execute(query.where(message.c.id == message_id, message.c.inbound.is_(True))).first()
    if row is None or row.content == _GONE:
        return
    said = decode_content(row.content)
    place = place_in_album(connection, message_id, external_id)
    edited_in: set[int | None] = set()
    if place is None:
        _empty(connection, message_id)
        edited_in = _forget_edits(connection, context, message_id, row.conversation_id)
    else:
        _take_out(connection, message_id, said, place)
    shown = said.text[: deliveries.PREVIEW]
    previews = conversation.c.id == row.conversation_id, conversation.c.preview == shown
    connection.execute(sa.update(conversation).where(*previews).values(preview=""))
    files = media.discard(connection, context, message_id, None if place is None else place - 1)
    came_in = {*edited_in, *(files if place is not None and files else [row.inbox_id, *files])}
    named_in = {*_repetitions(connection, row.inbox_id, told_in, external_id)} - came_in
    forget(connection, came_in, external_id)
    forget(connection, named_in, external_id, whole=False)
    _forget_cards(connection, context, row.conversation_id, row.inbox_id, told_in)
    for each in quotes.quoting(connection, message_id):
        deliveries.show_anew(connection, context, each)
    if place is not None:
        if deliveries.is_shown(connection, context, message_id):
            deliveries.notify_desk(connection, context, row.conversation_id, _FILE.format(place))
    elif deliveries.show_anew(connection, context, message_id) and said.attachments:
        deliveries.notify_desk(connection, context, row.conversation_id, _FILES)


def place_in_album(connection: Connection, message_id: int, external_id: str) -> int | None:
    """Which of the files of an album came as the message of that id, from 1; None if no other would be left."""
    files = media.of_messages(connection, [message_id]).get(message_id, [])
    mine = [each.position + 1 for each in files if each.source.part == external_id]
    others = [each for each in files if each.source.part not in (None, external_id)]
    return mine[0] if mine and others else None


def _take_out(connection: Connection, message_id: int, said: Content, place: int) -> None:
    """The file's place stays, so that those of the others do. Whose the words are is not known."""
    files = [*said.attachments[: place - 1], Attachment(), *said.attachments[place:]]
    content = encode(replace(said, text="", attachments=files))
    connection.execute(sa.update(message).where(message.c.id == message_id).values(content=content))


def _empty(connection: Connection, message_id: int) -> None:
    connection.execute(sa.update(message).where(message.c.id == message_id).values(content=_GONE))


def _forget_edits(connection: Connection, context: Context, message_id: int, conversation_id: int) -> set[int | None]:
    """Later versions, and the notes that told the desk of them. Returns the inbox rows that told of them."""
    edits = amendment.c.message_id == message_id, amendment.c.kind == "edit"
    known = connection.execute(sa.select(amendment.c.value, amendment.c.inbox_id).where(*edits)).all()
    versions = [each.value for each in known if each.value]
    if not versions:
        return set()
    connection.execute(sa.update(amendment).where(*edits).values(value=""))
    notes = sa.select(message.c.id, message.c.content).where(
        message.c.conversation_id == conversation_id, message.c.id > message_id, message.c.channel == deliveries.OURS
    )
    for row in connection.execute(notes).all():
        if decode_content(row.content).text.endswith(tuple(f":\n{version}" for version in versions)):
            _empty(connection, row.id)
            media.discard(connection, context, row.id)
            deliveries.show_anew(connection, context, row.id)
    return {each.inbox_id for each in known}


def _repetitions(connection: Connection, first: int | None, last: int, external_id: str) -> list[int]:
    """Raw deliveries between the message and its deletion that name it: the same again, and edits."""
    names = (external_id, external_id.replace("/", "\\/"), quote_plus(external_id))
    return _between(connection, first, last, holds(connection, inbox.c.body, names))


def _between(connection: Connection, first: int | None, last: int, *which: sa.ColumnElement[bool]) -> list[int]:
    if first is None:
        return []
    start = max(first + 1, last - _FOLLOWING)
    query = sa.select(inbox.c.id).where(inbox.c.id >= start, inbox.c.id < last, *which)
    return list(connection.execute(query).scalars())


def _forget_cards(connection: Connection, context: Context, conversation_id: int, first: int | None, last: int) -> None:
    """What the desk told us since with the card in it, which shows the last words: that a button was pressed, say."""
    if context.desk is None:
        return
    here = desk_thread.c.channel == context.desk.name, desk_thread.c.conversation_id == conversation_id
    card = connection.execute(sa.select(desk_thread.c.external_id).where(*here)).scalar_one_or_none()
    if card is not None:
        name = card.rpartition(":")[2]  # an id may begin with the place that the post is in
        told = inbox.c.channel == context.desk.name, holds(connection, inbox.c.body, [name])
        forget(connection, _between(connection, first, last, *told), name, whole=False)


def forget(connection: Connection, inbox_ids: Iterable[int | None], external_id: str, *, whole: bool = True) -> None:
    """Take the message out of raw deliveries; one that cannot be read goes as a whole.

    ``whole``: so does one that says nothing about it in a way that we know, since it is certain to tell of it.
    """
    for number in inbox_ids:
        row = inbox.c.id == number
        body = connection.execute(sa.select(inbox.c.body).where(row)).scalar_one_or_none()
        if body is None:
            continue
        left = without(body, external_id)
        gone = left is None or (whole and left == body)
        connection.execute(sa.delete(inbox).where(row) if gone else sa.update(inbox).where(row).values(body=left))


def without(body: bytes, external_id: str) -> bytes | None:
    """A JSON document in which objects about this message say little else; as it is if there are none. None: it is no
    JSON."""
    try:
        document = json.loads(body)
        left = _without(document, external_id)
    except (ValueError, RecursionError):
        return None
    return body if left == document else json.dumps(left).encode()


def _without(value: Any, external_id: str) -> Any:
    if isinstance(value, list):
        return [_without(each, external_id) for each in value]
    if not isinstance(value, dict):
        return value
    if external_id in [value.get(name) for name in _NAMES]:
        return {
            name: each
            for name, each in value.items()
            if isinstance(each, str | int) and (name in _PLAIN or name.endswith(("_id", "Id")))
        }
    return {name: _without(each, external_id) for name, each in value.items()}
