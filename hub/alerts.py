"""What an operator should know, sent to the channel that the setting ``alerts`` names."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from functools import partial
from typing import Any

import sqlalchemy as sa
import structlog
from sqlalchemy import Connection

from hub.contract import AnyAdapter, BadAddress, Outgoing, Rejected, SendError
from hub.model import Address, Purpose
from hub.store.base import Store
from hub.store.schema import alert, cursor

log = structlog.get_logger(__name__)

_CURSOR = "alerts"
_POLL = 1.0  # seconds
_REST = 30.0  # seconds after a message; what happens meanwhile is told in one
_LONGEST_REST = 600.0  # seconds between two tries
_OVERLAP = 100  # ids; a transaction that began earlier may commit later
_LINES = 20  # alerts told one by one in a message
_DETAIL = 500  # characters of one


class Alerts:
    """Tells each alert once, and again if it is not sure that the first time was heard."""

    def __init__(
        self, store: Store, adapter: AnyAdapter, address: Address, *, rest: float = _REST, poll: float = _POLL
    ) -> None:
        self._store = store
        self._adapter = adapter
        self._address = address
        self._rest = rest
        self._poll = poll

    async def run(self) -> None:
        """Own the alerts and tell them until cancelled."""
        async with self._store.own("alerts"):
            upto, told = await self._store.write(_begin)
            pause = self._rest
            while True:
                rows = [row for row in await self._store.read(partial(_after, upto - _OVERLAP)) if row.id not in told]
                if not rows:
                    await asyncio.sleep(self._poll)
                    continue
                if await self._tell(rows):
                    told |= {row.id for row in rows}
                    upto, pause = max(upto, rows[-1].id), self._rest
                    told = {each for each in told if each > upto - _OVERLAP}
                    await self._store.write(partial(_keep, upto))
                else:
                    pause = min(pause * 2, _LONGEST_REST)
                await asyncio.sleep(pause)

    async def _tell(self, rows: Sequence[sa.Row[Any]]) -> bool:
        """Whether it is done with; never raises what a channel says, since that would be an alert about alerts."""
        title = f"omnihub: {rows[0].kind}" if len(rows) == 1 else f"omnihub: {len(rows)} alerts"
        message = Outgoing(
            key=f"alert-{rows[-1].id}", to=self._address, text=text_of(rows), subject=title,
            purpose=Purpose.transactional, automatic=True,
        )
        try:
            await self._adapter.send(message)
        except (Rejected, BadAddress) as error:
            log.error("alerts were refused and are only listed", channel=self._adapter.name, kind=error.kind,
                      code=error.code, count=len(rows))
        except SendError as error:
            log.error("alerts could not be sent and are tried again", channel=self._adapter.name, kind=error.kind,
                      code=error.code, count=len(rows))
            return False
        return True


def text_of(rows: Sequence[sa.Row[Any]]) -> str:
    lines = [_line(row) for row in rows[:_LINES]]
    if len(rows) > _LINES:
        lines.append(f"… and {len(rows) - _LINES} more: GET /api/v1/alerts")
    return "\n".join(lines)


def _line(row: sa.Row[Any]) -> str:
    about = f"{row.kind}, {row.channel}" if row.channel else row.kind
    detail = " ".join(row.detail.split())
    return f"{row.at:%Y-%m-%d %H:%M} UTC, {about}: {detail[:_DETAIL]}{'…' if len(detail) > _DETAIL else ''}"


def _begin(connection: Connection) -> tuple[int, set[int]]:
    """Up to where alerts have been told. At the very first start what there is counts as known."""
    value = connection.execute(sa.select(cursor.c.value).where(cursor.c.name == _CURSOR)).scalar_one_or_none()
    if value is None:
        upto = connection.execute(sa.select(sa.func.max(alert.c.id))).scalar_one() or 0
        connection.execute(sa.insert(cursor).values(name=_CURSOR, value=str(upto)))
    else:
        upto = int(value)
    known = sa.select(alert.c.id).where(alert.c.id <= upto, alert.c.id > upto - _OVERLAP)
    return upto, set(connection.execute(known).scalars())


def _after(position: int, connection: Connection) -> list[sa.Row[Any]]:
    return list(connection.execute(sa.select(alert).where(alert.c.id > position).order_by(alert.c.id)))


def _keep(upto: int, connection: Connection) -> None:
    connection.execute(sa.update(cursor).where(cursor.c.name == _CURSOR).values(value=str(upto)))
