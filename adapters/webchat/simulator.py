"""The other side of web chat: a website that embeds the widget, and visitors without a browser."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import hmac
import html
import json
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any
from urllib.parse import urlsplit

import aiohttp
from aiohttp import web

from hub.testing.simulation import Faults, Ledger
from hub.testing.simulation import Simulator as Base

_PAGE = """<!doctype html>
<html lang="{lang}"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>Greenfield Garden Supply</title><link rel="stylesheet" href="/style.css"></head>
<body><main><h1>Greenfield Garden Supply</h1><p>{greeting} Ask us anything about your order.</p></main>
<script async src="{widget}"{token}></script></body></html>"""
_STYLE = """:root{color-scheme:light dark;--chat-accent:#166534}
body{font:17px/1.6 system-ui,sans-serif;max-width:40rem;margin:4rem auto;padding:0 1rem}"""


def sign(secret: str, channel: str, user: str, *, lifetime: float = 3600, **claims: Any) -> str:
    """A visitor token as a website makes it: a JSON Web Token, HS256. ``claims``: name, email, phone, or overrides."""

    def pack(part: bytes) -> str:
        return base64.urlsafe_b64encode(part).rstrip(b"=").decode()

    body = {"sub": user, "aud": channel, "exp": int(time.time() + lifetime), "jti": secrets.token_hex(8), **claims}
    signed = pack(b'{"alg":"HS256","typ":"JWT"}') + "." + pack(json.dumps(body).encode())
    return signed + "." + pack(hmac.new(secret.encode(), signed.encode(), hashlib.sha256).digest())


class Closed(Exception):
    """The hub ended the connection. ``code``: of the close frame, 1006 without one."""

    def __init__(self, code: int, reason: str = "") -> None:
        super().__init__(f"{code} {reason}".strip())
        self.code = code


@dataclass(slots=True)
class _Line:
    """One connection and what came over it."""

    socket: aiohttp.ClientWebSocketResponse
    task: asyncio.Task[None] | None = None


@dataclass(slots=True)
class Visitor:
    """A widget without a browser: keeps its session, shows each entry once, sends until it is acknowledged."""

    url: str  # ws://127.0.0.1:8080/channels/site/socket
    origin: str | None = None
    ledger: Ledger = field(default_factory=Ledger)
    faults: Faults = field(default_factory=Faults)
    session: str | None = None
    token: str | None = None
    after: str = "0"
    id: str | None = None
    ticket: str | None = None
    entries: list[dict[str, Any]] = field(default_factory=list)  # what the visitor's screen shows
    frames: list[dict[str, Any]] = field(default_factory=list)  # everything the hub said
    confirms: bool = True  # tell the hub what has arrived, as the widget does
    _http: aiohttp.ClientSession | None = None
    _line: _Line | None = None
    _news: asyncio.Condition = field(default_factory=asyncio.Condition)
    _closed: Closed | None = None

    async def connect(
        self, *, resume: str | None = None, token: str | None = None, after: str | None = None
    ) -> Visitor:
        """Say hello and wait until the history is shown. Raises: Closed; aiohttp.WSServerHandshakeError."""
        self.session, self.token = resume or self.session, token or self.token
        self.after = self.after if after is None else after
        await self.dial()
        await self.say(type="hello", session=self.session, token=self.token, after=self.after)
        welcome = await self.until(lambda: self._new("welcome"))
        self.session, self.id, self.ticket = welcome["session"], welcome["visitor"], welcome["ticket"]
        await self.until(lambda: self._new("ready"))
        return self

    async def dial(self) -> None:
        """Only open the socket."""
        if self._http is None:
            self._http = aiohttp.ClientSession()
        await self.hang_up()
        self.frames.clear()
        self._closed = None
        socket = await self._http.ws_connect(self.url, origin=self.origin, heartbeat=25)
        self._line = _Line(socket)
        self._line.task = asyncio.create_task(self._listen(self._line))

    async def say(self, **frame: Any) -> None:
        if self._line is None:
            raise Closed(1006, "not connected")
        await self._line.socket.send_str(json.dumps(frame))

    async def post(self, text: str, *, id: str | None = None, selection: dict[str, str] | None = None) -> str:
        """Send a message once, without waiting. Returns its client id."""
        client_id = id or secrets.token_hex(16)
        frame: dict[str, Any] = {"type": "message", "id": client_id, "text": text}
        if selection:
            frame["selection"] = selection
        self.ledger.write("deliver", visitor=self.id, id=client_id, text=text)
        fault = self.faults.next()
        if fault is not None:
            self.ledger.write("fault", fault=fault.kind, id=client_id)
        if fault is not None and fault.kind == "slow":
            await asyncio.sleep(fault.delay)
        if fault is None or fault.kind in ("drop_after", "late_accept", "error_after", "slow"):
            await self.say(**frame)
        if fault is not None and fault.kind != "slow":  # the line breaks before or after the frame
            await self.hang_up()
        return client_id

    async def write(
        self, text: str, *, id: str | None = None, selection: dict[str, str] | None = None, timeout: float = 20
    ) -> str:
        """Send a message, again after a broken line or a refusal for now, until the hub says it is durable."""
        client_id = id or secrets.token_hex(16)
        async with asyncio.timeout(timeout):
            while True:
                try:
                    if self._line is None:
                        await self.connect()
                    seen = len(self.frames)
                    await self.post(text, id=client_id, selection=selection)
                    answer = await self.until(lambda: self._answer(client_id, seen))  # noqa: B023 - used at once
                    if answer["type"] == "ack":
                        self.ledger.write("acked", visitor=self.id, id=client_id)
                        return client_id
                    if "after" not in answer:
                        raise ValueError(answer["detail"])
                    await asyncio.sleep(answer["after"])
                except (Closed, aiohttp.ClientError, ConnectionError):  # as a widget does: connect again
                    await self.hang_up()
                    await asyncio.sleep(0.05 + self.faults.random.random() / 5)

    async def upload(
        self, name: str, mime: str, data: bytes, *, id: str | None = None, **fields: str
    ) -> tuple[int, dict[str, Any]]:
        """Send a file once. Returns status and body of the answer. ``fields``: of the form, in place of its own."""
        form = aiohttp.FormData(quote_fields=False)  # names as browsers write them
        for field_name, value in ({"ticket": self.ticket or "", "id": id or secrets.token_hex(16)} | fields).items():
            form.add_field(field_name, value)
        form.add_field("file", data, filename=name, content_type=mime)
        self.ledger.write("deliver", visitor=self.id, id=id, file=name)
        if self._http is None:
            self._http = aiohttp.ClientSession()
        url = self.url.replace("ws", "http", 1).removesuffix("/socket") + "/files"
        headers = {"Origin": self.origin} if self.origin else {}
        async with self._http.post(url, data=form, headers=headers) as answer:
            kind = answer.content_type
            return answer.status, await answer.json() if kind == "application/json" else {"text": await answer.text()}

    async def see(self) -> None:
        """Look at everything that is on the screen."""
        shown = [entry["id"] for entry in self.entries if entry["from"] == "them"]
        if shown:
            await self.say(type="seen", id=max(shown))

    async def read(self, text: str, *, timeout: float = 10) -> dict[str, Any]:
        """The first entry from the business that contains ``text``, once it is shown."""
        found: dict[str, Any] = await self.until(
            lambda: next((e for e in self.entries if e["from"] == "them" and text in e["text"]), None), timeout
        )
        return found

    async def until(self, find: Callable[[], Any], timeout: float = 10) -> Any:
        """What ``find`` returns, once that is something. Raises: Closed if the hub hangs up first, TimeoutError."""
        async with asyncio.timeout(timeout), self._news:
            while not (found := find()):
                if self._closed is not None:
                    raise self._closed
                await self._news.wait()
            return found

    async def closed(self, timeout: float = 10) -> int:
        """The code with which the hub ended the connection."""
        try:
            await self.until(lambda: None, timeout)
        except Closed as closed:
            return closed.code
        raise AssertionError("unreachable")

    async def hang_up(self) -> None:
        """Cut the line; the visitor stays who it is."""
        line, self._line = self._line, None
        if line is not None:
            await line.socket.close()
            if line.task is not None:
                await line.task

    async def close(self) -> None:
        await self.hang_up()
        if self._http is not None:
            await self._http.close()
            self._http = None

    async def __aenter__(self) -> Visitor:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    def texts(self) -> list[str]:
        """The screen, top to bottom: ``me: …`` and ``them: …``."""
        return [f"{entry['from']}: {entry['text']}" for entry in self.entries]

    async def _listen(self, line: _Line) -> None:
        async for message in line.socket:
            if message.type is aiohttp.WSMsgType.TEXT:
                await self._take(json.loads(message.data))
        async with self._news:
            if self._line is None or self._line is line:
                self._closed = Closed(line.socket.close_code or 1006)
            self._news.notify_all()

    async def _take(self, frame: dict[str, Any]) -> None:
        async with self._news:
            self.frames.append(frame)
            if frame["type"] == "entry" and all(entry["id"] != frame["id"] for entry in self.entries):
                self.entries.append(frame)
                self.after = max(self.after, frame["id"])
                if frame["from"] == "them":
                    self.ledger.write(
                        "accept", id=frame["id"], key=frame["key"], to=f"webchat:{self.id}", text=frame["text"]
                    )
            self._news.notify_all()
        if self.confirms and self.entries and frame["type"] in ("entry", "ready") and self._new("ready"):
            with contextlib.suppress(Closed, ConnectionError):
                await self.say(type="got", upto=self.after)

    def _new(self, kind: str) -> dict[str, Any] | None:
        return next((frame for frame in self.frames if frame["type"] == kind), None)

    def _answer(self, client_id: str, since: int) -> dict[str, Any] | None:
        answers = (f for f in self.frames[since:] if f["type"] in ("ack", "error") and f.get("id") == client_id)
        return next(answers, None)


class Simulator(Base):
    """The website. ``webhook_url`` (…/hooks/<channel>) tells it where the hub is and how the channel is called."""

    def __init__(self, *, ledger: Ledger | None = None, faults: Faults | None = None) -> None:
        super().__init__(ledger=ledger, faults=faults)
        self.identity_secret = secrets.token_hex(32)
        self.origin = ""
        self._runner: web.AppRunner | None = None
        self._visitors: list[Visitor] = []

    async def start(self, port: int = 0) -> None:
        app = web.Application()
        app.add_routes([web.get("/", self._page), web.get("/style.css", self._style)])
        self._runner = web.AppRunner(app)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", port)
        await site.start()
        self.origin = f"http://127.0.0.1:{self._runner.addresses[0][1]}"

    async def stop(self) -> None:
        for visitor in self._visitors:
            await visitor.close()
        if self._runner is not None:
            await self._runner.cleanup()

    def config(self) -> dict[str, Any]:
        return {"allowed_origins": [self.origin], "identity_secret": self.identity_secret}

    def sign(self, user: str, **claims: Any) -> str:
        return sign(self.identity_secret, self._channel[1], user, **claims)

    def visitor(self) -> Visitor:
        """A visitor of this website, not connected yet; writes to this simulator's ledger."""
        hub, channel = self._channel
        url = f"{hub.replace('http', 'ws', 1)}/channels/{channel}/socket"
        visitor = Visitor(url, self.origin, self.ledger, self.faults)
        self._visitors.append(visitor)
        return visitor

    @property
    def _channel(self) -> tuple[str, str]:
        """Where the hub is, and the channel's name."""
        if self.webhook_url is None:
            raise RuntimeError("set webhook_url first: http://127.0.0.1:8080/hooks/site")
        hub, _, channel = self.webhook_url.partition("/hooks/")
        return hub, channel

    async def _page(self, request: web.Request) -> web.Response:
        """``?user=42&name=…&email=…&phone=…``: the page of somebody who is logged in. ``?lang=de``."""
        query = dict(request.query)
        self.ledger.write("request", path="/", user=query.get("user"))
        hub, channel = self._channel
        lang = query.pop("lang", "en")
        user = query.pop("user", None)
        token = f' data-token="{self.sign(user, **query)}"' if user else ""
        body = _PAGE.format(
            widget=f"{hub}/channels/{channel}/widget.js", token=token, lang=html.escape(lang),
            greeting=f"Welcome back, {html.escape(query.get('name', user))}." if user else "Welcome.",
        )
        host = urlsplit(hub)
        socket = f"{'wss' if host.scheme == 'https' else 'ws'}://{host.netloc}"
        policy = (
            f"default-src 'none'; script-src {hub}; connect-src {socket} {hub}; img-src {hub}; style-src 'self'; "
            "require-trusted-types-for 'script'"
        )
        return web.Response(text=body, content_type="text/html", headers={"Content-Security-Policy": policy})

    async def _style(self, request: web.Request) -> web.Response:
        return web.Response(text=_STYLE, content_type="text/css")
