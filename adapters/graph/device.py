"""A person's Messenger or Instagram in the demo."""

from __future__ import annotations

from typing import ClassVar
from urllib.parse import parse_qs, urlsplit

from adapters.graph.records import Sent
from adapters.graph.simulator import MessagingSimulator
from hub.testing.device import Bubble, Person
from hub.testing.device import Device as Base


class MessagingDevice(Base):
    look = "phone"
    kind: ClassVar[type[MessagingSimulator]]

    def __init__(self, person: Person) -> None:
        super().__init__(person)
        self.number = "70" + person.phone.removeprefix("+")  # Meta's id of them
        self.people: MessagingSimulator = self.kind()
        self.simulator = self.people
        self.people.person(self.number, person.name)

    @property
    def address(self) -> str:
        return self.person.name

    async def write(self, text: str, *, subject: str | None = None) -> None:
        status = await self.people.text(self.number, text)
        if status != 200:
            raise ConnectionError(f"the hub answered {status} to a message by {self.title}")

    async def press(self, choice: str) -> None:
        await self.people.press(self.number, choice)

    async def follow(self, link: str) -> None:
        """Meta tells of the link with the first message that is written there."""
        referral = {"ref": parse_qs(urlsplit(link).query)["ref"][0], "source": "SHORTLINK", "type": "OPEN_THREAD"}
        await self.people.text(self.number, "Hello again.", referral=referral)

    def screen(self) -> list[Bubble]:
        written = [(each["at"], Bubble(True, each["text"])) for each in self.people.said_by(self.number)]
        received = [(each.at, _bubble(each)) for each in self.people.phone(self.number)]
        return [bubble for _, bubble in sorted([*written, *received], key=lambda each: each[0])]


def _bubble(message: Sent) -> Bubble:
    return Bubble(False, message.text, files=message.files, buttons=message.buttons)
