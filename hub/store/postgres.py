"""PostgreSQL: several processes on one database. Ownership is a session advisory lock, news is NOTIFY."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from collections.abc import Callable
from typing import Any, TypeVar

import asyncpg
import sqlalchemy as sa
from sqlalchemy import Connection
from sqlalchemy.ext.asyncio import create_async_engine

from hub.store import migrations
from hub.store.base import InboxRow, Overtaken, Ownership, Store, StoreFull
from hub.store.schema import micros
from hub.store.topics import Topics

T = TypeVar("T")

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
_NODES = 32
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
                # Our statements are short; to compile them takes longer than to run them.
                "server_settings": {"application_name": "omnihub", "jit": "off"},
            },
        )
        self._single = self._engine.execution_options(isolation_level="AUTOCOMMIT")  # of the same connections
        self._appends: list[tuple[InboxRow, asyncio.Future[None]]] = []
        self._wanted = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self._notices: set[str] = set()
        self._append_connection: Any = None
        self._listen_connection: Any = None
        self.node = 0

    async def start(self) -> None:
        self._listen_connection = await asyncpg.connect(self._dsn)
        await self._listen_connection.add_listener(_CHANNEL, self._heard)
        self.node = await self._take_node()
        self._tasks = [asyncio.create_task(self._append_loop()), asyncio.create_task(self._notify_loop())]

    async def _take_node(self) -> int:
        for node in range(_NODES):
            if await self._listen_connection.fetchval("SELECT pg_try_advisory_lock($1)", _number(f"node:{node}")):
                return node
        raise RuntimeError(f"{_NODES} processes already share this database")

    async def write(self, work: Callable[[Connection], T], *, alone: bool = False) -> T:
        engine = self._single if alone else self._engine
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

    def append(self, row: InboxRow) -> asyncio.Future[None]:
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._appends.append((row, future))
        self._wanted.set()
        return future

    async def _append_loop(self) -> None:
        while True:
            await self._wanted.wait()
            self._wanted.clear()
            while self._appends:
                group, self._appends = self._appends[:512], self._appends[512:]
                error: Exception | None = None
                try:
                    await self._append_group([row for row, _ in group])
                except Exception as failure:  # every waiter must learn of it
                    error = failure
                for _, future in group:
                    if not future.done():
                        future.set_exception(error) if error else future.set_result(None)

    async def _append_group(self, rows: list[InboxRow]) -> None:
        if self._append_connection is None or self._append_connection.is_closed():
            self._append_connection = await asyncpg.connect(self._dsn)
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
        return _Lock(self._dsn, _number(f"own:{name}"))

    def publish(self, topic: str) -> None:
        self._topics.publish(topic)
        self._notices.add(topic)

    async def _notify_loop(self) -> None:
        while True:
            await asyncio.sleep(0.005)
            if not self._notices:
                continue
            notices, self._notices = self._notices, set()
            with contextlib.suppress(Exception):  # a hint: everybody also looks once a second
                await self._listen_connection.executemany(
                    f"SELECT pg_notify('{_CHANNEL}', $1)",
                    [(topic,) for topic in notices],
                )

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
        for connection in (self._append_connection, self._listen_connection):
            if connection is not None:
                with contextlib.suppress(Exception):
                    await connection.close(timeout=2)
        await self._engine.dispose()


class _Lock(Ownership):
    """The server releases it when our process or connection dies."""

    def __init__(self, dsn: str, number: int) -> None:
        self._dsn = dsn
        self._number = number
        self._connection: Any = None
        self._watch: asyncio.Task[None] | None = None

    async def __aenter__(self) -> None:
        self._connection = await asyncpg.connect(self._dsn)
        await self._connection.execute("SELECT pg_advisory_lock($1)", self._number)
        owner = asyncio.current_task()
        assert owner is not None
        self._watch = asyncio.create_task(self._keep(owner))

    async def _keep(self, owner: asyncio.Task[Any]) -> None:
        while True:
            await asyncio.sleep(2.0)
            try:
                await self._connection.fetchval("SELECT 1", timeout=5)
            except Exception:
                owner.cancel("ownership lost: the database connection is gone")
                return

    async def __aexit__(self, *error: object) -> None:
        if self._watch:
            self._watch.cancel()
        with contextlib.suppress(Exception):
            await self._connection.close(timeout=2)
