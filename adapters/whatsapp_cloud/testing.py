"""What the tests of this folder share."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from aiohttp import web

from adapters.graph.records import sign
from adapters.whatsapp_cloud.adapter import WhatsApp, WhatsAppConfig
from adapters.whatsapp_cloud.simulator import Simulator
from hub.contract import Answer, Outgoing, Request, SendError, StatusChanged
from hub.model import Address
from hub.testing.host import LocalHost
from hub.testing.player import Player as Player
from hub.testing.player import said as said

NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)
NUMBER_ID, ACCOUNT_ID = "106540352242922", "102290129340398"
PHONE = "16505551234"
TOKEN, SECRET, WORD = "the-access-token", "the-app-secret", "the-verify-token"
PLAIN: dict[str, Any] = {
    "phone_number_id": NUMBER_ID, "access_token": TOKEN, "app_secret": SECRET, "verify_token": WORD,
}
HOOK = "https://hub.example.com/hooks/whatsapp"
FIXTURES = Path(__file__).parent / "fixtures"


def played(*answers: Answer | SendError, **config: Any) -> tuple[WhatsApp, Player]:
    player = Player(*answers)
    return WhatsApp("whatsapp", WhatsAppConfig(**(PLAIN | config)), LocalHost(http=player)), player


def taken(external_id: str = "wamid.1", **more: Any) -> Answer:
    contact = {"input": PHONE, "wa_id": PHONE, "user_id": "US.1"}
    message = {"id": external_id, **more}
    return said(200, {"messaging_product": "whatsapp", "contacts": [contact], "messages": [message]})


def out(text: str = "Hello", to: Address | None = None, **more: Any) -> Outgoing:
    key = more.pop("key", "del_0000000000001.0")
    return Outgoing(key=key, to=to or Address("whatsapp", PHONE), text=text, **more)


def posted(body: bytes, signature: str | None = None) -> Request:
    headers = {"content-type": "application/json", "x-hub-signature-256": signature or sign(SECRET, body)}
    return Request("POST", HOOK, headers, body, NOON)


class World:
    """The simulated Meta, an adapter, and a hub that does no more than verify and receive."""

    def __init__(self, **config: Any) -> None:
        self.meta = Simulator()
        self.meta.repeats = ()
        self.config = config
        self.host = LocalHost()
        self.events: list[Any] = []
        self.statuses: list[int] = []  # of the hub, to the next webhooks; then as the adapter says
        self._count = 0

    async def __aenter__(self) -> World:
        await self.meta.start()
        self.adapter = self.build()
        app = web.Application()
        app.router.add_route("*", "/hooks/whatsapp", self._hook)
        self._runner = web.AppRunner(app, access_log=None)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.meta.webhook_url = f"http://127.0.0.1:{self._runner.addresses[0][1]}/hooks/whatsapp"
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.adapter.close()
        await self.host.close()
        await self.meta.stop()
        await self._runner.cleanup()

    def build(self, **config: Any) -> WhatsApp:
        return WhatsApp("whatsapp", WhatsAppConfig(**(self.meta.config() | self.config | config)), self.host)

    async def _hook(self, request: web.Request) -> web.Response:
        headers = {name.lower(): value for name, value in request.headers.items()}
        seen = Request(request.method, str(request.url), headers, await request.read(), datetime.now(UTC))
        if self.statuses and (status := self.statuses.pop(0)) != 200:
            return web.Response(status=status)
        verified = self.adapter.verify(seen)
        if verified.accept:
            self.events += self.adapter.receive(seen)
        return web.Response(status=verified.status, text=verified.body, headers=dict(verified.headers))

    def out(self, text: str = "Hello", **more: Any) -> Outgoing:
        """A message with a key of its own."""
        self._count += 1
        return out(text, **{"key": f"del_{self._count:013d}.0"} | more)

    def states(self) -> list[tuple[str | None, str, str | None]]:
        """Key, state and code of what was reported."""
        return [(each.key, each.state, each.code) for each in self.events if isinstance(each, StatusChanged)]
