"""What waits to be added to the inbox, in its order. Providers wait for it, and none of them for long."""

from __future__ import annotations

import asyncio
import sys
import threading
from collections import deque
from collections.abc import Callable
from typing import NamedTuple

from hub.store.base import InboxRow

_LOOK = 0.5  # seconds
_LOOKS = 5  # as many later it is given up: after two seconds and less than half a second more


class Append(NamedTuple):
    row: InboxRow | None  # None: nothing is to be added, somebody asks whether it could be
    future: asyncio.Future[None]
    look: int  # the last one before it came


class Appends:
    """A queue of the loop's, emptied by one writer, which may be another thread.

    What is not added in time fails with TimeoutError; the writer may still add it if he has taken it. ``stuck`` is
    called where he works that long on what he has taken.
    """

    def __init__(self, stuck: Callable[[], None] = lambda: None) -> None:
        self._stuck = stuck
        self._waiting: deque[Append] = deque()
        self._taken: list[Append] = []
        self._taken_at = 0  # the last look before that
        self._lock = threading.Lock()  # between the writer and the looks
        self._looks = 0
        self._next: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        """How many the writer has not taken yet."""
        return len(self._waiting)

    def add(self, row: InboxRow | None) -> asyncio.Future[None]:
        loop = asyncio.get_running_loop()
        future: asyncio.Future[None] = loop.create_future()
        self._waiting.append(Append(row, future, self._looks))
        if self._next is None:
            self._next = loop.call_later(_LOOK, self._look)
        return future

    def take(self, most: int = sys.maxsize) -> list[Append]:
        """The oldest for which somebody still waits. The writer has done with those that he took before."""
        with self._lock:
            self._taken, self._taken_at = [], self._looks
            while self._waiting and len(self._taken) < most:
                append = self._waiting.popleft()
                if not append.future.done():
                    self._taken.append(append)
            return self._taken

    def _look(self) -> None:
        """Now and then, so that no webhook needs a timer of its own."""
        self._looks += 1
        with self._lock:
            late = [each for each in self._taken if self._is_late(each.look)]
            while self._waiting and self._is_late(self._waiting[0].look):
                late.append(self._waiting.popleft())
            stuck = bool(self._taken) and self._is_late(self._taken_at)
            busy = bool(self._waiting or self._taken)
        for each in late:
            if not each.future.done():
                each.future.set_exception(TimeoutError("the database takes too long"))
        if stuck:
            self._stuck()
        self._next = asyncio.get_running_loop().call_later(_LOOK, self._look) if busy else None

    def _is_late(self, look: int) -> bool:
        return self._looks - look >= _LOOKS
