"""Databases for tests: SQLite in a file, and PostgreSQL from one server per test run."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from hub.testing.postgres import new_database, origin, postgres_url


def pytest_report_header() -> str:
    return f"postgresql: {origin()}"


@pytest.fixture(scope="session")
def postgres_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """URL of the server that all workers of this run share; started when the first test asks."""
    base = tmp_path_factory.getbasetemp()
    with postgres_url(shared=base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) as url:
        yield url


@pytest.fixture
async def postgres_dsn(postgres_server: str) -> AsyncIterator[str]:
    """``postgresql://…`` of an empty database of this test's own."""
    async with new_database(postgres_server) as dsn:
        yield dsn


@pytest.fixture(params=["sqlite", "postgres"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Runs the test twice: with an empty SQLite and with an empty PostgreSQL."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/hub.db"
    dsn: str = request.getfixturevalue("postgres_dsn")
    return dsn
