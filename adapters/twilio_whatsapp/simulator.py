"""Twilio's side of WhatsApp: content, the window of 24 hours, and phones that press buttons."""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import aiohttp
from aiohttp import web

from adapters.twilio.records import Sms
from adapters.twilio.simulator import Twilio

_WINDOW = timedelta(hours=24)
_RECIPIENT = re.compile(r"whatsapp:(\+[1-9][0-9]{6,14}|[A-Z]{2}\.[A-Za-z0-9.]+)")
_VARIABLE = re.compile(r"{{(\w+)}}")


class Simulator(Twilio):
    """Addresses are as Twilio writes them: ``whatsapp:+14133881111``. ``approved``: templates by content SID, as text
    with {{1}}; ``wrote``: when somebody wrote last, which opens their window."""

    def __init__(self, *, number: str = "whatsapp:+12025550100", **more: Any) -> None:
        super().__init__(number=number, **more)
        self.approved: dict[str, str] = {}
        self.contents: dict[str, dict[str, Any]] = {}
        self.wrote: dict[str, datetime] = {}
        self.choices: dict[str, list[tuple[str, str]]] = {}  # by message: id and title of what can be pressed
        self.seen: list[str] = []  # sids of phones' messages that were shown as read
        self._made_of: dict[str, str] = {}  # messages by sid: their content's
        self._reached = ["delivered", "read"]

    def config(self) -> dict[str, Any]:
        return super().config() | {"from_number": self.number.removeprefix("whatsapp:")}

    def template(self, text: str) -> str:
        """Approve one; its content SID."""
        sid = "HX" + secrets.token_hex(16)
        self.approved[sid] = text
        return sid

    async def text(
        self, from_: str, body: str, media: Sequence[tuple[str, bytes]] = (), **more: str
    ) -> int | None:
        self.wrote[from_] = datetime.now(UTC)
        number = from_.removeprefix("whatsapp:+")
        known = {"WaId": number} if number.isdecimal() else {}
        kind = media[0][0].partition("/")[0] if media else "text"
        usual = {"ProfileName": "Ann", "MessageType": kind, "ChannelPrefix": "whatsapp", "Forwarded": "false", **known}
        return await super().text(from_, body, media, **usual | more)

    async def press(self, from_: str, number: int) -> int | None:
        """Choose below the newest message that offers a choice."""
        message = next(each for each in reversed(self.phone(from_)) if each.sid in self.choices)
        identifier, title = self.choices[message.sid][number]
        chosen = {"ButtonText": title, "ButtonPayload": identifier}
        if "twilio/list-picker" in self._content_of(message)["types"]:
            chosen = {"ListId": identifier, "ListTitle": title}
        answered = {"OriginalRepliedMessageSid": message.sid, "OriginalRepliedMessageSender": self.number}
        return await self.text(from_, title, (), MessageType="interactive", **chosen, **answered)

    # --- the REST API ---

    def _routes(self) -> list[web.RouteDef]:
        return [
            web.post("/v1/Content", self._make_content),
            web.post("/v3/Indicators/Typing.json", self._show_typing),
        ]

    def _stranger(self, request: web.Request) -> web.Response | None:
        pairs = ((self.account_sid, self.auth_token), self.api_key)
        if request.headers.get("Authorization") in [aiohttp.encode_basic_auth(*pair) for pair in pairs]:
            return None
        return web.json_response({"code": 20003, "message": "Authenticate", "status": 401}, status=401)

    async def _show_typing(self, request: web.Request) -> web.Response:
        if refused := self._stranger(request):
            return refused
        said = json.loads(await request.text())
        if said.get("channel") != "WHATSAPP" or not said.get("messageId"):
            return web.json_response({"code": 20001, "message": "Invalid parameter", "status": 400}, status=400)
        self.seen.append(said["messageId"])
        return web.json_response({"success": True})

    async def _make_content(self, request: web.Request) -> web.Response:
        if refused := self._stranger(request):
            return refused
        content = json.loads(await request.text())
        [(kind, shape)] = content["types"].items()
        wrong = _too_long(kind, shape)
        if wrong:
            return web.json_response({"code": 60200, "message": wrong, "status": 400}, status=400)
        sid = "HX" + secrets.token_hex(16)
        self.contents[sid] = content
        self.ledger.write("content", id=sid, name=content["friendly_name"])
        return web.json_response({**content, "sid": sid, "account_sid": self.account_sid}, status=201)

    def _objection(self, form: Mapping[str, str], media: Sequence[str]) -> int | None:
        """The code of what is wrong with a message."""
        if form.get("From") != self.number:
            return 63007
        if not _RECIPIENT.fullmatch(form.get("To", "")):
            return 21211
        if "ContentSid" in form:
            return self._content_objection(form)
        if not form.get("Body") and not media:
            return 21602
        if len(form.get("Body", "")) > 1600:
            return 21617
        return 21623 if len(media) > 1 else None

    def _content_objection(self, form: Mapping[str, str]) -> int | None:
        sid = form["ContentSid"]
        if sid not in self.approved and sid not in self.contents:
            return 21655
        try:
            given = json.loads(form.get("ContentVariables", "{}"))
        except ValueError:
            return 21656
        return None if set(given) == set(_VARIABLE.findall(self._shape(sid))) else 21656

    def _words(self, form: Mapping[str, str]) -> str:
        if "ContentSid" not in form:
            return form.get("Body", "")
        given = json.loads(form.get("ContentVariables", "{}"))
        return _VARIABLE.sub(lambda found: given[found[1]], self._shape(form["ContentSid"]))

    def _failure(self, message: Sms, form: Mapping[str, str]) -> int | None:
        """A closed window shows only after Twilio took the message."""
        sid = form.get("ContentSid", "")
        if sid in self.contents:
            [shape] = self.contents[sid]["types"].values()
            rows = shape.get("actions") or shape.get("items")
            self.choices[message.sid] = [(each["id"], each.get("title") or each["item"]) for each in rows]
            self._made_of[message.sid] = sid
        wrote = self.wrote.get(message.to)
        if sid not in self.approved and (wrote is None or datetime.now(UTC) - wrote > _WINDOW):
            return 63016
        return super()._failure(message, form)

    def _content_of(self, message: Sms) -> dict[str, Any]:
        return self.contents[self._made_of[message.sid]]

    def _shape(self, sid: str) -> str:
        if sid in self.approved:
            return self.approved[sid]
        [shape] = self.contents[sid]["types"].values()
        return str(shape["body"])

    def _keyword(self, from_: str, body: str) -> str | None:
        return None  # Twilio answers STOP on WhatsApp only where a messaging service is told to


def _too_long(kind: str, shape: Mapping[str, Any]) -> str | None:
    if kind == "twilio/quick-reply":
        titles, most, longest = [each["title"] for each in shape["actions"]], 10, 20
    else:
        titles, most, longest = [each["item"] for each in shape["items"]], 10, 24
    if not 1 <= len(titles) <= most or any(not 1 <= len(title) <= longest for title in titles):
        return f"{kind}: 1 to {most} of up to {longest} characters"
    return "titles must differ" if len(set(titles)) != len(titles) else None
