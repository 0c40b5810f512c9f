"""Answers to webhooks."""

from __future__ import annotations

import time
from email.utils import formatdate
from functools import lru_cache
from http import HTTPStatus

from aiohttp import web

from hub.contract import Verified

_EMPTY = (204, 304)  # answers that have no body, and say no length


def response(verified: Verified) -> web.Response:
    """What the adapter said."""
    return web.Response(status=verified.status, body=verified.body.encode(), headers=_headers(verified))


def wire(verified: Verified) -> bytes:
    """The same as bytes, for a connection of HTTP/1.1 that stays open. Each provider gets the same few answers, so they
    are put together once. Raises: ValueError if a header has a line break."""
    head, body = _ready(verified.status, verified.body, tuple(_headers(verified).items()))
    return head + _date(int(time.time())) + body


def _headers(verified: Verified) -> dict[str, str]:
    headers = {"X-Content-Type-Options": "nosniff", **verified.headers}
    if verified.status not in _EMPTY and not any(name.lower() == "content-type" for name in headers):
        headers["Content-Type"] = "text/plain; charset=utf-8"
    return headers


@lru_cache(maxsize=64)
def _ready(status: int, body: str, headers: tuple[tuple[str, str], ...]) -> tuple[bytes, bytes]:
    """What stands before the date, and after it."""
    content = b"" if status in _EMPTY else body.encode()
    told = headers if status in _EMPTY else (*headers, ("Content-Length", str(len(content))))
    lines = [f"HTTP/1.1 {status} {_phrase(status)}", *(f"{name}: {value}" for name, value in told)]
    if any("\r" in line or "\n" in line for line in lines):
        raise ValueError("a header of an answer has a line break")
    return "".join(f"{line}\r\n" for line in lines).encode(), b"\r\n\r\n" + content


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return ""


@lru_cache(maxsize=2)
def _date(second: int) -> bytes:
    return f"Date: {formatdate(second, usegmt=True)}".encode()
