"""Run by Alembic; the connection comes from `hub migrate`."""

from __future__ import annotations

from typing import Any, Literal

from alembic import context

from hub.store.schema import Moment, metadata


def _render(kind: str, item: Any, _context: Any) -> str | Literal[False]:
    # A migration must mean the same for ever, so it does not name our own types.
    return "sa.BigInteger()" if kind == "type" and isinstance(item, Moment) else False


context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    render_as_batch=True,
    render_item=_render,
    transactional_ddl=False,
)
context.run_migrations()
