"""What a running hub lends to its adapters."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from functools import partial
from typing import Any

import msgspec
import sqlalchemy as sa
from sqlalchemy import Connection

from hub.clock import Clock
from hub.contract import Entry, Http, Request, SendError
from hub.identity import family
from hub.media import Links, of_messages
from hub.model import Address, Attachment, decode_content
from hub.reach import Reach
from hub.store.base import InboxRow, Store
from hub.store.schema import conversation, cursor, delivery, identity, message, receipt
from hub.store.schema import link as link_table
from hub.store.topics import Topics, wait

_SHOWN = ("sending", "indoubt", "sent", "delivered", "read", "unknown")
_encode = msgspec.json.Encoder().encode
# Not kept with a raw delivery: they are secrets, and no adapter reads them after verification.
_PRIVATE_HEADERS = frozenset({"authorization", "cookie", "proxy-authorization"})


def channel_secret(master: bytes, channel: str) -> bytes:
    """A channel's own key, derived so that one leaked token says nothing about the others."""
    return hmac.new(master, f"channel:{channel}".encode(), hashlib.sha256).digest()


def inbox_row(channel: str, request: Request) -> InboxRow:
    headers = request.headers
    if not _PRIVATE_HEADERS.isdisjoint(headers):
        headers = {name: value for name, value in headers.items() if name not in _PRIVATE_HEADERS}
    try:
        told = _encode(headers)
    except UnicodeEncodeError:  # bytes that are not UTF-8: proxies add what they like, such as a city's name
        told = _encode({name: value.encode("utf-8", "replace").decode() for name, value in headers.items()})
    return InboxRow(channel, request.method, request.url, told.decode(), request.body, request.received_at)


class HubHost:
    """``contract.Host`` of one channel."""

    def __init__(
        self,
        channel: str,
        *,
        http: Http,
        public_url: str,
        secret: bytes,
        store: Store,
        topics: Topics,
        clock: Clock,
        links: Links,
        reach: Reach,
    ) -> None:
        self.http = http
        self.public_url = public_url
        self.secret = secret
        self._channel = channel
        self._store = store
        self._topics = topics
        self._clock = clock
        self._links = links
        self._reach = reach
        self._listening = ExitStack()

    def now(self) -> Any:
        return self._clock()

    async def emit(self, request: Request) -> None:
        await self._store.append(inbox_row(self._channel, request))
        self._store.publish("inbox")

    async def history(self, address: Address, *, after: int = 0, limit: int = 100) -> list[Entry]:
        return await self._store.read(
            lambda connection: _history(connection, self._channel, str(address), after, limit, self._links.make)
        )

    def publish(self, topic: str) -> None:
        self._store.publish(topic)

    async def wait(self, topic: str, timeout: float) -> bool:
        with self._topics.listen(topic) as news:
            return await wait(news, timeout)

    async def cursor(self, name: str) -> str | None:
        key = f"{self._channel}:{name}"
        return await self._store.read(
            lambda connection: connection.execute(
                sa.select(cursor.c.value).where(cursor.c.name == key)
            ).scalar_one_or_none()
        )

    async def save_cursor(self, name: str, value: str) -> None:
        await self._store.write(partial(keep_bookmarks, channel=self._channel, values={name: value}))

    def pulled(self, error: SendError | None = None) -> None:
        if error is None:
            self._reach.worked()
        else:
            self._reach.failed(error, self._clock())


def bookmarks(connection: Connection, channel: str) -> dict[str, str]:
    """The cursors that a channel's adapter has saved, by name."""
    query = sa.select(cursor.c.name, cursor.c.value).where(cursor.c.name.startswith(f"{channel}:", autoescape=True))
    return {row.name.removeprefix(f"{channel}:"): row.value for row in connection.execute(query)}


def keep_bookmarks(connection: Connection, channel: str, values: Mapping[str, str]) -> None:
    for name, value in values.items():
        row = cursor.c.name == f"{channel}:{name}"
        if not connection.execute(sa.update(cursor).where(row).values(value=value)).rowcount:
            connection.execute(sa.insert(cursor).values(name=f"{channel}:{name}", value=value))


def _history(
    connection: Connection,
    channel: str,
    address: str,
    after: int,
    limit: int,
    link: Callable[[int, str | None], str],
) -> list[Entry]:
    """Messages this address wrote on the channel, and those that were handed to it there; also at former addresses in
    whose place it stands. No notes."""
    known = connection.execute(sa.select(identity).where(identity.c.address == address)).first()
    if known is None:
        return []
    people = family(connection, known.customer_id)
    theirs = sa.select(conversation.c.id).where(conversation.c.customer_id.in_(people))
    left = sa.exists().where(
        link_table.c.identity_id == message.c.identity_id,
        link_table.c.kind == "release",
        link_table.c.from_customer.in_(people),
    )
    wrote = sa.select(message.c.identity_id).where(message.c.conversation_id.in_(theirs), message.c.channel == channel)
    former = list(connection.execute(wrote.where(message.c.identity_id != known.id, left).distinct()).scalars())
    columns = (message.c.id, message.c.inbound, message.c.author_name, message.c.content, message.c.provider_at)
    handed = (  # an agent's message also has an id at the desk, which means nothing here
        sa.select(receipt.c.external_id)
        .where(receipt.c.delivery_id == delivery.c.id)
        .order_by(receipt.c.part.desc())
        .limit(1)
        .scalar_subquery()
    )
    written = sa.select(*columns, message.c.external_id, sa.literal("received").label("state")).where(
        sa.or_(
            message.c.identity_id == known.id,
            sa.and_(message.c.identity_id.in_(former), message.c.conversation_id.in_(theirs)),
        ),
        message.c.channel == channel, message.c.inbound.is_(True), message.c.id > after
    )
    sent = (
        sa.select(*columns, handed.label("external_id"), delivery.c.state)
        .join(delivery, delivery.c.message_id == message.c.id)
        .where(
            sa.or_(
                delivery.c.identity_id == known.id,
                sa.and_(delivery.c.identity_id.in_(former), delivery.c.conversation_id.in_(theirs)),
            ),
            delivery.c.channel == channel,
            delivery.c.kind == "contact",
            delivery.c.state.in_(_SHOWN),
            message.c.id > after,
        )
    )
    rows = sorted(
        (*connection.execute(written.order_by(message.c.id).limit(limit)),
         *connection.execute(sent.order_by(message.c.id).limit(limit))),
        key=lambda row: row.id,
    )[:limit]
    files = of_messages(connection, [row.id for row in rows])
    entries = []
    for row in rows:
        content = decode_content(row.content)
        attachments = [
            Attachment(
                file.source.kind, link(file.id, file.name) if file.state == "stored" else None, None, file.mime,
                file.name, file.size,
            )
            for file in files.get(row.id, [])
            if file.state in ("stored", "pending")
        ]
        entries.append(
            Entry(
                row.id, row.inbound, row.author_name, content.text, row.provider_at, attachments, content.buttons,
                row.external_id, row.state,
            )
        )
    return entries
