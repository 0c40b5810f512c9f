"""LINE's side: the Messaging API, signed webhooks, and the phones behind them."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import hmac
import json
import secrets
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import aiohttp
from aiohttp import web

from adapters.line import records
from adapters.line.records import Sent, User, objection, refused
from hub.testing.server import Server, disconnect
from hub.testing.simulation import Fault, Faults, Ledger
from hub.testing.simulation import Simulator as Base

TOKEN_LIFE = timedelta(minutes=1)  # of a reply token (from memory)
KEY_LIFE = timedelta(hours=24)  # of a retry key (from memory)


BASIC_ID = "@216ru"

class Simulator(Base):
    """One official account. ``skip`` moves its clock, so that tokens and keys grow old without waiting.

    As at LINE, a push to somebody who blocked the account is answered 200, and reaches nobody.
    """

    def __init__(self, *, ledger: Ledger | None = None, faults: Faults | None = None) -> None:
        super().__init__(ledger=ledger, faults=faults)
        self.bot_id = "U" + secrets.token_hex(16)
        self.channel_secret = secrets.token_hex(16)
        self.access_token = base64.b64encode(secrets.token_bytes(48)).decode()
        self.redelivery: Sequence[float] = (0.05, 0.2, 1.0, 5.0)  # seconds until a webhook comes again; off by default
        self.quota: int | None = None  # messages a month; None: any number
        self.used = 0
        self.active = True  # webhooks are switched on
        self.endpoint: str | None = None  # where the console says they go; None: ``webhook_url``
        self.users: dict[str, User] = {}
        self.messages: list[Sent] = []  # of the account, as they were taken
        self.written: list[dict[str, Any]] = []  # by people: user, id, at, text
        self.preparing: set[str] = set()  # files that are not ready yet
        self._skipped = timedelta()
        self._numbers = 460_000_000_000_000_000 + secrets.randbelow(10**9)
        self._tokens: dict[str, tuple[str, datetime]] = {}  # reply token: user, since
        self._keys: dict[str, tuple[datetime, str, list[Sent]]] = {}  # retry key: when, request, what was sent
        self._files: dict[str, bytes] = {}
        self.server = Server()
        self._base = ""

    # --- what who starts it, and the demo, use ---

    async def start(self, port: int = 0) -> None:
        app = web.Application()
        app.add_routes(
            [
                web.post("/v2/bot/message/{way:push|reply}", self._send),
                web.get("/v2/bot/message/{message}/content", self._content),
                web.get("/v2/bot/{path:.+}", self._read),
            ]
        )
        self._base = await self.server.listen(app, port)

    async def stop(self) -> None:
        await self.server.close()

    def config(self) -> dict[str, Any]:
        return {
            "channel_secret": self.channel_secret, "channel_access_token": self.access_token, "base_url": self._base,
            "basic_id": BASIC_ID,
        }

    def now(self) -> datetime:
        return datetime.now(UTC) + self._skipped

    def skip(self, span: timedelta) -> None:
        self._skipped += span

    def user(self, id: str, name: str = "Ann Fielding") -> User:
        return self.users.setdefault(id, User(id, name))

    async def text(self, user: str, body: str, **more: Any) -> int | None:
        """Somebody writes. The hub's status; None if it gave none."""
        return await self.write(user, {"type": "text", "text": body, **more})

    async def file(self, user: str, kind: str, data: bytes, **more: Any) -> int | None:
        """Somebody sends a picture, a film, sound or a document."""
        number = self._number()
        self._files[number] = data
        provider = {} if kind == "file" else {"contentProvider": {"type": "line"}}
        return await self.write(user, {"id": number, "type": kind, **provider, **more})

    async def write(self, user: str, content: Mapping[str, Any]) -> int | None:
        """Somebody sends anything: ``content`` is the message without its id."""
        message = {"id": self._number(), "quoteToken": secrets.token_hex(8), **content}
        said = str(content.get("text", ""))
        self.written.append({"user": user, "id": message["id"], "at": self.now(), "text": said})
        self.ledger.write("deliver", id=message["id"], **{"from": user}, text=said)
        answered = await self.tell([self.event(user, "message", message=message)])
        self.ledger.write("acked", id=message["id"], status=answered)
        return answered

    async def album(self, user: str, *pictures: bytes, together: bool = True) -> list[str]:
        """Somebody sends pictures at once, which LINE tells of ``together`` or one by one. Their ids; all of them are
        ``preparing``."""
        album, numbers = self._number(), [self._number() for _ in pictures]
        events = []
        for index, (number, data) in enumerate(zip(numbers, pictures, strict=True), 1):
            self._files[number] = data
            self.preparing.add(number)
            known = {"id": album, "index": index, "total": len(pictures)}
            message = {"id": number, "type": "image", "contentProvider": {"type": "line"}, "imageSet": known}
            events.append(self.event(user, "message", message=message))
        for some in [events] if together else [[event] for event in events]:
            await self.tell(some)
        return numbers

    async def choose(self, user: str, choice: str) -> int | None:
        """Somebody taps a quick reply of the last message."""
        for message in reversed(self.phone(user)):
            for each in message.body.get("quickReply", {}).get("items", []):
                if each["action"]["data"].partition("\n")[0] == choice:
                    data = each["action"]["data"]
                    shown = each["action"].get("displayText")
                    if shown:
                        self.written.append({"id": self._number(), "user": user, "at": self.now(), "text": shown})
                    return await self.tell([self.event(user, "postback", postback={"data": data})])
        raise LookupError(f"no message on this phone offers {choice!r}")

    async def unsend(self, user: str, message: str) -> int | None:
        self._files.pop(message, None)
        return await self.tell([self.event(user, "unsend", token=False, unsend={"messageId": message})])

    async def block(self, user: str, *, lift: bool = False) -> int | None:
        """Somebody blocks the account, or takes that back."""
        self.user(user).friend = lift
        if lift:
            return await self.tell([self.event(user, "follow", follow={"isUnblocked": True})])
        return await self.tell([self.event(user, "unfollow", token=False)])

    def phone(self, user: str) -> list[Sent]:
        """The messages that somebody has received, oldest first."""
        return [each for each in self.messages if each.to == user and each.shown]

    def said_by(self, user: str) -> list[dict[str, Any]]:
        return [each for each in self.written if each["user"] == user]

    async def settle(self) -> None:
        """Wait until all late messages are taken."""
        await self.server.settle()

    # --- webhooks ---

    def event(self, user: str, kind: str, *, token: bool = True, **content: Any) -> dict[str, Any]:
        """What a webhook says of something that somebody did now."""
        self.user(user)
        made = {"type": kind, "mode": "active", "timestamp": int(self.now().timestamp() * 1000),
                "webhookEventId": f"01{secrets.token_hex(12).upper()}", "deliveryContext": {"isRedelivery": False},
                "source": {"type": "user", "userId": user}, **content}
        if token:
            made["replyToken"] = secrets.token_hex(16)
            self._tokens[made["replyToken"]] = user, self.now()
        return made

    async def tell(self, events: Sequence[dict[str, Any]]) -> int | None:
        """One webhook, and again where it was not taken. The hub's last status; None if it gave none."""
        for pause in (*self.redelivery, None):
            answered = await self._post(events)
            if answered == 200 or pause is None:
                break
            await asyncio.sleep(pause)
            events = [{**each, "deliveryContext": {"isRedelivery": True}} for each in events]
        return answered

    async def _post(self, events: Sequence[dict[str, Any]]) -> int | None:
        assert self.webhook_url is not None, "set webhook_url first"
        body = json.dumps({"destination": self.bot_id, "events": events}, ensure_ascii=False).encode()
        digest = hmac.new(self.channel_secret.encode(), body, hashlib.sha256).digest()
        headers = {"X-Line-Signature": base64.b64encode(digest).decode(), "Content-Type": "application/json",
                   "User-Agent": "LineBotWebhook/2.0"}
        with contextlib.suppress(aiohttp.ClientError, TimeoutError):
            async with self.server.session.post(
                self.webhook_url, data=body, headers=headers, allow_redirects=False
            ) as answer:
                await answer.read()
                return answer.status
        return None

    # --- the Messaging API ---

    async def _send(self, request: web.Request) -> web.StreamResponse:
        body = json.loads(await request.read())
        way, key = request.match_info["way"], request.headers.get("X-Line-Retry-Key")
        self.ledger.write("request", way=way, key=key, to=body.get("to"))
        if refusal := self._unauthorized(request):
            return refusal
        fault = self.faults.next()
        if fault is not None:
            self.ledger.write("fault", fault=fault.kind, key=key)
            if (answer := _before(request, fault)) is not None:
                return answer
        if (answer := self._refusal(way, body, key)) is not None:
            return answer
        number = secrets.token_hex(16)
        if fault is not None and fault.kind == "late_accept":
            self.server.spawn(self._later(fault.delay, number, way, body, key))
            return disconnect(request)
        if fault is not None and fault.kind == "slow":
            await asyncio.sleep(fault.delay)
        sent = self._accept(number, way, body, key)
        if fault is not None and fault.kind == "drop_after":
            return disconnect(request)
        if fault is not None and fault.kind == "error_after":
            return _answer(500, refused("Internal Server Error"))
        return _answer(200, _sent(sent), {"X-Line-Request-Id": number})

    def _refusal(self, way: str, body: Mapping[str, Any], key: str | None) -> web.Response | None:
        if wrong := objection(body):
            return _answer(400, wrong)
        if way == "reply":
            if key is not None:
                return _answer(400, refused(records.NO_KEY_HERE))
            user, since = self._tokens.get(str(body.get("replyToken")), ("", self.now() - 2 * TOKEN_LIFE))
            return None if user and self.now() < since + TOKEN_LIFE else _answer(400, refused(records.USED_UP))
        known = self._keys.get(key or "")
        if known is not None and self.now() < known[0] + KEY_LIFE:
            self.ledger.write("repeat", key=key)
            return _answer(409, {**refused(records.ACCEPTED), **_sent(known[2])},
                           {"X-Line-Accepted-Request-Id": known[1]})
        if body.get("to") not in self.users:
            return _answer(400, refused("The property, 'to', in the request body is invalid (line: -, column: -)"))
        if self.quota is not None and self.used >= self.quota:
            return _answer(429, refused(records.MONTHLY))
        return None

    def _accept(self, number: str, way: str, body: Mapping[str, Any], key: str | None) -> list[Sent]:
        if way == "reply":
            to, _ = self._tokens.pop(body["replyToken"])
        else:
            to, self.used = body["to"], self.used + 1
        shown = self.users[to].friend
        sent = [Sent(self._number(), to, way, each, self.now(), shown) for each in body["messages"]]
        self.messages += sent
        if key is not None:
            self._keys[key] = self.now(), number, sent
        for each in sent:
            self.ledger.write("accept", id=each.id, key=key, to=to, way=way, text=each.text)
        return sent

    async def _later(self, delay: float, number: str, way: str, body: Mapping[str, Any], key: str | None) -> None:
        await asyncio.sleep(delay)
        if self._refusal(way, body, key) is None:
            self._accept(number, way, body, key)

    async def _content(self, request: web.Request) -> web.Response:
        if refusal := self._unauthorized(request):
            return refusal
        message = request.match_info["message"]
        if message in self.preparing:
            return web.Response(status=202)
        if message not in self._files:
            return _answer(404, refused("Not found"))
        return web.Response(body=self._files[message], content_type="application/octet-stream")

    async def _read(self, request: web.Request) -> web.Response:
        if refusal := self._unauthorized(request):
            return refusal
        limit: dict[str, Any] = {"type": "none"} if self.quota is None else {"type": "limited", "value": self.quota}
        known: dict[str, dict[str, Any]] = {
            "info": {"userId": self.bot_id, "basicId": BASIC_ID, "displayName": "Simulated", "chatMode": "bot"},
            "channel/webhook/endpoint": {"endpoint": self.endpoint or self.webhook_url or "", "active": self.active},
            "message/quota": limit,
            "message/quota/consumption": {"totalUsage": self.used},
        }
        for user in self.users.values():
            if user.friend:
                known[f"profile/{user.id}"] = {"userId": user.id, "displayName": user.name, "language": "en"}
        found = known.get(request.match_info["path"])
        return _answer(404, refused("Not found")) if found is None else _answer(200, found)

    def _unauthorized(self, request: web.Request) -> web.Response | None:
        if request.headers.get("Authorization") == f"Bearer {self.access_token}":
            return None
        return _answer(401, refused(records.UNAUTHORIZED))

    def _number(self) -> str:
        self._numbers += 1
        return str(self._numbers)


def _before(request: web.Request, fault: Fault) -> web.Response | None:
    """The answer of faults that take no message."""
    match fault.kind:
        case "throttle":
            return _answer(429, refused(records.TOO_FAST))
        case "error":
            return _answer(int(fault.code or 500), refused("Internal Server Error"))
        case "reject":
            return _answer(400, refused(fault.code or records.NO_TARGET))
        case "drop_before":
            return disconnect(request)
    return None


def _sent(sent: Sequence[Sent]) -> dict[str, Any]:
    return {"sentMessages": [{"id": each.id, "quoteToken": f"q{each.id}"} for each in sent]}


def _answer(status: int, body: Mapping[str, Any], headers: Mapping[str, str] | None = None) -> web.Response:
    return web.json_response(body, status=status, headers=headers)
