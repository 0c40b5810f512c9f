"""What the tests of this folder share."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from adapters.graph.records import sign
from adapters.whatsapp_cloud.adapter import WhatsApp, WhatsAppConfig
from adapters.whatsapp_cloud.simulator import Simulator
from hub.contract import Answer, Outgoing, Request, SendError, StatusChanged
from hub.model import Address
from hub.testing.host import LocalHost
from hub.testing.player import Player as Player
from hub.testing.player import said as said
from hub.testing.server import Hook

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


class World(Hook):
    """The simulated Meta, an adapter, and a hub that does no more than verify and receive."""

    def __init__(self, **config: Any) -> None:
        super().__init__()
        self.meta = Simulator()
        self.meta.repeats = ()
        self.config = config
        self.host = LocalHost()
        self._count = 0

    async def __aenter__(self) -> World:
        await self.meta.start()
        self.adapter = self.build()
        self.meta.webhook_url = await self.listen("whatsapp")
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.adapter.close()
        await self.host.close()
        await self.meta.stop()
        await self.hang_up()

    def build(self, **config: Any) -> WhatsApp:
        return WhatsApp("whatsapp", WhatsAppConfig(**(self.meta.config() | self.config | config)), self.host)

    def out(self, text: str = "Hello", **more: Any) -> Outgoing:
        """A message with a key of its own."""
        self._count += 1
        return out(text, **{"key": f"del_{self._count:013d}.0"} | more)

    def states(self) -> list[tuple[str | None, str, str | None]]:
        """Key, state and code of what was reported."""
        return [(each.key, each.state, each.code) for each in self.events if isinstance(each, StatusChanged)]
