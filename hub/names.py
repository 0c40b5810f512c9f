"""The worker that asks providers what people are called, where what they send does not say so."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any, Protocol, TypeVar

import sqlalchemy as sa
import structlog
from sqlalchemy import Connection

from hub.context import Context
from hub.contract import Adapter, Ambiguous, AnyAdapter, ChannelDown, RateLimited, SendError, Transient
from hub.deliveries import refresh_card
from hub.identity import family
from hub.model import Address
from hub.store.base import Store
from hub.store.schema import conversation, customer, identity

log = structlog.get_logger(__name__)

_CURSOR = "names"  # the last identity that has been asked about
_POLL = 1.0
_AT_ONCE = 100
_PATIENCE = 30.0  # seconds until a provider that cannot answer is asked again
_TRIES = 10  # of one address
_LONGEST = 120  # characters

T = TypeVar("T")


class Write(Protocol):
    def __call__(self, work: Callable[[Connection, Context], T]) -> Awaitable[T]: ...


def knows_names(adapter: AnyAdapter) -> bool:
    return type(adapter).name_of is not Adapter.name_of


class Names:
    """Of one channel. Each address is asked about once, in the order in which they became known."""

    def __init__(self, store: Store, adapter: AnyAdapter, write: Write) -> None:
        self._store = store
        self._adapter = adapter
        self._write = write
        self._tries = 0

    async def run(self) -> None:
        async with self._store.own(f"names:{self._adapter.name}"):
            last = int(await self._adapter.host.cursor(_CURSOR) or 0)
            while True:
                rows = await self._store.read(partial(_after, last=last))
                reached, pause = await self._ask(rows, last)
                if reached != last:
                    last = reached
                    await self._adapter.host.save_cursor(_CURSOR, str(last))
                await asyncio.sleep(pause)

    async def _ask(self, rows: Sequence[Any], last: int) -> tuple[int, float]:
        """The last identity that is done with, and seconds until it goes on."""
        for row in rows:
            address = Address.parse(row.address)
            if row.name is None and address.scheme == self._adapter.scheme:
                try:
                    await self._learn(row.id, address)
                except (RateLimited, ChannelDown) as error:
                    return last, getattr(error, "after", None) or _PATIENCE
                except (Transient, Ambiguous) as error:
                    self._tries += 1
                    if self._tries < _TRIES:  # else it is this one alone, and the others have waited long enough
                        return last, getattr(error, "after", None) or _PATIENCE
                self._tries = 0
            last = row.id
        return last, 0.0 if len(rows) == _AT_ONCE else _POLL

    async def _learn(self, identity_id: int, address: Address) -> None:
        """Raises: Transient, RateLimited, Ambiguous, ChannelDown; what else keeps a name from us is no news."""
        try:
            found = await self._adapter.name_of(address)
        except (Transient, RateLimited, Ambiguous, ChannelDown):
            raise
        except SendError as error:
            log.info("no name", channel=self._adapter.name, code=error.code)
            return
        if name := " ".join((found or "").split())[:_LONGEST]:
            await self._write(lambda connection, context: _keep(connection, context, identity_id, name))


def _after(connection: Connection, last: int) -> Sequence[Any]:
    columns = (identity.c.id, identity.c.address, identity.c.name)
    query = sa.select(*columns).where(identity.c.id > last).order_by(identity.c.id).limit(_AT_ONCE)
    return connection.execute(query).all()


def _keep(connection: Connection, context: Context, identity_id: int, name: str) -> None:
    """A name that is known already, from elsewhere, stays."""
    named = sa.update(identity).where(identity.c.id == identity_id, identity.c.name.is_(None))
    connection.execute(named.values(name=name))
    owned = sa.select(identity.c.customer_id).where(identity.c.id == identity_id)
    owner = connection.execute(owned).scalar_one_or_none()
    if owner is None:  # erased meanwhile
        return
    nameless = sa.update(customer).where(customer.c.id == owner, customer.c.name.is_(None))
    connection.execute(nameless.values(name=name))
    going_on = sa.select(conversation.c.id).where(
        conversation.c.customer_id.in_(family(connection, owner)), conversation.c.state != "resolved"
    )
    for conversation_id in connection.execute(going_on).scalars().all():
        refresh_card(connection, context, conversation_id)
