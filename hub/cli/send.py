"""``hub send``"""

from __future__ import annotations

import asyncio
import sys
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from hub.cli.base import Failure, Json, print_json, state

if TYPE_CHECKING:
    from hub.cli._hub import Api
    from hub.cli.base import State

app = typer.Typer()

_ON_ITS_WAY = ("queued", "sending", "indoubt")
_GOES = ("allow", "defer")
_LOOK_AGAIN = 0.2  # seconds


@app.command()
def send(
    ctx: typer.Context,
    customer: Annotated[str, typer.Argument(help="Public id (cus_…), your own id, or an address: tel:+447700900123.")],
    text: Annotated[str | None, typer.Argument(help="What to say; - or nothing: standard input.")] = None,
    file: Annotated[Path | None, typer.Option(help="Read the text from this file.", dir_okay=False)] = None,
    subject: Annotated[str | None, typer.Option(help="Subject, where the channel has one.")] = None,
    attach: Annotated[list[str] | None, typer.Option(help="Address (https://…) of a file; can be repeated.")] = None,
    channel: Annotated[str | None, typer.Option(help="Name of a channel; else the customer's last-used one.")] = None,
    purpose: Annotated[
        Literal["reply", "transactional", "marketing"], typer.Option(help="What it is for; marketing needs an opt-in.")
    ] = "marketing",
    topic: Annotated[str | None, typer.Option(help="What advertising is about: one of the setting topics.")] = None,
    key: Annotated[str | None, typer.Option(help="Idempotency key: the same key sends once.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Decide and render it, send nothing.")] = False,
    wait: Annotated[bool, typer.Option("--wait", help="Until it is delivered, where the channel tells.")] = False,
    timeout: Annotated[float, typer.Option(help="Seconds to wait at most.")] = 60.0,
    as_json: Json = False,
) -> None:
    """Send a message to a customer. Exit code 1: it was not sent, or with --wait not delivered in time."""
    draft: dict[str, Any] = {
        "customer": customer, "text": _text(text, file, bool(attach)), "purpose": purpose,
        "attachments": [{"url": each} for each in attach or []],
    }
    given = {"subject": subject, "channel": channel, "topic": topic}
    draft |= {name: value for name, value in given.items() if value is not None}
    if dry_run:
        found = asyncio.run(_preview(state(ctx), draft))
        print_json(found) if as_json else typer.echo(_previewed(found))
        good = found["verdict"] in _GOES and found["problem"] is None
    else:
        found = asyncio.run(_send(state(ctx), draft, key or str(uuid.uuid4()), wait, timeout))
        print_json(found) if as_json else typer.echo(_sent(found, timeout))
        good = not wait or found["done"]
    if not good:
        raise typer.Exit(1)


def _text(text: str | None, file: Path | None, may_be_empty: bool) -> str:
    if file is not None:
        if text is not None:
            raise typer.BadParameter("give the text once: as an argument or with --file")
        source, content = str(file), file.read_bytes()
    elif text is not None and text != "-":
        return text
    elif text is None and (may_be_empty or sys.stdin.isatty()):
        if may_be_empty:
            return ""
        raise typer.BadParameter("say something: hub send CUSTOMER \"text\", --file PATH, or text on standard input")
    else:
        source, content = "standard input", sys.stdin.buffer.read()
    try:
        return content.decode().removesuffix("\n")
    except UnicodeDecodeError as error:
        raise Failure(f"{source} is no UTF-8 text (byte {error.start}); a file is sent with --attach") from error


async def _preview(state: State, draft: dict[str, Any]) -> dict[str, Any]:
    from hub.cli._hub import LOCAL, reached

    async with reached(state) as hub:
        found: dict[str, Any] = await hub.post(f"{LOCAL}/messages/preview", draft)
        return found


async def _send(state: State, draft: dict[str, Any], key: str, wait: bool, timeout: float) -> dict[str, Any]:
    """What the API says of the message, ``state``, ``reason``, whether a hub ``works`` and whether it is ``done``."""
    from hub.cli._hub import API, reached

    async with reached(state) as hub:
        if wait and hub.works is False:
            raise Failure("nothing was sent: no hub runs that would do it; start one (hub serve) or leave --wait out")
        found: dict[str, Any] = await hub.post(f"{API}/messages", draft, key)
        found |= {"reason": None, "works": hub.works, "done": False, "idempotency_key": key}
        return found | (await _followed(hub, found, timeout) if wait else {})


async def _followed(hub: Api, found: dict[str, Any], timeout: float) -> dict[str, Any]:
    """State and reason once nothing more is to come, or when the time is up."""
    from hub.cli._hub import API

    channels = {each["name"]: each for each in (await hub.get(f"{API}/channels"))["items"]}
    known = channels.get(found["channel"])
    enough = ("delivered", "read") if known and known["capabilities"]["delivered"] else ("sent", "delivered", "read")
    deadline = asyncio.get_running_loop().time() + timeout
    while True:
        message = await hub.get(f"{API}/messages/{found['id']}")
        now = {"state": message["state"], "reason": message["reason"], "done": message["state"] in enough}
        ended = now["state"] not in (*_ON_ITS_WAY, "sent")
        if now["done"] or ended or asyncio.get_running_loop().time() >= deadline:
            return now
        await asyncio.sleep(_LOOK_AGAIN)


def _sent(found: dict[str, Any], timeout: float) -> str:
    lines = [f"{found['id']} to {found['address']} by {found['channel']}: {found['state']}"]
    if found["reason"]:
        lines[0] += f" – {found['reason']}"
    if found["works"] is False:
        lines.append("no hub runs here, so it waits for one: hub serve")
    elif not found["done"] and found["state"] in (*_ON_ITS_WAY, "sent"):
        lines.append(f"what becomes of it: hub why {found['id']}")
    elif not found["done"]:
        lines.append(f"how it came to this: hub why {found['id']}")
    return "\n".join(lines)


def _previewed(found: dict[str, Any]) -> str:
    from hub.cli._text import indented, line, moment, printable

    who = found["customer"] or "somebody new"
    failed = [line(each["detail"]) for each in found["checks"] if not each["ok"]]
    later = f", not before {moment(found['not_before'])}" if found["not_before"] else ""
    lines = [f"to {who}, {found['address']} by {found['channel']}", f"{found['verdict']}: {found['reason']}{later}"]
    lines += [f"  {each}" for each in failed]
    if found["problem"]:
        lines.append(f"cannot be rendered: {found['problem']}")
    count = len(found["parts"])
    for number, part in enumerate(found["parts"], 1):
        said = [f"subject: {line(part['subject'])}"] if part["subject"] else []
        said += printable(part["text"]).splitlines()
        said += [f"[file: {line(each)}]" for each in part["attachments"]]
        said += [f"[button: {line(each)}]" for each in part["buttons"]]
        lines += ["", f"part {number} of {count}, {len(part['text'])} characters", indented(said, 4)]
    return "\n".join([*lines, "", "nothing was sent"])
