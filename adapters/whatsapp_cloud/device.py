"""The customer's WhatsApp in the demo."""

from __future__ import annotations

from adapters.whatsapp_cloud.phones import buttons
from adapters.whatsapp_cloud.records import Sent
from adapters.whatsapp_cloud.simulator import Simulator
from hub.testing.device import Bubble, Person
from hub.testing.device import Device as Base


class Device(Base):
    channel = "whatsapp"
    title = "WhatsApp"
    look = "phone"
    place = 2
    links = "https://wa.me/"

    def __init__(self, person: Person) -> None:
        super().__init__(person)
        self.simulator: Simulator = Simulator()
        self.simulator.user(person.phone, person.name)

    @property
    def address(self) -> str:
        return self.person.phone

    async def write(self, text: str, *, subject: str | None = None) -> None:
        status = await self.simulator.text(self.person.phone, text)
        if status != 200:
            raise ConnectionError(f"the hub answered {status} to a WhatsApp message")

    async def press(self, choice: str) -> None:
        await self.simulator.press(self.person.phone, choice)

    def screen(self) -> list[Bubble]:
        written = [(each["at"], Bubble(True, each["text"])) for each in self.simulator.said_by(self.person.phone)]
        received = [(each.at, _bubble(each)) for each in self.simulator.phone(self.person.phone)]
        return [bubble for _, bubble in sorted([*written, *received], key=lambda each: each[0])]


def _bubble(message: Sent) -> Bubble:
    said = message.body.get(message.type)
    files = [str(said["link"])] if isinstance(said, dict) and "link" in said else []
    return Bubble(False, message.text, files=files, buttons=buttons(message))
