"""Mail from the mailbox into the inbox: everything new, in order, marked only once it is kept."""

from __future__ import annotations

import asyncio
import json
import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime, timedelta
from typing import Literal
from urllib.parse import quote

import structlog

from adapters.email.imap import ERRORS, Fetched, Line, LoginRefused, Opened, Server
from hub.contract import ChannelDown, Emit, Host, Request, Transient

log = structlog.get_logger(__name__)

Backlog = Literal["unseen", "none", "all"]

_CURSOR = "imap"
_TOGETHER = 20  # mails in one step
_BYTES = 8_000_000  # of mails in one step
_STRIKES = 3  # times the connection may break at one mail before the others are read
_TELLS = 6  # the same, before somebody is told
_AGAIN = (timedelta(minutes=1), timedelta(hours=1))  # before such a mail is tried again: first and longest
_ASIDE = 1000  # mails left for later; beyond that the next one is waited for
MISSED = "MISSED"  # method of a request that stands for a mail which cannot be fetched
_PAUSE = (1.0, 300.0)  # seconds before connecting again: first and longest
_REFUSED = 300.0  # seconds after a login was refused: many tries lock an account
_OVERLAP = timedelta(days=2)  # of what is read again where the server has numbered the mails anew


@dataclass(frozen=True, slots=True)
class Habits:
    """``idle``, ``poll``: seconds; ``limit``: bytes of a mail that are read."""

    backlog: Backlog
    mark_seen: bool
    move_to: str | None
    idle: float
    poll: float
    limit: int


@dataclass(frozen=True, slots=True)
class Cursor:
    """``uid``: the last mail that is kept; ``day``: when it was read, as IMAP writes days. ``aside``: mails before it
    at which the connection broke, and how often. ``backlog``: a search; of the mails up to ``end`` only those that it
    finds are wanted."""

    validity: int
    uid: int
    day: str
    aside: dict[int, int] = field(default_factory=dict)
    backlog: str = ""
    end: int = 0


