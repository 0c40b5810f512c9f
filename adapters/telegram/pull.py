"""Long polling: updates into the inbox, and only then does Telegram hear that they may be forgotten."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, TypeVar

import structlog

from adapters.telegram.api import Api
from adapters.telegram.events import UPDATES, pressed
from hub.contract import Emit, Host, RateLimited, Request, SendError, Transient
from hub.shape import integer

T = TypeVar("T")
log = structlog.get_logger(__name__)

TOGETHER = 100  # updates in one answer, as many as Telegram gives
_PAUSE = (1.0, 60.0)  # seconds before asking again after a failure: first and longest


class Poller:
    """``wait``: seconds that Telegram keeps a question open until there is news."""

    def __init__(self, api: Api, host: Host, bot: str, wait: int) -> None:
        self._api = api
        self._host = host
        self._bot = bot
        self._wait = wait

    async def run(self, emit: Emit) -> None:
        """Until cancelled; failures are told, and tried again with growing pauses."""
        await persist(self._host, "deleteWebhook", self._delete_webhook)
        offset: int | None = None
        while True:
            updates = await persist(self._host, "getUpdates", partial(self._ask, offset))
            await asyncio.gather(*(emit(self._request(update)) for update in updates))
            for update in updates:
                await self._answer(update)
            # Telegram forgets what is below the offset. After a quiet week numbers may start anew, so it is named once:
            # until then all that is below it has been forgotten.
            offset = max((_number(update) for update in updates), default=-1) + 1 or None

    async def _delete_webhook(self) -> None:
        await self._api.ask("deleteWebhook", {"drop_pending_updates": False})

    async def _ask(self, offset: int | None) -> list[dict[str, Any]]:
        known = {} if offset is None else {"offset": offset}
        fields = {**known, "limit": TOGETHER, "timeout": self._wait, "allowed_updates": UPDATES}
        try:
            found = await self._api.ask("getUpdates", fields, timeout=self._wait + 10.0)
        except Transient as error:
            if error.code == "409":  # somebody has set a webhook; or another program asks, which this leaves alone
                await self._delete_webhook()
            raise
        return [each for each in found if isinstance(each, dict)] if isinstance(found, list) else []

    async def _answer(self, update: dict[str, Any]) -> None:
        """A pressed button shows a wheel until it is answered; that it does so a little longer does no harm."""
        if (query := pressed(update)) is None:
            return
        try:
            await self._api.ask("answerCallbackQuery", {"callback_query_id": query})
        except SendError as error:
            log.info("a pressed button was not answered", bot=self._bot, code=error.code)

    def _request(self, update: dict[str, Any]) -> Request:
        body = json.dumps(update, separators=(",", ":")).encode()
        url = f"telegram://{self._bot}/getUpdates"
        return Request("POLL", url, {"content-type": "application/json"}, body, self._host.now())


def _number(update: dict[str, Any]) -> int:
    number = integer(update, "update_id")
    return -1 if number is None else number


async def persist(host: Host, what: str, ask: Callable[[], Awaitable[T]]) -> T:
    """What it gives, once it does: failures are told, and it is asked again with growing pauses."""
    pause, longest = _PAUSE
    while True:
        try:
            found = await ask()
            host.pulled()
            return found
        except RateLimited as error:
            host.pulled(error)
            asked = error.after
            log.warning("telegram asks to slow down", what=what, seconds=asked)
        except SendError as error:
            host.pulled(error)
            asked = None
            say = log.warning if isinstance(error, Transient) else log.error
            say("telegram refused", what=what, code=error.code, detail=error.detail)
        wait = pause if asked is None else asked
        await asyncio.sleep(random.uniform(wait / 2, wait) if asked is None else wait)  # noqa: S311 - spreads load
        pause = min(pause * 2, longest)
