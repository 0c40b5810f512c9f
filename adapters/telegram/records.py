"""What the simulated Telegram keeps, and how the real one refuses. Source: https://core.telegram.org/bots/api"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

CHAT_BURST = 5  # messages to one chat at once, then one a second (how many is not documented)

BLOCKED = "Forbidden: bot was blocked by the user"
DEACTIVATED = "Forbidden: user is deactivated"
NOT_STARTED = "Forbidden: bot can't initiate conversation with a user"
NO_CHAT = "Bad Request: chat not found"
TOO_LONG = "Bad Request: message is too long"
LONG_CAPTION = "Bad Request: message caption is too long"
EMPTY = "Bad Request: message text is empty"
NO_REPLY = "Bad Request: message to be replied not found"
NO_MESSAGE = "Bad Request: message to react not found"
BAD_DATA = "Bad Request: BUTTON_DATA_INVALID"
BAD_REACTION = "Bad Request: REACTION_INVALID"
BAD_MARKUP = "Bad Request: can't parse entities: Can't find end of the entity"
BAD_URL = "Bad Request: wrong HTTP URL specified"
BAD_FILE = "Bad Request: wrong file identifier/HTTP URL specified"
BIG_FILE = "Bad Request: file is too big"
OLD_QUERY = "Bad Request: query is too old and response timeout expired or query ID is invalid"
UPGRADED = "Bad Request: group chat was upgraded to a supergroup chat"
HOOKED = "Conflict: can't use getUpdates method while webhook is active; use deleteWebhook to delete the webhook first"
TWO_POLLERS = "Conflict: terminated by other getUpdates request; make sure that only one bot instance is running"
NO_HTTPS = "Bad Request: bad webhook: An HTTPS URL must be provided for webhook"


@dataclass(slots=True)
class User:
    """Somebody with Telegram. ``started``: they wrote to the bot at least once."""

    id: int
    name: str = "Ann Fielding"
    started: bool = False
    blocked: bool = False
    deactivated: bool = False
    tokens: float = 0.0  # of the chat's burst that are used up
    tokens_at: datetime | None = None

    def shown(self) -> dict[str, Any]:
        first, _, last = self.name.partition(" ")
        made: dict[str, Any] = {"id": self.id, "is_bot": False, "first_name": first, "language_code": "en"}
        return made | ({"last_name": last} if last else {})

    def chat(self) -> dict[str, Any]:
        known = self.shown()
        return {"type": "private", **{name: known[name] for name in ("id", "first_name", "last_name") if name in known}}


@dataclass(slots=True)
class Sent:
    """A message of the bot's. ``file``: its name and bytes, or its address."""

    chat: int
    id: int
    method: str
    fields: dict[str, Any]
    at: datetime
    file: tuple[str, bytes] | None = None

    @property
    def text(self) -> str:
        return str(self.fields.get("text") or self.fields.get("caption") or "")

    def buttons(self) -> list[dict[str, str]]:
        """Id and title of what can be pressed."""
        rows = self.fields.get("reply_markup", {}).get("inline_keyboard", [])
        return [{"id": each["callback_data"], "title": each["text"]} for row in rows for each in row]


def refused(status: int, description: str, **parameters: int) -> dict[str, Any]:
    made: dict[str, Any] = {"ok": False, "error_code": status, "description": description}
    return made | ({"parameters": parameters} if parameters else {})


def decoded(form: Mapping[str, Any]) -> dict[str, Any]:
    """Fields of a form, where everything but text is JSON."""
    known = ("reply_markup", "reply_parameters", "chat_id", "message_id", "latitude", "longitude", "reaction")
    return {name: json.loads(value) if name in known else value for name, value in form.items()}
