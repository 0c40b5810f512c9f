"""Telegram's side: the Bot API, updates by webhook or long polling, and the people behind them."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import secrets
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import aiohttp
from aiohttp import web

from adapters.telegram import records
from adapters.telegram.records import CHAT_BURST, Sent, User, decoded, refused
from adapters.telegram.rules import FILES, REACTIONS, objection
from hub.testing.server import Server, disconnect
from hub.testing.simulation import Fault, Faults, Ledger
from hub.testing.simulation import Simulator as Base

_LOCAL = ("http://127.0.0.1", "http://localhost")


BOT_NAME = "simulated_bot"

class Simulator(Base):
    """One bot. ``polling`` True: ``config`` is of a channel that asks for updates.

    As Telegram, it wants https of a webhook, but for this machine itself.
    """

    def __init__(
        self, *, ledger: Ledger | None = None, faults: Faults | None = None, polling: bool = False
    ) -> None:
        super().__init__(ledger=ledger, faults=faults)
        self.polling = polling
        self.bot_id = 10**8 + secrets.randbelow(9 * 10**8)
        self.token = f"{self.bot_id}:AA{secrets.token_urlsafe(24)}"
        self.secret = secrets.token_hex(16)
        self.repeats: Sequence[float] = (0.05, 0.2, 1.0, 5.0)  # seconds until an update is posted again; 24 h there
        self.users: dict[int, User] = {}
        self.messages: list[Sent] = []  # of the bot, as they were taken
        self.written: list[dict[str, Any]] = []  # by people: chat, id, at, text
        self.answered: list[str] = []  # pressed buttons whose wheel has ended
        self.upgraded: dict[int, int] = {}  # groups that became supergroups: old and new number
        self.failure = ""  # of the last update that was posted
        self.downloads = asyncio.Event()  # cleared: they take until it is set
        self.downloads.set()
        self._updates: list[dict[str, Any]] = []  # that were not taken yet
        self._pressed: set[str] = set()
        self._files: dict[str, tuple[str, bytes]] = {}  # path and bytes by id
        self._numbers = itertools.count(1000 + secrets.randbelow(1000))
        self._message_numbers = itertools.count(1)
        self._frozen_until: datetime | None = None
        self._skipped = timedelta()
        self._news = asyncio.Event()
        self._poll: asyncio.Event | None = None  # set: the poller that waits has to go
        self.server = Server()
        self._base = ""

    # --- what who starts it, and the demo, use ---

    async def start(self, port: int = 0) -> None:
        app = web.Application(client_max_size=60 << 20)
        app.add_routes(
            [
                web.get("/file/bot{token}/{path:.+}", self._download),
                web.route("*", "/bot{token}/{method}", self._call),
            ]
        )
        self._base = await self.server.listen(app, port)

    async def stop(self) -> None:
        await self.server.close()

    def config(self) -> dict[str, Any]:
        way = {"mode": "polling", "poll_wait": 5} if self.polling else {"secret_token": self.secret}
        return {"bot_token": self.token, "username": BOT_NAME, "base_url": self._base, **way}

    def now(self) -> datetime:
        return datetime.now(UTC) + self._skipped

    def skip(self, span: timedelta) -> None:
        self._skipped += span

    def user(self, number: int, name: str = "Ann Fielding") -> User:
        return self.users.setdefault(number, User(number, name))

    async def text(self, number: int, body: str, **more: Any) -> int | None:
        """Somebody writes to the bot. The hub's status; None if it gave none, or has to ask for it."""
        return await self.write(number, {"text": body, **more})

    async def file(self, number: int, kind: str, data: bytes, **more: Any) -> int | None:
        """Somebody sends a photo, a document, a voice note."""
        about = {name: more.pop(name) for name in ("mime_type", "file_name", "duration") if name in more}
        return await self.write(number, {**self.shown(kind, data, **about), **more})

    def shown(self, kind: str, data: bytes, **about: Any) -> dict[str, Any]:
        """What an update says of a file."""
        found = {"file_id": self.keep(f"{kind}s/file_{len(self._files)}", data), "file_unique_id": secrets.token_hex(4),
                 "file_size": len(data)}
        return {kind: [{**found, "width": 800, "height": 600}] if kind == "photo" else {**found, **about}}

    async def write(self, number: int, content: Mapping[str, Any], *, reply_to: int | None = None) -> int | None:
        """Somebody sends anything: ``content`` is what an update says of it beside sender, id and time."""
        user = self.user(number)
        user.started = True
        raw = {**self._head(user), **content}
        if reply_to is not None:
            raw["reply_to_message"] = {**self._head(user), "message_id": reply_to}
        said = str(content.get("text") or content.get("caption") or "")
        self.written.append({"chat": user.id, "id": raw["message_id"], "at": self.now(), "text": said})
        name = f"{user.id}:{raw['message_id']}"
        self.ledger.write("deliver", id=name, **{"from": user.id}, text=said)
        answered = await self.tell("message", raw)
        self.ledger.write("acked", id=name, status=answered)
        return answered

    async def edit(self, number: int, message: int, body: str) -> int | None:
        return await self.change(number, message, {"text": body})

    async def change(self, number: int, message: int, content: Mapping[str, Any]) -> int | None:
        """Somebody edits a message, or something of it changes: ``content`` is what it says now, as for ``write``."""
        raw = {**self._head(self.user(number)), "message_id": message, "edit_date": int(self.now().timestamp())}
        return await self.tell("edited_message", {**raw, **content})

    async def press(self, number: int, button: str) -> int | None:
        """Somebody presses a button of the last message that has one with that id."""
        user = self.user(number)
        for message in reversed(self.chat(number)):
            if button in {each["id"] for each in message.buttons()}:
                query = str(10**17 + secrets.randbelow(10**17))
                self._pressed.add(query)
                bot = {"id": self.bot_id, "is_bot": True, "first_name": "Simulated"}
                shown = {**self._head(user), "from": bot, "message_id": message.id, "text": message.text,
                         "reply_markup": message.fields["reply_markup"]}
                pressed = {"id": query, "from": user.shown(), "message": shown, "chat_instance": "-1", "data": button}
                return await self.tell("callback_query", pressed)
        raise LookupError(f"no message in this chat has a button {button!r}")

    async def block(self, number: int, *, lift: bool = False) -> int | None:
        """Somebody stops the bot, or starts it again."""
        user = self.user(number)
        user.blocked = not lift
        member = {"user": {"id": self.bot_id, "is_bot": True, "first_name": "Simulated"}}
        old, new = ("kicked", "member") if lift else ("member", "kicked")
        value = {**self._head(user), "old_chat_member": {**member, "status": old},
                 "new_chat_member": {**member, "status": new, "until_date": 0}}
        return await self.tell("my_chat_member", {name: part for name, part in value.items() if name != "message_id"})

    def chat(self, number: int) -> list[Sent]:
        """What the bot has sent somebody, oldest first."""
        return [each for each in self.messages if each.chat == number]

    def said_by(self, number: int) -> list[dict[str, Any]]:
        return [each for each in self.written if each["chat"] == number]

    def keep(self, path: str, data: bytes) -> str:
        """The id of a file that can be downloaded now."""
        name = secrets.token_urlsafe(16)
        self._files[name] = (path, data)
        return name

    def restart_numbers(self, number: int) -> None:
        """As after a week without updates."""
        self._numbers = itertools.count(number)

    async def settle(self) -> None:
        """Wait until all late messages are taken."""
        await self.server.settle()

    async def tell(self, kind: str, value: Mapping[str, Any]) -> int | None:
        """One update, by webhook again and again until it is taken, or kept for who asks."""
        update = {"update_id": next(self._numbers), kind: value}
        self._updates.append(update)
        self._news.set()
        if self.webhook_url is None or self.polling:
            return None
        for pause in (*self.repeats, None):
            status = await self._post(update)
            if status == 200 or pause is None:
                break
            await asyncio.sleep(pause)
        return status

    def _head(self, user: User) -> dict[str, Any]:
        return {"message_id": next(self._message_numbers), "from": user.shown(), "chat": user.chat(),
                "date": int(self.now().timestamp())}

    # --- updates ---

    async def _post(self, update: dict[str, Any]) -> int | None:
        assert self.webhook_url is not None, "set webhook_url first"
        headers = {"X-Telegram-Bot-Api-Secret-Token": self.secret}
        self.failure = "Connection refused"
        with contextlib.suppress(aiohttp.ClientError, TimeoutError):
            async with self.server.session.post(
                self.webhook_url, json=update, headers=headers, allow_redirects=False
            ) as answer:
                said = await answer.read()
                self.failure = "" if answer.ok else f"Wrong response from the webhook: {answer.status} {answer.reason}"
                if answer.ok:
                    self._updates = [each for each in self._updates if each is not update]
                    self._in_the_answer(said)
                return answer.status
        return None

    def _in_the_answer(self, body: bytes) -> None:
        """A webhook may be answered with a call."""
        with contextlib.suppress(ValueError):
            said = json.loads(body)
            if isinstance(said, dict) and said.get("method") == "answerCallbackQuery":
                self._end_wheel(said)

    async def _get_updates(self, fields: Mapping[str, Any]) -> web.Response:
        if self._poll is not None:
            self._poll.set()  # whoever asks last is served
        if self.webhook_url is not None and not self.polling:
            return _answer(refused(409, records.HOOKED))
        mine = self._poll = asyncio.Event()
        offset = fields.get("offset")
        if offset is not None:
            self._updates = [each for each in self._updates if each["update_id"] >= offset]
            self.ledger.write("acked", offset=offset)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(float(fields.get("timeout", 0))):
                while not self._updates and not mine.is_set():
                    self._news.clear()
                    await _first(self._news, mine)
        if mine.is_set():
            return _answer(refused(409, records.TWO_POLLERS))
        self._poll = None
        new = [each for each in self._updates if offset is None or each["update_id"] >= offset]
        return _answer({"ok": True, "result": new[: int(fields.get("limit", 100))]})

    # --- the Bot API ---

    async def _call(self, request: web.Request) -> web.StreamResponse:
        method = request.match_info["method"]
        fields, file = await _read(request)
        self.ledger.write("request", method=method, to=fields.get("chat_id"))
        if request.match_info["token"] != self.token:
            return _answer(refused(401, "Unauthorized"))
        match method:
            case "getMe":
                bot = {"id": self.bot_id, "is_bot": True, "first_name": "Simulated", "username": BOT_NAME}
                return _answer({"ok": True, "result": bot})
            case "getUpdates":
                return await self._get_updates(fields)
            case "setWebhook" | "deleteWebhook" | "getWebhookInfo":
                return self._webhook(method, fields)
            case "answerCallbackQuery":
                known = self._end_wheel(fields)
                return _answer({"ok": True, "result": True} if known else refused(400, records.OLD_QUERY))
            case "getFile":
                return self._file(fields)
        return await self._send(request, method, fields, file)

    def _webhook(self, method: str, fields: Mapping[str, Any]) -> web.Response:
        if method == "getWebhookInfo":
            made = {"url": "" if self.polling else self.webhook_url or "", "has_custom_certificate": False,
                    "pending_update_count": len(self._updates)}
            failed = {"last_error_message": self.failure} if self.failure else {}
            return _answer({"ok": True, "result": made | failed})
        url = str(fields.get("url", ""))
        if url and not url.startswith(("https://", *_LOCAL)):
            return _answer(refused(400, records.NO_HTTPS))
        self.webhook_url = url or None
        self.polling = not url
        self.secret = str(fields.get("secret_token", ""))
        return _answer({"ok": True, "result": True, "description": "Webhook was set" if url else "Webhook was deleted"})

    async def _send(
        self, request: web.Request, method: str, fields: dict[str, Any], file: tuple[str, bytes] | None
    ) -> web.StreamResponse:
        fault = self.faults.next()
        if fault is not None:
            self.ledger.write("fault", fault=fault.kind)
            if (answer := self._before(request, fault)) is not None:
                return answer
        if method == "setMessageReaction":
            return self._react(fields)
        chat = fields.get("chat_id")
        if (moved := self.upgraded.get(chat if isinstance(chat, int) else 0)) is not None:
            return _answer(refused(400, records.UPGRADED, migrate_to_chat_id=moved))
        wrong = objection(method, fields, file) or self._unreachable(chat) or self._unquotable(fields)
        if wrong:
            return _answer(refused(404 if wrong == "Not Found" else 403 if wrong.startswith("Forb") else 400, wrong))
        assert isinstance(chat, int)
        if (wait := self._too_fast(chat)) > 0:
            return _answer(refused(429, f"Too Many Requests: retry after {wait}", retry_after=wait))
        if fault is not None and fault.kind == "late_accept":
            self.server.spawn(self._later(fault.delay, chat, method, fields, file))
            return disconnect(request)
        if fault is not None and fault.kind == "slow":
            await asyncio.sleep(fault.delay)
        message = self._accept(chat, method, fields, file)
        if fault is not None and fault.kind == "drop_after":
            return disconnect(request)
        if fault is not None and fault.kind == "error_after":
            return web.Response(status=502, text="<html>Bad Gateway</html>", content_type="text/html")
        shown = {"message_id": message.id, "date": int(message.at.timestamp()), "chat": {"id": chat, "type": "private"}}
        return _answer({"ok": True, "result": shown})

    def _unreachable(self, chat: Any) -> str | None:
        if chat in self.upgraded.values():
            return None
        user = self.users.get(chat) if isinstance(chat, int) else None
        if user is None:
            return records.NO_CHAT
        if user.deactivated:
            return records.DEACTIVATED
        return records.BLOCKED if user.blocked else None if user.started else records.NOT_STARTED

    def _unquotable(self, fields: Mapping[str, Any]) -> str | None:
        quoted = fields.get("reply_parameters")
        if quoted is None or quoted.get("allow_sending_without_reply") or self._knows(fields["chat_id"], quoted):
            return None
        return records.NO_REPLY

    def _knows(self, chat: Any, quoted: Mapping[str, Any]) -> bool:
        numbers = {each["id"] for each in self.said_by(chat)} | {each.id for each in self.chat(chat)}
        return quoted.get("message_id") in numbers

    def _too_fast(self, chat: int) -> int:
        """Seconds to wait: one message a second in a chat, after a burst. Who goes on is stopped as a whole."""
        now = self.now()
        if self._frozen_until is not None and now < self._frozen_until:
            return max(1, round((self._frozen_until - now).total_seconds()))
        user = self.user(chat)
        passed = (now - user.tokens_at).total_seconds() if user.tokens_at else 0.0
        user.tokens, user.tokens_at = max(0.0, user.tokens - passed), now
        if user.tokens + 1 > CHAT_BURST:
            self._frozen_until = now + timedelta(seconds=3)
            return 3
        user.tokens += 1
        return 0

    def _accept(self, chat: int, method: str, fields: dict[str, Any], file: tuple[str, bytes] | None) -> Sent:
        message = Sent(chat, next(self._message_numbers), method, fields, self.now(), file)
        self.messages.append(message)
        self.ledger.write("accept", id=f"{chat}:{message.id}", to=chat, method=method, text=message.text)
        return message

    async def _later(
        self, delay: float, chat: int, method: str, fields: dict[str, Any], file: tuple[str, bytes] | None
    ) -> None:
        await asyncio.sleep(delay)
        self._accept(chat, method, fields, file)

    def _react(self, fields: Mapping[str, Any]) -> web.Response:
        shown = [each["emoji"] for each in fields["reaction"]]
        if not set(shown) <= REACTIONS or len(shown) > 1:
            return _answer(refused(400, records.BAD_REACTION))
        if not self._knows(fields["chat_id"], fields):
            return _answer(refused(400, records.NO_MESSAGE))
        self.ledger.write("accept", id=f"{fields['chat_id']}:{fields['message_id']}", reaction="".join(shown))
        return _answer({"ok": True, "result": True})

    def _end_wheel(self, fields: Mapping[str, Any]) -> bool:
        query = str(fields.get("callback_query_id"))
        if query not in self._pressed:
            return False
        self._pressed.discard(query)
        self.answered.append(query)
        return True

    def _file(self, fields: Mapping[str, Any]) -> web.Response:
        found = self._files.get(str(fields.get("file_id")))
        if found is None:
            return _answer(refused(400, "Bad Request: invalid file_id"))
        if len(found[1]) > 20 << 20:
            return _answer(refused(400, records.BIG_FILE))
        made = {"file_id": fields["file_id"], "file_unique_id": "u", "file_size": len(found[1]), "file_path": found[0]}
        return _answer({"ok": True, "result": made})

    async def _download(self, request: web.Request) -> web.Response:
        await self.downloads.wait()
        held = dict(self._files.values())
        path = request.match_info["path"]
        if request.match_info["token"] != self.token or path not in held:
            return _answer(refused(404, "Not Found"))
        return web.Response(body=held[path], content_type="application/octet-stream")

    def _before(self, request: web.Request, fault: Fault) -> web.Response | None:
        """The answer of faults that take no message."""
        match fault.kind:
            case "throttle":
                wait = max(1, round(fault.delay))
                return _answer(refused(429, f"Too Many Requests: retry after {wait}", retry_after=wait))
            case "error":
                return _answer(refused(int(fault.code or 500), "Internal Server Error"))
            case "reject":
                status, _, words = (fault.code or f"403 {records.BLOCKED}").partition(" ")
                return _answer(refused(int(status), words or "Bad Request"))
            case "drop_before":
                return disconnect(request)
        return None


async def _read(request: web.Request) -> tuple[dict[str, Any], tuple[str, bytes] | None]:
    """Fields of a call, and the file that came along."""
    if request.content_type != "multipart/form-data":
        body = await request.read()
        return (json.loads(body) if body else dict(request.query)), None
    form = await request.post()
    files = [(name, each) for name, each in form.items() if isinstance(each, web.FileField)]
    fields = decoded({name: each for name, each in form.items() if not isinstance(each, web.FileField)})
    file = next(((each.filename, each.file.read()) for name, each in files if name in FILES.values()), None)
    return fields, file


async def _first(*events: asyncio.Event) -> None:
    tasks = [asyncio.create_task(event.wait()) for event in events]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _answer(body: Mapping[str, Any]) -> web.Response:
    return web.json_response(body, status=200 if body["ok"] else body["error_code"])
