"""Albums: what somebody sent together, and a provider tells apart, is one message if the desk has not seen it yet."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import sqlalchemy as sa
from sqlalchemy import Connection

from hub import media
from hub.context import Context
from hub.model import Attachment, decode_content, encode
from hub.store.base import chunks
from hub.store.bulk import insert_many
from hub.store.schema import delivery, event, message


def joined(connection: Connection, items: Sequence[tuple[bytes, int]]) -> dict[int, int]:
    """Of (album, new message) pairs those that join an earlier message: its id by theirs. The others begin anew."""
    known: dict[bytes, int] = {}
    for some in chunks(album for album, _ in items):
        query = sa.select(event.c.key, event.c.message_id).where(event.c.key.in_(some))
        known.update((row.key, row.message_id) for row in connection.execute(query))
    unseen = _unseen(connection, known.values())
    first = {album: leader for album, leader in known.items() if leader in unseen}
    found: dict[int, int] = {}
    for album, message_id in items:
        leader = first.setdefault(album, message_id)
        if leader != message_id:
            found[message_id] = leader
    begun = [{"key": album, "message_id": leader} for album, leader in first.items() if album not in known]
    insert_many(connection, event, begun)
    for album in known:
        if first.get(album, known[album]) != known[album]:
            connection.execute(sa.update(event).where(event.c.key == album).values(message_id=first[album]))
    return found


def _unseen(connection: Connection, messages: Iterable[int]) -> set[int]:
    """Those that are still there, and not on their way to the desk."""
    found: set[int] = set()
    for some in chunks(messages):
        found.update(connection.execute(sa.select(message.c.id).where(message.c.id.in_(some))).scalars())
        posts = sa.select(delivery.c.message_id, delivery.c.state).where(
            delivery.c.message_id.in_(some), delivery.c.kind == "post"
        )
        # Nobody takes it up while we add to it.
        rows = connection.execute(posts.with_for_update()).all()
        found.difference_update(row.message_id for row in rows if row.state != "queued")
    return found


def add(
    connection: Connection,
    context: Context,
    channel: str,
    inbox_id: int,
    message_id: int,
    key: bytes,
    text: str,
    attachments: Sequence[Attachment],
) -> None:
    """Give an earlier message the words and files of the one whose event has that key."""
    stored = sa.select(message.c.content).where(message.c.id == message_id)
    content = decode_content(connection.execute(stored).scalar_one())
    first = len(content.attachments)
    content.attachments += attachments
    content.text = "\n".join(filter(None, (content.text, text)))
    connection.execute(sa.update(message).where(message.c.id == message_id).values(content=encode(content)))
    media.expect(connection, context, channel, inbox_id, [(message_id, attachments)], first)
    # An edit of it, or an answer to it, is one of the whole.
    connection.execute(sa.update(event).where(event.c.key == key).values(message_id=message_id))
