"""What the workers of all channels share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal, TypeVar

from sqlalchemy import Connection

from hub.channels import Channel
from hub.clock import Clock
from hub.consent import PreferenceLinks
from hub.context import Context
from hub.contract import Outgoing
from hub.media import Links, Shelf
from hub.outbound.compose import compose
from hub.outbound.job import Job
from hub.policy.rates import Rates
from hub.store.base import Store
from hub.store.topics import Topics

T = TypeVar("T")


@dataclass(slots=True)
class Workshop:
    store: Store
    topics: Topics
    clock: Clock
    context: Callable[[], Context]
    links: Links
    preferences: PreferenceLinks
    shelf: Shelf
    public_url: str
    outbound: Literal["on", "off"]
    published: Callable[[Context], None]
    handed: Rates = field(default_factory=Rates)  # of campaigns: see ``Pace.slot``

    async def write(self, work: Callable[[Connection, Context], T], *, alone: bool = False) -> T:
        """In a transaction of its own; then everybody hears of it. ``alone`` as for ``Store.write``."""
        context = self.context()
        result = await self.store.write(lambda connection: work(connection, context), alone=alone)
        self.published(context)
        return result

    async def parts(self, job: Job, channel: Channel) -> list[Outgoing]:
        """The provider calls that it takes. Raises as ``compose``."""
        return await compose(job, channel, self.links, self.shelf, self.public_url)
