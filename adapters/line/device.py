"""The customer's LINE in the demo."""

from __future__ import annotations

from urllib.parse import unquote, urlsplit

from adapters.line.records import Sent
from adapters.line.simulator import Simulator
from hub.testing.device import Bubble, Person
from hub.testing.device import Device as Base

ANN = "U206d25c2ea6bd87c17655609a1c37cb8"


class Device(Base):
    channel = "line"
    title = "LINE"
    look = "phone"
    place = 5
    links = "https://line.me/R/oaMessage/"

    def __init__(self, person: Person) -> None:
        super().__init__(person)
        self.simulator: Simulator = Simulator()
        self.simulator.user(ANN, person.name)

    @property
    def address(self) -> str:
        return f"{self.person.name}, a friend of the account"

    @property
    def known_as(self) -> str:
        return f"line:{ANN}"

    async def write(self, text: str, *, subject: str | None = None) -> None:
        status = await self.simulator.text(ANN, text)
        if status != 200:
            raise ConnectionError(f"the hub answered {status} to a LINE message")

    async def press(self, choice: str) -> None:
        await self.simulator.choose(ANN, choice)

    async def follow(self, link: str) -> None:
        await self.write(unquote(urlsplit(link).query))

    def screen(self) -> list[Bubble]:
        written = [(each["at"], Bubble(True, each["text"])) for each in self.simulator.said_by(ANN)]
        received = [(each.at, _bubble(each)) for each in self.simulator.phone(ANN)]
        return [bubble for _, bubble in sorted([*written, *received], key=lambda each: each[0])]


def _bubble(message: Sent) -> Bubble:
    link = message.body.get("originalContentUrl")
    return Bubble(False, message.text, files=[str(link)] if link else [], buttons=message.choices())
