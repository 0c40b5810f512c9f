"""The business's website in the demo: the real widget in a frame, or a visitor without a browser for the script."""

from __future__ import annotations

from urllib.parse import urlencode

from adapters.webchat.simulator import Simulator, Visitor
from hub.testing.device import Bubble, Person
from hub.testing.device import Device as Base


class Device(Base):
    channel = "site"
    title = "Web chat"
    look = "website"
    place = 3

    def __init__(self, person: Person) -> None:
        super().__init__(person)
        self.simulator: Simulator = Simulator()
        self._visitor: Visitor | None = None

    @property
    def address(self) -> str:
        return f"signed in as {self.person.user}"

    async def write(self, text: str, *, subject: str | None = None) -> None:
        if self._visitor is None:
            token = self.simulator.sign(self.person.user, **self._claims)
            self._visitor = await self.simulator.visitor().connect(token=token)
        await self._visitor.write(text)

    def screen(self) -> list[Bubble]:
        entries = self._visitor.entries if self._visitor else []
        return [Bubble(entry["from"] == "me", entry["text"]) for entry in entries]

    def page(self) -> str:
        return f"{self.simulator.origin}/?{urlencode({'user': self.person.user, **self._claims})}"

    async def close(self) -> None:
        if self._visitor is not None:
            await self._visitor.close()

    @property
    def _claims(self) -> dict[str, str]:
        return {"name": self.person.name, "email": self.person.email, "phone": self.person.phone}
