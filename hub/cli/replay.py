"""``hub replay``"""

from __future__ import annotations

import asyncio
import re
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hub.cli.base import Json, print_json, print_table, state

if TYPE_CHECKING:
    from hub.cli._hub import Api
    from hub.cli.base import State

app = typer.Typer()

_AT_ONCE = 100
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


@app.command()
def replay(
    ctx: typer.Context,
    ids: Annotated[list[int] | None, typer.Argument(help="Inbox ids, as alerts and the log name them.")] = None,
    failed: Annotated[bool, typer.Option("--failed", help="All that could not be read.")] = False,
    since: Annotated[str | None, typer.Option(help="All received since: 2h, 3d or 2026-01-31T12:00Z.")] = None,
    channel: Annotated[str | None, typer.Option(help="Only those of this channel.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Read them, change nothing.")] = False,
    as_json: Json = False,
) -> None:
    """Read what providers sent once more, as after a mended adapter. What had its effect has no second one.

    Exit code 1: some of it still cannot be read.
    """
    if bool(ids) == (failed or since is not None):
        raise typer.BadParameter("say what to replay: inbox ids, or --failed, or --since (--failed and --since: both)")
    if ids and channel:
        raise typer.BadParameter("--channel goes with --failed or --since")
    moment = _moment(since) if since is not None else None
    found = asyncio.run(_replay(state(ctx), ids or [], failed, moment, channel, dry_run))
    if as_json:
        print_json(found)
    else:
        _print(found)
    if found["failed"] or found["unknown"]:
        raise typer.Exit(1)


def _moment(text: str) -> datetime:
    """A span before now, or an instant; UTC if it names no zone."""
    if span := re.fullmatch(r"(\d{1,6})([smhd])", text):
        from hub.clock import system_clock

        return system_clock() - timedelta(**{_UNITS[span[2]]: int(span[1])})
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise typer.BadParameter(f"--since {text}: it looks like 30m, 2h, 3d or 2026-01-31T12:00Z") from None
    return found if found.tzinfo else found.replace(tzinfo=UTC)


async def _replay(
    state: State, ids: list[int], failed: bool, since: datetime | None, channel: str | None, dry_run: bool
) -> dict[str, Any]:
    """``items`` of all, those that ``failed``, ``unknown`` ids, and whether it was a ``dry_run``."""
    from hub.cli._hub import reached

    async with reached(state) as hub:
        wanted = sorted(set(ids)) or await _wanted(hub, failed, since, channel)
        items: list[Any] = []
        unknown: list[int] = []
        for start in range(0, len(wanted), _AT_ONCE):
            done = await _some(hub, wanted[start : start + _AT_ONCE], dry_run)
            items += done["items"]
            unknown += done["unknown"]
            if len(wanted) > _AT_ONCE:
                typer.echo(f"{len(items) + len(unknown)} of {len(wanted)}", err=True)
    broken = [each for each in items if each["error"]]
    return {"dry_run": dry_run, "items": items, "failed": len(broken), "unknown": unknown}


async def _wanted(hub: Api, failed: bool, since: datetime | None, channel: str | None) -> list[int]:
    from hub.cli._hub import LOCAL

    start = since.isoformat() if since else None
    found = await hub.pages(f"{LOCAL}/inbox", None, failed=failed, since=start, channel=channel)
    return sorted(each["id"] for each in found)


async def _some(hub: Api, ids: list[int], dry_run: bool) -> dict[str, Any]:
    from hub.cli._hub import API, LOCAL

    path = f"{LOCAL}/replay/preview" if dry_run else f"{API}/replay"
    found: dict[str, Any] = await hub.post(path, {"inbox_ids": ids})
    return found


def _print(found: dict[str, Any]) -> None:
    items, unknown = found["items"], found["unknown"]
    if not items and not unknown:
        typer.echo("nothing to replay: no delivery is like that")
        return
    broken = [each for each in items if each["error"]]
    if broken:
        rows = [(str(each["inbox_id"]), each["channel"], each["error"]) for each in broken]
        print_table(("inbox id", "channel", "still wrong"), rows)
    if unknown:
        typer.echo(f"not in the inbox: {', '.join(map(str, unknown))}")
    events = sum(each["events"] for each in items)
    what = "can be read" if found["dry_run"] else "replayed"
    typer.echo(f"{len(items) - len(broken)} of {len(items) + len(unknown)} {what}: {events} events", nl=False)
    typer.echo("; nothing was changed" if found["dry_run"] else "; those that had their effect before had none now")
