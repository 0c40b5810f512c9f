"""Reply tokens: an answer with one costs nothing of the month's messages, within a minute and once.

LINE knows no retry key for these, so whether a lost answer arrived can only be learnt from the token itself: it works
once. Which token a part was tried with is therefore durable before the call, and a part is never pushed after that
unless LINE refused the token the first time.
"""

from __future__ import annotations

import asyncio
import json
import threading
from collections import OrderedDict
from datetime import datetime, timedelta

from hub.contract import Host

FRESH = timedelta(seconds=45)  # a token lives for about a minute (from memory)
_CURSOR = "replies"
_PEOPLE, _TRIED = 10_000, 64  # tokens that wait; tries that are remembered, more than can be in flight


class Replies:
    def __init__(self, host: Host) -> None:
        self._host = host
        self._fresh: OrderedDict[str, tuple[str, datetime]] = OrderedDict()  # by person: the last token
        self._noting = threading.Lock()  # webhooks are read in a thread of their own
        self._saving = asyncio.Lock()

    def note(self, person: str, token: str, at: datetime) -> None:
        """A token came in. Only in memory: it would hardly outlive a restart."""
        with self._noting:
            self._fresh[person] = (token, at)
            self._fresh.move_to_end(person)
            while len(self._fresh) > _PEOPLE:
                self._fresh.popitem(last=False)

    async def tried(self, key: str) -> str | None:
        """The token that this part was tried with before."""
        return (await self._load()).get(key)

    async def take(self, key: str, person: str) -> str | None:
        """A token that still works, if there is one; it is durable that this part goes with it."""
        with self._noting:
            token, at = self._fresh.pop(person, ("", self._host.now() - 2 * FRESH))
        if at + FRESH < self._host.now():
            return None
        async with self._saving:
            await self._save({**await self._load(), key: token})
        return token

    async def forget(self, key: str) -> None:
        """This part was certainly not taken, and may be pushed."""
        async with self._saving:
            await self._save({other: token for other, token in (await self._load()).items() if other != key})

    async def _load(self) -> dict[str, str]:
        saved = await self._host.cursor(_CURSOR)
        found: dict[str, str] = json.loads(saved) if saved else {}
        return found

    async def _save(self, tried: dict[str, str]) -> None:
        await self._host.save_cursor(_CURSOR, json.dumps(dict(list(tried.items())[-_TRIED:])))