class Puller:
    def __init__(self, server: Server, habits: Habits, host: Host) -> None:
        self._server = server
        self._habits = habits
        self._host = host
        self._strikes: Counter[tuple[int, int]] = Counter()
        self._again: dict[int, datetime] = {}  # when what is aside is tried again

    async def run(self, emit: Emit) -> None:
        """Until cancelled; a lost connection is made again, with growing pauses."""
        pause = _PAUSE[0]
        while True:
            try:
                async with Line(self._server) as line:
                    opened = await line.open()
                    pause = _PAUSE[0]
                    await self._watch(line, opened, emit)
            except LoginRefused as error:
                log.error("the mailbox cannot be logged in to", host=self._server.host, error=str(error))
                self._host.pulled(ChannelDown(f"the mailbox cannot be logged in to: {error}"))
                pause = _REFUSED
            except ERRORS as error:
                log.warning("mailbox lost, connecting again", host=self._server.host, error=type(error).__name__)
                self._host.pulled(Transient(f"the mailbox cannot be read: {type(error).__name__}"))
            await asyncio.sleep(random.uniform(pause / 2, pause))  # noqa: S311 - spreads load, guards nothing
            pause = min(pause * 2, _PAUSE[1])

    async def _watch(self, line: Line, opened: Opened, emit: Emit) -> None:
        cursor = await self._start(line, opened, emit)
        while True:
            found = await line.search("UID", f"{cursor.uid + 1}:*")
            # "*" is the last mail, even if its number is lower.
            fresh = [uid for uid in found if uid > cursor.uid]
            cursor = await self._take(line, cursor, fresh, emit)
            cursor = await self._try_again(line, cursor, emit)
            self._host.pulled()
            if opened.idles:
                await line.news(self._rest(cursor, self._habits.idle))
            else:
                await asyncio.sleep(self._rest(cursor, self._habits.poll))

    async def _start(self, line: Line, opened: Opened, emit: Emit) -> Cursor:
        """Where to go on. Mails from before the first start are read as ``backlog`` says."""
        saved = await self._host.cursor(_CURSOR)
        cursor = _cursor(saved) if saved else None
        if cursor is None or cursor.validity != opened.validity:
            cursor = await self._save(await self._begin(line, opened, cursor))
        if not cursor.backlog:
            return cursor
        found = await line.search(*cursor.backlog.split())
        cursor = await self._take(line, cursor, [uid for uid in found if cursor.uid < uid <= cursor.end], emit)
        return await self._save(replace(cursor, uid=cursor.end, backlog="", end=0))

    async def _begin(self, line: Line, opened: Opened, known: Cursor | None) -> Cursor:
        """What is to be read of a mailbox that was never read, or that the server has numbered anew."""
        last = opened.next_uid - 1 if opened.next_uid else max(await line.search("ALL"), default=0)
        day = known.day if known else _day(self._host.now())
        if known is not None:
            # What is read twice has the same Message-ID, and counts once.
            log.warning("the mailbox was numbered anew, reading its last days again", host=self._server.host)
            return Cursor(opened.validity, 0, day, backlog=known.backlog or f"SINCE {day}", end=last)
        if self._habits.backlog == "none":
            return Cursor(opened.validity, last, day)
        return Cursor(opened.validity, 0, day, backlog=self._habits.backlog.upper(), end=last)

    async def _take(self, line: Line, cursor: Cursor, uids: Sequence[int], emit: Emit) -> Cursor:
        """Keep mails, then move on and mark them."""
        waiting = list(uids)
        while waiting:
            kept, requests = await self._fetch(line, cursor, waiting)
            await asyncio.gather(*(emit(request) for request in requests.values()))
            waiting = waiting[len(kept) :]
            aside = {uid: _STRIKES for uid in kept if self._strikes.pop((cursor.validity, uid), 0)}
            # What is aside, or of a backlog, may have to be found again by its day.
            day = cursor.day if cursor.aside or cursor.backlog else _day(self._host.now())
            cursor = await self._save(replace(cursor, uid=kept[-1], day=day, aside=cursor.aside | aside))
            await self._mark(line, list(requests))
        return cursor

    async def _fetch(self, line: Line, cursor: Cursor, uids: Sequence[int]) -> tuple[list[int], dict[int, Request]]:
        """The next few mails: numbers that are done with, and what was read (not what is gone, or left for later)."""
        done: list[int] = []
        requests: dict[int, Request] = {}
        size = 0
        for uid in uids[:_TOGETHER]:
            if size > _BYTES:
                break
            place = cursor.validity, uid
            if self._strikes[place] < _STRIKES or len(cursor.aside) >= _ASIDE:
                self._strikes[place] += 1
                mail = await line.fetch(uid, self._habits.limit)
                del self._strikes[place]
                if mail is not None:
                    size += len(mail.raw)
                    requests[uid] = self._request(cursor.validity, uid, mail)
            else:
                log.error("the connection breaks at a mail, which is left for later", uid=uid, uidvalidity=place[0])
            done.append(uid)
        return done, requests

    async def _try_again(self, line: Line, cursor: Cursor, emit: Emit) -> Cursor:
        """Fetch what is aside and due. What was tried is known before it is: the connection may break again."""
        for uid, tries in sorted(cursor.aside.items()):
            now = self._host.now()
            if self._again.get(uid, now) > now:
                continue
            self._again[uid] = now + min(_AGAIN[0] * 2 ** min(tries - _STRIKES, 20), _AGAIN[1])
            if tries == _TELLS:
                await emit(Request(MISSED, self._url(cursor.validity, uid), {}, b"", now))
            cursor = await self._save(replace(cursor, aside=cursor.aside | {uid: tries + 1}))
            mail = await line.fetch(uid, self._habits.limit)
            if mail is not None:
                await emit(self._request(cursor.validity, uid, mail))
            left = {other: count for other, count in cursor.aside.items() if other != uid}
            cursor = await self._save(replace(cursor, aside=left))
            await self._mark(line, [uid] if mail is not None else [])
        return cursor

    def _rest(self, cursor: Cursor, longest: float) -> float:
        """Seconds until the mailbox is looked at again."""
        now = self._host.now()
        return min([longest, *(max(0.0, (self._again[uid] - now).total_seconds()) for uid in cursor.aside)])

    def _request(self, validity: int, uid: int, mail: Fetched) -> Request:
        """The mail as it is; content-length tells if it was cut."""
        headers = {"content-type": "message/rfc822", "content-length": str(mail.size)}
        return Request("FETCH", self._url(validity, uid), headers, mail.raw, self._host.now())

    def _url(self, validity: int, uid: int) -> str:
        """The mail's place, as RFC 5092 writes it."""
        folder = quote(self._server.folder, safe="")
        return f"imap://{self._server.host}/{folder};UIDVALIDITY={validity}/;UID={uid}"

    async def _mark(self, line: Line, uids: Sequence[int]) -> None:
        if not uids:
            return
        if self._habits.mark_seen:
            await line.mark_seen(uids)
        if self._habits.move_to:
            await line.move(uids, self._habits.move_to)

    async def _save(self, cursor: Cursor) -> Cursor:
        await self._host.save_cursor(_CURSOR, json.dumps(asdict(cursor)))
        return cursor


def _cursor(saved: str) -> Cursor:
    known = Cursor(**json.loads(saved))
    return replace(known, aside={int(uid): tries for uid, tries in known.aside.items()})


_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


def _day(now: datetime) -> str:
    then = now - _OVERLAP
    return f"{then.day}-{_MONTHS[then.month - 1]}-{then.year}"
