"""What the simulated LINE keeps, and how the real one refuses.

Source: https://developers.line.biz/en/reference/messaging-api/
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

UNAUTHORIZED = "Authentication failed. Confirm that the access token in the authorization header is valid."
NO_TARGET = "Failed to send messages"
USED_UP = "Invalid reply token"
NO_KEY_HERE = "The retry key is not supported in this API"
ACCEPTED = "The retry key is already accepted"
MONTHLY = "You have reached your monthly limit."
TOO_FAST = "The API rate limit has been exceeded. Try again later."
_KINDS = ("text", "image", "video", "audio", "location", "sticker", "template", "flex")
_LIMITS = {"text": 5000, "title": 100, "address": 100}  # characters


@dataclass(slots=True)
class User:
    """Somebody with LINE. ``friend``: they added the account, and did not block it."""

    id: str
    name: str = "Ann Fielding"
    friend: bool = True


@dataclass(slots=True)
class Sent:
    """A message of the account's; ``shown``: it reached the phone, which it does not where the account is blocked."""

    id: str
    to: str
    way: str  # "push" or "reply"
    body: Mapping[str, Any]
    at: datetime
    shown: bool = True

    @property
    def text(self) -> str:
        return str(self.body.get("text") or self.body.get("title") or "")

    def choices(self) -> list[dict[str, str]]:
        """Id and title of its quick replies."""
        found = [each["action"] for each in self.body.get("quickReply", {}).get("items", [])]
        return [{"id": each["data"].partition("\n")[0], "title": each["label"]} for each in found]


def refused(message: str, *details: tuple[str, str]) -> dict[str, Any]:
    made: dict[str, Any] = {"message": message}
    if details:
        made["details"] = [{"message": words, "property": where} for words, where in details]
    return made


def objection(body: Mapping[str, Any]) -> dict[str, Any] | None:
    """What is wrong with the messages of a call."""
    said = body.get("messages")
    if not isinstance(said, list) or not 1 <= len(said) <= 5:
        return _wrong("Size must be between 1 and 5", "messages")
    for place, message in enumerate(said):
        if (wrong := _message(message)) is not None:
            where, words = wrong
            return _wrong(words, f"messages[{place}].{where}")
    return None


def _wrong(words: str, where: str) -> dict[str, Any]:
    return refused("The request body has 1 error(s)", (words, where))


def _message(message: Mapping[str, Any]) -> tuple[str, str] | None:
    kind = message.get("type")
    if kind not in _KINDS:
        return "type", f"Must be one of the following values: [{', '.join(_KINDS)}]"
    wanted = {"text": ["text"], "image": ["originalContentUrl", "previewImageUrl"], "audio": ["originalContentUrl"],
              "video": ["originalContentUrl", "previewImageUrl"],
              "location": ["title", "address", "latitude", "longitude"]}
    for name in wanted.get(kind, []):
        found = message.get(name)
        if found is None or found == "":
            return name, "May not be empty"
        if name.endswith("Url") and not str(found).startswith("https://"):
            return name, "Invalid URI scheme"
        if name in _LIMITS and len(str(found).encode("utf-16-le")) // 2 > _LIMITS[name]:
            return name, f"Length must be between 0 and {_LIMITS[name]}"
    return _choices(message.get("quickReply", {}).get("items", []))


def _choices(items: list[Mapping[str, Any]]) -> tuple[str, str] | None:
    if len(items) > 13:
        return "quickReply.items", "Size must be between 0 and 13"
    for place, each in enumerate(items):
        action = each.get("action", {})
        for name, most in (("label", 20), ("data", 300), ("displayText", 300)):
            if not 1 <= len(action.get(name, "")) <= most:
                return f"quickReply.items[{place}].action.{name}", f"Length must be between 1 and {most}"
    return None
