"""What a phone shows of a message, and what can be pressed on it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from adapters.graph.records import Template
from adapters.whatsapp_cloud.records import Sent


def shown(body: Mapping[str, Any], templates: Mapping[tuple[str, str], Template]) -> str:
    """What a phone shows of a call, in words."""
    said = body[body["type"]]
    match body["type"]:
        case "template":
            template = templates[said["name"], said["language"]["code"]]
            parts = [each for each in said.get("components", []) if each["type"] == "body"]
            return template.shown(parts[0]["parameters"] if parts else [])
        case "interactive":
            return str(said["body"]["text"])
        case "text":
            return str(said["body"])
        case "reaction":
            return str(said.get("emoji", ""))
    return str(said.get("caption", "")) if isinstance(said, dict) else ""


def said(raw: Mapping[str, Any]) -> str:
    """What a phone wrote, in words."""
    found = raw.get(raw["type"])
    if not isinstance(found, dict):
        return ""
    chosen = found.get("button_reply") or found.get("list_reply") or {}
    return str(found.get("body") or found.get("caption") or found.get("text") or chosen.get("title") or "")


def buttons(message: Sent) -> list[dict[str, str]]:
    """Id and title of what can be pressed or chosen on a message."""
    action = message.body.get("interactive", {}).get("action", {})
    found = [each["reply"] for each in action.get("buttons", [])]
    found += [row for section in action.get("sections", []) for row in section["rows"]]
    return [{"id": each["id"], "title": each["title"]} for each in found]


def pressed(message: Sent, button: str) -> dict[str, Any] | None:
    """What a webhook says when that button of the message is pressed; None if it has none like it."""
    for each in buttons(message):
        if each["id"] == button:
            kind = "button_reply" if message.body["interactive"]["type"] == "button" else "list_reply"
            return {"type": "interactive", "interactive": {"type": kind, kind: each}}
    for component in message.body.get("template", {}).get("components", []):
        if component.get("sub_type") == "quick_reply" and component["parameters"][0]["payload"] == button:
            return {"type": "button", "button": {"payload": button, "text": button}}
    return None
