"""The migrations make what ``schema`` says, on both databases, and can be taken back."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from hub.store import Store, migrations, open_store
from hub.store.schema import metadata
from hub.store.topics import Topics


async def _opened(url: str) -> Store:
    store = await open_store(url, Topics())
    await store.migrate()
    return store


async def test_the_migrations_make_the_schema(empty_database_url: str) -> None:
    store = await _opened(empty_database_url)

    def differences(connection: sa.Connection) -> list[Any]:
        return compare_metadata(MigrationContext.configure(connection, opts={"compare_type": True}), metadata)

    assert await store.read(differences) == []
    await store.close()


async def test_every_step_can_be_taken_back(empty_database_url: str) -> None:
    store = await _opened(empty_database_url)

    def back(connection: sa.Connection) -> list[str]:
        command.downgrade(migrations.config(connection), "base")
        return sa.inspect(connection).get_table_names()

    assert set(await store.write(back)) <= {"alembic_version", "sqlite_sequence"}
    assert await store.migrate() == (None, migrations.head())
    await store.close()
