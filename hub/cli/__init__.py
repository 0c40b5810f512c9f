"""The ``hub`` command. Each module here that has an ``app`` adds to it: a named Typer is a group (``hub config …``),
an unnamed one adds commands of the first level (``hub serve``). Imports that take time belong inside the commands,
or in a module with a leading underscore, which is not looked at here.
"""

from __future__ import annotations

import importlib
import os
import pkgutil
import sys
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.exceptions import TyperException

from hub import __version__
from hub.cli.base import Failure, State

app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False, help="One conversation per customer.")

for _name in sorted(info.name for info in pkgutil.iter_modules(__path__) if not info.name.startswith("_")):
    if _commands := getattr(importlib.import_module(f"{__name__}.{_name}"), "app", None):
        app.add_typer(_commands)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"hub {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    ctx: typer.Context,
    config: Annotated[
        Path | None, typer.Option(help="Settings file; else HUB_CONFIG, else ./hub.toml.", dir_okay=False)
    ] = None,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    ctx.ensure_object(State).config = config


def main(arguments: Sequence[str] | None = None, state: State | None = None) -> int:
    """The exit code: 0 done, 1 failed, 2 wrong usage or settings. Errors are lines on stderr (HUB_DEBUG=1: raised)."""
    try:
        return _command()(args=arguments, prog_name="hub", standalone_mode=False, obj=state) or 0
    except TyperException as error:
        if message := error.format_message().strip():  # none: the help is on stdout already
            _complain(f"{message.rstrip('.')} (see hub --help)")
        return error.exit_code
    except (KeyboardInterrupt, typer.Abort):
        return 130
    except Exception as error:
        if isinstance(error, BrokenPipeError) and _unread():
            return 1
        if os.environ.get("HUB_DEBUG") == "1":
            raise
        return _explained(error)


@cache
def _command() -> Any:
    """What Typer makes of all these functions, which takes it longer than most commands."""
    return typer.main.get_command(app)


def _unread() -> bool:
    """Whether it was our output that broke: who read it has seen enough."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return True
    return False


# By name: to import them would cost every command what only the hub's own need.
_SAY_WHAT_TO_DO = ("CannotStart", "DirectoryInUse", "StoreFull")


def _explained(error: Exception) -> int:
    from hub.settings import ConfigError

    if isinstance(error, ConfigError):
        for problem in error.problems:
            _complain(problem)
        return 2
    if isinstance(error, Failure | OSError) or type(error).__name__ in _SAY_WHAT_TO_DO:
        _complain(str(error))
    else:  # its text may hold anything, a secret too
        _complain(f"unexpected {type(error).__name__}; set HUB_DEBUG=1 to see where, and report it")
    return error.code if isinstance(error, Failure) else 1


def _complain(problem: str) -> None:
    typer.echo(f"hub: {' '.join(problem.split())}", err=True)
