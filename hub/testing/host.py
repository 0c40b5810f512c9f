"""A ``contract.Host`` without a hub: adapters' own tests run against their simulator with it."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

from hub.contract import Entry, Http, Request, SendError
from hub.http import Client
from hub.model import Address


class LocalHost:
    """Keeps what is emitted in ``emitted``; ``history`` answers from ``entries`` by address; ``pulls`` has what
    ``pulled`` was told."""

    def __init__(
        self,
        *,
        http: Http | None = None,
        public_url: str = "https://hub.example.com",
        secret: bytes = b"a test secret of thirty-two bytes",
        now: datetime | None = None,
    ) -> None:
        self.http: Http = http or Client()
        self.public_url = public_url
        self.secret = secret
        self.emitted: list[Request] = []
        self.entries: dict[str, list[Entry]] = {}
        self.cursors: dict[str, str] = {}
        self.pulls: list[SendError | None] = []
        self._now = now
        self._topics: dict[str, asyncio.Event] = {}

    def now(self) -> datetime:
        return self._now or datetime.now(UTC)

    async def emit(self, request: Request) -> None:
        self.emitted.append(request)
        self.publish("emitted")

    async def history(self, address: Address, *, after: int = 0, limit: int = 100) -> list[Entry]:
        return [entry for entry in self.entries.get(str(address), []) if entry.id > after][:limit]

    def publish(self, topic: str) -> None:
        self._topics.setdefault(topic, asyncio.Event()).set()

    async def wait(self, topic: str, timeout: float) -> bool:
        event = self._topics.setdefault(topic, asyncio.Event())
        try:
            async with asyncio.timeout(timeout):
                await event.wait()
        except TimeoutError:
            return False
        event.clear()
        return True

    async def cursor(self, name: str) -> str | None:
        return self.cursors.get(name)

    async def save_cursor(self, name: str, value: str) -> None:
        self.cursors[name] = value

    def pulled(self, error: SendError | None = None) -> None:
        self.pulls.append(error)
        self.publish("pulled")

    async def close(self) -> None:
        if isinstance(self.http, Client):
            await self.http.close()
