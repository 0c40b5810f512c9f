"""``hub demo``"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hub.cli.base import Json, print_json, state

app = typer.Typer()


@app.command()
def demo(
    ctx: typer.Context,
    script: Annotated[bool, typer.Option("--script", help="Play a story without a browser and check it.")] = False,
    port: Annotated[int, typer.Option(help="Port of the page; 0 for any free one.")] = 8300,
    data: Annotated[Path | None, typer.Option(help="Keep the hub's data here; else it is thrown away.")] = None,
    browser: Annotated[bool, typer.Option("--open/--no-open", help="Open the page in a browser.")] = True,
    as_json: Json = False,
) -> None:
    """The hub with simulated providers; nothing is sent for real. Needs no settings and no account."""
    import asyncio
    import signal
    import tempfile

    # As Ctrl-C, so that all is cleared away.
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
    installed = state(ctx).adapters()
    with tempfile.TemporaryDirectory(prefix="omnihub-demo-") as scratch:
        directory = data or Path(scratch)
        if script:
            from hub.demo.report import play

            if not asyncio.run(play(directory, installed, print_json if as_json else None)):
                raise typer.Exit(1)
        else:
            from hub.demo.page import show

            asyncio.run(show(directory, installed, port, browser, print_json if as_json else None))
