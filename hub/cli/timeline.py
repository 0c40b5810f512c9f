"""``hub timeline`` and ``hub why``"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hub.cli.base import Json, print_json, state

if TYPE_CHECKING:
    from hub.cli.base import State

app = typer.Typer()


@app.command()
def timeline(
    ctx: typer.Context,
    customer: Annotated[str, typer.Argument(help="Public id (cus_…), your own id, or an address: tel:+447700900123.")],
    limit: Annotated[int, typer.Option(min=1, help="How many of the newest messages.")] = 50,
    decisions: Annotated[bool, typer.Option("--decisions", help="Also why each message went out, or not.")] = False,
    as_json: Json = False,
) -> None:
    """Everything that was said with a customer, on all channels, oldest first."""
    found = asyncio.run(_timeline(state(ctx), customer, limit, decisions))
    if as_json:
        print_json(found)
        return
    from hub.cli import _told

    typer.echo(_told.timeline(found, limit))


@app.command()
def why(
    ctx: typer.Context,
    message: Annotated[str, typer.Argument(help="Id of a message (msg_…) or of a delivery (del_…).")],
    as_json: Json = False,
) -> None:
    """What became of a message: each decision with what it was based on, each attempt, what the provider said."""
    found = asyncio.run(_why(state(ctx), message))
    if as_json:
        print_json(found)
        return
    from hub.cli import _told

    typer.echo(_told.why(found))


async def _timeline(state: State, who: str, limit: int, decisions: bool) -> dict[str, Any]:
    from hub.cli._hub import API, reached, segment

    async with reached(state) as hub:
        path = f"{API}/customers/{segment(who)}"
        customer = await hub.get(path)
        messages = await hub.pages(f"{path}/messages", limit)
        if decisions:
            messages = [
                await hub.get(f"{API}/messages/{each['id']}") if each["direction"] == "out" else each
                for each in messages
            ]
    return {"customer": customer, "messages": messages[::-1]}


async def _why(state: State, message: str) -> dict[str, Any]:
    from hub.cli._hub import API, reached, segment

    async with reached(state) as hub:
        found: dict[str, Any] = await hub.get(f"{API}/messages/{segment(message)}")
        return found
