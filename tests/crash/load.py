"""People and programs at work: customers text, a program sends, an agent answers. Each tries until it was taken."""

from __future__ import annotations

import asyncio
import random
import uuid
from collections import defaultdict
from dataclasses import dataclass, field

from adapters.slack.simulator import Simulator as Slack
from adapters.twilio_sms.simulator import Simulator as Twilio
from tests.crash.hubs import HubProcess

LONG = "This goes out as two messages, the second of which follows the first. " * 30
AGAIN = 0.1  # seconds until a refused request is sent again
PATIENCE = 300.0  # seconds until Slack's event must have been taken


@dataclass(frozen=True)
class Sent:
    """A message the hub has taken from a program (``delivery``: public id) or from an agent (None)."""

    phone: str
    text: str
    delivery: str | None = None
    message: str | None = None
    parts: int = 1

    @property
    def names(self) -> list[str]:
        """What its parts are called in the tally. Programs say the same words twice; agents never do."""
        return [f"{self.delivery}.{part}" for part in range(self.parts)] if self.delivery else [self.text]


@dataclass
class Load:
    """``acknowledged``: texts of customers by phone; ``sent``: what was to go to each phone. In the order taken."""

    sms: Twilio
    slack: Slack
    hub: HubProcess
    phones: list[str]
    random: random.Random
    pause: float = 0.15  # mean seconds between two messages of one person
    long: float = 0.1  # share of a program's messages that go out in two parts
    acknowledged: defaultdict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    refused: int = 0
    sent: defaultdict[str, list[Sent]] = field(default_factory=lambda: defaultdict(list))
    _count: int = 0
    _stopping: bool = False
    _tasks: list[asyncio.Task[None]] = field(default_factory=list)

    def start(self) -> None:
        """All at once, until ``stop``; perhaps once more."""
        self._stopping = False
        work = [*(self._texting(each) for each in self.phones), *(self._sending(each) for each in self.phones)]
        self._tasks = [asyncio.create_task(each) for each in (*work, self._answering())]

    async def stop(self) -> None:
        """No new messages; what was begun is brought to its end."""
        self._stopping = True
        await asyncio.gather(*self._tasks)

    async def text(self, phone: str) -> int | None:
        """A customer writes. The hub's last answer; Twilio repeats as long as it insists."""
        words = f"{phone} writes {self._number()}"
        status = await self.sms.text(phone, words)
        if status == 200:
            self.acknowledged[phone].append(words)
        else:
            self.refused += 1
        return status

    async def send(self, phone: str, *, long: bool = False) -> Sent:
        """A program sends, and repeats with the same key until the hub has taken it. ``long``: more than one SMS."""
        # Some words are said again and again, so that one message can be mistaken for another.
        words = LONG if long else self.random.choice(["ok", f"notice {self._number()}"])
        draft = {"customer": f"tel:{phone}", "text": words, "purpose": self.random.choice(["reply", "transactional"])}
        key = str(uuid.UUID(int=self.random.getrandbits(128)))
        while True:
            status, answer = await self.hub.ask("POST", "/api/v1/messages", draft, key)
            if status == 202:
                break
            assert status in (0, 429, 500, 503), (status, answer)
            await asyncio.sleep(AGAIN)
        sent = Sent(phone, words, answer["delivery"], answer["id"], 2 if long else 1)
        self.sent[phone].append(sent)
        return sent

    async def answer(self, phone: str) -> Sent | None:
        """An agent answers in the customer's thread, if there is one yet; Slack repeats until the hub has taken it."""
        thread = self.thread(phone)
        if thread is None:
            return None
        words = f"agent says {self._number()}"
        post = await self.slack.say(words, thread=thread)
        await self.slack.ledger.wait_for("acked", id=f"{self.slack.channel_id}:{post.ts}", timeout=PATIENCE)
        sent = Sent(phone, words)
        self.sent[phone].append(sent)
        return sent

    def thread(self, phone: str) -> str | None:
        """Where this customer's messages are at the desk."""
        for line in self.slack.ledger.of("accept"):
            if line.data["thread"] and line.data["text"].startswith(f"{phone} writes"):
                return str(line.data["thread"])
        return None

    async def _texting(self, phone: str) -> None:
        while not self._stopping:
            await self.text(phone)
            await self._rest()

    async def _sending(self, phone: str) -> None:
        while not self._stopping:
            await self.send(phone, long=self.random.random() < self.long)
            await self._rest()

    async def _answering(self) -> None:
        while not self._stopping:
            await self.answer(self.random.choice(self.phones))
            await self._rest()

    async def _rest(self) -> None:
        await asyncio.sleep(self.random.expovariate(1 / self.pause))

    def _number(self) -> int:
        self._count += 1
        return self._count
