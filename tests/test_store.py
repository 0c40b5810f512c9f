"""What the databases promise the domain: transactions that meet are both done."""

from __future__ import annotations

import asyncio
import sys
from datetime import UTC, datetime
from pathlib import Path

import asyncpg
import pytest
import sqlalchemy as sa
from sqlalchemy import Connection

from hub.store import open_store
from hub.store.base import InboxRow
from hub.store.schema import cursor
from tests.paper import office, until

_COUNT = "import sqlite3, sys; print(*sqlite3.connect(sys.argv[1]).execute('SELECT count(*) FROM message').fetchone())"


async def test_a_transaction_that_another_one_overtook_is_run_again(postgres_dsn: str) -> None:
    store = await open_store(postgres_dsn)
    await store.migrate()
    other = await asyncpg.connect(postgres_dsn)
    runs: list[str | None] = []

    def work(connection: Connection) -> None:
        found = connection.execute(sa.select(cursor.c.value).where(cursor.c.name == "x")).scalar_one_or_none()
        runs.append(found)
        if found is None:
            connection.execute(sa.insert(cursor).values(name="x", value="mine"))

    async def waits() -> bool:
        return bool(await other.fetchval("SELECT count(*) FROM pg_locks WHERE NOT granted"))

    taken = other.transaction()
    await taken.start()
    await other.execute("INSERT INTO cursor VALUES ('x', 'theirs')")
    writing = asyncio.create_task(store.write(work))
    await until(waits)
    await taken.commit()
    await writing
    assert runs == [None, "theirs"]
    await other.close()
    await store.close()


async def test_a_closed_store_says_so_to_who_waits(tmp_path: Path) -> None:
    store = await open_store(f"sqlite:///{tmp_path}/hub.db")
    await store.migrate()
    await store.close()
    late = store.append(InboxRow("sms", "POST", "", "{}", b"", datetime.now(UTC)))
    with pytest.raises(RuntimeError, match="closed"):
        await late


async def test_another_program_may_look_into_the_file_at_any_time(tmp_path: Path) -> None:
    """Whoever believes to be the last to close it removes the write-ahead log, and all that it still holds."""

    async def count() -> int:
        looking = await asyncio.create_subprocess_exec(
            sys.executable, "-c", _COUNT, tmp_path / "hub.db", stdout=asyncio.subprocess.PIPE
        )
        said, _ = await looking.communicate()
        return int(said)

    async with office(f"sqlite:///{tmp_path}/hub.db", tmp_path) as desk:
        for number in range(3):
            await desk.write("hello")
            assert await count() == len(await desk.rows("message")) == number + 1
    assert await count() == 3
