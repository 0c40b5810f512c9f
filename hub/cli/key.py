"""``hub key …``"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hub.cli._text import line, moment
from hub.cli.base import Json, print_json, print_table, state

if TYPE_CHECKING:
    from hub.cli._hub import Api
    from hub.cli.base import State

app = typer.Typer()
_key = typer.Typer(help="API keys: who may use the REST API.", no_args_is_help=True)
app.add_typer(_key, name="key")

_KEYS = "/api/v1/keys"


class Scope(StrEnum):
    read = "read"
    send = "send"
    admin = "admin"


@_key.command()
def create(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(help="Who uses it; what it sends is signed with this name.")],
    scope: Annotated[
        list[Scope],
        typer.Option(help="read: see everything; send: write to customers; admin: everything. Can be repeated."),
    ],
    as_json: Json = False,
) -> None:
    """Make a key. It is printed this once; only a hash of it is kept."""
    made = asyncio.run(_asked(state(ctx), lambda hub: hub.post(_KEYS, {"name": name, "scopes": scope})))
    if as_json:
        print_json(made)
        return
    typer.echo(made["token"])
    about = "Keep it: it cannot be shown again. It goes into the header Authorization: Bearer …"
    typer.echo(f"{about}; hub key revoke {made['key']['id']} ends it.", err=True)


@_key.command("list")
def list_keys(ctx: typer.Context, as_json: Json = False) -> None:
    """All keys, without their secrets."""
    found = asyncio.run(_asked(state(ctx), lambda hub: hub.get(_KEYS)))["items"]
    if as_json:
        print_json(found)
    elif found:
        print_table(("id", "name", "scopes", "created", "revoked"), [_row(each) for each in found])
    else:
        typer.echo("no API key yet; make one: hub key create NAME --scope read")


@_key.command()
def revoke(
    ctx: typer.Context,
    key: Annotated[str, typer.Argument(help="Id of the key, as hub key list shows it.")],
    as_json: Json = False,
) -> None:
    """End a key. Who uses it is refused from now on."""
    from hub.cli._hub import segment

    gone = asyncio.run(_asked(state(ctx), lambda hub: hub.delete(f"{_KEYS}/{segment(key)}")))
    if as_json:
        print_json(gone)
    else:
        typer.echo(f"{gone['id']} ({line(gone['name'])}) was revoked at {moment(gone['revoked_at'])}")


async def _asked(state: State, work: Callable[[Api], Awaitable[Any]]) -> Any:
    from hub.cli._hub import reached

    async with reached(state) as hub:
        return await work(hub)


def _row(key: dict[str, Any]) -> list[str]:
    revoked = moment(key["revoked_at"]) if key["revoked_at"] else ""
    return [key["id"], line(key["name"]), ", ".join(key["scopes"]), moment(key["created_at"]), revoked]
