"""What the databases promise the domain: transactions that meet are both done."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import sqlite3
import sys
from datetime import UTC, datetime
from pathlib import Path

import asyncpg
import pytest
import sqlalchemy as sa
from sqlalchemy import Connection

from hub.store import Store, open_store, sqlite
from hub.store.base import InboxRow
from hub.store.schema import cursor, inbox
from hub.store.sqlite import OtherLog
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


@pytest.fixture
def small_log(monkeypatch: pytest.MonkeyPatch) -> None:
    """Checkpoints come after 40 kB of log."""
    monkeypatch.setattr(sqlite, "_CHECKPOINT_PAGES", 10)
    monkeypatch.setattr(sqlite, "_COUNTED", 0.0)


async def _write(store: Store, number: int) -> None:
    for _ in range(number):
        await store.append(InboxRow("sms", "POST", "", "{}", bytes(5000), datetime.now(UTC)))
    await asyncio.sleep(0.1)  # a checkpoint is made beside the writer


def _crashed(place: Path, copy: Path) -> Path:
    """What a kill leaves of a hub at work."""
    shutil.copytree(place, copy)
    return copy


async def _rows(place: Path) -> int:
    store = await open_store(f"sqlite:///{place}/hub.db")
    try:
        query = sa.select(sa.func.count()).select_from(inbox)
        return await store.read(lambda connection: connection.execute(query).scalar_one())
    finally:
        await store.close()


@pytest.mark.usefixtures("small_log")
async def test_a_file_that_is_put_back_beside_the_log_of_a_later_state_is_refused(tmp_path: Path) -> None:
    place = tmp_path / "hub"
    store = await open_store(f"sqlite:///{place}/hub.db")
    await store.migrate()
    await _write(store, 20)
    backup = tmp_path / "backup.db"
    with (
        contextlib.closing(sqlite3.connect(place / "hub.db")) as source,
        contextlib.closing(sqlite3.connect(backup)) as target,
    ):
        source.backup(target)
    await _write(store, 20)
    restored = _crashed(place, tmp_path / "restored")
    shutil.copy(backup, restored / "hub.db")
    with pytest.raises(OtherLog, match=r"remove hub\.db-wal and hub\.db-shm"):
        await open_store(f"sqlite:///{restored}/hub.db")
    for name in ("hub.db-wal", "hub.db-shm"):
        (restored / name).unlink()
    assert await _rows(restored) == 20
    await store.close()


@pytest.mark.usefixtures("small_log")
async def test_what_a_crash_leaves_is_always_taken_up(tmp_path: Path) -> None:
    place = tmp_path / "hub"
    store = await open_store(f"sqlite:///{place}/hub.db")
    await store.migrate()
    for number in range(1, 16):
        await _write(store, 3)
        assert await _rows(_crashed(place, tmp_path / str(number))) == 3 * number
    await store.close()
    assert await _rows(place) == 45
