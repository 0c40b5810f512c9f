"""A database that is gone, silent or held by somebody else: what waits for it learns of it, and the hub goes on."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, closing
from functools import partial
from pathlib import Path

import asyncpg
import pytest
import sqlalchemy as sa

from hub import app
from hub.clock import Ids, system_clock
from hub.contract import Outgoing
from hub.store import Store, appends, open_store, postgres
from hub.store.base import is_store_failure
from hub.store.schema import cursor
from hub.store.topics import Topics
from tests.paper import Office, office, until
from tests.wire import wire

ASKING = """
    SELECT count(*) FROM pg_stat_activity
    WHERE datname = current_database() AND query LIKE 'SELECT pg_%lock($1)' AND pid <> pg_backend_pid()"""


@pytest.fixture
def hurry(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """From then on a hub waits for what does not come a tenth as long."""

    def hurry() -> None:
        monkeypatch.setattr(appends, "_LOOK", appends._LOOK / 10)
        for name in ("_LOOK", "_SILENT", "_TURN"):
            monkeypatch.setattr(postgres, name, getattr(postgres, name) / 10)
        monkeypatch.setattr(app, "_RESTART", (0.1, 0.3))

    return hurry


@asynccontextmanager
async def opened(url: str, topics: Topics | None = None) -> AsyncIterator[Store]:
    store = await open_store(url, topics)
    try:
        yield store
    finally:
        await store.close()


async def end_sessions(dsn: str) -> None:
    """As a restart of PostgreSQL does."""
    admin = await asyncpg.connect(dsn)
    await admin.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )
    await admin.close()


async def writes(store: Store) -> bool:
    try:
        await store.write(lambda connection: connection.execute(sa.select(cursor)).all())
    except Exception as error:
        assert is_store_failure(error), error
        return False
    return True


async def test_news_is_heard_again_after_postgresql_was_restarted(postgres_dsn: str) -> None:
    one_hears, two_hears = Topics(), Topics()
    async with opened(postgres_dsn, one_hears) as one, opened(postgres_dsn, two_hears) as two:
        await end_sessions(postgres_dsn)
        for teller, listener in ((one, two_hears), (two, one_hears)):
            with listener.listen("inbox") as news:

                async def heard(teller: Store = teller, news: asyncio.Event = news) -> bool:
                    teller.publish("inbox")
                    return news.is_set()

                await until(heard)


async def test_a_hub_that_lost_its_number_writes_nothing_until_it_has_one_of_its_own(
    postgres_dsn: str, hurry: Callable[[], None]
) -> None:
    async with wire(postgres_dsn) as way, opened(way.url) as one:
        hurry()
        ids = Ids(system_clock, one.node)
        one.on_node = ids.move
        await way.silence(altogether=True)

        async def lost() -> bool:
            return not await writes(one)

        await until(lost)
        async with opened(postgres_dsn) as two:
            assert two.node == 0, "it is free, since the server takes the first one for gone"
            assert not await writes(one)
            before = ids()
            way.restore()
            await until(lambda: writes(one))
            assert one.node == 1
            others = Ids(system_clock, two.node)
            made = [each() for _ in range(200) for each in (ids, others)]
            assert len(set(made)) == len(made)
            assert made[0] > before


async def test_a_hub_that_is_cut_off_for_a_moment_keeps_its_number(postgres_dsn: str) -> None:
    async with opened(postgres_dsn) as one, opened(postgres_dsn) as two:
        numbers = (one.node, two.node)
        await end_sessions(postgres_dsn)
        for each in (one, two):
            await until(partial(writes, each))
        assert (one.node, two.node) == numbers == (0, 1)


async def test_a_webhook_is_refused_when_its_connection_is_silent_and_the_next_is_taken(
    postgres_dsn: str, tmp_path: Path, hurry: Callable[[], None]
) -> None:
    async with wire(postgres_dsn) as way, office(way.url, tmp_path) as desk:
        await desk.write("before")
        hurry()
        await way.silence()
        letter = {"id": "1", "from": "ann", "text": "hello"}
        assert await desk.post("paper", letter) == 503

        async def taken() -> bool:
            return await desk.post("paper", letter) == 200

        await until(taken)

        async def shown() -> bool:
            return desk.posts == ["before", "hello"]

        await until(shown)


@asynccontextmanager
async def held(desk: Office, dsn: str, data: Path) -> AsyncIterator[None]:
    """Another program holds what appends wait for."""
    if desk.hub.store.dialect == "sqlite":
        with closing(sqlite3.connect(data / "hub.db", isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            yield
        return
    connection = await asyncpg.connect(dsn)
    await connection.execute("SELECT pg_advisory_lock($1)", postgres._APPEND_LOCK)
    yield
    await connection.close()


async def test_who_cannot_append_refuses_webhooks_and_is_not_ready(
    database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with office(database_url, tmp_path) as desk:
        await desk.write("before")
        ready = f"http://127.0.0.1:{desk.hub.port}/readyz"
        letter = {"id": "1", "from": "ann", "text": "hello"}
        async with held(desk, database_url, tmp_path):
            monkeypatch.setattr(appends, "_LOOK", 0.05)
            assert await desk.post("paper", letter) == 503
            async with desk.session.get(ready) as answer:
                assert (answer.status, (await answer.json())["status"]) == (503, "cannot commit")

        monkeypatch.undo()

        async def taken() -> bool:
            return await desk.post("paper", letter) == 200

        await until(taken)
        async with desk.session.get(ready) as answer:
            assert answer.status == 200
        await desk.settled()
        assert desk.posts == ["before", "hello"], "what was refused may be there: the repeat is recognised"


async def test_who_waits_to_own_something_notices_that_the_database_is_silent(
    postgres_dsn: str, hurry: Callable[[], None]
) -> None:
    owner = await asyncpg.connect(postgres_dsn)
    await owner.execute("SELECT pg_advisory_lock($1)", postgres._number("own:inbox"))
    async with wire(postgres_dsn) as way, opened(way.url) as store:

        async def wait() -> None:
            async with store.own("inbox"):
                raise AssertionError("it belongs to the other one")

        async def asked() -> bool:
            return bool(await owner.fetchval(ASKING))

        waiting = asyncio.create_task(wait())
        await until(asked)
        hurry()
        await way.silence()
        [failure] = await asyncio.gather(waiting, return_exceptions=True)
        assert isinstance(failure, Exception) and not isinstance(failure, AssertionError), "so the worker starts again"
    await owner.close()


UNWRITABLE = {
    "sqlite": "CREATE TRIGGER lost BEFORE UPDATE ON rate BEGIN SELECT RAISE(ABORT, 'lost'); END",
    "postgresql": "CREATE RULE lost AS ON UPDATE TO rate DO INSTEAD (SELECT 'lost'::text::int)",
}


async def test_a_part_that_could_get_no_turn_is_sent_later(
    database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(app, "_RESTART", (0.1, 0.3))
    async with office(database_url, tmp_path, configured={"rate": 1000}, text_limit=10) as desk:
        hub, dialect = desk.hub, desk.hub.store.dialect
        await desk.write("hello")

        async def lose(_out: Outgoing) -> None:
            desk.letters.watch = None
            await hub.store.write(partial(sa.Connection.exec_driver_sql, statement=UNWRITABLE[dialect]))

        desk.letters.watch = lose
        letter = {"id": "answer", "from": "zoe", "text": "one two three", "thread": desk.thread}
        assert await desk.post("board", letter) == 200

        async def put_back() -> bool:
            rows = await desk.rows("delivery", kind="contact")
            return [(row.state, row.part) for row in rows] == [("queued", 1)]

        await until(put_back)
        drop = "DROP TRIGGER lost" if dialect == "sqlite" else "DROP RULE lost ON rate"
        await hub.store.write(partial(sa.Connection.exec_driver_sql, statement=drop))
        await desk.settled()
        assert len(desk.letters.texts) == 2
        [row] = await desk.rows("delivery", kind="contact")
        assert row.state == "sent"


async def test_the_server_notices_in_seconds_that_an_owners_machine_is_gone(postgres_dsn: str) -> None:
    async with opened(postgres_dsn) as store:
        assert isinstance(store, postgres.PostgresStore)
        connection = await store._connect()
        for name, most in (("idle", 5), ("interval", 2), ("count", 3)):
            assert 0 < int(await connection.fetchval(f"SHOW tcp_keepalives_{name}")) <= most
        await connection.close()


async def test_a_hub_whose_database_is_silent_stops(
    postgres_dsn: str, tmp_path: Path, hurry: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(app, "_DRAIN", 1.0)
    monkeypatch.setattr(app, "_LAST", 0.5)
    async with wire(postgres_dsn) as way, office(way.url, tmp_path) as desk:
        await desk.write("hello")
        hurry()
        monkeypatch.setattr(postgres, "_SILENT", 600.0)  # so that it is the stop that ends what hangs
        await way.silence(altogether=True)
