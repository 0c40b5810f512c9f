"""``hub policy …``"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from hub.cli.base import Failure, Json, JsonAlways, print_json

app = typer.Typer(name="policy", help="The rules on what may be sent, and when.", no_args_is_help=True)


@app.command("try")
def try_cases(as_json: JsonAlways = False) -> None:
    """What the rules say about the cases on standard input (JSON lines). No database, no network."""
    from hub.cli._policy import answers

    for line in answers(sys.stdin.buffer):
        sys.stdout.write(line + "\n")
        sys.stdout.flush()  # a tool may wait for this answer before its next line


@app.command()
def check(
    folder: Annotated[
        Path | None, typer.Argument(help="Folder of changed packs; else those of this installation.", file_okay=False)
    ] = None,
    as_json: Json = False,
) -> None:
    """Read the packs as the hub does, and say what is wrong with them, or how old their sources are."""
    from hub.policy import pack

    try:
        found = pack.read(folder) if folder is not None else pack.default()
    except ValueError as error:
        raise Failure(str(error)) from None
    reviewed = [rule.reviewed for rule in found.quiet_rules.values() if rule.reviewed is not None]
    if as_json:
        rules = len(found.quiet_rules)
        print_json({"version": found.version, "quiet_hours": rules, "oldest": str(min(reviewed)) if reviewed else None})
        return
    oldest = f", the oldest reviewed {min(reviewed)}" if reviewed else ""
    typer.echo(f"policy {found.version}: {len(found.quiet_rules)} quiet hours{oldest}")
