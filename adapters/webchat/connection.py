"""One open socket: what the visitor writes goes to the inbox, what the hub's history has goes to the visitor."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Literal

import structlog
from aiohttp import WSMsgType, web
from aiolimiter import AsyncLimiter

from adapters.webchat.frames import (
    TEXT_LIMIT,
    Frame,
    Got,
    Hello,
    Kept,
    Message,
    Seen,
    Status,
    Typing,
    clean,
    read_frame,
    write,
)
from adapters.webchat.visitors import Refused, Visitor
from hub.contract import Entry, Host
from hub.model import RANK

PAGE = 100  # entries read at once
# Entries may become visible out of order (a reply that waited while the visitor wrote on), so the last ones are read
# again each time. Must be less than PAGE.
OVERLAP = 50
UNREAD = 1000  # of the hub's messages that a widget has not confirmed; older ones stay as they are
IDLE = 25.0  # seconds between looks at the history when nobody woke us
SOON = 0.25  # first pause when something is known to be about to change; doubles up to IDLE
MESSAGES = (20, 4.0)  # a burst of 20, refilled at 5 a second
FRAMES = (100, 5.0)  # of any kind; more is not a widget
TYPING = (1, 3.0)

Receipt = Literal["delivered", "read"]
RECEIPTS: tuple[Receipt, ...] = ("delivered", "read")

Keep = Callable[[Visitor, Kept], Awaitable[None]]  # returns once durable

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class _Unread:
    """A message of the hub's, shown here. ``known``: rank of the state that the hub knows."""

    external_id: str | None = None
    known: int = 0
    confirmed: Receipt | None = None

    @property
    def news(self) -> bool:
        return self.confirmed is not None and RANK[self.confirmed] > self.known


