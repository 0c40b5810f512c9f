"""``hub consent …``"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hub.cli.base import Failure, Json, JsonAlways, print_json, print_table, state

if TYPE_CHECKING:
    from hub.cli._hub import Api
    from hub.cli.base import State

app = typer.Typer()
_consent = typer.Typer(help="What people allowed and refused: the ledger.", no_args_is_help=True)
app.add_typer(_consent, name="consent")

Who = Annotated[str, typer.Argument(help="Customer (cus_…, your own id) or address: tel:+447700900123.")]
Address = Annotated[str, typer.Argument(help="Address: tel:+447700900123.")]
AddressOrCustomer = Annotated[
    str, typer.Argument(metavar="address", help="Address: tel:+447700900123; or a customer (cus_…): everywhere.")
]
Medium = Annotated[str, typer.Option(help="sms, email, whatsapp …; a permission has to name one.")]
Origin = Annotated[str, typer.Option("--source", help="Where it was said: website, shop, call, paper form.")]
_BATCH = 500


@_consent.command()
def show(
    ctx: typer.Context,
    who: Who,
    at: Annotated[str | None, typer.Option(help="How it stood then: 2026-01-31T12:00:00Z.")] = None,
    as_json: Json = False,
) -> None:
    """What may be sent to somebody, and each entry of the ledger that says so."""
    from hub.cli._hub import LOCAL, segment

    found = _ask(ctx, lambda hub: hub.get(f"{LOCAL}/consent/{segment(who)}", at=at))
    if as_json:
        print_json(found)
        return
    standing = found["standing"]
    print_table(
        ("address", "channel", "message", "verdict", "why"),
        [
            (each["address"], each["channel"], _message(each), each["verdict"], f"{each['reason']}: {each['detail']}")
            for each in standing
        ],
    )
    if not found["entries"]:
        typer.echo("the ledger has no entry")
        return
    print_table(("when", "entry", "about", "by", "on what"), [_row(each) for each in found["entries"]])


def _message(standing: dict[str, Any]) -> str:
    return f"{standing['purpose']}, {standing['topic']}" if standing["topic"] else str(standing["purpose"])


def _row(entry: dict[str, Any]) -> tuple[str, ...]:
    parts = [f"{name} {entry[name]}" for name in ("channel", "purpose", "topic", "sender") if entry[name] != "*"]
    by = f"{entry['actor']} ({entry['source']})"
    return entry["at"], entry["type"], " ".join(parts) or "everything", by, entry["basis"] or entry["reason"] or ""


@_consent.command()
def grant(
    ctx: typer.Context,
    address: Address,
    channel: Medium,
    basis: Annotated[str, typer.Option(help="express_written, express, soft_opt_in, implied_purchase …")],
    source: Origin,
    at: Annotated[str, typer.Option(help="When they said it: 2026-01-31T12:00:00Z.")],
    evidence: Annotated[str, typer.Option(help="Wording shown, page, document: what would prove it.")] = "",
    topic: Annotated[str, typer.Option(help="Only this topic.")] = "*",
    as_json: Json = False,
) -> None:
    """Write down that somebody allowed marketing. In vain if they said no themselves; lifts a colleague's block."""
    row = {"type": "grant", "address": address, "channel": channel, "basis": basis, "source": source, "at": at}
    _by_hand(ctx, row | {"evidence": evidence, "topic": topic}, as_json=as_json)


