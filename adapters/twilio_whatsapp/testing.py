"""What the tests of this folder share."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from adapters.twilio_whatsapp.adapter import TwilioWhatsApp, TwilioWhatsAppConfig
from adapters.twilio_whatsapp.simulator import Simulator
from hub.contract import Answer, Event, MessageReceived, Outgoing, Request, SendError, StatusChanged
from hub.model import Address
from hub.testing.host import LocalHost
from hub.testing.player import Player as Player
from hub.testing.player import said as said
from hub.testing.server import Hook

NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)
PUBLIC_URL = "https://hub.example.com"
PHONE = "whatsapp:+14133881111"
PLAIN: dict[str, Any] = {"account_sid": "AC01", "auth_token": "the-auth-token", "from_number": "+12025550100"}


def played(*answers: Answer | SendError, **config: Any) -> tuple[TwilioWhatsApp, Player]:
    player = Player(*answers)
    return TwilioWhatsApp("wa", TwilioWhatsAppConfig(**(PLAIN | config)), LocalHost(http=player)), player


def out(text: str = "Hello", *, to: str = "whatsapp:14133881111", **more: Any) -> Outgoing:
    return Outgoing(key="del_0000000000001.0", to=Address.parse(to), text=text, **more)


def received(body: bytes, **config: Any) -> list[Event]:
    adapter, _ = played(**config)
    headers = {"content-type": "application/x-www-form-urlencoded"}
    return adapter.receive(Request("POST", f"{PUBLIC_URL}/hooks/wa?key=del_1.0", headers, body, NOON))


class World(Hook):
    """The simulated Twilio, an adapter, and a hub that does no more than verify and receive."""

    def __init__(self) -> None:
        super().__init__(PUBLIC_URL)
        self.twilio = Simulator(public_url=PUBLIC_URL)
        self.host = LocalHost(public_url=PUBLIC_URL)

    async def __aenter__(self) -> World:
        await self.twilio.start()
        self.adapter = TwilioWhatsApp("wa", TwilioWhatsAppConfig(**self.twilio.config()), self.host)
        self.twilio.webhook_url = await self.listen("wa")
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.adapter.close()
        await self.host.close()
        await self.twilio.stop()
        await self.hang_up()

    def sent(self, text: str = "Hello", **more: Any) -> Outgoing:
        message = out(text, **more)
        message.callback_url = f"{PUBLIC_URL}/hooks/wa?key={message.key}"
        return message

    def heard(self) -> list[MessageReceived]:
        return [each for each in self.events if isinstance(each, MessageReceived)]

    def states(self) -> list[tuple[str, str | None]]:
        return [(each.state, each.code) for each in self.events if isinstance(each, StatusChanged)]

    def phone(self) -> list[str]:
        return [each.body for each in self.twilio.phone(PHONE)]
