"""The customer's Telegram in the demo."""

from __future__ import annotations

from urllib.parse import parse_qs, urlsplit

from adapters.telegram.records import Sent
from adapters.telegram.simulator import Simulator
from hub.testing.device import Bubble, Person
from hub.testing.device import Device as Base

ANN = 3527065


class Device(Base):
    channel = "telegram"
    title = "Telegram"
    look = "phone"
    place = 4
    links = "https://t.me/"

    def __init__(self, person: Person) -> None:
        super().__init__(person)
        self.simulator: Simulator = Simulator()
        self.simulator.user(ANN, person.name)

    @property
    def address(self) -> str:
        return f"{self.person.name}, known to the bot by a number"

    @property
    def known_as(self) -> str:
        return f"telegram:{self.simulator.bot_id}:{ANN}"

    async def write(self, text: str, *, subject: str | None = None) -> None:
        status = await self.simulator.text(ANN, text)
        if status != 200:
            raise ConnectionError(f"the hub answered {status} to a Telegram message")

    async def press(self, choice: str) -> None:
        await self.simulator.press(ANN, choice)

    async def follow(self, link: str) -> None:
        await self.write(f"/start {parse_qs(urlsplit(link).query)['start'][0]}")

    def screen(self) -> list[Bubble]:
        written = [(each["at"], Bubble(True, each["text"])) for each in self.simulator.said_by(ANN)]
        received = [(each.at, _bubble(each)) for each in self.simulator.chat(ANN)]
        return [bubble for _, bubble in sorted([*written, *received], key=lambda each: each[0])]


def _bubble(message: Sent) -> Bubble:
    files = [message.file[0]] if message.file else []
    return Bubble(False, message.text, files=files, buttons=message.buttons())
