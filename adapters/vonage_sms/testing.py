"""What the tests of this folder share."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from adapters.vonage_sms.adapter import VonageSms, VonageSmsConfig
from adapters.vonage_sms.simulator import Simulator
from hub.contract import Answer, Outgoing, Request, SendError, StatusChanged
from hub.model import Address, Party
from hub.testing.host import LocalHost
from hub.testing.player import Player as Player
from hub.testing.player import said as said
from hub.testing.server import Hook

NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)
AT = datetime(2018, 10, 25, 12, 10, 29, tzinfo=UTC)
PHONE = "+447700900001"
ANN = Party("tel", PHONE)
KEY = "del_0000000000001.0"
SECRET, SIGNATURE_SECRET = "the-api-secret", "secret123"
PLAIN: dict[str, Any] = {
    "api_key": "the-api-key",
    "api_secret": SECRET,
    "signature_secret": SIGNATURE_SECRET,
    "from_number": "+447700900000",
}
PUBLIC_URL = "https://hub.example.com"
HOOK = f"{PUBLIC_URL}/hooks/sms"
FIXTURES = Path(__file__).parent / "fixtures"


def played(*answers: Answer | SendError, now: datetime = NOON, **config: Any) -> tuple[VonageSms, Player]:
    player = Player(*answers)
    return VonageSms("sms", VonageSmsConfig(**(PLAIN | config)), LocalHost(http=player, now=now)), player


def out(text: str = "Hello", **more: Any) -> Outgoing:
    return Outgoing(key=KEY, to=Address("tel", more.pop("to", PHONE)), text=text, **more)


def webhook(fields: Mapping[str, Any] | bytes, way: str = "form") -> Request:
    """A webhook as accounts may be set to: "form", "json" or "get"."""
    if isinstance(fields, bytes):
        return Request("POST", HOOK, {}, fields, NOON)
    if way == "get":
        return Request("GET", f"{HOOK}?{urlencode(fields)}", {}, b"", NOON)
    body = json.dumps(fields) if way == "json" else urlencode(fields)
    kind = "application/json" if way == "json" else "application/x-www-form-urlencoded"
    return Request("POST", HOOK, {"content-type": kind}, body.encode(), NOON)


class World(Hook):
    """The simulated Vonage, an adapter, and a hub that does no more than verify and receive."""

    def __init__(self, **config: Any) -> None:
        super().__init__(PUBLIC_URL)
        self.vonage = Simulator()
        self.vonage.redelivery = ()
        self.config = config
        self.host = LocalHost(public_url=PUBLIC_URL)

    async def __aenter__(self) -> World:
        await self.vonage.start()
        self.adapter = self.build()
        self.vonage.webhook_url = await self.listen("sms")
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.adapter.close()
        await self.host.close()
        await self.vonage.stop()
        await self.hang_up()

    def build(self, **config: Any) -> VonageSms:
        return VonageSms("sms", VonageSmsConfig(**(self.vonage.config() | self.config | config)), self.host)

    def sent(self, text: str = "Hello", number: int = 1, **more: Any) -> Outgoing:
        message = out(text, **more)
        message.key = f"del_{number:013d}.0"
        message.callback_url = f"{HOOK}?key={message.key}"
        return message

    def states(self) -> list[tuple[str | None, str]]:
        return [(event.key, event.state) for event in self.events if isinstance(event, StatusChanged)]

    def phone(self) -> list[str]:
        return [each.body for each in self.vonage.phone(PHONE)]
