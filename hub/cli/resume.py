"""``hub resume``"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hub.cli.base import Failure, Json, print_json, state

if TYPE_CHECKING:
    from hub.cli.base import State

app = typer.Typer()


@app.command()
def resume(
    ctx: typer.Context,
    restored: Annotated[
        bool, typer.Option("--i-restored", help="It was restored or copied, and no other hub sends what it holds.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Let a restored or copied database send again. Until then it takes messages in and calls no provider."""
    if not restored:
        raise Failure(
            "if this database was restored or copied, and the hub it came from is stopped for good, say so: "
            "hub resume --i-restored (a campaign is resumed by `hub campaign resume NAME`)"
        )
    found = asyncio.run(_resume(state(ctx)))
    if as_json:
        print_json(found)
    elif not found["copied"]:
        typer.echo("Nothing to resume: this database has been neither copied nor restored.")
    else:
        typer.echo(f"This database sends again. {found['in_doubt']} messages under way are looked up, not resent.")
        for name in found["paused"]:
            typer.echo(f"Paused: campaign {name!r}; see who has it already, then: hub campaign resume {name!r}")


async def _resume(state: State) -> Any:
    from hub.cli._hub import LOCAL, reached

    async with reached(state) as hub:
        return await hub.post(f"{LOCAL}/resume", {})
