"""Webhooks: verify on the raw bytes, make durable, answer. Nothing is parsed before it is safe."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping

import structlog
from aiohttp import web

from hub.clock import Clock
from hub.contract import AnyAdapter, Request
from hub.host import inbox_row
from hub.metrics import Counters
from hub.store.base import Store
from hub.web.answer import answer

log = structlog.get_logger(__name__)

_PATH = "/hooks/"
_Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]


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

    async def handle(self, request: web.Request) -> web.StreamResponse:
        name = request.match_info["channel"]
        if name not in self._adapters:
            return web.Response(status=404, text=f"no channel is called {name}\n")
        return await self._take(request, name)

    def before(self, handler: _Handler) -> _Handler:
        """``handler`` of a server, but plain POSTs to a channel come straight here: to find their route takes as long
        as to check their signature."""

        def handle(request: web.BaseRequest) -> Awaitable[web.StreamResponse]:
            path = request.raw_path
            if path.startswith(_PATH) and request.method == "POST" and "Expect" not in request.headers:
                name = path[len(_PATH) :].partition("?")[0]
                if name in self._adapters:
                    return self._take(request, name)
            return handler(request)

        return handle

    async def _take(self, request: web.BaseRequest, name: str) -> web.StreamResponse:
        adapter = self._adapters[name]
        refusal = self._refuse(request, adapter, name)
        if refusal is not None:
            return refusal
        body = await _body(request)
        if len(body) > self._limits[name]:
            return _too_large(self._limits[name])
        headers = {key.lower(): value for key, value in request.headers.items()}
        raw = Request(request.method, self._public_url + request.raw_path, headers, body, self._clock())
        verified = adapter.verify(raw)
        if verified.accept:
            try:
                await self._store.append(inbox_row(name, raw))
            except Exception:
                # No 2xx before the commit. A commit that failed may have taken place: the repeat is recognised.
                log.exception("a webhook could not be stored", channel=name)
                self._counters.add("hooks", name, "not_stored")
                return web.Response(status=503, text="not stored, send it again\n", headers={"Retry-After": "5"})
            self._store.publish("inbox")
            self._counters.add("hooks", name, "accepted")
        else:
            self._counters.add("hooks", name, "answered" if verified.status < 400 else "refused")
        return answer(request, verified)

    def _refuse(self, request: web.BaseRequest, adapter: AnyAdapter, name: str) -> web.Response | None:
        if (request.content_length or 0) > self._limits[name]:
            return _too_large(self._limits[name])
        if "Content-Encoding" in request.headers:
            return web.Response(status=415, text="compressed bodies are not taken\n")
        shed = adapter.capabilities.shed
        if shed is not None and self._overloaded():
            self._counters.add("hooks", name, "shed")
            return web.Response(status=shed, text="busy, send it again\n", headers={"Retry-After": "10"})
        return None


async def _body(request: web.BaseRequest) -> bytes:
    content = request.content
    return content.read_nowait() if content.is_eof() else await request.read()  # mostly all of it is here


def _too_large(limit: int) -> web.Response:
    return web.Response(status=413, text=f"a body of at most {limit} bytes is taken here\n")
