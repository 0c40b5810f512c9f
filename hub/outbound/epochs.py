"""Whether consent has changed since a claim: asked right before each hand-off, for all that ask at once in one read."""

from __future__ import annotations

import asyncio

import sqlalchemy as sa
from sqlalchemy import Connection

from hub.store.base import Store
from hub.store.bulk import SOME, among
from hub.store.schema import identity

_EPOCHS = sa.select(identity.c.id, identity.c.consent_epoch).where(identity.c.id.in_(SOME))


class Epochs:
    """A question is answered by a read that began after it was asked."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._asked: dict[int, asyncio.Future[int | None]] = {}
        self._reading: asyncio.Task[None] | None = None

    async def of(self, identity_id: int) -> int | None:
        """``identity.consent_epoch``; None if there is no such identity."""
        answer = self._asked.get(identity_id)
        if answer is None:
            answer = self._asked[identity_id] = asyncio.get_running_loop().create_future()
        if self._reading is None:
            self._reading = asyncio.create_task(self._read())
        return await asyncio.shield(answer)  # others may wait for it too

    async def _read(self) -> None:
        try:
            while self._asked:
                asked, self._asked = self._asked, {}
                await self._answer(asked)
        finally:
            self._reading = None

    async def _answer(self, asked: dict[int, asyncio.Future[int | None]]) -> None:
        try:
            found = await self._store.read(lambda connection: _found(connection, list(asked)))
        except Exception as error:
            for answer in asked.values():
                answer.set_exception(error)
            return
        for identity_id, answer in asked.items():
            answer.set_result(found.get(identity_id))


def _found(connection: Connection, ids: list[int]) -> dict[int, int]:
    return {row[0]: row[1] for row in among(connection, _EPOCHS, ids)}
