"""How messages and times look in a terminal."""

from __future__ import annotations

import textwrap
import unicodedata
from datetime import datetime
from typing import Any


def printable(text: str) -> str:
    """Without what could steer a terminal or turn a line around: other people wrote it."""
    return "".join(each if each in "\n\t" or unicodedata.category(each)[0] != "C" or each == "\u200d" else "\ufffd"
                   for each in text.replace("\r\n", "\n"))


def line(text: str) -> str:
    return " ".join(printable(text).split())


def moment(value: str | None) -> str:
    """UTC, to the second."""
    return f"{datetime.fromisoformat(value):%Y-%m-%d %H:%M:%SZ}" if value else "-"


def size(count: int | None) -> str:
    if count is None:
        return ""
    for unit, span in (("MB", 1_000_000), ("kB", 1000)):
        if count >= span:
            return f"{count / span:.1f} {unit}"
    return f"{count} B"


def content(message: dict[str, Any]) -> list[str]:
    """What a message says, line by line."""
    lines = [f"[to {message['reply_to']}]"] if message["reply_to"] else []
    lines += [f"subject: {line(message['subject'])}"] if message["subject"] else []
    lines += printable(message["text"]).splitlines()
    for file in message["attachments"]:
        facts = [file["kind"], file["name"] or "", file["mime"] or "", size(file["size"])]
        facts += [] if file["state"] == "stored" else [file["state"], file["error"] or ""]
        lines.append(f"[{line(' '.join(filter(None, facts)))}]" + (f" {file['url']}" if file["url"] else ""))
    lines += [f"[button: {line(each['title'])}]" for each in message["buttons"]]
    if message["selection"]:
        lines.append(f"[chose: {line(message['selection']['title'])}]")
    if place := message["location"]:
        lines.append(f"[location: {place['latitude']}, {place['longitude']} {line(place['name'] or '')}".rstrip() + "]")
    if message["unsupported"]:
        lines.append(f"[{line(message['unsupported'])}: a kind that cannot be shown]")
    for each in message["amendments"]:
        lines.append(f"[{each['kind']} {moment(each['at'])}: {line(each['value'])}".rstrip(": ") + "]")
    return lines or ["[empty]"]


def indented(lines: list[str], by: int) -> str:
    return textwrap.indent("\n".join(lines), " " * by, lambda _: True)
