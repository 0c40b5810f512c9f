"""The server that tests get, and that nothing of it stays."""

from __future__ import annotations

import asyncio
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import asyncpg
import pytest

from hub.testing.postgres import VARIABLE, new_database, postgres_url

USER = """
import sys, pathlib, hub.testing.postgres as postgres
with postgres.postgres_url(shared=pathlib.Path(sys.argv[1])) as url:
    print(url, flush=True)
    sys.stdin.read()
"""


@asynccontextmanager
async def user_of(place: Path) -> AsyncIterator[tuple[Process, str]]:
    """A process that uses the server of ``place`` until its input is closed or it is killed, and what URL it got."""
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", USER, str(place), stdin=PIPE, stdout=PIPE)
    assert process.stdout
    try:
        yield process, (await process.stdout.readline()).decode().strip()
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        await process.communicate()


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A place where a private server is started, whatever server the other tests use."""
    monkeypatch.delenv(VARIABLE, raising=False)
    return tmp_path


async def ask(url: str, question: str) -> object:
    connection = await asyncpg.connect(url)
    try:
        return await connection.fetchval(question)
    finally:
        await connection.close()


async def ended(url: str) -> None:
    """Returns when the server refuses connections."""
    while True:
        try:
            await ask(url, "SELECT 1")
        except (OSError, asyncpg.PostgresError):
            return
        await asyncio.sleep(0.02)


async def test_each_test_has_an_empty_database_of_its_own(postgres_server: str, postgres_dsn: str) -> None:
    await ask(postgres_dsn, "CREATE TABLE mine (id int)")
    async with new_database(postgres_server) as other:
        assert await ask(other, "SELECT to_regclass('mine')") is None
    with pytest.raises(asyncpg.InvalidCatalogNameError):
        await ask(other, "SELECT 1")


def test_a_test_without_a_loop_has_a_database_too(postgres_dsn: str) -> None:
    assert asyncio.run(ask(postgres_dsn, "SELECT 1")) == 1


async def test_users_share_a_server_that_ends_with_the_last_even_if_killed(own: Path) -> None:
    async with user_of(own) as (first, url), user_of(own) as (second, same):
        assert same == url
        await first.communicate(b"")  # closes its input
        assert await ask(url, "SHOW fsync") == "off"
        second.kill()
        async with asyncio.timeout(20):
            await ended(url)


async def test_a_durable_server_syncs(own: Path) -> None:
    with postgres_url(durable=True, shared=own) as url:
        assert [await ask(url, f"SHOW {name}") for name in ("fsync", "synchronous_commit")] == ["on", "on"]


def test_a_named_server_is_taken_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "postgresql://me@127.0.0.1:1/db")
    with postgres_url() as url:
        assert url == "postgresql://me@127.0.0.1:1/db"