@_consent.command()
def ask(
    ctx: typer.Context,
    address: Annotated[str, typer.Argument(help="Address: mailto:ann@example.com, tel:+447700900123.")],
    source: Origin,
    evidence: Annotated[str, typer.Option(help="Wording shown, page, document: what would prove it.")],
    channel: Annotated[
        str | None, typer.Option(help="Name of the channel; else the first that reaches the address.")
    ] = None,
    topic: Annotated[str, typer.Option(help="Only this topic.")] = "*",
    as_json: Json = False,
) -> None:
    """Ask somebody who wants marketing to confirm that. It counts from then on (double opt-in)."""
    from hub.cli._hub import API

    body = {"address": address, "source": source, "evidence": evidence, "channel": channel, "topic": topic}
    found = _ask(ctx, lambda hub: hub.post(f"{API}/consent/requests", body))
    if as_json:
        print_json(found)
    elif found["state"] == "already":
        typer.echo(f"{found['address']} allows it already; nobody was asked")
    else:
        typer.echo(f"asked by {found['channel']}, good until {found['expires_at']}: hub why {found['message']}")


@_consent.command()
def revoke(
    ctx: typer.Context,
    address: AddressOrCustomer,
    source: Origin,
    channel: Medium = "*",
    purpose: Annotated[str, typer.Option(help="marketing, transactional, or * for both.")] = "marketing",
    topic: Annotated[str, typer.Option(help="Only this topic.")] = "*",
    evidence: Annotated[str, typer.Option(help="Call, letter: what they said.")] = "",
    as_json: Json = False,
) -> None:
    """Write down that somebody said no. It counts at once; only they can take it back."""
    row = {"type": "revoke", "address": address, "channel": channel, "purpose": purpose, "source": source}
    _by_hand(ctx, row | {"evidence": evidence, "topic": topic}, as_json=as_json)


@_consent.command()
def resolve(
    ctx: typer.Context,
    address: Address,
    stop: Annotated[bool, typer.Option("--stop/--keep", help="Whether they want no more marketing.")],
    as_json: Json = False,
) -> None:
    """End the review of an unclear message: it was a no, or about something else."""
    row = {"address": address, "source": "review"}
    rows = [row | {"type": "resolve", "purpose": "*"}]
    if stop:
        rows.insert(0, row | {"type": "revoke", "evidence": "an unclear message was read as a no"})
    _by_hand(ctx, *rows, as_json=as_json)


@_consent.command()
def erase(ctx: typer.Context, who: Who, as_json: Json = False) -> None:
    """Erase a person for good: messages, files, addresses. A keyed hash of each address keeps it out."""
    from hub.cli._hub import API, segment

    found = _ask(ctx, lambda hub: hub.delete(f"{API}/customers/{segment(who)}"))
    if as_json:
        print_json(found)
    else:
        typer.echo(f"{found['id']} is erased; {found['addresses']} addresses are kept out, {found['files']} files gone")


@_consent.command()
def holds(ctx: typer.Context, as_json: Json = False) -> None:
    """Senders whose advertising waits until somebody has looked, and why."""
    from hub.cli._hub import LOCAL

    _show_holds(_ask(ctx, lambda hub: hub.get(f"{LOCAL}/holds"))["items"], as_json)


@_consent.command()
def release(
    ctx: typer.Context,
    key: Annotated[str, typer.Argument(help="As `hub consent holds` names it: sender:sms_uk.")],
    as_json: Json = False,
) -> None:
    """The fault is mended: let advertising go out again."""
    from hub.cli._hub import LOCAL, segment

    _show_holds(_ask(ctx, lambda hub: hub.delete(f"{LOCAL}/holds/{segment(key)}"))["items"], as_json)


def _show_holds(items: list[dict[str, Any]], as_json: bool) -> None:
    if as_json:
        print_json(items)
    elif not items:
        typer.echo("nothing is held")
    else:
        print_table(("since", "held", "why"), [(each["at"], each["key"], each["reason"]) for each in items])


def _by_hand(ctx: typer.Context, *rows: dict[str, Any], as_json: bool) -> None:
    """Stops at the first that is refused."""
    for row in rows:
        [judged] = _send(ctx, [(1, row)], "command line", "cli")
        if judged["result"] == "refused":
            raise Failure(judged["problem"])
    if as_json:
        print_json({"result": judged["result"]})
    else:
        typer.echo(f"{judged['result']}: {judged['problem'] or '; '.join(map(_said, rows))}")


