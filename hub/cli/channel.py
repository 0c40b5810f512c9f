"""``hub channel …`` and ``hub webhook …``"""

from __future__ import annotations

import typer

from hub.cli.base import Json, print_json, print_table, state

app = typer.Typer()
_channel = typer.Typer(help="The configured channels.", no_args_is_help=True)
_webhook = typer.Typer(help="The addresses that providers call.", no_args_is_help=True)
app.add_typer(_channel, name="channel")
app.add_typer(_webhook, name="webhook")

_GENERIC_HELP = "Enter it as the webhook URL in the provider's console, for incoming messages and for status reports."


@_channel.command("list")
def list_channels(ctx: typer.Context, as_json: Json = False) -> None:
    """Every channel and what it can do."""
    from hub.registry import channels, summary

    found = [
        {
            "name": spec.name,
            "adapter": spec.adapter,
            "medium": spec.medium,
            "role": spec.role,
            "capabilities": summary(spec.kind.capabilities),
        }
        for spec in channels(state(ctx).settings(), state(ctx).adapters()).values()
    ]
    if as_json:
        print_json(found)
    elif found:
        print_table(("name", "adapter", "medium", "role", "capabilities"), [list(row.values()) for row in found])
    else:
        typer.echo("no channel is configured; hub adapter list shows what there is, config/hub.example.toml how")


@_webhook.command("urls")
def urls(ctx: typer.Context, as_json: Json = False) -> None:
    """The URL of every channel and where to paste it."""
    from hub.registry import channels

    settings = state(ctx).settings()
    found = [
        {
            "channel": spec.name,
            "url": f"{settings.public_url}/hooks/{spec.name}",
            "help": getattr(spec.kind, "webhook_help", _GENERIC_HELP),
        }
        for spec in channels(settings, state(ctx).adapters()).values()
    ]
    if as_json:
        print_json(found)
        return
    for row in found:
        typer.echo(f"{row['channel']}: {row['url']}\n    {row['help']}")
    if not found:
        typer.echo("no channel is configured, so there is nothing to paste; see config/hub.example.toml")
