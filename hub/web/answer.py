"""Answers to webhooks. Each provider gets the same few, so their bytes are put together once."""

from __future__ import annotations

import time
from email.utils import formatdate
from functools import lru_cache

from aiohttp import HttpVersion11, web
from aiohttp.abc import AbstractStreamWriter

from hub.contract import Verified


def answer(request: web.BaseRequest, verified: Verified) -> web.StreamResponse:
    """What the adapter said. ``Ready`` where the connection is a plain one that stays open."""
    headers = {"X-Content-Type-Options": "nosniff", **verified.headers}
    if not any(name.lower() == "content-type" for name in headers):
        headers["Content-Type"] = "text/plain; charset=utf-8"
    if request.version == HttpVersion11 and request.keep_alive and request.method == "POST" and _has_body(verified):
        return _ready(verified.status, verified.body, tuple(headers.items()))
    return web.Response(status=verified.status, body=verified.body.encode(), headers=headers)


def _has_body(verified: Verified) -> bool:
    return verified.status >= 200 and verified.status not in (204, 205, 304)


class Ready(web.StreamResponse):
    """An answer that is ready but for its date. It has no state, so it answers any number of requests."""

    def __init__(self, status: int, body: str, headers: tuple[tuple[str, str], ...]) -> None:
        super().__init__(status=status)
        content = body.encode()
        told = (*headers, ("Content-Length", str(len(content))))
        lines = [f"HTTP/1.1 {status} {self.reason}", *(f"{name}: {value}" for name, value in told)]
        if any("\r" in line or "\n" in line for line in lines):
            raise ValueError("a header of an answer has a line break")
        self._head = "".join(f"{line}\r\n" for line in lines).encode()
        self._content = b"\r\n\r\n" + content

    @property
    def keep_alive(self) -> bool | None:
        return True

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter | None:
        transport = request.transport
        if transport is None or transport.is_closing():
            raise ConnectionResetError("the client has hung up")
        transport.write(self._head + _date(int(time.time())) + self._content)
        return None

    async def write_eof(self, data: bytes = b"") -> None:
        """All is written."""


@lru_cache(maxsize=64)
def _ready(status: int, body: str, headers: tuple[tuple[str, str], ...]) -> Ready:
    return Ready(status, body, headers)


@lru_cache(maxsize=2)
def _date(second: int) -> bytes:
    return f"Date: {formatdate(second, usegmt=True)}".encode()
