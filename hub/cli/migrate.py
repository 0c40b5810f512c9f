"""``hub migrate``"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hub.cli.base import Json, print_json, state

if TYPE_CHECKING:
    from hub.settings import Settings

app = typer.Typer()


@app.command()
def migrate(
    ctx: typer.Context,
    check: Annotated[bool, typer.Option("--check", help="Change nothing; exit code 1 if there is work.")] = False,
    as_json: Json = False,
) -> None:
    """Bring the database to this version of the hub. Doing it again does nothing."""
    found = asyncio.run(_migrate(state(ctx).settings(), check))
    if as_json:
        print_json(found)
    else:
        typer.echo(_told(found))
    if check and found["pending"]:
        raise typer.Exit(1)


async def _migrate(settings: Settings, check: bool) -> dict[str, Any]:
    """Database (masked), revision before and after, revisions that were pending and whether they were made."""
    from hub.app import CannotStart, store_of
    from hub.cli._masked import masked
    from hub.store import migrations

    async with store_of(settings) as store:
        before = await store.revision()
        try:
            pending = migrations.pending(before)
        except LookupError:
            raise CannotStart(f"the database was made by a newer version ({before}): install that version") from None
        after = before
        if pending and not check:
            _, after = await store.migrate()
    return {
        "database": masked(settings.database),
        "before": before,
        "after": after,
        "head": migrations.head(),
        "pending": pending if check else [],
        "applied": [] if check else pending,
    }


def _told(found: dict[str, Any]) -> str:
    before = f"revision {found['before']}" if found["before"] else "an empty database"
    if found["pending"]:
        return f"{found['database']}: {before}; to do: {', '.join(found['pending'])} (hub migrate does it)"
    if found["applied"]:
        return f"{found['database']}: from {before} to revision {found['after']}"
    return f"{found['database']}: {before}, nothing to do"
