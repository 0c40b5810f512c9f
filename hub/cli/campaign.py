"""``hub campaign …``"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hub.cli.base import Failure, Json, print_json, print_table, state
from hub.cli.customer import Country, Map

if TYPE_CHECKING:
    from hub.cli.base import State
    from hub.client import AsyncClient, Campaign, Stats

app = typer.Typer()
_campaign = typer.Typer(help="One message for many: checked, sent, paused, counted.", no_args_is_help=True)
app.add_typer(_campaign, name="campaign")

File = Annotated[Path, typer.Argument(metavar="FILE.toml", help="The campaign, as docs/campaigns.md shows it.")]
Name = Annotated[str, typer.Argument(help="Name or id (cmp_…).")]
People = Annotated[
    Path | None, typer.Option(help="Its list, if it has one: customer and values for the texts (.csv, .jsonl).")
]
Skip = Annotated[bool, typer.Option("--skip-problems", help="Leave out rows of the list that cannot be used.")]
Out = Annotated[Path | None, typer.Option(help="Also write one row for each person (.csv, .jsonl).")]


@_campaign.command()
def check(
    ctx: typer.Context,
    file: File,
    people: People = None,
    mapping: Map = None,
    country: Country = None,
    out: Out = None,
    samples: Annotated[int, typer.Option(min=0, help="How many texts to show.")] = 3,
    as_json: Json = False,
) -> None:
    """What would happen to each person if it were sent now. Exit code: 1 rows with problems, 2 of no use."""
    from hub.cli import _campaign as work
    from hub.cli._client import columns, problems

    found = asyncio.run(work.check(state(ctx), file, people, columns(mapping), country, out, samples))
    if people is not None:
        problems(people.name, found.problems)
    print_json(found.plain()) if as_json else work.tell(found)
    if out is not None and not as_json:
        typer.echo(f"each person's verdict is in {out}")
    if not found.going:
        raise Failure("nobody would get a message", 2)
    if found.problems or found.repeated:
        raise typer.Exit(1)


@_campaign.command()
def send(
    ctx: typer.Context,
    file: File,
    people: People = None,
    mapping: Map = None,
    country: Country = None,
    skip_problems: Skip = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask, however many people it is for.")] = False,
    ask_above: Annotated[int, typer.Option(help="On a terminal, ask before more people than this.")] = 100,
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="Until it is over; else until it has started.")] = True,
    timeout: Annotated[float | None, typer.Option(help="Seconds to wait at most; the campaign goes on.")] = None,
    out: Out = None,
    as_json: Json = False,
) -> None:
    """Send a campaign. Exit code: 0 all done, 1 some failed, it paused or is not over, 2 refused, nothing was sent."""
    from hub.cli import _campaign as work
    from hub.cli._client import columns

    ask = None if yes or not (sys.stdin.isatty() and sys.stderr.isatty()) else ask_above
    stats, watched = asyncio.run(
        work.send(
            state(ctx), file, people, columns(mapping), country, skip_problems, ask, wait, timeout, out
        )
    )
    _result(stats, as_json, out)
    if watched and (stats.failed or stats.campaign.state != "finished"):
        raise typer.Exit(1)


@_campaign.command()
def stats(ctx: typer.Context, name: Name, out: Out = None, as_json: Json = False) -> None:
    """How many people are where, and why."""
    from hub.cli._campaign import outcomes

    async def work(hub: AsyncClient) -> Stats:
        found = await hub.stats(name)
        if out is not None:
            await outcomes(hub, name, out)
        return found

    _result(_ask(state(ctx), work), as_json, out)


def _result(found: Stats, as_json: bool, out: Path | None) -> None:
    from hub.cli import _campaign as work

    if as_json:
        print_json(found.model_dump(mode="json"))
        return
    work.tell_stats(found)
    if out is not None:
        typer.echo(f"each person's outcome is in {out}")


@_campaign.command("list")
def list_campaigns(ctx: typer.Context, as_json: Json = False) -> None:
    """All campaigns, newest first."""
    from hub.cli._text import line, moment

    async def work(hub: AsyncClient) -> list[Campaign]:
        return [each async for each in hub.campaigns()]

    found = _ask(state(ctx), work)
    if as_json:
        print_json([each.model_dump(mode="json") for each in found])
    elif found:
        rows = [
            (line(each.name), each.state, each.purpose, ", ".join(each.channels), moment(each.created_at.isoformat()),
             line(each.reason or ""))
            for each in found
        ]  # fmt: skip
        print_table(("name", "state", "purpose", "channels", "made", "why paused"), rows)
    else:
        typer.echo("no campaign yet; send one: hub campaign send FILE.toml")


@_campaign.command()
def pause(
    ctx: typer.Context,
    name: Name,
    reason: Annotated[str, typer.Option(help="For whoever wonders.")] = "paused by hand",
    as_json: Json = False,
) -> None:
    """Hand nothing more over until it is resumed."""
    _act(ctx, lambda hub: hub.pause(name, reason), as_json)


@_campaign.command()
def resume(ctx: typer.Context, name: Name, as_json: Json = False) -> None:
    """Go on with a paused campaign."""
    _act(ctx, lambda hub: hub.resume(name), as_json)


@_campaign.command()
def cancel(ctx: typer.Context, name: Name, as_json: Json = False) -> None:
    """End it for good; what is out is out. A draft is forgotten: its name is free again."""

    async def work(hub: AsyncClient) -> Campaign:
        found = await hub.campaign(name)
        if found.state != "draft":
            return await hub.cancel(name)
        await hub.forget_campaign(name)
        return found.model_copy(update={"state": "forgotten"})

    _act(ctx, work, as_json)


def _act(ctx: typer.Context, act: Callable[[AsyncClient], Awaitable[Campaign]], as_json: bool) -> None:
    from hub.cli._text import line

    found = _ask(state(ctx), act)
    if as_json:
        print_json(found.model_dump(mode="json"))
    else:
        typer.echo(line(f"{found.name}: {found.state}" + (f" ({found.reason})" if found.reason else "")))


def _ask(state: State, work: Callable[[AsyncClient], Awaitable[Any]]) -> Any:
    from hub.cli._client import connected

    async def ask() -> Any:
        async with connected(state) as (hub, _):
            return await work(hub)

    return asyncio.run(ask())
