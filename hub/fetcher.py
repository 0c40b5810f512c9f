"""The worker that gets files, through the adapter they came in by or through the egress guard."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping
from functools import partial

import sqlalchemy as sa
import structlog
from sqlalchemy import Connection

from hub import deliveries, feedback, media
from hub.context import Context, lane_topic
from hub.contract import AnyAdapter, Rejected, SendError, Transient
from hub.egress import Egress, Refused
from hub.inbound import request_of
from hub.media import File, Shelf, TooLarge
from hub.model import AuthorKind, Purpose
from hub.projector import read_these
from hub.store.base import Store
from hub.store.schema import amendment, message
from hub.store.topics import Topics, wait

log = structlog.get_logger(__name__)

_POLL = 1.0
_TOGETHER = 4  # files of a channel at a time: a server that hangs keeps no other's back
_IN_ALL = 32
_ONCE, _MINUTE, _DAY = 1, 6, 35  # tries, and how long they take
_PASSING = (408, 425, 429)  # statuses of servers that may answer better later, beside 5xx


class Gone(ValueError):
    """The file is not to be had, and will not be."""


class Fetcher:
    def __init__(
        self,
        store: Store,
        topics: Topics,
        adapters: Mapping[str, AnyAdapter],
        egress: Egress,
        shelf: Shelf,
        limit: int,
        context: Callable[[], Context],
    ) -> None:
        self._store = store
        self._topics = topics
        self._adapters = adapters
        self._egress = egress
        self._shelf = shelf
        self._limit = limit  # bytes of one file
        self._context = context

    async def run(self) -> None:
        running: dict[asyncio.Task[None], File] = {}
        async with self._store.own("media"):
            with self._topics.listen("media") as news:
                try:
                    while True:
                        await self._remove_unwanted()
                        if not await self._start(running):
                            await wait(news, _POLL)
                        self._finish(running)
                finally:
                    for task in running:
                        task.cancel()
                    await asyncio.gather(*running, return_exceptions=True)

    async def _start(self, running: dict[asyncio.Task[None], File]) -> int:
        """Begin with what is due, as far as there is room. Returns with how many."""
        busy = Counter(file.channel for file in running.values())
        full = [channel for channel, count in busy.items() if count >= _TOGETHER]
        limit, but = _IN_ALL - len(running), [file.id for file in running.values()]
        due = await self._store.read(
            lambda connection: media.pending(connection, self._context(), limit, but, full)
        )
        started = 0
        for file in due:
            if busy[file.channel] < _TOGETHER:
                busy[file.channel] += 1
                started += 1
                task = asyncio.create_task(self._get(file))
                task.add_done_callback(lambda _: self._topics.publish("media"))
                running[task] = file
        return started

    def _finish(self, running: dict[asyncio.Task[None], File]) -> None:
        """Forget what is done. Raises what a store raised."""
        done = [task for task in running if task.done()]
        for task in done:
            del running[task]
        if done:
            self._wake_lanes()
        for task in done:
            task.result()

    async def _remove_unwanted(self) -> None:
        rows, hashes = await self._store.read(lambda connection: media.unwanted(connection, self._context()))
        for each in hashes:
            await asyncio.to_thread(self._shelf.drop, each)
        if rows:
            await self._store.write(partial(media.remove, file_ids=rows))

    async def _get(self, file: File) -> None:
        try:
            sha256, size, head = await self._shelf.put(await self._content(file))
        except (Gone, TooLarge, Refused, Rejected) as error:
            await self._failed(file, str(error), _ONCE)
        except (SendError, OSError, TimeoutError) as error:
            await self._failed(file, str(error) or type(error).__name__, self._patience(file))
        except Exception:
            log.exception("a file could not be fetched", channel=file.channel, media=file.id)
            await self._failed(file, "internal error, see the log", self._patience(file))
        else:
            mime = media.sniff(head, file.source.mime)
            await self._stored(file, sha256, size, mime)

    async def _content(self, file: File) -> AsyncIterator[bytes]:
        if file.inbox_id is not None and (content := await self._from_channel(file, file.inbox_id)) is not None:
            return content
        if file.source.url is None:
            raise Gone("the channel names no place to get it from")
        fetched = await self._egress.get(file.source.url, limit_bytes=self._limit, redirects=3)
        if fetched.status in _PASSING or fetched.status >= 500:
            raise Transient(f"its server answered {fetched.status}")
        if fetched.status != 200:
            raise Gone(f"its server answered {fetched.status}")
        return _once(fetched.body)

    async def _from_channel(self, file: File, inbox_id: int) -> AsyncIterator[bytes] | None:
        """A file that came in by a channel; None: it is at its address. What we send is nothing of a provider's."""
        adapter = self._adapters.get(file.channel)
        if adapter is None:
            raise Gone(f"channel {file.channel} is no longer configured")
        rows = await self._store.read(partial(read_these, ids=[inbox_id]))
        return await adapter.fetch(file.source, request_of(rows[0]) if rows else None)

    def _patience(self, file: File) -> int:
        """Whoever sends a file is told soon that it is not to be had; a customer's is worth waiting for."""
        theirs = file.inbox_id is not None and self._adapters[file.channel].role == "contact"
        return _DAY if theirs else _MINUTE

    async def _stored(self, file: File, sha256: str, size: int, mime: str) -> None:
        context = self._context()

        def work(connection: Connection) -> None:
            if media.stored(connection, file.id, sha256, size, mime) and not _is_of_an_edit(connection, file):
                deliveries.show_file(connection, context, file.message_id, file.position)

        await self._store.write(work)

    async def _failed(self, file: File, error: str, tries: int) -> None:
        context = self._context()

        def work(connection: Connection) -> None:
            over = media.failed(connection, context, file, error, tries=tries)
            if over:
                _tell_author(connection, context, file, error)
            if tries == _DAY and (over or file.attempts + 1 == _MINUTE):
                _alert(connection, context, file, error, over=over)

        await self._store.write(work)

    def _wake_lanes(self) -> None:
        """Messages may have waited for these files."""
        for name in self._adapters:
            self._topics.publish(lane_topic(name))


