"""``hub policy …``"""

from __future__ import annotations

import sys

import typer

from hub.cli.base import JsonAlways

app = typer.Typer(name="policy", help="The rules on what may be sent, and when.", no_args_is_help=True)


@app.command("try")
def try_cases(as_json: JsonAlways = False) -> None:
    """What the rules say about the cases on standard input (JSON lines). No database, no network."""
    from hub.cli._policy import answers

    for line in answers(sys.stdin.buffer):
        sys.stdout.write(line + "\n")
        sys.stdout.flush()  # a tool may wait for this answer before its next line
