"""What the commands share: the state of one invocation, the way to fail, the two forms of output."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from hub.registry import Adapters
    from hub.settings import Settings

Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]
JsonAlways = Annotated[bool, typer.Option("--json", help="Accepted for symmetry: the output is always JSON.")]


class Failure(Exception):
    """A command did not succeed; the text says what to do next. ``code``: the exit code."""

    def __init__(self, text: str, code: int = 1) -> None:
        super().__init__(text)
        self.code = code


@dataclass
class State:
    """``config``: the file of ``--config``. ``extra``: adapter classes beside the installed ones."""

    config: Path | None = None
    extra: dict[str, Any] = field(default_factory=dict)

    def settings(self, **flags: Any) -> Settings:
        from hub.settings import load

        return load(self.config, flags)

    def adapters(self) -> Adapters:
        from hub.registry import adapters

        return adapters(self.extra)


def state(ctx: typer.Context) -> State:
    return ctx.ensure_object(State)


def print_json(value: Any) -> None:
    typer.echo(json.dumps(value, indent=2, ensure_ascii=False))


def print_table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(*columns, box=SIMPLE_HEAD, pad_edge=False)
    for row in rows:
        table.add_row(*(Text(cell, overflow="fold") for cell in row))  # Text: what people wrote is no markup
    console = Console()
    if not console.is_terminal:
        console.width = 10_000  # one line per row for grep
    console.print(table)
