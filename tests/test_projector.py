"""The projector when the database is in trouble."""

from __future__ import annotations

from pathlib import Path

import asyncpg
import pytest
import sqlalchemy as sa
from sqlalchemy import Connection
from structlog.testing import capture_logs

from hub.store.base import StoreFull, is_store_failure
from tests.paper import office, until

LONG = "x" * 300_000  # bytes; stored twice: raw, and as a message


def limit(connection: Connection, more: int) -> None:
    """``more``: pages that the database may still take."""
    pages = connection.exec_driver_sql("PRAGMA page_count").scalar_one()
    connection.exec_driver_sql(f"PRAGMA max_page_count={pages + more}")


async def test_a_message_that_finds_the_disk_full_waits_and_is_no_bad_message(tmp_path: Path) -> None:
    async with office(f"sqlite:///{tmp_path}/hub.db", tmp_path) as desk:
        await desk.write("hello")
        await desk.hub.store.write(lambda connection: limit(connection, 100))  # the raw delivery fits, no more does
        with capture_logs() as said:
            assert await desk.post("paper", {"id": "long", "from": "ann", "text": LONG}) == 200

            async def failed() -> bool:
                return any(each["log_level"] == "error" for each in said)

            await until(failed)
        await desk.hub.store.write(lambda connection: limit(connection, 10_000))
        await desk.settled()
        assert await desk.rows("quarantine") == []
        assert len(await desk.rows("message", inbound=True)) == 2


@pytest.mark.parametrize(
    ("error", "of_the_store"),
    [
        (StoreFull("full"), True),
        (ConnectionRefusedError(), True),
        (asyncpg.CannotConnectNowError("starting up"), True),
        (asyncpg.AdminShutdownError("stopping"), True),
        (asyncpg.LockNotAvailableError("canceling statement due to lock timeout"), True),
        (asyncpg.ReadOnlySQLTransactionError("a standby"), True),
        (asyncpg.DeadlockDetectedError("again"), True),
        (asyncpg.DataCorruptedError("a page"), True),
        (asyncpg.InsufficientPrivilegeError("no longer ours"), True),
        (asyncpg.ProgramLimitExceededError("index row too large"), False),
        (asyncpg.CardinalityViolationError("the same row twice"), False),
        (asyncpg.CharacterNotInRepertoireError("NUL"), False),
        (sa.exc.TimeoutError("no connection of the pool is free"), True),
        (sa.exc.OperationalError("INSERT", {}, Exception("disk I/O error")), True),
        (sa.exc.IntegrityError("INSERT", {}, Exception("UNIQUE")), False),
        (asyncpg.UniqueViolationError("UNIQUE"), False),
        (ValueError("what was written"), False),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else None,
)
def test_whose_fault_an_error_is(error: Exception, of_the_store: bool) -> None:
    assert is_store_failure(error) is of_the_store
