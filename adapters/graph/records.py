"""What the simulated Meta keeps, and how the real one writes it down.

Source: https://developers.facebook.com/docs/messenger-platform/reference/send-api/error-codes
"""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from adapters.graph.webhook import digest

# HTTP status, kind and words of the errors it answers with, by code and subcode.
ERRORS: Mapping[tuple[int, int | None], tuple[int, str, str]] = {
    (1, None): (500, "OAuthException", "An unknown error has occurred."),
    (2, None): (503, "OAuthException", "Service temporarily unavailable"),
    (4, None): (403, "OAuthException", "(#4) Application request limit reached"),
    (10, None): (403, "OAuthException", "(#10) Application does not have permission for this action"),
    (10, 2018278): (403, "OAuthException", "(#10) This message is sent outside of allowed window. Learn more about the "
                    "new policy here: https://developers.facebook.com/docs/messenger-platform/policy-overview"),
    (10, 2534022): (403, "OAuthException", "(#10) This message is sent outside of allowed window."),
    (32, None): (400, "OAuthException", "(#32) Page request limit reached"),
    (100, None): (400, "OAuthException", "(#100) Invalid parameter"),
    (100, 33): (400, "GraphMethodException", "Unsupported post request. Object does not exist, cannot be loaded due "
                "to missing permissions, or does not support this operation"),
    (100, 2018001): (400, "OAuthException", "(#100) No matching user found"),
    (100, 2018034): (400, "OAuthException", "(#100) Message cannot be empty, must provide valid attachment or text"),
    (100, 2018047): (400, "OAuthException", "(#100) Upload attachment failure. A common way to trigger this error is "
                     "that the provided media type does not match type of file provided int the URL"),
    (100, 2018109): (400, "OAuthException", "(#100) Attachment size exceeds allowable limit"),
    (100, 2534014): (400, "OAuthException", "(#100) The requested user cannot be found."),
    (190, None): (400, "OAuthException", "Invalid OAuth access token - Cannot parse access token"),
    (200, 1545041): (403, "OAuthException", "(#200) This person isn't available right now."),
    (200, 2018108): (403, "OAuthException", "(#200) This Person Cannot Receive Messages"),
    (230, None): (403, "OAuthException", "(#230) User consent is required to access user profile"),
    (368, None): (400, "OAuthException", "The action attempted has been deemed abusive or is otherwise disallowed"),
    (551, 1545041): (400, "OAuthException", "(#551) This person isn't available right now."),
    (613, None): (400, "OAuthException", "(#613) Calls to this api have exceeded the rate limit."),
    (1200, None): (400, "OAuthException", "(#1200) Temporary send message failure. Please try again later."),
}
Refusal = tuple[int, int | None]
_VARIABLE = re.compile(r"\{\{\s*(\w+)\s*\}\}")


def error(code: int, subcode: int | None = None, said: str | None = None) -> dict[str, Any]:
    """The body of a refusal."""
    _, kind, usual = ERRORS.get((code, subcode), (400, "OAuthException", f"(#{code}) Refused"))
    made: dict[str, Any] = {"message": said or usual, "type": kind, "code": code}
    if subcode is not None:
        made["error_subcode"] = subcode
    return {"error": made | {"fbtrace_id": secrets.token_urlsafe(8)}}


def status_of(code: int, subcode: int | None = None) -> int:
    return ERRORS.get((code, subcode), (400, "", ""))[0]


def sign(secret: str, body: bytes) -> str:
    return f"sha256={digest(secret, body)}"


def dump(value: Mapping[str, Any]) -> bytes:
    """JSON as Meta writes it: no character above ASCII, and slashes escaped."""
    return json.dumps(value).replace("/", "\\/").encode()


def milliseconds(at: datetime) -> int:
    return round(at.timestamp() * 1000)


@dataclass(slots=True)
class Person:
    """Somebody with the app. ``blocked``: they want nothing from us any more."""

    id: str
    name: str = "Ann Fielding"
    last_wrote: datetime | None = None
    blocked: bool = False


@dataclass(slots=True)
class Template:
    """``body`` with {{1}} or {{name}}; ``header``: "IMAGE", "VIDEO", "DOCUMENT", or a text."""

    name: str
    language: str
    body: str
    category: str = "UTILITY"
    status: str = "APPROVED"
    header: str | None = None

    def variables(self) -> list[str]:
        return list(dict.fromkeys(_VARIABLE.findall(self.body)))

    def shown(self, parameters: list[dict[str, Any]]) -> str:
        names = self.variables()
        given = {str(each.get("parameter_name", name)): str(each.get("text", ""))
                 for name, each in zip(names, parameters, strict=False)}
        return _VARIABLE.sub(lambda found: given.get(found[1], ""), self.body)


@dataclass(slots=True)
class Sent:
    """A message as it was taken from the hub, and as the app shows it."""

    id: str
    to: Person
    body: dict[str, Any]  # of the call
    at: datetime
    state: str = "sent"
    shown: str | None = None  # what a template says, filled in

    @property
    def message(self) -> dict[str, Any]:
        found: dict[str, Any] = self.body["message"]
        return found

    @property
    def text(self) -> str:
        return str(self.message.get("text", "")) if self.shown is None else self.shown

    @property
    def key(self) -> str | None:
        return self.message.get("metadata")

    @property
    def files(self) -> list[str]:
        return [self.message["attachment"]["payload"]["url"]] if "attachment" in self.message else []

    @property
    def buttons(self) -> list[dict[str, str]]:
        found = self.message.get("quick_replies", [])
        return [{"id": each["payload"], "title": each["title"]} for each in found]
