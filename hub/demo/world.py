"""Everything the demo consists of, started in order: simulators, the hub with its settings, the customer."""

from __future__ import annotations

import importlib
import socket
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from hub import customers, registry, timeline
from hub.app import CannotStart, Hub, running
from hub.contract import AnyAdapter
from hub.customers import CustomerDraft, IdentityDraft
from hub.settings import Settings
from hub.testing.device import Desk, Device, Person, Simulated
from hub.timeline import ConversationView, MessageDetail, MessageView

_LONG = 500  # messages of a demo's timeline
_RATE = 200.0  # parts per second of each channel: people who watch do not want to wait


@dataclass
class World:
    """A running hub, a customer with their devices by channel, and the agents' desk."""

    hub: Hub
    person: Person
    customer: int
    devices: dict[str, Device]
    desk: Desk

    async def messages(self) -> list[MessageView]:
        """The customer's one timeline, oldest first."""
        link, who = self.hub.links.make, self.customer
        rows = await self.hub.store.read(lambda connection: timeline.timeline(connection, link, who, limit=_LONG))
        return [view for _, view in reversed(rows)]

    async def explain(self, message: int) -> MessageDetail | None:
        return await self.hub.store.read(partial(timeline.explain, link=self.hub.links.make, message_id=message))

    async def conversations(self) -> list[ConversationView]:
        return [view for _, view in await self.hub.store.read(timeline.conversations)]


@asynccontextmanager
async def world(
    data: Path, *, port: int = 0, person: Person | None = None, installed: registry.Adapters | None = None
) -> AsyncIterator[World]:
    """``data``: the hub's directory; ``port``: the hub's, 0 for any free one. Leaving stops everything."""
    person = person or Person()
    installed = installed or registry.adapters()
    cast = list(_cast(installed, person))
    port = port or _free_port()
    async with AsyncExitStack() as stack:
        for each in cast:
            await each.simulator.start()
            stack.push_async_callback(each.simulator.stop)
            each.simulator.webhook_url = f"http://127.0.0.1:{port}/hooks/{each.channel}"
        hub = await stack.enter_async_context(running(settings(data, port, cast), adapters=installed))
        for each in cast:
            stack.push_async_callback(each.close)
        devices = sorted((each for each in cast if isinstance(each, Device)), key=lambda device: device.place)
        record = known(person, devices)
        customer, *_ = await hub.write(lambda connection, context: customers.upsert(connection, context, record))
        desk = next(each for each in cast if isinstance(each, Desk))
        yield World(hub, person, customer, {device.channel: device for device in devices}, desk)


def settings(data: Path, port: int, cast: list[Simulated]) -> Settings:
    """A hub whose channels talk to simulators only."""
    return Settings.model_validate(
        {
            "business": "The demo",
            "data": data,
            "postal_address": "Fielding Kettles, 12 Mill Lane, Leeds LS1 4AB, United Kingdom",
            "public_url": f"http://127.0.0.1:{port}",
            "listen": {"port": port},
            "egress": {"allow": ["127.0.0.1"]},
            "log_level": "warning",
            "channels": {
                each.channel: {"adapter": each.adapter, "rate": _RATE, **each.simulator.config()} for each in cast
            },
        }
    )


def known(person: Person, devices: Sequence[Device]) -> CustomerDraft:
    """The customer as the business's own records have them: their addresses are verified there."""
    found = [*person.addresses, *(each.known_as for each in devices if each.known_as)]
    addresses = [IdentityDraft(address=each, proof="verified", name=person.name) for each in found]
    return CustomerDraft(
        external_id="1042", name=person.name, locale="en-GB", time_zone="Europe/London", country="GB",
        identities=addresses,
    )


def _cast(installed: registry.Adapters, person: Person) -> Iterator[Simulated]:
    """A device of each adapter that brings one."""
    for name in installed:
        made = _device(installed.named(name), person)
        if made is not None:
            made.adapter = name
            yield made


def _device(kind: type[AnyAdapter], person: Person) -> Simulated | None:
    name = f"{kind.__module__.rpartition('.')[0]}.device"
    try:
        module = importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name == name:
            return None
        raise CannotStart(f"{name} needs {error.name}: install omnihub[demo]") from error
    made: Simulated = module.Device() if kind.role == "desk" else module.Device(person)
    return made


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        number: int = probe.getsockname()[1]
        return number
