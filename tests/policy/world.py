"""Two people with three addresses between them in a database of the real schema, without a hub around it."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from types import SimpleNamespace
from typing import Any

import sqlalchemy as sa
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import RuleBasedStateMachine
from sqlalchemy import Connection
from sqlalchemy.ext.asyncio import create_async_engine

from hub import consent, identity
from hub.channels import Channel
from hub.clock import Ids
from hub.context import Context
from hub.contract import Capabilities
from hub.model import Party
from hub.outbound import epochs, judge
from hub.policy import ledger, pack
from hub.policy.decide import Decision
from hub.policy.ledger import Event, Target
from hub.policy.verdict import Verdict
from hub.prices import Prices
from hub.store.schema import customer, metadata
from hub.store.schema import identity as identity_table

Targets = dict[tuple[str, str], Target]  # by address and purpose
Write = Callable[[Callable[[Connection], Any]], Any]  # runs something in a transaction
START = datetime(2026, 6, 10, 10, tzinfo=UTC)  # nobody sleeps in Britain, nor will for some hours
ANN, BOB = "ann", "bob"
ADDRESSES = {  # value by address: whose it is at first
    "tel:+447700900123": ANN,
    "mailto:ann-of-elm-street@example.com": ANN,
    "tel:+447700900456": BOB,
}
PURPOSES = ("reply", "transactional", "marketing")
BUSINESS: dict[str, Any] = {"public_url": "https://hub.example.com", "postal_address": "12 Mill Lane, Leeds LS1 4AB"}
MEDIUM = {"tel": "sms", "mailto": "email"}
CHANNELS = {
    medium: Channel(medium, medium, medium, scheme, "contact", Capabilities(text_limit=1600, idempotency="none"))  # type: ignore[arg-type]  # no adapter
    for scheme, medium in MEDIUM.items()
}


@dataclass
class World:
    """``now`` moves only when told to."""

    write: Write
    now: datetime = START
    ids: Ids = field(init=False)
    people: dict[str, int] = field(default_factory=dict)
    identities: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.ids = Ids(lambda: self.now)
        for name in (ANN, BOB):
            self.people[name] = self.ids()
        for address in ADDRESSES:
            self.identities[address] = self.ids()
        for name in self.people:
            self.write(partial(self.settle, name=name))

    def settle(self, connection: Connection, name: str) -> None:
        """The person and their addresses, as they come up first."""
        row = {"id": self.people[name], "name": name, "created_at": self.now, "attributes": "{}", "country": "GB"}
        connection.execute(sa.insert(customer).values(row))
        for address, owner in ADDRESSES.items():
            if owner == name:
                scheme, _, value = address.partition(":")
                found = identity.new_identity(self.context, self.people[name], Party(scheme, value))
                connection.execute(sa.insert(identity_table).values(found | {"id": self.identities[address]}))

    @property
    def context(self) -> Context:
        return Context(self.now, self.ids, {}, None, timedelta(days=3), b"secret of a test", Prices(), str, **BUSINESS)

    def verdicts(self) -> dict[tuple[str, str], Verdict]:
        """What the ledger says to a message of each purpose to each address now, by address and purpose."""
        return dict(self.write(self._verdicts))

    def _verdicts(self, connection: Connection) -> dict[tuple[str, str], Verdict]:
        return self.verdicts_of(connection, self.targets(connection), self.now)

    def verdicts_of(self, connection: Connection, targets: Targets, at: datetime) -> dict[tuple[str, str], Verdict]:
        known = self.entries(connection, targets)
        return {key: ledger.resolve(known, target, at, pack.default()) for key, target in targets.items()}

    def entries(self, connection: Connection, targets: Targets) -> list[Event]:
        """All that concerns them."""
        subjects = {each for target in targets.values() for each in (target.address, *target.persons)}
        return [each for some in consent.events(connection, subjects).values() for each in some]

    def targets(self, connection: Connection) -> Targets:
        """A message of each purpose to each address, with all that its owner is or was taken for."""
        found, persons = {}, self.persons(connection)
        for address in ADDRESSES:
            medium = MEDIUM[address.partition(":")[0]]
            for purpose in PURPOSES:
                found[address, purpose] = Target(address, medium, purpose, None, medium, "GB", persons.get(address, ()))
        return found

    def decide(self, connection: Connection, address: str, purpose: str) -> Decision:
        """As it is decided about a message that is claimed."""
        row = SimpleNamespace(
            id=1, identity_id=self.identities[address], message_id=None, purpose=purpose, channel="none",
            expires_at=START + timedelta(days=90), topic=None,
        )  # fmt: skip
        channel = CHANNELS[MEDIUM[address.partition(":")[0]]]
        return judge.judge(connection, self.context, channel, [row], "on")[1]

    def epoch(self, connection: Connection, address: str) -> int | None:
        """As a message looks at it right before it is handed off."""
        number = self.identities[address]
        return epochs._found(connection, [number]).get(number)

    def persons(self, connection: Connection) -> dict[str, tuple[str, ...]]:
        """By address: whose it is, and who was found to be the same person."""
        rows = judge._recipients(connection, self.identities.values())
        families = judge._families(connection, {row.customer_id for row in rows.values()})
        return {row.address: tuple(map(consent.person, families[row.customer_id])) for row in rows.values()}


# --- databases ---


@contextmanager
def in_memory() -> Iterator[Callable[[], Write]]:
    """Each call empties the database."""
    empty, used = (sqlite3.connect(":memory:", check_same_thread=False) for _ in range(2))
    engine = sa.create_engine("sqlite://", creator=lambda: used, poolclass=sa.pool.StaticPool)
    metadata.create_all(engine)
    used.backup(empty)

    def write(work: Callable[[Connection], Any]) -> Any:
        with engine.begin() as connection:
            return work(connection)

    def anew() -> Write:
        empty.backup(used)
        return write

    try:
        yield anew
    finally:
        engine.dispose()
        empty.close()


@contextmanager
def on_postgres(url: str) -> Iterator[Callable[[], Write]]:
    """The same with a migrated database."""
    loop = asyncio.new_event_loop()
    engine = create_async_engine(sa.make_url(url).set(drivername="postgresql+asyncpg"))

    async def run(work: Callable[[Connection], Any]) -> Any:
        async with engine.begin() as connection:
            return await connection.run_sync(work)

    def write(work: Callable[[Connection], Any]) -> Any:
        return loop.run_until_complete(run(work))

    def anew() -> Write:
        names = ", ".join(f'"{table.name}"' for table in metadata.sorted_tables)
        write(lambda connection: connection.exec_driver_sql(f"TRUNCATE {names} RESTART IDENTITY"))
        return write

    try:
        yield anew
    finally:
        loop.run_until_complete(engine.dispose())
        loop.close()


def quick(examples: int, steps: int) -> settings:
    """Of a machine: so many runs of so many steps, the same each time."""
    return settings(
        max_examples=examples,
        stateful_step_count=steps,
        phases=[Phase.generate],  # shrinking takes longer than the rest together
        report_multiple_bugs=False,
        print_blob=False,
        deadline=None,
        database=None,
        derandomize=True,
        suppress_health_check=list(HealthCheck),
    )


def only(machine: type[RuleBasedStateMachine], *rules: str) -> type[RuleBasedStateMachine]:
    """The same with these rules alone; none: with all of them."""
    marks = ("hypothesis_stateful_rule", "hypothesis_stateful_initialize_rule")
    known = [name for name in dir(machine) if any(hasattr(getattr(machine, name), mark) for mark in marks)]
    return type(machine.__name__, (machine,), {name: None for name in known if rules and name not in rules})
