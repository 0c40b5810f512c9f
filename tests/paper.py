"""Two channels whose provider is the test itself: paper letters from customers, and a board where agents work."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import IO, Any, ClassVar

import aiohttp
import sqlalchemy as sa

from hub.app import Hub, running
from hub.contract import (
    ActionTaken,
    Adapter,
    Capabilities,
    ChannelConfig,
    ConsentChanged,
    Event,
    MessageDeleted,
    MessageEchoed,
    MessageEdited,
    MessageReceived,
    Outgoing,
    Reacted,
    Receipt,
    Rejected,
    Request,
    SendError,
    StatusChanged,
    Unparseable,
    Verified,
)
from hub.model import Address, Attachment, Party, Proof
from hub.outbound.start import OVERTAKING
from hub.registry import Adapters
from hub.settings import Settings
from hub.store.schema import delivery, metadata

Answers = Callable[[Outgoing], SendError | Exception | str | None]  # an error, an external id, or None: accept


@dataclass
class Post:
    """The post office: what was handed to it, and what it answers."""

    handed: list[Outgoing] = field(default_factory=list)
    accepted: list[tuple[str, Outgoing]] = field(default_factory=list)
    answers: list[Any] = field(default_factory=list)  # consumed one per send; then everything is accepted
    gate: asyncio.Event | None = None
    watch: Callable[[Outgoing], Awaitable[None]] | None = None  # called at each hand-off
    files: dict[str, list[SendError | asyncio.Event]] = field(default_factory=dict)  # what becomes of tries, by ref
    inquiries: int = 0
    inquiry: asyncio.Event | None = None  # until it is set, nobody is told what was accepted

    async def take(self, out: Outgoing) -> Receipt:
        self.handed.append(out)
        if self.watch is not None:
            await self.watch(out)
        if self.gate is not None:
            await self.gate.wait()
        answer = self.answers.pop(0) if self.answers else None
        if isinstance(answer, asyncio.Event):  # accepted, and the answer takes its time
            external_id = self.accept(out)
            await answer.wait()
            return Receipt(external_id)
        if isinstance(answer, tuple):  # accepted, and then the answer got lost
            self.accept(out)
            answer = answer[0]
        if isinstance(answer, Exception):
            raise answer
        if isinstance(answer, Receipt):
            self.accept(out)
            return answer
        return Receipt(self.accept(out))

    def accept(self, out: Outgoing) -> str:
        external_id = f"{out.to.scheme}-{len(self.accepted) + 1}"
        self.accepted.append((external_id, out))
        return external_id

    @property
    def texts(self) -> list[str]:
        return [out.text for _, out in self.accepted]


class PaperConfig(ChannelConfig):
    pass


class Paper(Adapter[PaperConfig]):
    medium = "paper"
    scheme = "paper"
    Config = PaperConfig
    capabilities = Capabilities(text_limit=1000, idempotency="query", delivered=True, read=True, shed=None,
                                answers=frozenset({"stop"}), settle=timedelta(seconds=60))
    post: ClassVar[Post]

    def verify(self, request: Request) -> Verified:
        good = request.headers.get("x-seal") == "wax"
        return Verified(good, 200 if good else 403)

    def receive(self, request: Request) -> list[Event]:
        try:
            letters = json.loads(request.body)
        except ValueError as error:
            raise Unparseable("not a letter") from error
        return [_event(letter, self.scheme, request.received_at) for letter in letters]

    async def send(self, out: Outgoing) -> Receipt:
        return await type(self).post.take(out)

    def entry_link(self, token: str) -> str | None:
        return f"https://{self.scheme}.example/?start={token}"

    async def fetch(self, attachment: Attachment, request: Request | None) -> AsyncIterator[bytes] | None:
        """A file holds what its ref says. What begins with "no " is not to be had."""
        if attachment.ref is None:
            raise Rejected("no file that came by this channel")
        if attachment.ref.startswith("no "):
            raise Rejected("file_not_found", code="file_not_found")
        tries = type(self).post.files.get(attachment.ref)
        trouble = tries.pop(0) if tries else None
        if isinstance(trouble, asyncio.Event):
            await trouble.wait()
        elif trouble is not None:
            raise trouble
        return _once(attachment.ref.encode())

    async def lookup(self, out: Outgoing, since: datetime) -> list[Receipt]:
        type(self).post.inquiries += 1
        if gate := type(self).post.inquiry:
            await gate.wait()
        return [Receipt(name) for name, each in type(self).post.accepted if each.text == out.text and each.to == out.to]


class Board(Paper):
    medium = "board"
    scheme = "board"
    role = "desk"
    capabilities = Capabilities(text_limit=1000, idempotency="query", settle=timedelta(0))
    post: ClassVar[Post]

    def verify(self, request: Request) -> Verified:
        return Verified(True)


async def _once(body: bytes) -> AsyncIterator[bytes]:
    yield body


def _event(letter: dict[str, Any], scheme: str, now: datetime) -> Event:
    now -= timedelta(seconds=letter.get("ago", 0))
    if "status" in letter:
        more = {name: letter[name] for name in ("code", "key", "error") if name in letter}
        return StatusChanged(letter["id"], letter["status"], now, **more)
    if "to" in letter:
        return MessageEchoed(letter["id"], Party(scheme, letter["to"]), now, letter["text"])
    proof = Proof(letter.get("proof", "provider"))
    sender = Party(scheme, letter["from"], letter.get("name"), proof)
    if "consent" in letter:
        return ConsentChanged(letter["id"], sender, letter["consent"], now)
    if "edits" in letter:
        return MessageEdited(letter["edits"], sender, now, letter["text"], _files(letter))
    if "reacts" in letter:
        removed, name = letter.get("removed", False), letter.get("id", "")
        whole = now.replace(microsecond=0)  # as WhatsApp and Telegram tell it
        return Reacted(letter["reacts"], sender, whole, letter["emoji"], removed, name)
    if "deletes" in letter:
        return MessageDeleted(letter["deletes"], sender, now)
    if "action" in letter:
        return ActionTaken(letter["id"], sender, now, letter["action"], letter.get("value"), letter["thread"])
    also = [Party(*address.split(":"), proof=Proof(how)) for address, how in letter.get("also", {}).items()]
    return MessageReceived(
        letter["id"], sender, now, letter["text"], also, thread=letter.get("thread"),
        former=[Address.parse(each) for each in letter.get("former", [])], automatic=letter.get("automatic", False),
        references=letter.get("references", []), reply_to=letter.get("reply_to"),
        subject=letter.get("subject"), entry=letter.get("entry"), mentions=letter.get("mentions", []),
        attachments=_files(letter),
    )  # fmt: skip


def _files(letter: dict[str, Any]) -> list[Attachment]:
    return [Attachment(ref=words, name=f"{words}.txt") for words in letter.get("files", [])]


class Clock:
    """Stands still until it is told to go on."""

    def __init__(self) -> None:
        self.now = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)

    def __call__(self) -> datetime:
        # Moves a little, as time does: rows made one after the other are not simultaneous.
        self.now += timedelta(microseconds=50)
        return self.now


@dataclass
class Office:
    """A running hub with a paper channel, a second one (``fax``), and a board."""

    hub: Hub
    clock: Clock
    letters: Post
    faxes: Post
    board: Post
    session: aiohttp.ClientSession
    numbers: int = 0

    async def post(
        self, channel: str, *letters: dict[str, Any], seal: str = "wax", body: bytes | IO[bytes] | None = None
    ) -> int:
        url = f"http://127.0.0.1:{self.hub.port}/hooks/{channel}"
        data = json.dumps(letters).encode() if body is None else body
        async with self.session.post(url, data=data, headers={"X-Seal": seal}) as answer:
            return answer.status

    async def write(self, text: str, *, sender: str = "ann", channel: str = "paper", **more: Any) -> str:
        """A customer writes. Returns the letter's id once it is projected."""
        self.numbers += 1
        name = more.pop("id", f"letter-{self.numbers}")
        assert await self.post(channel, {"id": name, "from": sender, "text": text, **more}) == 200
        await self.settled()
        return name

    async def agent(self, text: str, *, thread: str, by: str = "zoe", **more: Any) -> str:
        self.numbers += 1
        name = f"post-{self.numbers}"
        letter = {"id": name, "from": by, "name": by.title(), "text": text, "thread": thread, **more}
        assert await self.post("board", letter) == 200
        await self.settled()
        return name

    async def press(self, action: str, *, thread: str, value: str | None = None) -> None:
        self.numbers += 1
        letter = {"id": f"press-{self.numbers}", "from": "zoe", "action": action, "value": value, "thread": thread}
        assert await self.post("board", letter) == 200
        await self.settled()

    async def status(self, external_id: str, state: str, *, channel: str = "paper", **more: str) -> None:
        """``more``: ``key``, ``code`` or ``error``."""
        assert await self.post(channel, {"id": external_id, "status": state, **more}) == 200
        await self.settled()

    async def advance(self, **span: float) -> None:
        """Let time pass and everybody notice."""
        self.clock.now += timedelta(**span)
        for name in self.hub.channels:
            self.hub.topics.publish(f"lane:{name}")
        self.hub.topics.publish("inbox")
        self.hub.topics.publish("media")
        await self.settled()

    async def settled(self) -> None:
        """Wait until the inbox is projected and nothing that is due is unsent."""
        await until(lambda: self.hub.store.read(self._idle))

    def _idle(self, connection: sa.Connection) -> bool:
        waiting = connection.execute(
            sa.text(
                "SELECT (SELECT coalesce(max(id), 0) FROM inbox)"
                " - coalesce((SELECT CAST(value AS bigint) FROM cursor WHERE name = 'inbox'), 0)"
            )
        ).scalar_one()
        return waiting <= 0 and not self._due(connection)

    def _due(self, connection: sa.Connection) -> bool:
        posts = {"paper": self.letters, "fax": self.faxes, "board": self.board}
        hanging = {name for name, post in posts.items() if post.gate is not None and not post.gate.is_set()}
        query = sa.select(delivery.c.channel).where(
            delivery.c.state.in_(("sending", "indoubt")) | ((delivery.c.state == "queued") & ~OVERTAKING),
            delivery.c.due_at <= self.clock.now,
        )
        return any(channel not in hanging for channel in connection.execute(query).scalars())

    async def rows(self, table: str, **match: Any) -> list[Any]:
        """Rows of a table with these values, oldest first."""
        source = metadata.tables[table]
        query = sa.select(source).where(*(source.c[name] == value for name, value in match.items()))
        return await self.hub.store.read(
            lambda connection: list(connection.execute(query.order_by(*source.primary_key.columns)).all())
        )

    @property
    def threads(self) -> list[str]:
        """The conversations' root posts on the board, oldest first."""
        return [name for name, out in self.board.accepted if out.card is not None and out.edits is None]

    @property
    def thread(self) -> str:
        return self.threads[0]

    @property
    def posts(self) -> list[str]:
        """What the board shows as messages."""
        return [out.text for _, out in self.board.accepted if out.card is None and out.mark is None]

    def quoted(self, text: str) -> list[str | None]:
        """What stands above the board's posts of this text."""
        return [out.quoted for _, out in self.board.accepted if out.card is None and out.text == text]

    def marks(self, target: str) -> list[str]:
        found = [out.mark for _, out in self.board.accepted if out.mark is not None]
        return [mark.state for mark in found if mark.target == target]


