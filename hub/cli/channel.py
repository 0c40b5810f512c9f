"""``hub channel …`` and ``hub webhook …``"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import urlsplit

import typer

from hub.cli.base import Json, print_json, print_table, state

if TYPE_CHECKING:
    from hub.cli._adding import Question
    from hub.cli._examine import Finding
    from hub.cli.base import State
    from hub.contract import AnyAdapter

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


@_channel.command()
def matrix(
    ctx: typer.Context,
    write: Annotated[Path | None, typer.Option(help="Put it between the marks in this file.", dir_okay=False)] = None,
    as_json: Json = False,
) -> None:
    """What each installed adapter can do, as the Markdown table of the README."""
    from hub.cli import _matrix

    if as_json:
        print_json(_matrix.rows(state(ctx).adapters()))
    elif write is None:
        typer.echo(_matrix.matrix(state(ctx).adapters()))
    else:
        changed = _matrix.write(write, _matrix.matrix(state(ctx).adapters()))
        typer.echo(f"{write}: {'written' if changed else 'was up to date'}")


@_channel.command()
def add(
    ctx: typer.Context,
    adapter: Annotated[str, typer.Argument(help="One of hub adapter list.")],
    name: Annotated[str | None, typer.Option(help="Name of the channel; else its medium: sms, email.")] = None,
    values: Annotated[list[str] | None, typer.Option("--set", help="A setting, key=value; can be repeated.")] = None,
    every: Annotated[bool, typer.Option("--all", help="Ask for what has a default or few need too.")] = False,
    no_input: Annotated[bool, typer.Option("--no-input", help="Ask nothing.")] = False,
    check: Annotated[bool, typer.Option(help="Ask the provider whether the account is well.")] = True,
    as_json: Json = False,
) -> None:
    """Add a channel to the settings: asks for what the adapter needs, says what to paste at the provider.

    Exit code 1: it was added, but its check failed.
    """
    from hub.cli import _adding
    from hub.settings import places

    settings, kind = state(ctx).settings(), state(ctx).adapters().named(adapter)
    new = _adding.draft(settings, kind, adapter, name or kind.medium, _pairs(values or []))
    ask = None if no_input or not sys.stdin.isatty() else _ask
    config = _adding.complete(new, ask, lambda problem: typer.echo(problem, err=True), every)
    where = _adding.write(new, config, places(state(ctx).config))
    found: dict[str, Any] = {
        "channel": new.name, "adapter": adapter, "file": str(places(state(ctx).config).file), "secrets": where or None,
        "url": f"{settings.public_url}/hooks/{new.name}" if (what := _webhook_help(kind)) else None, "help": what,
        "paste": _paste(kind, f"{settings.public_url}/channels/{new.name}"),
        "tell": [{"key": key, "value": new.given[key], "help": use} for key, use in new.made().items()],
        "check": None,
    }
    if check:
        finding = asyncio.run(_checked(state(ctx), new.name))
        found["check"] = {"level": finding.level, "detail": finding.detail, "next": finding.next}
    print_json(found) if as_json else typer.echo(_added(found))
    if found["check"] and found["check"]["level"] == "error":
        raise typer.Exit(1)


def _pairs(values: list[str]) -> dict[str, str]:
    if wrong := [each.partition("=")[0] for each in values if "=" not in each]:
        raise typer.BadParameter(f"--set takes key=value, for example --set {wrong[0]}=…")
    return dict(each.split("=", 1) for each in values)


def _ask(question: Question) -> str:
    typer.echo(f"\n{question.description}", err=True)
    hint = " (not shown)" if question.secret else "" if question.required or question.answer else " (Enter: none)"
    default = question.answer if question.answer or not question.required else None
    shown = bool(default) and not question.secret
    said: str = typer.prompt(
        question.name + hint, default=default, hide_input=question.secret, show_default=shown, err=True
    )
    return said.strip()


async def _checked(state: State, name: str) -> Finding:
    """What the channel's own check says, with the settings as they are now."""
    from hub.cli._examine import checked

    settings = state.settings()
    (finding,) = await checked(
        settings.model_copy(update={"channels": {name: settings.channels[name]}, "desk": None, "alerts": None}), state
    )
    return finding


def _added(found: dict[str, Any]) -> str:
    lines = [f"{found['channel']} ({found['adapter']}) is in {found['file']} now"]
    lines[0] += f", its secrets are in {found['secrets']}" if found["secrets"] else ""
    lines += [f"webhook: {found['url']}", f"    {found['help']}"] if found["url"] else []
    if found["url"] and urlsplit(found["url"]).hostname in ("127.0.0.1", "localhost", "::1"):
        lines.append("    only this machine reaches that: set public_url to the https address of this hub first")
    lines += [found["paste"]] if found["paste"] else []
    for each in found["tell"]:
        lines += [f"{each['key']}: {each['value']}", f"    {each['help']}"]
    if found["check"]:
        lines.append(f"check: {found['check']['level']}, {found['check']['detail']}")
        lines += [f"    {found['check']['next']}"] if found["check"]["next"] else []
    return "\n".join([*lines, "a hub that runs takes it up when it is started again"])


@_webhook.command("urls")
def urls(ctx: typer.Context, as_json: Json = False) -> None:
    """The URL of every channel and where to paste it."""
    from hub.registry import channels

    settings = state(ctx).settings()
    found = [
        {
            "channel": spec.name,
            "url": f"{settings.public_url}/hooks/{spec.name}",
            "help": what,
        }
        for spec in channels(settings, state(ctx).adapters()).values()
        if (what := _webhook_help(spec.kind)) is not None
    ]
    if as_json:
        print_json(found)
        return
    for row in found:
        typer.echo(f"{row['channel']}: {row['url']}\n    {row['help']}")
    if not found:
        typer.echo("no channel is configured that a provider calls, so there is nothing to paste; "
                   "see config/hub.example.toml")


def _paste(kind: type[AnyAdapter], channel: str) -> str | None:
    """What to put elsewhere beside the webhook's address; ``channel``: where the channel's own pages are."""
    said: str | None = getattr(kind, "paste", None)
    return said.format(channel=channel) if said else None


def _webhook_help(kind: type[AnyAdapter]) -> str | None:
    """Where to paste the webhook's address; None where nobody calls it."""
    said: str | None = getattr(kind, "webhook_help", _GENERIC_HELP)
    return said if kind.capabilities.inbound else None
