"""``hub segment …``"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hub.cli.base import Failure, Json, print_json, print_table, state

if TYPE_CHECKING:
    from hub.client import AsyncClient

app = typer.Typer()
_segment = typer.Typer(help="Who is meant: filters over customers, saved by name.", no_args_is_help=True)
app.add_typer(_segment, name="segment")

Filter = Annotated[
    str, typer.Argument(help='JSON: {"field": "tier", "is": "gold"}; @FILE reads it from a file; else a saved name.')
]


@_segment.command("list")
def list_segments(ctx: typer.Context, as_json: Json = False) -> None:
    """The saved segments."""
    found = _ask(ctx, lambda hub: hub.segments())
    if as_json:
        print_json([each.model_dump(mode="json") for each in found])
    elif found:
        print_table(("name", "filter"), [(each.name, json.dumps(each.filter, ensure_ascii=False)) for each in found])
    else:
        typer.echo("no segment yet; save one: hub segment save NAME FILTER")


@_segment.command()
def save(ctx: typer.Context, name: str, filter: Filter, as_json: Json = False) -> None:
    """Save a segment, or replace the one of this name."""
    wanted = _read(filter)
    _ask(ctx, lambda hub: hub.save_segment(name, wanted))
    _counted(ctx, name, {"segment": name}, as_json)


@_segment.command()
def count(ctx: typer.Context, filter: Filter, as_json: Json = False) -> None:
    """How many customers are in it, and how many of them each channel reaches."""
    _counted(ctx, filter, _read(filter), as_json)


@_segment.command()
def delete(ctx: typer.Context, name: str, as_json: Json = False) -> None:
    """Forget a saved segment."""
    _ask(ctx, lambda hub: hub.remove_segment(name))
    if as_json:
        print_json({"name": name})
    else:
        typer.echo(f"{name} is forgotten")


def _counted(ctx: typer.Context, name: str, filter: dict[str, Any], as_json: bool) -> None:
    found = _ask(ctx, lambda hub: hub.count(filter))
    if as_json:
        print_json(found.model_dump(mode="json"))
    else:
        reach = ", ".join(f"{channel} {people}" for channel, people in found.reach.items())
        typer.echo(f"{name}: {found.customers} customers; reached by {reach or 'no channel'}")


def _read(text: str) -> dict[str, Any]:
    if text.startswith("@"):
        text = Path(text[1:]).read_text(encoding="utf-8")
    elif not text.lstrip().startswith("{"):
        return {"segment": text}
    try:
        found = json.loads(text)
    except ValueError as error:
        raise Failure(f"the filter is no JSON: {error}", 2) from None
    if not isinstance(found, dict):
        raise Failure('the filter is no JSON object, such as {"field": "tier", "is": "gold"}', 2)
    return found


def _ask(ctx: typer.Context, work: Callable[[AsyncClient], Awaitable[Any]]) -> Any:
    from hub.cli._client import connected

    async def ask() -> Any:
        async with connected(state(ctx)) as (hub, _):
            return await work(hub)

    return asyncio.run(ask())