def _said(row: Mapping[str, Any]) -> str:
    purpose, channel = row.get("purpose", "marketing"), row.get("channel", "*")
    purpose = "every purpose" if purpose == "*" else purpose
    channel = "every channel" if channel == "*" else channel
    return f"{row['type']} {purpose} on {channel}, {row['address']}"


@_consent.command("import")
def import_file(
    ctx: typer.Context,
    file: Annotated[Path, typer.Argument(help="CSV with a header, or JSON lines.", exists=True, dir_okay=False)],
    report: Annotated[Path | None, typer.Option(help="Where the report goes; else FILE.report.jsonl.")] = None,
    as_json: Json = False,
) -> None:
    """Take over permissions and refusals. What cannot be taken is refused line by line, the rest is applied.

    Columns: type (grant or revoke), address, channel, purpose, basis, source, at, evidence, topic, sender, time_zone,
    opt_out_offered, similar_products. docs/consent.md tells which are needed.
    """
    from hub.cli._rows import read

    rows = read(file)
    good = [(number, row) for number, row, problem in rows if problem is None]
    judged: list[dict[str, Any]] = [
        {"line": number, "result": "refused", "problem": problem} for number, _, problem in rows if problem
    ]
    judged += _send(ctx, good, file.name, "import")
    judged.sort(key=lambda each: int(each["line"]))
    place = report or file.with_name(f"{file.name}.report.jsonl")
    place.write_text("".join(json.dumps(each, ensure_ascii=False) + "\n" for each in judged), encoding="utf-8")
    counts = {word: sum(each["result"] == word for each in judged) for word in ("applied", "already", "refused")}
    if as_json:
        print_json(counts | {"report": str(place)})
    else:
        for each in judged:
            if each.get("problem"):
                typer.echo(f"{file.name}:{each['line']}: {each['problem']}", err=True)
        words = f"{counts['applied']} applied, {counts['already']} known already, {counts['refused']} refused"
        typer.echo(f"{words}; the report is in {place}")
    if counts["refused"]:
        raise typer.Exit(1)


def _send(ctx: typer.Context, rows: list[tuple[int, dict[str, Any]]], origin: str, way: str) -> list[dict[str, Any]]:
    from hub.cli._hub import LOCAL

    async def work(hub: Api) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        for start in range(0, len(rows), _BATCH):
            some = rows[start : start + _BATCH]
            lines, values = [line for line, _ in some], [row for _, row in some]
            body = {"rows": values, "lines": lines, "origin": origin, "way": way}
            found += (await hub.post(f"{LOCAL}/consent", body))["items"]
        return found

    return list(_ask(ctx, work))


@_consent.command()
def export(ctx: typer.Context, as_json: JsonAlways = False) -> None:
    """The whole ledger as JSON lines, oldest first. Fails if somebody has changed it behind the hub's back."""
    from hub.cli._hub import LOCAL

    async def work(hub: Api) -> list[int]:
        after = 0
        while True:
            page = await hub.get(f"{LOCAL}/consent", after=after)
            for each in page["items"]:
                typer.echo(json.dumps(each, ensure_ascii=False))
            if len(page["items"]) < 500:
                return list(page["broken"])
            after = page["items"][-1]["id"]

    broken = _ask(ctx, work)
    if broken:
        numbers = ", ".join(map(str, broken))
        raise Failure(f"the ledger was changed at or before entries {numbers}: compare with a backup")


def _ask(ctx: typer.Context, work: Callable[[Api], Awaitable[Any]]) -> Any:
    return asyncio.run(_asked(state(ctx), work))


async def _asked(given: State, work: Callable[[Api], Awaitable[Any]]) -> Any:
    from hub.cli._hub import reached

    async with reached(given) as hub:
        return await work(hub)
