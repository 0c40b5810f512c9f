"""The Python client on a command's way to the hub, and files of people on the command line."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING

import typer

from hub.cli._hub import reached
from hub.cli.base import Failure
from hub.client import AsyncClient, FileProblem, HubError

if TYPE_CHECKING:
    from rich.progress import Progress

    from hub.cli.base import State


@asynccontextmanager
async def connected(state: State) -> AsyncIterator[tuple[AsyncClient, bool | None]]:
    """A client of the hub here, and whether that hub works (see ``_hub.Api``). Raises: Failure."""
    async with reached(state) as api:
        with told():
            yield AsyncClient(api.url, api.token, http=api.http), api.works


@contextmanager
def told(code: int = 1) -> Iterator[None]:
    """Errors of the hub as the command's own; ``code``: the exit code, 2 for files of no use."""
    try:
        yield
    except FileProblem as error:
        raise Failure(str(error), 2) from error
    except HubError as error:
        raise Failure(str(error), code) from error


def columns(given: list[str] | None) -> dict[str, str]:
    """``--map COLUMN=WHAT`` as a mapping. Raises: Failure."""
    found = {}
    for each in given or ():
        column, sign, target = each.rpartition("=")
        if not sign or not column or not target:
            raise Failure(f"--map {each}: write COLUMN=WHAT, such as phone=tel", 2)
        found[column] = target
    return found


def bar(total: bool = True) -> Progress:
    """On a terminal's stderr; elsewhere nothing is shown."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
    from rich.table import Column

    console = Console(stderr=True)
    ahead = (BarColumn(bar_width=12), MofNCompleteColumn()) if total else (SpinnerColumn(),)
    words = Column(ratio=1, no_wrap=True, overflow="ellipsis")  # the others keep their width on a narrow terminal
    return Progress(
        *ahead, TextColumn("{task.description}", markup=False, table_column=words), TimeElapsedColumn(),
        console=console, disable=not console.is_terminal, transient=True, expand=True,
    )  # fmt: skip


def problems(name: str, found: list[tuple[int, str]], shown: int = 20) -> None:
    """On stderr, one line each, the first of them."""
    from hub.cli._text import line

    for row, detail in found[:shown]:
        typer.echo(line(f"{name}:{row}: {detail}"), err=True)
    if len(found) > shown:
        typer.echo(f"{name}: and {len(found) - shown} rows more", err=True)
