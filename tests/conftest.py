"""Databases for tests: SQLite in a file, and PostgreSQL from one server per test run."""

from __future__ import annotations

import gc
import os
import shutil
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from sqlalchemy import Engine, make_url
from sqlalchemy.engine.default import DefaultDialect
from sqlalchemy.util import LRUCache

from hub.store import open_store
from hub.testing.postgres import new_database, origin, postgres_url


def pytest_report_header() -> str:
    return f"postgresql: {origin()}"


def pytest_collection_finish() -> None:
    """Modules and collected tests stay to the end: to look through them again and again took a third of the time."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session", autouse=True)
def _statements_compiled_once() -> Iterator[None]:
    """Each test has a database of its own, so engines of its own, and each of these would compile every statement anew:
    a sixth of the time of all tests. Dialects of one kind are alike here, so what one compiled is good for all."""
    cache: LRUCache[Any, Any] = LRUCache(5000)
    plain = Engine.__init__

    def init(self: Engine, *args: Any, **options: Any) -> None:
        plain(self, *args, **options)
        self._compiled_cache = cache

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Engine, "__init__", init)
        patch.setattr(DefaultDialect, "__eq__", lambda one, other: type(one) is type(other))
        patch.setattr(DefaultDialect, "__hash__", lambda one: hash(type(one)))
        yield


@pytest.fixture(scope="session")
def postgres_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """URL of the server that all workers of this run share; started when the first test asks."""
    base = tmp_path_factory.getbasetemp()
    with postgres_url(shared=base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) as url:
        yield url


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def postgres_template(postgres_server: str) -> AsyncIterator[str]:
    """Name of a migrated database that others are copied from: that takes a thirtieth of the time."""
    async with new_database(postgres_server) as dsn:
        await _migrate(dsn)
        yield str(make_url(dsn).database)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated file that others are copied from."""
    path = tmp_path_factory.mktemp("template") / "hub.db"
    await _migrate(f"sqlite:///{path}")
    return path


async def _migrate(url: str) -> None:
    store = await open_store(url)
    await store.migrate()
    await store.close()


@pytest.fixture
async def postgres_dsn(postgres_server: str, postgres_template: str) -> AsyncIterator[str]:
    """``postgresql://…`` of a database of this test's own, with tables and nothing in them."""
    async with new_database(postgres_server, postgres_template) as dsn:
        yield dsn


@pytest.fixture
async def empty_postgres_dsn(postgres_server: str) -> AsyncIterator[str]:
    """``postgresql://…`` of a database of this test's own, without tables."""
    async with new_database(postgres_server) as dsn:
        yield dsn


@pytest.fixture
def sqlite_url(sqlite_template: Path, tmp_path: Path) -> str:
    """``sqlite:///…/hub.db`` in ``tmp_path``, with tables and nothing in them."""
    shutil.copy(sqlite_template, tmp_path / "hub.db")
    return f"sqlite:///{tmp_path}/hub.db"


@pytest.fixture(params=["sqlite", "postgres"])
def database_url(request: pytest.FixtureRequest) -> str:
    """Runs the test twice, with SQLite and with PostgreSQL: tables, and nothing in them."""
    return str(request.getfixturevalue("postgres_dsn" if request.param == "postgres" else "sqlite_url"))


@pytest.fixture(params=["sqlite", "postgres"])
def empty_database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Runs the test twice, with SQLite and with PostgreSQL, as they are before the first start."""
    if request.param == "postgres":
        return str(request.getfixturevalue("empty_postgres_dsn"))
    return f"sqlite:///{tmp_path}/hub.db"
