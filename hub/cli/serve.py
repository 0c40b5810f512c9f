"""``hub serve``"""

from __future__ import annotations

import asyncio
import contextlib
import os
import resource
import signal
from typing import TYPE_CHECKING, Annotated

import typer

from hub.cli.base import state

if TYPE_CHECKING:
    from hub.app import Hub
    from hub.registry import Adapters
    from hub.settings import Settings

_FILES = 16_384

app = typer.Typer()


@app.command()
def serve(
    ctx: typer.Context,
    host: Annotated[str | None, typer.Option(help="Address to listen on; else listen.host.")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on, 0 for any; else listen.port.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Log JSON; else log_format.")] = False,
) -> None:
    """Run the hub until it is told to stop. SIGTERM or Ctrl-C: finish what is in flight; a second one: exit at once.

    Exit code 0: stopped when told to; 1: cannot start; 2: wrong settings.
    """
    from uvloop import new_event_loop

    from hub import registry
    from hub.cli._logging import start_logging

    flags = {"listen.host": host, "listen.port": port, "log_format": "json" if as_json else None}
    settings, installed = state(ctx).settings(**flags), state(ctx).adapters()
    specs = registry.channels(settings, installed)
    registry.desk(settings, specs)  # mistakes in them come before any work
    registry.alerts(settings, specs)
    start_logging(settings.log_level, settings.log_format)
    _open_more_files()
    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        runner.run(_serve(settings, installed))


async def _serve(settings: Settings, installed: Adapters) -> None:
    import structlog

    from hub.app import collect_seldom, running

    log = structlog.get_logger("hub")
    told = asyncio.Event()

    def stop(number: int) -> None:
        name = signal.Signals(number).name
        if told.is_set():
            log.warning("exit at once", signal=name)
            os._exit(128 + number)
        told.set()
        log.info("stopping: what is in flight is finished first", signal=name)

    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop, number)
    async with running(settings, adapters=installed) as hub:
        collect_seldom()
        log.info("ready", **_facts(hub))
        if not hub.channels:
            log.warning("no channel is configured: see config/hub.example.toml and hub adapter list")
        if settings.outbound == "off":
            log.warning("outbound is off: messages wait until it is on again")
        await told.wait()
    log.info("stopped")


def _open_more_files() -> None:
    """As many as this process may, which is often far more than what it begins with: each connection is one."""
    files, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _FILES if most == resource.RLIM_INFINITY else min(_FILES, most)
    if files != resource.RLIM_INFINITY and files < wanted:
        with contextlib.suppress(OSError, ValueError):  # a system may forbid it all the same
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, most))


def _facts(hub: Hub) -> dict[str, str]:
    from hub.cli._masked import masked

    return {
        "url": hub.url if hub.port else "none",
        "public_url": hub.settings.public_url,
        "database": str(masked(hub.settings.database)),
        "channels": ", ".join(hub.channels) or "none",
        "roles": ", ".join(hub.settings.roles),
    }
