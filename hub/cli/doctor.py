"""``hub doctor``"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import typer

from hub.cli.base import Json, print_json, print_table, state

if TYPE_CHECKING:
    from hub.cli._examine import Finding

app = typer.Typer()

_EXIT = {"ok": 0, "warning": 1, "error": 2}


@app.command()
def doctor(ctx: typer.Context, as_json: Json = False) -> None:
    """Look whether settings, database, clock and channels are well. Exit code 0: all is, 1: warnings, 2: errors."""
    from hub.cli._examine import examine

    found = asyncio.run(examine(state(ctx)))
    if as_json:
        print_json([each.__dict__ for each in found])
    else:
        _print(found)
    if worst := max((_EXIT[each.level] for each in found), default=0):
        raise typer.Exit(worst)


def _print(found: list[Finding]) -> None:
    print_table(("check", "", "found"), [(each.check, each.level, each.detail) for each in found])
    wrong = [each for each in found if each.level != "ok"]
    for line in dict.fromkeys(f"{each.check}: {each.next}" for each in wrong):
        typer.echo(line)
    if not wrong:
        typer.echo("all is well")
