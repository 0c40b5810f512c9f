"""What the tests of this folder share."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from adapters.twilio_sms.adapter import TwilioSms, TwilioSmsConfig
from adapters.twilio_sms.simulator import Simulator
from hub.contract import (
    Answer,
    Outgoing,
    SendError,
    StatusChanged,
)
from hub.model import Address, Party
from hub.testing.host import LocalHost
from hub.testing.player import Player as Player
from hub.testing.player import said as said
from hub.testing.server import Hook

NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)
FORM = "application/x-www-form-urlencoded"
PHONE = "+14133881111"
ANN = Party("tel", PHONE)
TOKEN, KEY_SECRET, SHARED = "the-auth-token", "the-key-secret", "the-shared-key"
PLAIN: dict[str, Any] = {"account_sid": "AC01", "auth_token": TOKEN, "from_number": "+12025550100"}
PUBLIC_URL = "https://hub.example.com"


def played(*answers: Answer | SendError, **config: Any) -> tuple[TwilioSms, Player]:
    player = Player(*answers)
    return TwilioSms("sms", TwilioSmsConfig(**(PLAIN | config)), LocalHost(http=player)), player


def out(text: str = "Hello", **more: Any) -> Outgoing:
    return Outgoing(key="del_0000000000001.0", to=Address("tel", more.pop("to", PHONE)), text=text, **more)


def sid(number: int, prefix: str = "SM") -> str:
    return f"{prefix}{number:032x}"


class World(Hook):
    """The simulated Twilio, an adapter, and a hub that does no more than verify and receive."""

    def __init__(self, **config: Any) -> None:
        super().__init__(PUBLIC_URL)
        self.twilio = Simulator(public_url=PUBLIC_URL)
        self.config = config
        self.host = LocalHost(public_url=PUBLIC_URL)

    async def __aenter__(self) -> World:
        await self.twilio.start()
        self.adapter = self.build()
        self.twilio.webhook_url = await self.listen("sms")
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.adapter.close()
        await self.host.close()
        await self.twilio.stop()
        await self.hang_up()

    def build(self, **config: Any) -> TwilioSms:
        return TwilioSms("sms", TwilioSmsConfig(**(self.twilio.config() | self.config | config)), self.host)

    def sent(self, text: str = "Hello", number: int = 1, **more: Any) -> Outgoing:
        message = out(text, **more)
        message.key = f"del_{number:013d}.0"
        message.callback_url = f"{PUBLIC_URL}/hooks/sms?key={message.key}"
        return message

    def states(self) -> list[tuple[str | None, str]]:
        return [(event.key, event.state) for event in self.events if isinstance(event, StatusChanged)]

    def phone(self) -> list[str]:
        return [each.body for each in self.twilio.phone(PHONE)]


