"""``hub slack …``: named after what people look for; the adapter's own folder knows the provider."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Annotated

import typer

from hub.cli.base import Failure, JsonAlways, print_json, state

if TYPE_CHECKING:
    from hub.settings import Settings

_ADAPTER = "slack"  # as it is registered

app = typer.Typer(name="slack", help="Set up the desk in Slack.", no_args_is_help=True)


@app.command()
def manifest(
    ctx: typer.Context,
    socket: Annotated[bool, typer.Option("--socket", help="Socket Mode: no public address needed.")] = False,
    http: Annotated[str | None, typer.Option(help="Public address of the hub; else public_url.")] = None,
    name: Annotated[str | None, typer.Option(help="Name of the app in Slack.")] = None,
    channel: Annotated[str | None, typer.Option(help="Name of the channel here; else the configured one.")] = None,
    as_json: JsonAlways = False,
) -> None:
    """The app manifest, to paste into "Create an app from a manifest" (JSON)."""
    if socket and http is not None:
        raise typer.BadParameter("choose one of --socket and --http")
    folder = state(ctx).adapters().named(_ADAPTER).__module__.rpartition(".")[0]
    try:
        source = importlib.import_module(f"{folder}.manifest")
    except ModuleNotFoundError as error:
        raise Failure(f"the installed adapter has no {error.name}; reinstall omnihub") from error
    settings = state(ctx).settings()
    document = source.manifest((http or settings.public_url).rstrip("/"), socket, channel or _channel(settings))
    if name is not None:
        document["display_information"]["name"] = name
        document["features"]["bot_user"]["display_name"] = name
    print_json(document)


def _channel(settings: Settings) -> str:
    """The manifest comes before the tokens, so the channel may be missing or incomplete yet."""
    names = [name for name, table in settings.channels.items() if table.get("adapter") == _ADAPTER]
    if len(names) > 1:
        raise Failure(f"several channels use this adapter ({', '.join(names)}): choose one with --channel")
    return names[0] if names else _ADAPTER
