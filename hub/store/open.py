"""Which database, by its URL."""

from __future__ import annotations

from pathlib import Path

from hub.store.base import Store
from hub.store.postgres import PostgresStore
from hub.store.sqlite import SqliteStore
from hub.store.topics import Topics


async def open_store(url: str, topics: Topics | None = None) -> Store:
    """``sqlite:///path/hub.db`` or ``postgresql://…``. Raises ValueError for another scheme."""
    topics = topics or Topics()
    scheme, _, rest = url.partition("://")
    if scheme == "sqlite":
        return SqliteStore(Path(rest.removeprefix("/") if rest.startswith("//") else rest), topics)
    if scheme in ("postgresql", "postgres"):
        store = PostgresStore(url.replace("postgres://", "postgresql://", 1), topics)
        await store.start()
        return store
    raise ValueError(f"database_url: unknown database {scheme!r} (use sqlite:///path/hub.db or postgresql://…)")
