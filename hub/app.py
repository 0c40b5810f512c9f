"""The running hub: everything wired together, started and stopped in order."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import itertools
import os
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import asyncpg
import sqlalchemy as sa
import structlog
from aiohttp import web
from sqlalchemy import Connection

from hub import amendments, deliveries, desk, echoes, feedback, instance, registry, statuses
from hub.alerts import Alerts
from hub.campaigns import engine
from hub.campaigns.worker import Worker
from hub.channels import Channel
from hub.clock import Clock, Ids, system_clock
from hub.confirmations import Confirmations
from hub.consent import PreferenceLinks
from hub.context import Context
from hub.contract import AnyAdapter, SendError
from hub.egress import Egress
from hub.fetcher import Fetcher
from hub.host import HubHost, channel_secret
from hub.http import Client
from hub.media import Links, Shelf
from hub.metrics import Counters
from hub.names import Names, knows_names
from hub.outbound import strays
from hub.outbound.lane import Lane
from hub.outbound.workshop import Workshop
from hub.policy import keywords, pack
from hub.projector import Projector, lag
from hub.reach import RECEIVING, Reach
from hub.settings import Settings, master_key
from hub.store import Store, migrations, open_store
from hub.store.base import is_store_failure
from hub.store.schema import newest_id
from hub.store.sqlite import OtherLog
from hub.store.topics import Topics
from hub.web.server import build, serve

T = TypeVar("T")
log = structlog.get_logger(__name__)

_LAG = 200_000  # inbox rows; some minutes of work
_DRAIN = 24.0  # seconds that SIGTERM leaves for everything; the store has one more
_LAST = 3.0  # of them for what comes after the lanes: they end by themselves, unless the database is gone
_TURN = timedelta(seconds=1)  # of the watch
_BEAT = 60  # turns of the watch between two notes that the hub works
_GARBAGE = 50_000  # objects more than before; a batch of the inbox makes some 20 000 and drops them
_RESTART = (1.0, 30.0)  # seconds before a worker that failed starts again: first and longest pause
_EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}  # noqa: S104 - what listens on all, reached here


_UNREACHABLE = (
    OSError,
    asyncpg.InvalidAuthorizationSpecificationError,  # no such user, wrong password
    asyncpg.InvalidCatalogNameError,  # no such database
    asyncpg.CannotConnectNowError,
    asyncpg.TooManyConnectionsError,
    sa.exc.DatabaseError,  # the file is something else
)


class CannotStart(RuntimeError):
    """Why this hub cannot start; the text says what to do."""


class Hub:
    """One process. ``async with running(settings) as hub`` starts it; leaving drains and stops it."""

    def __init__(
        self, settings: Settings, store: Store, topics: Topics, clock: Clock, adapters: registry.Adapters
    ) -> None:
        self.settings = settings
        self.store = store
        self.topics = topics
        self.clock = clock
        self.ids = Ids(clock, store.node)
        store.on_node = self.ids.move
        self.counters = Counters()
        self.http = Client()
        master = master_key(settings)
        self._continue_secret = channel_secret(master, "continuation")
        self.links = Links(settings.public_url, channel_secret(master, "media"))
        self.preferences = PreferenceLinks(settings.public_url, channel_secret(master, "preferences"))
        secret = channel_secret(master, "confirmations")
        self.confirmations = Confirmations(settings.public_url, secret, settings.business)
        self.shelf = Shelf(settings.data / "media", int(settings.media.max_bytes))
        self.specs = registry.channels(settings, adapters)
        self.pulls = {name: Reach(RECEIVING) for name in self.specs}
        self.adapters: dict[str, AnyAdapter] = {
            name: spec.kind(name, spec.config, self._host(name, master)) for name, spec in self.specs.items()
        }
        self.channels: Mapping[str, Channel] = {
            name: Channel.of(self.specs[name].adapter, adapter) for name, adapter in self.adapters.items()
        }
        at_desk = registry.desk(settings, self.specs)
        self._alerts = registry.alerts(settings, self.specs)
        self.desk = self.channels[at_desk.name] if at_desk else None
        self.projector = Projector(store, topics, self.adapters, self.channels, self.context, self.published)
        shop = self._shop()
        self.lanes = {name: Lane(shop, self.channels[name], adapter) for name, adapter in self.adapters.items()}
        self._latest = clock()
        self.overloaded = False
        self.copied = ""  # why nothing is sent
        self._mark = instance.Mark(settings.data)
        self._beaten = -1  # how much had been sent at the last beat
        self._strayed: set[str] = set()  # channels that are not configured, and that it has been told of
        self._outward: list[asyncio.Task[None]] = []  # what calls providers
        self.ready = False
        self.port = 0
        self._tasks: list[asyncio.Task[None]] = []
        self._runner: web.AppRunner | None = None

    def context(self) -> Context:
        """For one transaction of the domain."""
        talk, prices = self.settings.conversation, self.settings.prices
        return Context(
            self.clock(), self.ids, self.channels, self.desk, talk.new_after, self._continue_secret, prices,
            self.preferences.make, talk.reactions, self.settings.public_url, self.settings.postal_address,
            self.confirmations.business, self.settings.topics,
        )  # fmt: skip

    def published(self, context: Context) -> None:
        """Tell others what a committed transaction brought."""
        for topic in context.news:
            self.store.publish(topic)
        context.news.clear()

    async def write(self, work: Callable[[Connection, Context], T]) -> T:
        """One transaction of the domain, its news published after the commit."""
        context = self.context()
        result = await self.store.write(lambda connection: work(connection, context))
        self.published(context)
        return result

    async def start(self) -> None:
        roles = self.settings.roles
        self.copied = await self.write(partial(instance.recognise, mark=self._mark))
        if "web" in roles:
            await self._listen()
        if "inbound" in roles:
            self._spawn("inbound", self.projector.run)
        if self.copied:
            log.error(f"{self.copied}; nothing is sent or fetched until `hub resume --i-restored`")
        else:
            await self.write(self._return)
            self._reach_out()
        self._spawn("watch", self._watch)
        self.ready = True

    def _reach_out(self) -> None:
        """Start everything that calls a provider."""
        roles, before = self.settings.roles, len(self._tasks)
        if "inbound" in roles:
            self._spawn("media", self._fetcher().run)
            for name, adapter in self.adapters.items():
                if knows_names(adapter):
                    self._spawn(f"names {name}", Names(self.store, adapter, self.write).run)
        if "outbound" in roles:
            for name, lane in self.lanes.items():
                self._spawn(f"lane {name}", lane.run, lane.reach)
            self._tell_alerts()
            self._spawn("campaigns", Worker(self.store, self.topics, self.context, self.published).run)
        if "pull" in roles:
            for name, adapter in self.adapters.items():
                self._spawn(f"pull {name}", partial(self._pull, name, adapter), self.pulls[name])
        self._outward = self._tasks[before:]

    async def _hold(self, why: str) -> None:
        """Call no provider any more."""
        self.copied = why
        log.error(f"{why}; nothing is sent or fetched until `hub resume --i-restored`")
        for task in self._outward:
            task.cancel()
        await asyncio.gather(*self._outward, return_exceptions=True)
        self._tasks = [task for task in self._tasks if task not in self._outward]

    def _tell_alerts(self) -> None:
        if self._alerts is None or self.settings.outbound == "off":
            return
        adapter = self.adapters[self._alerts.name]
        address = adapter.own_address()
        assert address is not None, "registry.alerts saw to it"
        self._spawn("alerts", Alerts(self.store, adapter, address).run)

    def _return(self, connection: Connection, context: Context) -> None:
        """A campaign does not go on by itself after the hub was gone: perhaps it came back from a snapshot."""
        away, _, _ = instance.beat(connection, context)
        if away < timedelta(0):
            deliveries.still_due(connection, context, context.now - away + _BEAT * _TURN)
        if away > instance.AWAY and "outbound" in self.settings.roles:
            for each in engine.running(connection):
                minutes = away.total_seconds() / 60
                engine.pause(connection, each, f"the hub was away for {minutes:.0f} min; resume to go on")

    async def stop(self) -> None:
        """Take nothing more in, finish what is in flight, stop."""
        self.ready = False
        try:
            async with asyncio.timeout(_DRAIN):
                await self._drain(time.monotonic() + _DRAIN - _LAST)
        except TimeoutError:
            log.warning("stopped before all had ended: what was not written is settled at the next start")

    async def _drain(self, until: float) -> None:
        for lane in self.lanes.values():
            lane.stop()
        if self._runner is not None:
            await self._runner.cleanup()
            address_file(self.settings).unlink(missing_ok=True)
        lanes = [task for task in self._tasks if task.get_name().startswith("lane ")]
        if lanes:
            await asyncio.wait(lanes, timeout=max(0.0, until - time.monotonic()))
        if left := sum(lane.in_flight for lane in self.lanes.values()):
            log.warning("stopped before providers answered: settled at the next start", sends=left)
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)  # and not gather: that would go on waiting when the time is over
        if not self.copied and self._sent() != self._beaten:
            with contextlib.suppress(Exception):  # the store may be what fails
                await self._beat()
        for adapter in self.adapters.values():
            with contextlib.suppress(Exception):
                await adapter.close()
        await self.http.close()

    async def _listen(self) -> None:
        self._runner = await serve(build(self))
        listen = self.settings.listen
        site = web.TCPSite(self._runner, listen.host, listen.port, backlog=1024)
        try:
            await site.start()
        except OSError as error:
            raise CannotStart(
                f"cannot listen on {listen.host}:{listen.port} ({os.strerror(error.errno or 0)}): stop what listens "
                f"there, or choose another address (settings listen.host and listen.port)"
            ) from error
        self.port = self._runner.addresses[0][1]
        if self.store.dialect == "sqlite":  # nobody else can open it, so commands ask us
            self.settings.data.mkdir(mode=0o700, parents=True, exist_ok=True)
            address_file(self.settings).write_text(self.url, encoding="ascii")

    @property
    def url(self) -> str:
        """Where this process listens, as seen from this machine."""
        host = _EVERYWHERE.get(self.settings.listen.host, self.settings.listen.host)
        return f"http://{f'[{host}]' if ':' in host else host}:{self.port}"

    async def _watch(self) -> None:
        """Once a second: is more coming in than can be projected soon, and what has waited long enough?"""
        for turn in itertools.count():
            # Better to refuse what the provider sends again than to take in what nobody sees for minutes.
            self.overloaded = await self.store.read(lag) > _LAG
            if "inbound" in self.settings.roles and await self.store.read(self._is_something_due):
                await self.write(self._look_after)
            await self._know_the_database(turn)
            if turn % _BEAT == 0 and "outbound" in self.settings.roles and not self.copied:
                await self._end_strays()
            await self._tell_reach()
            await self._notice_time()
            await asyncio.sleep(_TURN.total_seconds())

    async def _end_strays(self) -> None:
        """Messages for a channel that is not configured any more: no lane gives them up."""
        waiting = await self.store.read(partial(strays.waiting, context=self.context()))
        for name, count in waiting.items():
            if name not in self._strayed:
                log.warning("messages wait for a channel that is not configured", channel=name, count=count)
                await self.write(partial(strays.tell, channel=name, count=count))
                self._strayed.add(name)
        if waiting and self.settings.outbound == "on":
            while await self.write(partial(strays.end, channels=waiting)):
                pass

    async def _tell_reach(self) -> None:
        """Providers that do not do what they should, and those that do so again."""
        for name, channel in self.channels.items():
            for reach in (self.lanes[name].reach, self.pulls[name]):
                now = self.clock()
                if reach.is_news(now):
                    await self.write(partial(feedback.tell_reach, channel=channel, reach=reach))
                    reach.told(now)

    async def _know_the_database(self, turn: int) -> None:
        """It may be put back to an older state at any time, and may be confirmed at any time."""
        if self.copied:
            if not await self.write(partial(instance.recognise, mark=self._mark)):
                self.copied = ""
                log.warning("this database has been taken for the real one: sending begins")
                self._reach_out()
        elif await self.store.read(partial(instance.doubt, mark=self._mark)):
            await self._hold(await self.write(partial(instance.recognise, mark=self._mark)))
        elif turn % _BEAT == 0 or self._sent() != self._beaten:
            await self._beat()

    def _sent(self) -> int:
        return sum(lane.sent + lane.in_flight for lane in self.lanes.values())

    async def _beat(self) -> None:
        """The database first: the mark is never ahead of it."""
        sent = self._sent()
        _, place, seen = await self.write(instance.beat)
        self._beaten = sent
        try:
            self._mark.keep(place, seen)
        except OSError as error:
            log.warning("a restored database would not be noticed", file=error.filename, reason=error.strerror)

    async def _notice_time(self) -> None:
        """Nothing waits a second time because the clock was set back."""
        now, latest = self.clock(), self._latest
        if now < latest:
            count = await self.write(partial(deliveries.still_due, was=latest + _TURN))
            log.warning("the clock was set back", seconds=(latest - now).total_seconds(), still_due=count)
        self._latest = now

    def _is_something_due(self, connection: Connection) -> bool:
        """Hardly ever, so it is read: a write would make others wait."""
        context = self.context()
        return (
            bool(desk.snoozed(connection, context))
            or statuses.rejoins(connection, context)
            or echoes.waits(connection, context)
            or amendments.rejoins(connection, context)
            or (self.desk is not None and desk.rejoins(connection, context, self.desk))
        )

    def _look_after(self, connection: Connection, context: Context) -> None:
        desk.wake_snoozed(connection, context)
        statuses.rejoin(connection, context)
        echoes.resume(connection, context)
        if self.desk is not None:
            desk.rejoin(connection, context, self.desk)
        amendments.rejoin(connection, context)

    async def _pull(self, name: str, adapter: AnyAdapter) -> None:
        async with self.store.own(f"pull:{name}"):
            await adapter.run(adapter.host.emit)

    def _spawn(self, name: str, run: Callable[[], Coroutine[Any, Any, None]], reach: Reach | None = None) -> None:
        self._tasks.append(asyncio.create_task(self._keep(name, run, reach), name=name))

    async def _keep(self, name: str, run: Callable[[], Coroutine[Any, Any, None]], reach: Reach | None) -> None:
        """A worker that fails is started again, with growing pauses; the others never notice."""
        first, longest = _RESTART
        pause = first
        while True:
            started = time.monotonic()
            task = asyncio.ensure_future(run())
            try:
                await task
                return
            except asyncio.CancelledError:
                if not task.cancelled():
                    task.cancel()
                    await asyncio.gather(task, return_exceptions=True)
                    raise
                current = asyncio.current_task()
                if current is not None and current.cancelling():
                    raise
                log.error("worker lost its ownership and starts again", worker=name)
            except Exception as error:
                if isinstance(error, SendError):  # a provider that cannot be pulled from now: its words say enough
                    words = {"error": error.kind, "detail": error.detail}
                    log.warning("worker failed and starts again", worker=name, pause=pause, **words)
                else:
                    log.exception("worker failed and starts again", worker=name, pause=pause)
                if reach is not None and not is_store_failure(error):
                    reach.failed(error, self.clock())
            if time.monotonic() - started > longest:  # it has worked meanwhile: this is another failure
                pause = first
            await asyncio.sleep(pause)
            pause = min(pause * 2, longest)

    def _fetcher(self) -> Fetcher:
        egress = Egress(allow=list(self.settings.egress.allow))
        limit = int(self.settings.media.max_bytes)
        return Fetcher(self.store, self.topics, self.adapters, egress, self.shelf, limit, self.context)

    def _host(self, name: str, master: bytes) -> HubHost:
        return HubHost(
            name,
            http=self.http,
            public_url=self.settings.public_url,
            secret=channel_secret(master, name),
            store=self.store,
            topics=self.topics,
            clock=self.clock,
            links=self.links,
            reach=self.pulls[name],
        )

    def _shop(self) -> Workshop:
        return Workshop(
            self.store,
            self.topics,
            self.clock,
            self.context,
            self.links,
            self.preferences,
            self.shelf,
            self.settings.public_url,
            self.settings.outbound,
            self.published,
        )


def address_file(settings: Settings) -> Path:
    """Where a hub that holds the data directory says how it is reached. Without such a hub it may be out of date."""
    return settings.data / "address"


@asynccontextmanager
async def store_of(settings: Settings, topics: Topics | None = None) -> AsyncIterator[Store]:
    """The database as it is. Raises: CannotStart, DirectoryInUse."""
    try:
        store = await open_store(settings.database, topics)
    except OtherLog as error:
        raise CannotStart(str(error)) from error
    except _UNREACHABLE as error:
        raise CannotStart(
            f"the database cannot be opened ({getattr(error, 'orig', error)}): is it running, and are database_url and "
            f"data right?"
        ) from error
    try:
        yield store
    finally:
        await store.close()


@asynccontextmanager
async def opened(
    settings: Settings, *, clock: Clock = system_clock, adapters: registry.Adapters | None = None
) -> AsyncIterator[Hub]:
    """A hub with its database migrated, but doing nothing: for commands. Raises: CannotStart, DirectoryInUse."""
    _read_policy(settings.policy)
    topics = Topics()
    async with store_of(settings, topics) as store:
        await _prepare(store)
        hub = Hub(settings, store, topics, clock, adapters or registry.adapters())
        hub.ids.start_after(await store.read(newest_id))
        try:
            yield hub
        finally:
            await hub.http.close()


@asynccontextmanager
async def running(
    settings: Settings, *, clock: Clock = system_clock, adapters: registry.Adapters | None = None
) -> AsyncIterator[Hub]:
    """A hub at work in this process."""
    async with opened(settings, clock=clock, adapters=adapters) as hub:
        try:
            await hub.start()
            yield hub
        finally:
            await hub.stop()


def collect_seldom() -> None:
    """For a process that is but a hub: what it has at its start stays, and is not looked through for garbage."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(_GARBAGE, 10, 10)


def _read_policy(folder: Path | None) -> None:
    """What decisions are made by: a broken file is to refuse the start, and not to get in the way of messages."""
    try:
        pack.choose(folder)
        pack.default()
        keywords.default()
    except (ValueError, OSError) as error:
        raise CannotStart(f"the policy cannot be read: {error}: mend that file, or install omnihub again") from error


async def _prepare(store: Store) -> None:
    """Fill an empty database and bring SQLite along. Hubs may share PostgreSQL: there it is a step of its own."""
    found = await store.revision()
    try:
        missing = migrations.pending(found)
    except LookupError as error:
        raise CannotStart(f"the database was made by a newer version ({found}): install that version again") from error
    if found is not None and missing and store.dialect == "postgresql":
        raise CannotStart(f"the database is of an older version ({found}): stop all its hubs, then: hub migrate")
    if missing:
        await store.migrate()
