"""A service that Apprise notifies by a JSON document, on this machine: ``json://127.0.0.1:…``."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from aiohttp import web

from hub.testing.server import Server, disconnect
from hub.testing.simulation import Fault
from hub.testing.simulation import Simulator as Base

_STATUS = {"throttle": 429, "error": 500, "reject": 400}


class Simulator(Base):
    """``notes``: title and text of what was taken, oldest first."""

    def __init__(self, **more: Any) -> None:
        super().__init__(**more)
        self.notes: list[tuple[str, str]] = []
        self._server = Server()
        self._base = ""

    async def start(self, port: int = 0) -> None:
        app = web.Application()
        app.add_routes([web.post("/staff", self._take)])
        self._base = await self._server.listen(app, port)

    async def stop(self) -> None:
        await self._server.close()

    def config(self) -> dict[str, Any]:
        return {"url": f"{self._base}/staff".replace("http", "json", 1)}

    async def _take(self, request: web.Request) -> web.StreamResponse:
        said = json.loads(await request.text())
        self.ledger.write("request", text=said["message"])
        fault = self.faults.next()
        if fault is not None and (answer := await self._fail(request, fault)) is not None:
            return answer
        self.notes.append((said["title"], said["message"]))
        self.ledger.write("accept", text=said["message"])
        return disconnect(request) if fault is not None and fault.kind == "drop_after" else web.Response()

    async def _fail(self, request: web.Request, fault: Fault) -> web.StreamResponse | None:
        """The answer of faults that take nothing."""
        self.ledger.write("fault", fault=fault.kind)
        if fault.kind in _STATUS:
            return web.Response(status=int(fault.code or _STATUS[fault.kind]))
        if fault.kind == "slow":
            await asyncio.sleep(fault.delay)
        return disconnect(request) if fault.kind == "drop_before" else None