def _is_of_an_edit(connection: Connection, file: File) -> bool:
    """Then the note about the edit shows it."""
    query = sa.select(amendment.c.id).where(
        amendment.c.message_id == file.message_id, amendment.c.inbox_id == file.inbox_id, amendment.c.kind == "edit"
    )
    return connection.execute(query.limit(1)).first() is not None


def _tell_author(connection: Connection, context: Context, file: File, error: str) -> None:
    """An agent learns which of their files the customer does not get. Whoever else wrote is told where it is shown."""
    query = sa.select(message.c.conversation_id).where(
        message.c.id == file.message_id,
        message.c.author_kind == str(AuthorKind.agent),
        message.c.purpose == str(Purpose.reply),
    )
    conversation_id = connection.execute(query).scalar_one_or_none()
    if conversation_id is not None:
        name = file.name or file.source.kind
        words = f"Not sent: {name}. It could not be fetched ({error}). Send it in another way, or a link to it."
        deliveries.notify_desk(connection, context, conversation_id, words)


def _alert(connection: Connection, context: Context, file: File, error: str, *, over: bool) -> None:
    """Of many files the first is named."""
    words = f"{file.name or file.source.kind} of inbox {file.inbox_id}, and perhaps others: {error}"
    if over:
        kind, words = "file lost", f"{words}; given up after a day. Once it is mended: hub replay {file.inbox_id}"
    else:
        kind, words = "no files", f"{words}; each is tried again for a day"
    feedback.tell_hourly(connection, context, context.channels[file.channel], kind, words)


async def _once(body: bytes) -> AsyncIterator[bytes]:
    yield body
