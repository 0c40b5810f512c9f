"""The reader of the inbox: in order, in batches, its cursor moved in the transaction of the effects."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from functools import partial
from itertools import groupby

import sqlalchemy as sa
import structlog
from sqlalchemy import Connection

from hub import inbound
from hub.channels import Channels
from hub.context import Context
from hub.contract import AnyAdapter
from hub.inbound import Translated, request_of, translate
from hub.store.base import InboxRow, Store, is_store_failure
from hub.store.bulk import fetch
from hub.store.schema import cursor, inbox, moment
from hub.store.topics import Topics, wait

log = structlog.get_logger(__name__)

_CURSOR = "inbox"
_BATCH = 1000  # rows; at 35 µs each the writer is busy for some 35 ms
_ENOUGH = 250  # rows; what each batch costs whatever its size is then a tenth of it
_LONGEST_REST = 0.05  # seconds
_POLL = 1.0  # seconds; wake-ups are only hints
_NAMES = ("channel", "method", "url", "headers", "body", "received_at", "id")
_COLUMNS = [inbox.c[name] for name in _NAMES]
_AFTER = f"SELECT {', '.join(_NAMES)} FROM inbox WHERE id > ? ORDER BY id LIMIT ?"  # noqa: S608 - names from the schema


class Projector:
    def __init__(
        self,
        store: Store,
        topics: Topics,
        adapters: Mapping[str, AnyAdapter],
        channels: Channels,
        context: Callable[[], Context],
        published: Callable[[Context], None],
    ) -> None:
        self._store = store
        self._topics = topics
        self._adapters = adapters
        self._channels = channels
        self._context = context
        self._published = published
        self.messages = 0

    async def run(self) -> None:
        """Own the inbox and project it until cancelled."""
        async with self._store.own("inbox"):
            position = await self._store.read(position_of)
            with self._topics.listen("inbox") as news:
                while True:
                    rows = await self._store.read(partial(read_after, position=position))
                    if not rows:
                        await wait(news, _POLL)
                        continue
                    started = time.monotonic()
                    await self._project(rows)
                    position = rows[-1].id
                    if len(rows) < _ENOUGH:
                        # A small batch costs little more than a row, so let one gather while others use the store.
                        await asyncio.sleep(min(time.monotonic() - started, _LONGEST_REST))

    async def _project(self, rows: Sequence[InboxRow]) -> None:
        batch = await asyncio.to_thread(self._translate, rows)
        context = self._context()
        try:
            self.messages += await self._store.write(lambda connection: _apply(connection, context, batch))
        except Exception as error:
            if is_store_failure(error):
                raise
            log.exception("a batch could not be applied; its rows are tried one by one", first=rows[0].id)
            for _, readings in groupby(batch, key=lambda each: each.row.id):
                await self._alone(list(readings))
            return
        self._published(context)

    async def _alone(self, readings: Sequence[Translated]) -> None:
        """One row by itself: if even that fails it goes to quarantine and the rest goes on.

        Not if the store fails: then all rows wait, in their order, until it works again.
        """
        context = self._context()
        row = readings[0].row
        try:
            self.messages += await self._store.write(lambda connection: _apply(connection, context, readings))
        except Exception as error:
            if is_store_failure(error):
                raise
            log.exception("an inbox row could not be applied", inbox=row.id, channel=row.channel)
            context = self._context()
            broken = Translated(row, readings[0].channel, error=f"not applied: {type(error).__name__}")
            await self._store.write(lambda connection: _apply(connection, context, [broken]))
        self._published(context)

    def _translate(self, rows: Sequence[InboxRow]) -> list[Translated]:
        return [each for row in rows for each in self._readings(row)]

    def _readings(self, row: InboxRow) -> Iterator[Translated]:
        """What the channel that was called makes of it, and what others that share its webhook do."""
        adapter = self._adapters.get(row.channel)
        yield translate(row, self._channels.get(row.channel), adapter)
        if adapter is None or not adapter.shared:
            return
        request = request_of(row)
        for name, other in self._adapters.items():
            # Another account's signature is not ours to accept: what it says of this channel counts for nothing.
            if name != row.channel and type(other) is type(adapter) and other.verify(request).accept:
                yield translate(row, self._channels.get(name), other)

    async def read_again(self, inbox_ids: Sequence[int]) -> list[Translated]:
        """Translate stored rows, and no more."""
        rows = await self._store.read(lambda connection: read_these(connection, inbox_ids))
        return await asyncio.to_thread(self._translate, rows)

    async def replay(self, inbox_ids: Sequence[int]) -> list[Translated]:
        """Translate and apply stored rows again; what had its effect has none. Files that were given up are fetched.

        Returns what came of each.
        """
        batch = await self.read_again(inbox_ids)
        context = self._context()

        def work(connection: Connection) -> None:
            inbound.apply(connection, context, batch)
            inbound.fetch_again(connection, context, batch)
            inbound.release(connection, context, [each.row.id for each in batch if each.error is None])

        await self._store.write(work)
        self._published(context)
        return batch


def _apply(connection: Connection, context: Context, batch: Sequence[Translated]) -> int:
    count = inbound.apply(connection, context, batch)
    move(connection, batch[-1].row.id)
    return count


def position_of(connection: Connection) -> int:
    """The last inbox row that had its effect."""
    value = connection.execute(sa.select(cursor.c.value).where(cursor.c.name == _CURSOR)).scalar_one_or_none()
    return int(value or 0)


def move(connection: Connection, position: int) -> None:
    changed = connection.execute(sa.update(cursor).where(cursor.c.name == _CURSOR).values(value=str(position)))
    if not changed.rowcount:
        connection.execute(sa.insert(cursor).values(name=_CURSOR, value=str(position)))


def read_after(connection: Connection, position: int, limit: int = _BATCH) -> list[InboxRow]:
    rows = fetch(connection, _AFTER, position, limit)
    return [
        InboxRow(channel, method, url, headers, body, moment(at), number)
        for channel, method, url, headers, body, at, number in rows
    ]


def read_these(connection: Connection, ids: Sequence[int]) -> list[InboxRow]:
    query = sa.select(*_COLUMNS).where(inbox.c.id.in_(ids)).order_by(inbox.c.id)
    return [InboxRow(*row) for row in connection.execute(query)]


def backlog(connection: Connection) -> tuple[int, datetime | None]:
    """How many inbox rows wait, and since when the oldest does."""
    waiting = inbox.c.id > position_of(connection)
    count = connection.execute(sa.select(sa.func.count()).select_from(inbox).where(waiting)).scalar_one()
    oldest = sa.select(inbox.c.received_at).where(waiting).order_by(inbox.c.id).limit(1)
    return count, connection.execute(oldest).scalar_one_or_none()


def lag(connection: Connection) -> int:
    """About how many inbox rows wait; cheap however many they are."""
    newest = connection.execute(sa.select(sa.func.max(inbox.c.id))).scalar_one()
    return (newest or 0) - position_of(connection)
