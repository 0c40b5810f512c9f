"""``hub slack …``: named after what people look for; the adapter's own folder knows the provider."""

from __future__ import annotations

import importlib
from typing import Annotated

import typer

from hub.cli.base import Failure, JsonAlways, print_json, state

app = typer.Typer(name="slack", help="Set up the desk in Slack.", no_args_is_help=True)


@app.command()
def manifest(
    ctx: typer.Context,
    socket: Annotated[bool, typer.Option("--socket", help="Socket Mode: no public address needed.")] = False,
    http: Annotated[str | None, typer.Option(help="Public address of the hub; else public_url.")] = None,
    name: Annotated[str | None, typer.Option(help="Name of the app in Slack.")] = None,
    as_json: JsonAlways = False,
) -> None:
    """The app manifest, to paste into "Create an app from a manifest" (JSON)."""
    if socket and http is not None:
        raise typer.BadParameter("choose one of --socket and --http")
    folder = state(ctx).adapters().named("slack").__module__.rpartition(".")[0]
    try:
        source = importlib.import_module(f"{folder}.manifest")
    except ModuleNotFoundError as error:
        raise Failure(f"the installed adapter has no {error.name}; reinstall omnihub") from error
    document = source.manifest((http or state(ctx).settings().public_url).rstrip("/"), socket)
    if name is not None:
        document["display_information"]["name"] = name
    print_json(document)
