"""Servers on 127.0.0.1, for simulators and tests."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from datetime import UTC, datetime
from typing import Any

import aiohttp
from aiohttp import web

from hub.contract import AnyAdapter, Request

_PATIENCE = aiohttp.ClientTimeout(total=20, sock_connect=5)
_GRACE = 0.1  # seconds for calls that hang when it closes; nobody waits for their answers any more


class Server:
    """Applications that listen, and work that goes on behind their answers."""

    def __init__(self) -> None:
        self._runners: list[web.AppRunner] = []
        self._session: aiohttp.ClientSession | None = None
        self._work: set[asyncio.Task[Any]] = set()

    async def listen(self, app: web.Application, port: int = 0) -> str:
        """The address it has from now on, without a slash at the end. ``port`` 0: any free one."""
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=_GRACE)
        await runner.setup()
        self._runners.append(runner)
        await web.TCPSite(runner, "127.0.0.1", port).start()
        return f"http://127.0.0.1:{runner.addresses[0][1]}"

    @property
    def session(self) -> aiohttp.ClientSession:
        """For calls of its own, such as webhooks."""
        if self._session is None:
            self._session = aiohttp.ClientSession(timeout=_PATIENCE)
        return self._session

    def spawn(self, work: Coroutine[Any, Any, Any]) -> None:
        task = asyncio.create_task(work)
        self._work.add(task)
        task.add_done_callback(self._work.discard)

    @property
    def busy(self) -> bool:
        """Whether something that was spawned still goes on."""
        return bool(self._work)

    async def settle(self) -> None:
        """Wait until all that was spawned is done."""
        while self._work:
            await asyncio.gather(*self._work)

    async def close(self) -> None:
        for task in self._work:
            task.cancel()
        await asyncio.gather(*self._work, return_exceptions=True)
        if self._session is not None:
            await self._session.close()
            self._session = None
        while self._runners:
            await self._runners.pop().cleanup()


class Hook:
    """A hub that does no more than verify what is posted to it, and receive it.

    ``statuses``: what the next webhooks are answered, whatever is in them; then as ``adapter`` says, which gets those
    with 200 too. ``public_url``: where providers believe it is; else where it is.
    """

    adapter: AnyAdapter

    def __init__(self, public_url: str | None = None) -> None:
        self.events: list[Any] = []
        self.statuses: list[int] = []
        self.calls = 0
        self._public_url = public_url
        self._server = Server()

    async def listen(self, name: str) -> str:
        """The address of the channel's webhook."""
        app = web.Application()
        app.router.add_route("*", f"/hooks/{name}", self._called)
        return f"{await self._server.listen(app)}/hooks/{name}"

    async def hang_up(self) -> None:
        await self._server.close()

    async def _called(self, request: web.Request) -> web.Response:
        self.calls += 1
        headers = {name.lower(): value for name, value in request.headers.items()}
        url = str(request.url) if self._public_url is None else self._public_url + request.raw_path
        seen = Request(request.method, url, headers, await request.read(), datetime.now(UTC))
        if self.statuses and (status := self.statuses.pop(0)) != 200:
            return web.Response(status=status)
        verified = self.adapter.verify(seen)
        if verified.accept:
            self.events += self.adapter.receive(seen)
        return web.Response(status=verified.status, text=verified.body, headers=dict(verified.headers))


def disconnect(request: web.Request) -> web.Response:
    """End the connection without an answer."""
    assert request.transport is not None
    request.transport.abort()
    return web.Response()
