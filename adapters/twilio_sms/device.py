"""The customer's phone in the demo, for SMS."""

from __future__ import annotations

from adapters.twilio_sms.simulator import Simulator
from hub.testing.device import Bubble, Person
from hub.testing.device import Device as Base


class Device(Base):
    channel = "sms"
    title = "SMS"
    look = "phone"
    place = 1
    links = "sms:"

    def __init__(self, person: Person) -> None:
        super().__init__(person)
        self.simulator: Simulator = Simulator()

    @property
    def address(self) -> str:
        return self.person.phone

    async def write(self, text: str, *, subject: str | None = None) -> None:
        status = await self.simulator.text(self.person.phone, text)
        if status is None or status >= 300:
            raise ConnectionError(f"the hub answered {status} to a text message")

    def screen(self) -> list[Bubble]:
        phone = self.person.phone
        seen = {message.sid for message in self.simulator.phone(phone)}
        written = [message for message in self.simulator.messages if message.from_ == phone]
        shown = sorted([*written, *self.simulator.phone(phone)], key=lambda message: message.created)
        return [Bubble(message.sid not in seen, message.body, files=list(message.media)) for message in shown]
