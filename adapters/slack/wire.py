"""How the simulated Slack tells an app what happened: signed requests, or envelopes over Socket Mode."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import secrets
import time
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

import aiohttp
from aiohttp import web

FORM = "application/x-www-form-urlencoded"
# Why an event comes again. Source: https://docs.slack.dev/apis/events-api#retries
REASONS = {None: "http_timeout", 0: "connection_failed"}


def sign(secret: str, timestamp: str, body: bytes) -> str:
    """Source: https://docs.slack.dev/authentication/verifying-requests-from-slack"""
    base = b"v0:" + timestamp.encode() + b":" + body
    return "v0=" + hmac.new(secret.encode(), base, hashlib.sha256).hexdigest()


def headers(secret: str, body: bytes, content_type: str, *, attempt: int = 0, reason: str = "") -> dict[str, str]:
    stamp = str(int(time.time()))
    found = {
        "Content-Type": content_type,
        "X-Slack-Request-Timestamp": stamp,
        "X-Slack-Signature": sign(secret, stamp, body),
        "User-Agent": "Slackbot 1.0 (+https://api.slack.com/robots)",
    }
    if attempt:
        found |= {"X-Slack-Retry-Num": str(attempt), "X-Slack-Retry-Reason": reason}
    return found


class Hooks:
    """Posts to the app's Request URL."""

    def __init__(self) -> None:
        self._session: aiohttp.ClientSession | None = None

    async def post(
        self, url: str, secret: str, payload: Mapping[str, Any], *, patience: float, attempt: int = 0, reason: str = ""
    ) -> tuple[int | None, bytes, bool]:
        """Status (0: no connection, None: no answer in time), body, and whether it asks not to come again."""
        if self._session is None:
            self._session = aiohttp.ClientSession()
        as_json = json.dumps(payload).encode()
        interaction = payload["type"] not in ("event_callback", "url_verification")
        body = urlencode({"payload": as_json}).encode() if interaction else as_json
        sent = headers(secret, body, FORM if interaction else "application/json", attempt=attempt, reason=reason)
        limit = aiohttp.ClientTimeout(total=patience)
        try:
            async with self._session.post(url, data=body, headers=sent, timeout=limit, allow_redirects=False) as answer:
                return answer.status, await answer.read(), answer.headers.get("X-Slack-No-Retry") == "1"
        except TimeoutError:
            return None, b"", False
        except (aiohttp.ClientError, ConnectionError):
            return 0, b"", False

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()


class Sockets:
    """Socket Mode: up to ten connections, each envelope goes to one of them and wants an acknowledgement.

    Source: https://docs.slack.dev/apis/events-api/using-socket-mode
    """

    MOST = 10

    def __init__(self, app: str) -> None:
        self._app = app
        self._tickets: set[str] = set()
        self._open: list[web.WebSocketResponse] = []
        self._waiting: dict[str, tuple[web.WebSocketResponse, asyncio.Future[None]]] = {}
        self._arrived = asyncio.Condition()
        self._turn = 0

    def ticket(self) -> str:
        """Query of a connection's address, good for one use."""
        one = secrets.token_urlsafe(16)
        self._tickets.add(one)
        return f"?ticket={one}&app_id={self._app}"

    @property
    def count(self) -> int:
        return len(self._open)

    async def serve(self, request: web.Request) -> web.StreamResponse:
        ticket = request.query.get("ticket", "")
        if ticket not in self._tickets:
            return web.Response(status=404)
        self._tickets.discard(ticket)
        socket = web.WebSocketResponse(heartbeat=10)
        await socket.prepare(request)
        if len(self._open) == self.MOST:
            await self._goodbye(socket, "too_many_websockets")
            return socket
        info = {"host": "simulated", "build_number": 1, "approximate_connection_time": 3600}
        hello = {"type": "hello", "num_connections": len(self._open) + 1, "debug_info": info}
        await socket.send_json(hello | {"connection_info": {"app_id": self._app}})
        self._open.append(socket)
        async with self._arrived:
            self._arrived.notify_all()
        try:
            await self._listen(socket)
        finally:
            if socket in self._open:
                self._open.remove(socket)
            self._lose(socket)
            async with self._arrived:
                self._arrived.notify_all()
        return socket

    async def _listen(self, socket: web.WebSocketResponse) -> None:
        async for message in socket:
            if message.type is not aiohttp.WSMsgType.TEXT or not message.data.startswith("{"):
                continue  # the SDK also sends pings of its own, as text
            _, answer = self._waiting.pop(str(json.loads(message.data).get("envelope_id")), (None, None))
            if answer is not None and not answer.done():
                answer.set_result(None)

    def _lose(self, socket: web.WebSocketResponse) -> None:
        """What was not acknowledged on a connection that is gone never will be: Slack repeats it on another one."""
        for where, answer in self._waiting.values():
            if where is socket and not answer.done():
                answer.set_exception(ConnectionResetError("the app left"))

    async def connected(self, count: int = 1) -> None:
        """Wait for so many connections."""
        async with self._arrived:
            await self._arrived.wait_for(lambda: len(self._open) >= count)

    async def gone(self) -> None:
        """Wait until there is no connection any more."""
        async with self._arrived:
            await self._arrived.wait_for(lambda: not self._open)

    async def post(
        self, payload: Mapping[str, Any], *, patience: float, attempt: int = 0, reason: str = ""
    ) -> int | None:
        """200 when acknowledged, 0 without a connection, None when nothing came in time."""
        kind = "events_api" if payload["type"] == "event_callback" else "interactive"
        envelope: dict[str, Any] = {"envelope_id": secrets.token_hex(16), "payload": payload, "type": kind}
        envelope |= {"accepts_response_payload": kind != "events_api"}
        if kind == "events_api":
            envelope |= {"retry_attempt": attempt, "retry_reason": reason}
        answer = asyncio.get_running_loop().create_future()
        try:
            async with asyncio.timeout(patience):
                await self.connected()
                self._turn += 1
                socket = self._open[self._turn % len(self._open)]
                self._waiting[envelope["envelope_id"]] = socket, answer
                await socket.send_json(envelope)
                await answer
                return 200
        except TimeoutError:
            return None if self._open else 0
        except (ConnectionError, IndexError):
            return 0
        finally:
            self._waiting.pop(envelope["envelope_id"], None)

    async def disconnect(self, reason: str) -> None:
        """Tell every connection to go, and close it."""
        for socket in list(self._open):
            if socket in self._open:
                self._open.remove(socket)
            await self._goodbye(socket, reason)

    async def _goodbye(self, socket: web.WebSocketResponse, reason: str) -> None:
        try:
            await socket.send_json({"type": "disconnect", "reason": reason, "debug_info": {"host": "simulated"}})
            await socket.close()
        except ConnectionError:
            pass

    async def close(self) -> None:
        for _, answer in self._waiting.values():
            answer.cancel()
        await self.disconnect("link_disabled")
