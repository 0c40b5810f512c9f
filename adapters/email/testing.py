"""What the tests of this folder share."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from adapters.email.adapter import Email, EmailConfig
from adapters.email.letters import Seen
from adapters.email.simulator import Simulator
from hub.contract import Emit, Event, MessageReceived, Outgoing, Request
from hub.model import Address
from hub.testing.host import LocalHost

NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)
ANN = "ann@example.org"
THREAD = "con_05akgy93g0000"
PLAIN: dict[str, Any] = {
    "address": "support@example.com",
    "name": "Example Support",
    "aliases": ["help@example.com"],
    "authserv_ids": ["mx.example.com"],
}
FIXTURES = Path(__file__).parent / "fixtures"


def adapter(*, now: datetime = NOON, secret: bytes = b"a test secret of thirty-two bytes", **config: Any) -> Email:
    return Email("email", EmailConfig(**(PLAIN | config)), LocalHost(now=now, secret=secret))


def request(raw: bytes, at: datetime = NOON) -> Request:
    url = "imap://imap.example.com/INBOX;UIDVALIDITY=1/;UID=101"
    return Request("FETCH", url, {"content-type": "message/rfc822"}, raw, at)


def mail(text: str = "Hello", **headers: str) -> bytes:
    """A small mail; ``_`` in names of headers is ``-``, an empty value leaves one out."""
    given = {"From": f"Ann <{ANN}>", "To": "support@example.com", "Message-ID": "<m@example.org>", "Subject": "Hi"}
    given |= {name.replace("_", "-"): value for name, value in headers.items()}
    lines = [f"{name}: {value}" for name, value in given.items() if value]
    return "\r\n".join([*lines, "", text, ""]).encode()


def out(text: str = "Hello", number: int = 1, **more: Any) -> Outgoing:
    key = f"del_{number:013d}.0"
    return Outgoing(key=key, to=Address("mailto", more.pop("to", ANN)), text=text, **({"thread": THREAD} | more))


class World:
    """The simulated provider, an adapter, and a hub that does no more than keep what is pulled."""

    def __init__(self, **simulator: Any) -> None:
        self.provider = Simulator(**simulator)
        self.host = LocalHost()
        self._built: list[Email] = []

    async def __aenter__(self) -> World:
        await self.provider.start()
        self.adapter = self.build()
        return self

    async def __aexit__(self, *error: object) -> None:
        for each in self._built:
            await each.close()
        await self.host.close()
        await self.provider.stop()

    def build(self, **config: Any) -> Email:
        made = Email("email", EmailConfig(**(self.provider.config() | config)), self.host)
        self._built.append(made)
        return made

    def inbox(self) -> list[Seen]:
        return self.provider.mailbox(ANN)

    def events(self) -> list[Event]:
        """Everything that was pulled, translated."""
        return [event for each in self.host.emitted for event in self.adapter.receive(each)]

    def texts(self) -> list[str]:
        return [event.text for event in self.events() if isinstance(event, MessageReceived)]

    @asynccontextmanager
    async def pulling(self, emit: Emit | None = None, **config: Any) -> AsyncIterator[asyncio.Task[None]]:
        """An adapter reads the mailbox until the end of the block."""
        task = asyncio.create_task(self.build(**config).run(emit or self.host.emit))
        try:
            yield task
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def until(self, holds: Callable[[], bool]) -> None:
        try:
            async with asyncio.timeout(10):
                while not holds():  # noqa: ASYNC110 - a mailbox announces nothing
                    await asyncio.sleep(0.005)
        except TimeoutError:
            raise AssertionError(f"pulled: {self.texts()}, mailbox: {self.provider.imap.seen()}") from None
