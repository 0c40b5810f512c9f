"""Webhooks that came whole are taken where they are read from the socket, without a task for each.

aiohttp still reads every request, and handles all others: those in parts it cannot hold, sent ahead of an answer, or on
a connection that is to end.
"""

from __future__ import annotations

import asyncio
import resource
import sys
from collections.abc import Mapping
from functools import partial
from typing import Any

import aiohttp
import structlog
from aiohttp import HttpVersion11, StreamReader, web
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.web_protocol import RequestHandler

from hub.contract import Verified
from hub.web.answer import wire
from hub.web.hooks import PATH, PATIENCE, SLOW, Hooks

log = structlog.get_logger(__name__)

# ``Front`` uses the inside of aiohttp's class, which may be another one in the next version. Once tests/test_hooks.py
# passes with that, it may stand here.
_KNOWN = "3.14."
_SWEEP = 5.0  # seconds
_LITTLE = 16 << 10  # bytes of an unfinished body; ``Hooks`` reads what is longer, and counts it
_OWN = 400  # files and connections that the hub opens by itself: at most 256 to providers, some to the database


class Front(RequestHandler):
    """One connection."""

    __slots__ = ("_answered", "_half", "_held", "_hooks", "_since", "_taking")

    def __init__(self, server: web.Server, hooks: Hooks, **options: Any) -> None:
        super().__init__(server, **options)
        self._hooks = hooks
        self._taking = False  # a webhook, whose answer goes before all else
        self._held: list[bytes] = []
        self._half = False  # of a webhook the rest has not come yet, and nobody works on it
        self._answered = 0  # requests
        self._since = 0.0  # when it began to wait for the rest of a request, by the loop's clock; 0: it does not

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._since = self._loop.time()
        assert isinstance(self._manager, _Server)
        self._manager.make_room()

    @property
    def is_idle(self) -> bool:
        """Whether it is open, and no request is being answered."""
        return self.transport is not None and (self._half or self._request_count == self._answered)

    def end_if_slow(self, now: float) -> None:
        """Who sends half a request, or connects and sends nothing, is not waited for."""
        if not self._since or now < self._since + PATIENCE:
            return
        self._since = 0.0
        if self._half:
            self._write(SLOW)
        self.force_close()

    def data_received(self, data: bytes) -> None:
        if self._taking:
            self._held.append(data)
            if self.transport is not None:
                self.transport.pause_reading()
            return
        open_ = self._request_count - self._answered
        if open_ and not (open_ == 1 and self._half and self._messages):
            super().data_received(data)
            return
        waiter, self._waiter = self._waiter, None  # so that aiohttp's own task sleeps on
        try:
            super().data_received(data)
        finally:
            self._waiter = waiter
        self._half = False
        if len(self._messages) == 1 and self._is_ours(*self._messages[0]):
            self._since = (self._since or self._loop.time()) if self._half else 0.0
            return
        self._since = 0.0 if self._messages else self._since or self._loop.time()
        if self._messages and waiter is not None and not waiter.done():
            waiter.set_result(None)

    async def finish_response(self, *answer: Any) -> tuple[web.StreamResponse, bool]:
        try:
            return await super().finish_response(*answer)
        finally:
            self._answered += 1

    def _is_ours(self, message: Any, payload: StreamReader) -> bool:
        """Whether it has been taken, or will be when the rest of it has come."""
        if self._reading_paused or self._upgraded or self._close or self._force_close:
            return False
        if self.writing_paused:  # who does not read the answers gets no further ones; aiohttp waits for that
            return False
        if getattr(message, "method", "") != "POST" or message.should_close or message.version != HttpVersion11:
            return False
        path, headers = message.path, message.headers
        if not path.startswith(PATH) or "Expect" in headers or "Content-Encoding" in headers:
            return False
        name = path[len(PATH) :].partition("?")[0]
        if not self._hooks.takes(name, payload.total_bytes) or payload.exception() is not None:
            return False
        self._half = not payload.is_eof()
        if self._half and payload.total_bytes > _LITTLE:
            self._half = False
            return False
        if not self._half:
            self._messages.popleft()
            assert self._parser is not None
            self._parser.message_consumed()
            self._take(name, path, headers, payload.read_nowait())
        return True

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Anybody can send what is not HTTP, and break off: that is no error of ours."""
        hung_up = self.transport is None and isinstance(exc, ConnectionError)
        if not hung_up and not isinstance(exc, HttpProcessingError | web.RequestPayloadError):
            return super().handle_error(request, status, exc, message)
        log.info("a request could not be read", error=type(exc).__name__)
        if request.writer.output_size > 0:
            raise ConnectionError("the answer has begun")
        answer = web.Response(status=400, text=message or "the request could not be read\n")
        answer.force_close()
        return answer

    def resume_reading(self, resume_parser: bool = True) -> None:
        if self._reading_paused:  # else aiohttp would parse nothing, after each body
            super().resume_reading(resume_parser)

    def _take(self, name: str, path: str, headers: Mapping[str, str], body: bytes) -> None:
        self._next_keepalive_close_time = self._loop.time() + self._keepalive_timeout
        verified, stored = self._hooks.take(name, "POST", path, headers, body)
        if stored is None:
            self._write(verified)
            return
        self._taking = self._request_in_progress = True
        stored.add_done_callback(partial(self._taken, name, verified))

    def _taken(self, name: str, verified: Verified, stored: asyncio.Future[None]) -> None:
        self._write(self._hooks.stored(name, verified, stored))
        self._taking = self._request_in_progress = False
        if self._handler_waiter is not None and not self._handler_waiter.done():
            self._handler_waiter.set_result(None)
        if self._held:
            data, self._held = b"".join(self._held), []
            if self.transport is not None:
                self.transport.resume_reading()
                self.data_received(data)

    def _write(self, verified: Verified) -> None:
        self._answered += 1
        if self.transport is not None and not self.transport.is_closing():
            self.transport.write(wire(verified))


class _Server(web.Server):
    hooks: Hooks
    most: int  # connections
    sweeping: asyncio.TimerHandle

    def sweep(self) -> None:
        """Now and then, so that no request needs a timer of its own."""
        now = self._loop.time()
        for connection in self.connections:
            if isinstance(connection, Front):
                connection.end_if_slow(now)
        self.sweeping = self._loop.call_later(_SWEEP, self.sweep)

    def make_room(self) -> None:
        """Where there are too many connections, the oldest one ends on which nothing is being answered."""
        if len(self._connections) <= self.most:
            return
        for connection in self._connections:
            if isinstance(connection, Front) and connection.is_idle:
                connection.force_close()
                return

    async def shutdown(self, timeout: float | None = None) -> None:
        self.sweeping.cancel()
        await super().shutdown(timeout)

    def __call__(self) -> RequestHandler:
        return Front(self, self.hooks, loop=self._loop, **self._kwargs)


def put_before(server: web.Server, hooks: Hooks) -> None:
    """From now on the server's connections are ``Front``'s, if aiohttp is of the version it was written for."""
    if not aiohttp.__version__.startswith(_KNOWN):
        log.warning("webhooks take longer than they could", aiohttp=aiohttp.__version__, known=f"{_KNOWN}x")
        return
    server.__class__ = _Server  # the runner makes the server itself
    assert isinstance(server, _Server)
    server.hooks = hooks
    files = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    server.most = sys.maxsize if files == resource.RLIM_INFINITY else max(files // 2, files - _OWN)
    server.sweep()
