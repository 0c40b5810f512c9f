"""PostgreSQL: several processes on one database. Ownership is a session advisory lock, news is NOTIFY."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import time
import weakref
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import asyncpg
import sqlalchemy as sa
import structlog
from sqlalchemy import Connection
from sqlalchemy.ext.asyncio import create_async_engine

from hub.store import migrations
from hub.store.appends import Appends
from hub.store.base import InboxRow, Overtaken, Ownership, Store, StoreFull
from hub.store.schema import micros
from hub.store.topics import Topics

T = TypeVar("T")

log = structlog.get_logger(__name__)

_CHANNEL = "omnihub"
# Appends of all processes take turns, so ids are given in commit order and a reader with a cursor misses none.
_APPEND_LOCK = 0x6F6D6E69
# One statement and round trip. No row comes out of the join before the lock is taken, so no id is given before that.
_APPEND = """
WITH turn AS MATERIALIZED (SELECT pg_advisory_xact_lock($7))
INSERT INTO inbox (channel, method, url, headers, body, received_at)
SELECT new.* FROM turn CROSS JOIN
unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::bytea[], $6::bigint[]) AS new
"""
_TOGETHER = 512  # appends
_NEWS = "SELECT pg_notify($1, topic) FROM unnest($2::text[]) AS topic"
_GATHER = 0.005  # seconds between two looks for news to tell
_NODES = 32

# Seconds. A connection may end without a word: a machine that is lost, a router that forgets. Whoever owns something
# by his connection notices within 7 seconds, and the server only then gives it to somebody else, after 11. What the
# server sends now and then also keeps routers from forgetting connections at rest.
_LOOK = 2.0
_SILENT = 5.0
_TURN = 1.0
_SERVER = {
    "application_name": "omnihub",
    "tcp_keepalives_idle": "5",
    "tcp_keepalives_interval": "2",
    "tcp_keepalives_count": "3",
    "tcp_user_timeout": "11000",  # milliseconds; for what it has sent, of which keepalives know nothing
}
# Another transaction made the same row first, or the two waited for each other; now its work can be seen.
_CLASHES = frozenset({"23505", "40P01", "40001"})  # unique_violation, deadlock_detected, serialization_failure
_TRIES = 5


def _number(name: str) -> int:
    return int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest(), "big", signed=True)


class PostgresStore(Store):
    dialect = "postgresql"

    def __init__(self, url: str, topics: Topics) -> None:
        self._dsn = url
        self._topics = topics
        self._engine = create_async_engine(
            sa.make_url(url).set(drivername="postgresql+asyncpg"),
            pool_size=8,
            max_overflow=8,
            pool_use_lifo=True,  # the connections used last have our statements prepared
            connect_args={
                "prepared_statement_cache_size": 1000,
                "timeout": _SILENT,
                # Our statements are short; to compile them takes longer than to run them.
                "server_settings": {**_SERVER, "jit": "off"},
            },
        )
        sa.event.listen(self._engine.sync_engine, "connect", self._opened)
        self._single = self._engine.execution_options(isolation_level="AUTOCOMMIT")  # of the same connections
        self._open: weakref.WeakSet[Any] = weakref.WeakSet()  # connections
        self._appends = Appends(self._end_append)
        self._wanted = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self._notices: set[str] = set()
        self._append_connection: Any = None
        self._home: Any = None  # the connection that owns our number, and hears news
        self.node = 0

    async def start(self) -> None:
        await self._arrive()
        self._tasks = [asyncio.create_task(self._append_loop()), asyncio.create_task(self._talk())]

    async def _connect(self, **settings: str) -> Any:
        try:
            connection = await asyncpg.connect(self._dsn, timeout=_SILENT, server_settings={**_SERVER, **settings})
        except TimeoutError:
            raise TimeoutError(f"it did not answer within {_SILENT:g} seconds") from None
        self._open.add(connection)
        return connection

    def _opened(self, connection: Any, _record: Any) -> None:
        self._open.add(connection.driver_connection)

    def _cut(self) -> None:
        """End all connections at once: whoever waits for an answer that will not come learns of it."""
        for connection in list(self._open):
            connection.terminate()
        self._engine.sync_engine.dispose(close=False)

    async def _arrive(self) -> None:
        """Hear news, and take a number among the processes: the one we had, if it is free."""
        connection = await self._connect()
        try:
            async with asyncio.timeout(_SILENT):
                await connection.add_listener(_CHANNEL, self._heard)
                node = await _take_node(connection, self.node)
        except BaseException:
            connection.terminate()
            raise
        if node != self.node:
            self.node = node
            if self.on_node is not None:
                self.on_node(node)
        self._home = connection

    async def write(self, work: Callable[[Connection], T], *, alone: bool = False) -> T:
        engine = self._single if alone else self._engine
        if self._home.is_closed():  # so another process may have our number, and make the ids that we would
            raise ConnectionError("the connection to the database was lost; it is made again")
        for left in reversed(range(_TRIES)):
            try:
                async with engine.begin() as connection:
                    return await connection.run_sync(work)
            except Overtaken:
                if left == 0:
                    raise
            except sa.exc.DBAPIError as failure:
                if "DiskFull" in type(failure.orig).__name__:
                    raise StoreFull("the database's disk is full; nothing was written") from failure
                if left == 0 or getattr(failure.orig, "sqlstate", None) not in _CLASHES:
                    raise
        raise AssertionError("unreachable: the last try returns or raises")

    async def read(self, work: Callable[[Connection], T]) -> T:
        async with self._engine.connect() as connection:
            await connection.execution_options(isolation_level="REPEATABLE READ")
            async with connection.begin():
                return await connection.run_sync(work)

    def append(self, row: InboxRow | None) -> asyncio.Future[None]:
        self._wanted.set()
        return self._appends.add(row)

    async def _append_loop(self) -> None:
        while True:
            await self._wanted.wait()
            self._wanted.clear()
            while group := self._appends.take(_TOGETHER):
                error: Exception | None = None
                try:
                    await self._append_group([each.row for each in group if each.row is not None])
                except Exception as failure:  # every waiter must learn of it
                    error = failure
                for each in group:
                    if not each.future.done():
                        each.future.set_exception(error) if error else each.future.set_result(None)

    def _end_append(self) -> None:
        if self._append_connection is not None:
            self._append_connection.terminate()

    async def _append_group(self, rows: list[InboxRow]) -> None:
        if self._append_connection is None or self._append_connection.is_closed():
            # So that the server does not wait for its turn any more when nobody waits for the server.
            self._append_connection = await self._connect(lock_timeout="2500")
        columns = (
            [row.channel for row in rows],
            [row.method for row in rows],
            [row.url for row in rows],
            [row.headers for row in rows],
            [row.body for row in rows],
            [micros(row.received_at) for row in rows],
        )
        connection = self._append_connection
        try:
            await connection.execute(_APPEND, *columns, _APPEND_LOCK)
        except BaseException:
            # Nobody knows whether a commit that failed took place: a fresh connection, and the sender tries again.
            self._append_connection = None
            with contextlib.suppress(Exception):
                await connection.close(timeout=1)
            raise

    def own(self, name: str) -> Ownership:
        return _Lock(self._connect, _number(f"own:{name}"))

    def publish(self, topic: str) -> None:
        self._topics.publish(topic)
        self._notices.add(topic)

    async def _talk(self) -> None:
        """Tell others what is new, and notice if the database is gone. Until it is back nothing is written."""
        said, gone = time.monotonic(), False
        while True:
            await asyncio.sleep(_GATHER)
            try:
                if self._home.is_closed():
                    await self._arrive()
                    gone = False
                    log.warning("connected to the database again", node=self.node)
                elif self._notices or time.monotonic() > said + _LOOK:
                    said = time.monotonic()
                    notices, self._notices = self._notices, set()
                    await self._home.execute(_NEWS, _CHANNEL, list(notices), timeout=_SILENT)
            except Exception as failure:
                if isinstance(failure, asyncpg.PostgresError) and not self._home.is_closed():
                    continue  # it is there; news is but a hint
                if not gone:
                    log.error("the database is gone; nothing is written until it is back", error=type(failure).__name__)
                gone = True
                self._cut()
                await asyncio.sleep(_TURN)

    def _heard(self, _connection: Any, _pid: int, _channel: str, topic: str) -> None:
        self._topics.publish(topic)

    async def migrate(self) -> tuple[str | None, str]:
        return await self.write(migrations.upgrade)

    async def revision(self) -> str | None:
        return await self.read(migrations.current)

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        with contextlib.suppress(Exception):
            async with asyncio.timeout(1):
                for connection in (self._append_connection, self._home):
                    if connection is not None:
                        await connection.close()
                await self._engine.dispose()
        self._cut()


async def _take_node(connection: Any, wish: int) -> int:
    for node in sorted(range(_NODES), key=lambda node: node != wish):
        if await connection.fetchval("SELECT pg_try_advisory_lock($1)", _number(f"node:{node}")):
            return node
    raise RuntimeError(f"{_NODES} processes already share this database")


class _Lock(Ownership):
    """The server releases it when our process or connection dies."""

    def __init__(self, connect: Callable[[], Awaitable[Any]], number: int) -> None:
        self._connect = connect
        self._number = number
        self._connection: Any = None
        self._watch: asyncio.Task[None] | None = None

    async def __aenter__(self) -> None:
        self._connection = await self._connect()
        try:
            while not await self._ask("SELECT pg_try_advisory_lock($1)", self._number):  # noqa: ASYNC110 - who only waits
                # does not notice that the database is gone
                await asyncio.sleep(_TURN)
        except BaseException:
            self._connection.terminate()
            raise
        owner = asyncio.current_task()
        assert owner is not None
        self._watch = asyncio.create_task(self._keep(owner))

    async def _ask(self, query: str, *values: int) -> Any:
        return await self._connection.fetchval(query, *values, timeout=_SILENT)

    async def _keep(self, owner: asyncio.Task[Any]) -> None:
        while True:
            await asyncio.sleep(_LOOK)
            try:
                await self._ask("SELECT 1")
            except Exception:
                owner.cancel("ownership lost: the database connection is gone")
                return

    async def __aexit__(self, *error: object) -> None:
        if self._watch:
            self._watch.cancel()
        with contextlib.suppress(Exception):
            await self._connection.close(timeout=2)