async def until(holds: Callable[[], Awaitable[bool]], *, timeout: float = 50) -> None:
    """Wait for something that nobody announces: a row of the database. Raises: TimeoutError."""
    async with asyncio.timeout(timeout):
        while not await holds():  # noqa: ASYNC110 - there is no event to wait for
            await asyncio.sleep(0.002)


@asynccontextmanager
async def office(
    database_url: str,
    data: Path,
    *,
    later: float = 0,
    configured: Mapping[str, Any] | None = None,
    settings_: Mapping[str, Any] | None = None,
    **capabilities: Any,
) -> AsyncIterator[Office]:
    """``later``: minutes after the usual start; ``configured``: settings of the paper channel; ``settings_``: others of
    the hub; ``capabilities`` replace the paper channel's own."""
    letters, faxes, board = Post(), Post(), Post()
    can = {name: getattr(Paper.capabilities, name) for name in Capabilities.__slots__} | capabilities
    paper = type("Paper", (Paper,), {"post": letters, "capabilities": Capabilities(**can)})
    fax = type("Fax", (Paper,), {"post": faxes, "medium": "fax", "scheme": "fax"})
    desk = type("Board", (Board,), {"post": board})
    clock = Clock()
    clock.now += timedelta(minutes=later)
    settings = Settings.model_validate(
        {
            "data": data,
            "database_url": database_url,
            "listen": {"port": 0},
            "channels": {"paper": {"adapter": "paper", **(configured or {})}}
            | {name: {"adapter": name} for name in ("fax", "board")},
            **(settings_ or {}),
        }
    )
    installed = Adapters({"paper": paper, "fax": fax, "board": desk})
    async with (
        running(settings, clock=clock, adapters=installed) as hub,
        aiohttp.ClientSession() as session,
    ):
        yield Office(hub, clock, letters, faxes, board, session)
