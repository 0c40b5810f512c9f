"""``hub adapter …``"""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING

import typer

from hub.cli.base import Json, JsonAlways, print_json, print_table, state

if TYPE_CHECKING:
    from hub.cli._playback import Play

app = typer.Typer(name="adapter", help="The installed adapters, and what they make of a payload.", no_args_is_help=True)


@app.command("list")
def list_adapters(ctx: typer.Context, as_json: Json = False) -> None:
    """Every installed adapter and what it can do."""
    from hub.registry import summary
    from hub.settings import ConfigError

    adapters = state(ctx).adapters()
    found: list[dict[str, str | None]] = []
    for name in adapters:
        try:
            kind = adapters.named(name)
        except ConfigError as error:
            found.append({"name": name, "medium": "", "role": "", "capabilities": "", "error": str(error)})
        else:
            can = summary(kind.capabilities)
            found.append({"name": name, "medium": kind.medium, "role": kind.role, "capabilities": can, "error": None})
    if as_json:
        print_json(found)
    else:
        rows = [(row["name"], row["medium"], row["role"], row["error"] or row["capabilities"]) for row in found]
        print_table(("name", "medium", "role", "capabilities"), [tuple(map(str, row)) for row in rows])


@app.command()
def receive(ctx: typer.Context, as_json: JsonAlways = False) -> None:
    """What the hub would make of the requests on standard input (JSON lines). No database, no network."""
    from hub.cli import _playback

    _each_line(ctx, _playback.receive)


@app.command()
def send(ctx: typer.Context, as_json: JsonAlways = False) -> None:
    """What the hub would send for the messages on standard input (JSON lines). No database, no network."""
    from hub.cli import _playback

    _each_line(ctx, _playback.send)


def _each_line(ctx: typer.Context, act: Play) -> None:
    from hub.cli._playback import play

    adapters = state(ctx).adapters()
    with asyncio.Runner() as runner:
        for line in sys.stdin.buffer:
            sys.stdout.write(runner.run(play(line, act, adapters)) + "\n")
            sys.stdout.flush()  # a tool may wait for this answer before its next line
