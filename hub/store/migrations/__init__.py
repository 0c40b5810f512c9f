"""Schema changes, run by `hub migrate` on the connection it is given."""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection


def config(connection: Connection | None = None) -> Config:
    settings = Config()
    settings.set_main_option("script_location", str(Path(__file__).parent))
    settings.attributes["connection"] = connection
    return settings


def head() -> str:
    """The revision this version of the hub works with."""
    revision = ScriptDirectory.from_config(config()).get_current_head()
    assert revision is not None
    return revision


def current(connection: Connection) -> str | None:
    return MigrationContext.configure(connection).get_current_revision()


def pending(revision: str | None) -> list[str]:
    """Revisions that are not in the database yet, oldest first. Raises: LookupError for one we do not know."""
    scripts = ScriptDirectory.from_config(config())
    known = [each.revision for each in scripts.walk_revisions()]
    if revision is not None and revision not in known:
        raise LookupError(revision)
    return known[: known.index(revision)][::-1] if revision is not None else known[::-1]


def upgrade(connection: Connection) -> tuple[str | None, str]:
    """Bring the schema to ``head``. Returns the revision before and after."""
    if connection.dialect.name == "postgresql":
        # Processes that start together must not migrate together.
        connection.exec_driver_sql("SELECT pg_advisory_xact_lock(7236523)")
    before = current(connection)
    if before != head():
        command.upgrade(config(connection), "head")
    return before, head()