class Connection:
    """``after``: id of the last entry the visitor has. ``patience``: seconds a stuck reader is waited for. ``joins``:
    what was said before a login is about to be in the history."""

    def __init__(
        self, socket: web.WebSocketResponse, visitor: Visitor, after: int, *, host: Host, keep: Keep, topic: str,
        patience: float, joins: bool = False,
    ) -> None:
        self._socket = socket
        self._visitor = visitor
        self._host = host
        self._keep = keep
        self._topic = topic
        self._files = host.public_url + "/"
        self._patience = patience
        self._joins = joins
        self._messages = AsyncLimiter(*MESSAGES)
        self._frames = AsyncLimiter(*FRAMES)
        self._typing = AsyncLimiter(*TYPING)
        self._floor = after
        self._shown: set[int] = set()  # the last OVERLAP of them
        self._unread: dict[int, _Unread] = {}  # the last UNREAD of the hub's own, by id
        self._awaited: set[str] = set()  # the visitor's messages that are durable, but not yet in the history

    async def serve(self) -> None:
        """Until either side ends it. Raises: Refused."""
        tasks = [asyncio.create_task(self._show()), asyncio.create_task(self._read())]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        except ConnectionError:
            log.debug("webchat.gone", visitor=self._visitor.id)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def put(self, type: str, **frame: Any) -> None:
        """Send one frame. aiohttp waits here while the visitor's buffer is full, so it stays bounded."""
        try:
            async with asyncio.timeout(self._patience):
                await self._socket.send_str(write({"type": type, **frame}).decode())
        except TimeoutError:
            raise Refused(1008, "not reading") from None

    # --- from the hub to the visitor --------------------------------------------------------------------------

    async def _show(self) -> None:
        await self._host.wait(self._topic, 0)  # subscribe first: what is published from here on wakes us
        await self._catch_up()
        await self.put("ready")
        pause = SOON
        while True:
            pause = min(pause * 2, IDLE) if self._expecting() else IDLE
            if await self._host.wait(self._topic, pause):
                pause = SOON
            elif pause == IDLE:
                await self.put("tick")  # scripts cannot see pings; this tells the widget that we are still there
            await self._catch_up()

    async def _catch_up(self) -> None:
        more = True
        while more:
            page = await self._host.history(self._visitor.sender.address, after=self._floor, limit=PAGE)
            for entry in page:
                self._note(entry)
                if entry.id not in self._shown:
                    self._shown.add(entry.id)
                    await self.put("entry", **self._picture(entry))
            await self._report()
            for old in sorted(self._shown)[:-OVERLAP]:
                self._floor = max(self._floor, old)
                self._shown.discard(old)
            for old in sorted(self._unread)[:-UNREAD]:
                del self._unread[old]
            more = len(page) == PAGE

    def _note(self, entry: Entry) -> None:
        if entry.inbound:
            self._awaited.discard(entry.external_id or "")
        elif entry.state != "read":
            unread = self._unread.setdefault(entry.id, _Unread())
            unread.external_id = entry.external_id
            unread.known = max(unread.known, RANK.get(entry.state, 0))

    def _picture(self, entry: Entry) -> dict[str, Any]:
        client = entry.external_id.rpartition("/")[2] if entry.inbound and entry.external_id else None
        return {
            "id": f"{entry.id:020d}",  # zeros in front: ids compare as text
            "from": "me" if entry.inbound else "them",
            "author": entry.author,
            "text": entry.text,
            "at": entry.at,
            "client": client,
            "key": None if entry.inbound else entry.external_id,
            "buttons": [{"id": button.id, "title": button.title} for button in entry.buttons],
            "attachments": [
                # A file from elsewhere would tell a stranger's server who reads: it is only named.
                {"kind": file.kind, "name": file.name, "url": file.url}
                if file.url and file.url.startswith(self._files)
                else {"kind": file.kind, "name": file.name, "url": None}
                for file in entry.attachments
            ],
        }

    # --- receipts ---------------------------------------------------------------------------------------------

    async def _confirm(self, upto: int, state: Receipt) -> None:
        for id, unread in self._unread.items():  # only what was shown here can be confirmed
            if id <= upto and unread.confirmed != "read":
                unread.confirmed = state
        await self._report()
        if self._expecting():
            self._host.publish(self._topic)  # look again soon, not after IDLE

    def _expecting(self) -> bool:
        return self._joins or bool(self._awaited) or any(unread.news for unread in self._unread.values())

    async def _report(self) -> None:
        """Tell the hub what arrived. An entry without external id is still being sent: its turn comes later."""
        for state in RECEIPTS:
            ids = []
            for id, unread in list(self._unread.items()):
                if unread.news and unread.external_id and unread.confirmed == state:
                    ids.append(unread.external_id)
                    unread.known = RANK[state]
                    if state == "read":
                        del self._unread[id]
            if ids:
                await self._keep(self._visitor, Status(state, ids))

    # --- from the visitor to the hub --------------------------------------------------------------------------

    async def _read(self) -> None:
        async for message in self._socket:
            if message.type is WSMsgType.ERROR:
                return  # aiohttp has closed it already: 1009 for a frame that is too large
            if message.type is not WSMsgType.TEXT:
                raise Refused(1003, "text frames only")
            if not await _spend(self._frames):
                raise Refused(1008, "too many frames")
            try:
                frame = read_frame(message.data)
            except (ValueError, RecursionError):
                await self.put("error", code="bad_frame", detail="not a frame of this protocol; see the README")
            else:
                await self._take(frame)

    async def _take(self, frame: Frame) -> None:
        match frame:
            case Message():
                await self._message(frame)
            case Got():
                await self._confirm(int(frame.upto), "delivered")
            case Seen():
                await self._confirm(self._entry_id(frame.id), "read")
            case Typing():
                if await _spend(self._typing):  # a hint: what is too much is dropped
                    await self._keep(self._visitor, frame)
            case Hello():
                await self.put("error", code="bad_frame", detail="hello comes once, as the first frame")

    async def _message(self, frame: Message) -> None:
        frame.text = clean(frame.text)
        if not frame.text and frame.selection is None:
            await self._refuse(frame, "empty", "nothing to send")
        elif len(frame.text) > TEXT_LIMIT:
            await self._refuse(frame, "too_long", f"at most {TEXT_LIMIT} characters")
        elif not await _spend(self._messages):
            await self._refuse(frame, "rate_limited", "too fast: send the same frame again", after=1)
        else:
            await self._accept(frame)

    async def _accept(self, frame: Message) -> None:
        try:
            await self._keep(self._visitor, frame)
        except Exception:
            log.exception("webchat.not_kept", visitor=self._visitor.id)
            await self._refuse(frame, "unavailable", "not stored: send the same frame again", after=5)
            return
        self._awaited.add(f"{self._visitor.id}/{frame.id}")
        await self.put("ack", id=frame.id)
        self._host.publish(self._topic)  # the visitor's other tabs show it too

    async def _refuse(self, frame: Message, code: str, detail: str, **more: Any) -> None:
        await self.put("error", code=code, id=frame.id, detail=detail, **more)

    def _entry_id(self, name: str) -> int:
        if name.isdecimal() and len(name) <= 20:
            return int(name)
        return next((id for id, unread in self._unread.items() if unread.external_id == name), 0)


async def _spend(limiter: AsyncLimiter) -> bool:
    if not limiter.has_capacity():
        return False
    await limiter.acquire()  # there is room: does not wait
    return True
