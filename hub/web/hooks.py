"""Webhooks: verify on the raw bytes, make durable, answer. Nothing is parsed before it is safe."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

import structlog
from aiohttp import web

from hub.clock import Clock
from hub.contract import AnyAdapter, Request, Verified
from hub.host import inbox_row
from hub.metrics import Counters
from hub.store.base import Store
from hub.web.answer import response

log = structlog.get_logger(__name__)

PATH = "/hooks/"
PATIENCE = 20.0  # seconds for a whole request
SLOW = Verified(
    False, 408, f"the request was not here after {PATIENCE:g} seconds; send it again\n", {"Connection": "close"}
)
_HELD = 64 << 20  # bytes of bodies that have not come whole


class Hooks:
    """``/hooks/{channel}``, any method."""

    def __init__(
        self,
        adapters: Mapping[str, AnyAdapter],
        limits: Mapping[str, int],
        store: Store,
        clock: Clock,
        public_url: str,
        counters: Counters,
        overloaded: Callable[[], bool],
    ) -> None:
        self._adapters = adapters
        self._limits = limits  # bytes of one body, by channel
        self._store = store
        self._clock = clock
        self._public_url = public_url
        self._counters = counters
        self._overloaded = overloaded
        self._held = 0  # bytes of bodies that have not come whole
        self._most = max([_HELD, *limits.values()])

    async def handle(self, request: web.Request) -> web.StreamResponse:
        name = request.match_info["channel"]
        if name not in self._adapters:
            return web.Response(status=404, text=f"no channel is called {name}\n")
        refusal = self._refuse(request, self._adapters[name], name)
        if refusal is not None:
            return refusal
        body = await self._read(request, name)
        if isinstance(body, web.Response):
            return body
        verified, stored = self.take(name, request.method, request.raw_path, request.headers, body)
        if stored is not None:
            await asyncio.wait([stored])
            verified = self.stored(name, verified, stored)
        return response(verified)

    async def _read(self, request: web.Request, name: str) -> bytes | web.Response:
        """The body, or why it is not taken. Nobody has proven anything yet, so all together are held to a limit."""
        body = bytearray()
        try:
            async with asyncio.timeout(PATIENCE):
                async for piece in request.content.iter_any():
                    body += piece
                    self._held += len(piece)
                    if len(body) > self._limits[name]:
                        return _too_large(self._limits[name])
                    if self._held > self._most:
                        self._counters.add("hooks", name, "shed")
                        return _busy(503)
        except TimeoutError:
            return response(SLOW)
        finally:
            self._held -= len(body)
        return bytes(body)

    def takes(self, name: str, size: int) -> bool:
        """Whether a body of this size would be taken for this channel now. If not, ``handle`` says why."""
        limit = self._limits.get(name)
        if limit is None or size > limit:
            return False
        return self._adapters[name].capabilities.shed is None or not self._overloaded()

    def take(
        self, name: str, method: str, path: str, headers: Mapping[str, str], body: bytes
    ) -> tuple[Verified, asyncio.Future[None] | None]:
        """The adapter's answer, and if it is to go out after the commit, what is done then: see ``stored``."""
        told = {key.lower(): value for key, value in headers.items()}
        raw = Request(method, self._public_url + path, told, body, self._clock())
        try:
            verified = self._adapters[name].verify(raw)
        except Exception:
            log.exception("a webhook could not be verified", channel=name)
            verified = Verified(False, 500, "it could not be verified\n")
        if verified.accept:
            return verified, self._store.append(inbox_row(name, raw))
        self._counters.add("hooks", name, "answered" if verified.status < 400 else "refused")
        return verified, None

    def stored(self, name: str, verified: Verified, stored: asyncio.Future[None]) -> Verified:
        """What is answered now that this is done."""
        error = stored.exception()
        if error is None:
            self._store.publish("inbox")
            self._counters.add("hooks", name, "accepted")
            return verified
        # No 2xx before the commit. A commit that failed may have taken place: the repeat is recognised.
        log.error("a webhook could not be stored", channel=name, exc_info=error)
        self._counters.add("hooks", name, "not_stored")
        return Verified(False, 503, "not stored, send it again\n", {"Retry-After": "5"})

    def _refuse(self, request: web.BaseRequest, adapter: AnyAdapter, name: str) -> web.Response | None:
        if (request.content_length or 0) > self._limits[name]:
            return _too_large(self._limits[name])
        if "Content-Encoding" in request.headers:
            return web.Response(status=415, text="compressed bodies are not taken\n")
        shed = adapter.capabilities.shed
        if shed is not None and self._overloaded():
            self._counters.add("hooks", name, "shed")
            return _busy(shed)
        return None


def _too_large(limit: int) -> web.Response:
    return web.Response(status=413, text=f"a body of at most {limit} bytes is taken here\n")


def _busy(status: int) -> web.Response:
    return web.Response(status=status, text="busy, send it again\n", headers={"Retry-After": "10"})
