"""The customer's mailbox in the demo."""

from __future__ import annotations

from urllib.parse import parse_qs, urlsplit

from adapters.email.letters import Seen
from adapters.email.simulator import Simulator
from hub.testing.device import Bubble, Person
from hub.testing.device import Device as Base


class Device(Base):
    channel = "email"
    title = "Email"
    look = "mailbox"
    place = 2
    links = "mailto:"

    def __init__(self, person: Person) -> None:
        super().__init__(person)
        self.simulator: Simulator = Simulator()
        self._words: dict[str, str] = {}  # what the person typed, by Message-ID: the mail also holds what it quotes

    @property
    def address(self) -> str:
        return self.person.email

    async def write(self, text: str, *, subject: str | None = None) -> None:
        """With a subject: a new mail. Without: an answer to the last one, where there is one."""
        answers = None if subject else next((mail for mail in reversed(self._mails()) if not mail.mine), None)
        written = await self.simulator.write(
            self.person.email, text, subject=subject or "", name=self.person.name, answers=answers
        )
        self._words[written.id] = text

    async def follow(self, link: str) -> None:
        await self.write("Hello again.", subject=parse_qs(urlsplit(link).query)["subject"][0])

    def screen(self) -> list[Bubble]:
        return [
            Bubble(mail.mine, self._words.get(mail.id, mail.text), mail.subject, list(mail.files))
            for mail in self._mails()
        ]

    def _mails(self) -> list[Seen]:
        return self.simulator.mailbox(self.person.email)
