"""What people hold in the demo: a phone, a mailbox, a website, the agents' desk. Each shows a provider's simulator.

An adapter takes part in the demo by a ``device.py`` in its folder, with a class called ``Device``.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import ClassVar, Literal
from urllib.parse import parse_qs, urlsplit

from hub.testing.simulation import Simulator


@dataclass(frozen=True, slots=True)
class Person:
    """The customer of the demo."""

    name: str = "Ann Fielding"
    phone: str = "+447700900123"
    email: str = "ann.fielding@example.com"
    user: str = "ann"  # their account on the business's website

    @property
    def addresses(self) -> list[str]:
        return [f"tel:{self.phone}", f"mailto:{self.email}"]


@dataclass(slots=True)
class Bubble:
    """One message as the customer's app shows it."""

    mine: bool
    text: str
    subject: str | None = None
    files: list[str] = field(default_factory=list)  # names or addresses
    buttons: list[dict[str, str]] = field(default_factory=list)  # id and title


class Simulated:
    """Something of the demo behind which a simulator stands."""

    channel: ClassVar[str]  # name of its channel in the demo's settings
    title: ClassVar[str]
    adapter: str = ""  # name of the adapter it belongs to, set by who found it
    simulator: Simulator

    async def close(self) -> None:
        """Hang up; the simulator is stopped by who started it."""


class Device(Simulated, ABC):
    """A customer's app on one channel."""

    look: ClassVar[Literal["phone", "mailbox", "website"]]
    place: ClassVar[int]  # among the others, from the left
    links: ClassVar[str] = ""  # how links into this app begin: "https://wa.me/"

    def __init__(self, person: Person) -> None:
        self.person = person

    @property
    @abstractmethod
    def address(self) -> str:
        """Who the person is there: a number, a mail address, an account."""

    @property
    def known_as(self) -> str | None:
        """An address that the business has on record for the person, beside ``Person.addresses``."""
        return None

    @abstractmethod
    async def write(self, text: str, *, subject: str | None = None) -> None:
        """The person writes to the business, and sends again until that has been taken."""

    async def press(self, choice: str) -> None:
        """The person presses a choice of the newest message that offers it. Raises: LookupError if there is none."""
        raise LookupError(f"nothing can be pressed in {self.title}: write an answer")

    @abstractmethod
    def screen(self) -> list[Bubble]:
        """What the person sees, oldest first."""

    async def open(self, link: str) -> bool:
        """The person follows a link that the business sent. False: it leads into another app."""
        if not self.links or not link.startswith(self.links):
            return False
        await self.follow(link)
        return True

    async def follow(self, link: str) -> None:
        """What the app does with a link into it: it has a first message ready, and the person sends that."""
        asked = parse_qs(urlsplit(link).query)
        await self.write(next((asked[name][0] for name in ("text", "body") if name in asked), link))

    def page(self) -> str | None:
        """The address of a real page to show instead of a drawn screen."""
        return None


@dataclass(slots=True)
class Post:
    """A post at the desk, as agents see it."""

    id: str
    author: str
    text: str
    icon: str = ""
    machine: bool = False  # posted by the hub
    marks: list[str] = field(default_factory=list)  # delivery states: ✓, ✓✓, ⚠
    files: list[str] = field(default_factory=list)
    buttons: list[dict[str, str]] = field(default_factory=list)  # action and label


@dataclass(slots=True)
class Thread:
    """A conversation at the desk: its card, then the posts below it."""

    id: str
    card: Post
    posts: list[Post]


class Desk(Simulated, ABC):
    """Where the agents of the demo work."""

    @abstractmethod
    async def say(self, thread: str, text: str) -> str:
        """An agent writes into a thread. Returns the post's id."""

    @abstractmethod
    async def press(self, thread: str, action: str) -> None:
        """An agent presses a button of the card. Raises: LookupError if there is none like it."""

    @abstractmethod
    def threads(self) -> list[Thread]:
        """All conversations, the newest last."""
