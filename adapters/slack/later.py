"""What follows from an event but needs a call: names of people, and a word to those who may not answer."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import structlog

from adapters.slack.calls import Api
from adapters.slack.events import Found, Refused, name_of
from hub.contract import SendError

log = structlog.get_logger(__name__)

_PAGES = 15  # of 1000 people; Slack allows about 20 such calls a minute
_WAITING = 200  # notes kept; more are dropped, since a repeated event brings them back


class Later:
    """Done beside the events, in the process that runs the channel; nothing depends on it.

    ``names``: people by user id, filled in as they become known. Those that are there already stay.
    """

    def __init__(self, api: Api, names: dict[str, str]) -> None:
        self._api = api
        self._names = names
        self._asked: set[str] = set()
        self._notes: asyncio.Queue[Refused | str] = asyncio.Queue(_WAITING)
        self._loop = asyncio.get_running_loop()

    def note(self, found: Found) -> None:
        """From any thread, without waiting."""
        people = {event.sender.value for event in found.events if hasattr(event, "sender")} - self._names.keys()
        notes: list[Refused | str] = [found.refused] if found.refused else []
        for note in [*notes, *people]:
            self._loop.call_soon_threadsafe(self._put, note)

    def _put(self, note: Refused | str) -> None:
        if not self._notes.full():
            self._notes.put_nowait(note)

    async def work(self) -> None:
        """Until cancelled."""
        await self._learn_all()
        while True:
            note = await self._notes.get()
            try:
                if isinstance(note, Refused):
                    await self._hint(note)
                elif note not in self._names and note not in self._asked:
                    self._asked.add(note)
                    self._learn((await self._api.read("users.info", user=note))["user"])
            except SendError as error:
                log.warning("slack: not done", error=error.detail)

    async def _learn_all(self) -> None:
        """Everybody there is, so that nobody's first message comes from a stranger. Who is missed is asked for
        when they write."""
        cursor = ""
        try:
            for _ in range(_PAGES):
                page = await self._api.read("users.list", limit=1000, **({"cursor": cursor} if cursor else {}))
                for user in page.get("members") or []:
                    self._learn(user)
                cursor = (page.get("response_metadata") or {}).get("next_cursor") or ""
                if not cursor:
                    return
        except SendError as error:
            log.warning("slack: names of people unknown", error=error.detail)

    def _learn(self, user: Mapping[str, Any]) -> None:
        if name := name_of(user):
            self._names.setdefault(str(user["id"]), name)

    async def _hint(self, refused: Refused) -> None:
        await self._api.write(
            "chat.postEphemeral",
            channel=refused.channel,
            user=refused.user,
            thread_ts=refused.thread_ts,
            text=f"Not sent to the customer: {refused.reason}.",
        )
