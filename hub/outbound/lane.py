"""The worker of one channel. One process owns a lane at a time; a conversation's messages keep their order."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Coroutine
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial

import structlog
from sqlalchemy import Connection
from tenacity import AsyncRetrying, retry_if_exception_type, stop_after_attempt, wait_exponential_jitter

from hub.channels import Channel
from hub.context import Context, down_topic, lane_topic
from hub.contract import AnyAdapter, ChannelDown, Outgoing, RateLimited, Receipt, Rejected, SendError, Transient
from hub.feedback import meaning
from hub.model import Purpose
from hub.outbound.claim import Asked, Found, in_doubt_after_crash, keep_time, look
from hub.outbound.doubts import Doubts
from hub.outbound.epochs import Epochs
from hub.outbound.health import of as health
from hub.outbound.health import tell
from hub.outbound.job import ConsentChanged, Held, Job, Outcome
from hub.outbound.pace import Pace
from hub.outbound.scopes import LATE
from hub.outbound.settle import settle
from hub.outbound.start import start
from hub.outbound.workshop import Workshop
from hub.policy import pack
from hub.reach import SENDING, Reach
from hub.render import TooLong
from hub.store.base import is_store_failure
from hub.store.topics import wait

log = structlog.get_logger(__name__)

_POLL = 1.0  # seconds; wake-ups are only hints
_GATHER = 0.01  # seconds
_ROUNDS = 3  # calls' worth that are started where calls are quick: to start some takes as long as some calls then
_QUICK = 0.02  # seconds that such a call takes
_UNSETTLED = 0.05  # seconds that an answer waits for others to be settled with
_FURTHEST = 256  # deliveries read ahead
_SOON = 0.25  # seconds in which what has been read ahead should be on its way
_FRESH = 0.05  # seconds that a look at somebody's consent counts
_LOOK = 0.02  # seconds before its turn that a message which had to wait looks
_TOGETHER = 0.02  # seconds in which those that look do so in one read
_LONG = 1.0  # seconds that a further part waits for its turn where it has been started, and not in the queue
_MISSED = 2  # turns that a message may miss for being late
_STALE = timedelta(seconds=1)  # what was decided longer ago is decided again
_PATIENCE = 20.0  # seconds that hand-offs have to finish when the lane stops
_EXAMINED = 600.0  # seconds between two looks at how advertising was received
_KEPT = timedelta(minutes=1)  # between two times that what waits on purpose is given its time again
_HOLD = 30.0  # seconds a lane rests when our account is refused


class Lane:
    def __init__(self, shop: Workshop, channel: Channel, adapter: AnyAdapter) -> None:
        self._shop = shop
        self._channel = _as_configured(channel, adapter)
        self._adapter = adapter
        self._pace = Pace(self._channel, adapter.config, pack.default().marketing_share, shop.handed)
        self._epochs = Epochs(shop.store)
        self._tasks: set[asyncio.Task[None]] = set()
        self._live: set[int] = set()  # deliveries they work on
        self._ahead: list[Job] = []  # decided, and still queued
        self._reach = 0  # how far is read ahead
        self._more = False  # there may be more to read
        self._read_at = self._settled_at = -math.inf  # monotonic seconds
        self._beside: dict[str, asyncio.Task[None]] = {}
        self._outcomes: list[Outcome] = []
        self._held_until = 0.0  # monotonic seconds
        self._advertises = False  # it has sent advertising since it started
        self._health = "OK"
        self._examined = -math.inf  # monotonic seconds
        self._kept_at: datetime | None = None  # when what waits was last given its time again
        self.reach = Reach(SENDING)
        self._stopping = asyncio.Event()
        self._down = asyncio.Event()  # a status said that our account is refused
        self.in_flight = 0  # deliveries that have been started
        # Of them those that wait for their turn, where a crash does no harm to what was not handed off.
        self._early = self._channel.capabilities.idempotency in ("key", "query")
        self._waiting: set[int] = set()
        self._calls = asyncio.Semaphore(self._channel.capabilities.concurrency)
        self._took = math.inf  # seconds: the last call
        self._enough = self._channel.capabilities.concurrency  # calls: whoever waits for hand-offs looks again
        self.sent = 0

    async def run(self) -> None:
        """Own the lane and work it until cancelled or stopped."""
        topics, name = self._shop.topics, self._channel.name
        with topics.listen(lane_topic(name)) as news, topics.listen(down_topic(name)) as self._down:
            async with self._shop.store.own(f"lane:{self._channel.name}"):
                await self._settle()  # what was learnt before this worker failed and started again
                live = self._live | {outcome.job.id for outcome in self._outcomes}
                await self._shop.write(partial(in_doubt_after_crash, channel=self._channel, live=live))
                await self._shop.write(lambda connection, _: self._pace.recall(connection))
                doubts = asyncio.create_task(Doubts(self._shop, self._channel, self._adapter).watch())
                try:
                    await self._work(news)
                finally:
                    doubts.cancel()
                    await asyncio.gather(doubts, return_exceptions=True)
                    await self._drain(news)

    def stop(self) -> None:
        """Claim nothing more; ``run`` returns when what providers are being handed has been settled."""
        self._stopping.set()
        for _ in self._live:  # whoever waits for a call is to learn of it, however long those of others take
            self._calls.release()
        self._shop.topics.publish(lane_topic(self._channel.name))

    async def _work(self, news: asyncio.Event) -> None:
        while not self._stopping.is_set():
            if self._down.is_set():
                self._down.clear()
                self._held_until = time.monotonic() + _HOLD
                self.reach.failed(ChannelDown("refused by the provider"), self._shop.clock())
            await self._examine()
            await self._keep_time()
            self._read_on(news)
            if not self._ahead and "read" in self._beside:
                await wait(news, _POLL)
                continue
            jobs = await self._start_ahead(news) if self._ahead else await self._tick()
            for job in jobs:
                self._hand_over(job, news)
            if jobs:
                await self._gather(news, len(jobs) >= self._channel.capabilities.concurrency)
            elif self._ahead:
                await wait(news, _GATHER if self._outcomes else _POLL)
            elif self._waiting:
                await wait(news, _UNSETTLED)
            elif not self._outcomes:
                pause = min(_POLL, max(self._pace.delay(), self._pace.delay(marketing=True)) or _POLL)
                await wait(news, max(pause, 0.001))

    def _read_on(self, news: asyncio.Event) -> None:
        """While hand-offs start from what has been read ahead: settle, and read further ahead."""
        for name, task in list(self._beside.items()):
            if task.done():
                del self._beside[name]
                task.result()
        if not self._ahead:
            return
        waited = time.monotonic() - self._settled_at >= _UNSETTLED
        if self._outcomes and (waited or len(self._outcomes) >= 2 * self._most):
            self._do_beside("settle", self._settle, news)
        if self._more and len(self._ahead) < self._reach // 2 and time.monotonic() >= self._held_until:
            self._do_beside("read", self._read_ahead, news)

    def _do_beside(self, name: str, work: Callable[[], Coroutine[None, None, None]], news: asyncio.Event) -> None:
        if name not in self._beside:
            self._beside[name] = asyncio.create_task(work())
            self._beside[name].add_done_callback(lambda _: news.set())

    async def _gather(self, news: asyncio.Event, many: bool) -> None:
        """A transaction for many costs little more than for one: let half of what is in flight come back.

        What waits for its turn comes evenly and is gathered for longer, unless ``many`` were there to be started.
        """
        if self._waiting:
            if not many:
                await wait(news, _UNSETTLED)
            return
        until = time.monotonic() + _GATHER
        self._enough = self._most // 2
        while self._calling > self._enough and (left := until - time.monotonic()) > 0:
            await wait(news, left)
        self._enough = self._channel.capabilities.concurrency

    async def _examine(self) -> None:
        """Now and then, how the advertising of this sender was received."""
        if not self._advertises or time.monotonic() < self._examined + _EXAMINED:
            return
        self._examined = time.monotonic()
        name, policy = self._channel.name, pack.default()
        found = await self._shop.store.read(partial(health, channel=name, now=self._shop.clock()))
        if found == self._health:
            return
        self._health = found
        slowly = found.startswith("SLOW")
        self._pace.advertise(policy.marketing_share * (policy.breaker.slow_to if slowly else 1.0))
        if not found.startswith("OK"):
            await self._shop.write(partial(tell, channel=name, state=found))

    async def _keep_time(self) -> None:
        """Now and then, while nothing is sent on purpose."""
        now = self._shop.clock()
        if self._shop.outbound == "off" and (self._kept_at is None or abs(now - self._kept_at) >= _KEPT):
            await self._shop.write(partial(keep_time, channel=self._channel))
            self._kept_at = now

    async def _tick(self) -> list[Job]:
        """Settle what is done, start what may go and read ahead, in one transaction."""
        free = self._free()
        bulk = _least(free, self._pace.room(marketing=True))
        outcomes, self._outcomes = self._outcomes, []
        if not outcomes and free == 0:
            return []
        asked = self._asked(max(free, _least(self._reach, self._pace.room())), free, bulk)

        def work(connection: Connection, context: Context) -> tuple[Found, list[Job], list[Job]]:
            self._write_outcomes(connection, context, outcomes)
            if free == 0:
                return Found([]), [], []
            found = look(connection, context, self._channel, asked, self._pace.waits)
            self._pace.take(connection, found.jobs)
            some = self._startable(found.jobs, free)
            return found, some, start(connection, context, some)

        try:
            found, some, jobs = await self._shop.write(work)
        except BaseException as error:
            self._outcomes = outcomes + self._outcomes
            if not outcomes or not _is_of_data(error):
                raise
            await self._settle_each()
            return []
        for outcome in outcomes:
            outcome.settled.set()
        if free:
            tried = {job.id for job in some}
            self._keep(found, [job for job in found.jobs if job.id not in tried])
        self._advertises |= any(job.purpose is Purpose.marketing for job in jobs)
        return jobs

    async def _settle(self) -> None:
        self._settled_at = time.monotonic()
        outcomes, self._outcomes = self._outcomes, []
        if not outcomes:
            return
        try:
            await self._shop.write(partial(self._write_outcomes, outcomes=outcomes))
        except BaseException as error:
            self._outcomes = outcomes + self._outcomes
            if not _is_of_data(error):
                raise
            await self._settle_each()
            return
        for outcome in outcomes:
            outcome.settled.set()

    async def _settle_each(self) -> None:
        """What cannot be written is unknown, and keeps nothing else back."""
        log.exception("answers could not be settled; each is by itself", channel=self._channel.name)
        outcomes, self._outcomes = self._outcomes, []
        try:
            while outcomes:
                await self._settle_alone(outcomes[0])
                outcomes.pop(0).settled.set()
        finally:
            self._outcomes = outcomes + self._outcomes

    async def _settle_alone(self, outcome: Outcome) -> None:
        try:
            await self._shop.write(partial(self._write_outcomes, outcomes=[outcome]))
        except Exception as error:
            if not _is_of_data(error):
                raise
            log.exception("an answer could not be settled", channel=self._channel.name, delivery=outcome.job.id)
            outcome.receipts, outcome.error, outcome.partial = [], error, False
            await self._shop.write(partial(self._write_outcomes, outcomes=[outcome]))

    def _write_outcomes(self, connection: Connection, context: Context, outcomes: list[Outcome]) -> None:
        settle(connection, context, self._channel, outcomes)
        for outcome in outcomes:
            self._slow_down(connection, outcome)

    async def _read_ahead(self) -> None:
        limit = _least(self._reach, self._pace.room())
        if limit <= 0:
            return
        # Beside the writer, so that what is ready need not wait to be started.
        asked, context = self._asked(limit, 0, 0), self._shop.context()
        waits = partial(self._pace.waits, promise=False)
        found = await self._shop.store.read(
            lambda connection: look(connection, context, self._channel, asked, waits, reading=True)
        )
        await self._shop.write(lambda connection, _: self._pace.take(connection, found.jobs))
        self._keep(found, found.jobs)
        if found.left:
            await self._write_left(found)

    async def _write_left(self, before: Found) -> None:
        """About what was read and cannot go: mostly, why not."""
        asked = self._asked(before.left, 0, 0)

        def work(connection: Connection, context: Context) -> Found:
            found = look(connection, context, self._channel, asked, self._pace.waits)
            self._pace.take(connection, found.jobs)
            return found

        found = await self._shop.write(work)
        self._keep(replace(found, more=before.more), found.jobs)

    def _asked(self, limit: int, free: int, bulk: int) -> Asked:
        known = frozenset(job.id for job in self._ahead)
        return Asked(limit, free, bulk, self._shop.outbound, self._health, known)

    def _keep(self, found: Found, jobs: list[Job]) -> None:
        """Read further next time, as long as all is on its way soon: what comes meanwhile may be more urgent."""
        now = time.monotonic()
        if not found.more:
            self._reach = 0
        elif now - self._read_at < _SOON:
            self._reach = min(2 * max(self._reach, self._channel.capabilities.concurrency), _FURTHEST)
        else:
            self._reach = max(self._reach // 2, self._channel.capabilities.concurrency)
        self._read_at, self._more = now, found.more
        self._ahead = sorted([*self._ahead, *jobs], key=lambda job: (job.priority, job.id))

    async def _start_ahead(self, news: asyncio.Event) -> list[Job]:
        """What has been read ahead and is still as it was then."""
        now, held = self._shop.clock(), time.monotonic() < self._held_until
        kept = [job for job in self._ahead if not held and abs(now - job.started_at) < _STALE]
        if len(kept) < len(self._ahead):
            news.set()  # the others are to be decided again
        self._ahead = kept
        some = self._startable(self._ahead, max(0, self._most - self._calling))
        if not some:
            return []
        jobs = await self._shop.write(partial(start, jobs=some), alone=True)
        tried = {job.id for job in some}
        self._ahead = [job for job in self._ahead if job.id not in tried]
        if len(jobs) < len(some):
            news.set()
        return jobs

    def _free(self) -> int:
        if time.monotonic() < self._held_until:
            return 0
        return max(0, _least(self._channel.capabilities.concurrency - self._calling, self._pace.room()))

    @property
    def _most(self) -> int:
        """Deliveries that are started at a time, beside those that wait for their turn."""
        ahead = self._early and self._took < _QUICK
        return self._channel.capabilities.concurrency * (_ROUNDS if ahead else 1)

    @property
    def _calling(self) -> int:
        return self.in_flight - len(self._waiting)

    def _is_awaited(self) -> bool:
        """Whether there is something to do at once now that a call has ended. What waits for its turn is no hurry."""
        if self._waiting:
            return self._calling == self._channel.capabilities.concurrency - 1
        return self._calling <= self._enough

    def _startable(self, jobs: list[Job], free: int) -> list[Job]:
        """Those for which a call is free, and those that have to wait for their turn anyway."""
        now = time.monotonic()
        if not self._early or not free:
            return jobs[:free]
        return [job for place, job in enumerate(jobs) if place < free or job.turn > now]

    def _slow_down(self, connection: Connection, outcome: Outcome) -> None:
        error = outcome.error
        if isinstance(error, RateLimited):
            after = error.after if error.after is not None else meaning(self._channel, error.code).min_delay_s
            self._pace.slow_down(connection, error.scope, after, outcome.job)

    def _hand_over(self, job: Job, news: asyncio.Event) -> None:
        async def run() -> None:
            try:
                await self._send(job, news)
            finally:
                self.in_flight -= 1
                self._live.discard(job.id)
                self._waiting.discard(job.id)
                if self._is_awaited():
                    news.set()

        self.in_flight += 1
        if self._early and job.turn > time.monotonic():
            self._waiting.add(job.id)
        self._live.add(job.id)
        task = asyncio.create_task(run())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _send(self, job: Job, news: asyncio.Event) -> None:
        try:
            shop = self._shop
            if job.purpose is Purpose.marketing and job.to is not None:
                job.unsubscribe = shop.preferences.make(str(job.to), job.topic)
            parts = await shop.parts(job, self._channel)
            for last in (*[False] * _MISSED, True):
                slot = await self._wait_for_turn(job)
                async with self._calls:
                    self._go_on()
                    if self._early and time.monotonic() < self._held_until:
                        raise Held("the provider wants to hear nothing now")
                    if last or time.monotonic() <= slot + LATE:
                        self._waiting.discard(job.id)
                        began = time.monotonic()
                        try:
                            await self._hand_off_all(job, parts, news)
                        finally:  # one that fails is mostly a slow one
                            self._took = time.monotonic() - began
                        return
        except asyncio.CancelledError:
            raise
        except (ConsentChanged, Held) as put_back:
            self._done(Outcome(job, [], self._shop.clock(), put_back))
        except TooLong as error:
            self._done(Outcome(job, [], self._shop.clock(), Rejected(str(error), code="TOO_LONG")))
        except SendError as error:
            self._hold(error)
            self._done(Outcome(job, [], self._shop.clock(), error))
        except Exception as error:
            log.exception("adapter bug", channel=self._channel.name, delivery=job.id)
            self._done(Outcome(job, [], self._shop.clock(), error))

    async def _wait_for_turn(self, job: Job) -> float:
        """Returns when it was. Who has missed it waits anew: a campaign that caught up would be too fast."""
        slot = self._pace.slot(job)
        if slot - time.monotonic() > _LOOK:
            look = (slot - _LOOK) // _TOGETHER * _TOGETHER
            await self._sleep(look - time.monotonic())
            job.looked = -math.inf
            await self._look_once_more(job)
        await self._sleep(slot - time.monotonic())
        return slot

    async def _sleep(self, seconds: float) -> None:
        """Raises: Held, as soon as the lane is to stop."""
        if seconds > 0:
            with suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await self._stopping.wait()
        self._go_on()

    def _go_on(self) -> None:
        """Raises: Held."""
        if self._stopping.is_set():
            raise Held("the hub stopped before its turn")

    async def _hand_off_all(self, job: Job, parts: list[Outgoing], news: asyncio.Event) -> None:
        while job.part < len(parts):
            taken = await self._hand_off(job, parts[job.part])
            last = job.part + 1 >= len(parts)
            if last:
                self._done(Outcome(job, [(job.part, taken)], self._shop.clock()))
                return
            part = Outcome(job, [(job.part, taken)], self._shop.clock(), partial=True)
            self._done(part)
            news.set()
            await part.settled.wait()  # so a crash leaves one part in doubt, and none behind it
            if part.error is not None:  # it could not be written
                return
            job.part += 1
            job.looked = -math.inf
            self._go_on()
            await self._wait_for_pace(job)
        self._done(Outcome(job, [], self._shop.clock()))

    def _done(self, outcome: Outcome) -> None:
        self._outcomes.append(outcome)
        self.sent += len(outcome.receipts)
        if outcome.receipts or outcome.error is not None:
            self.reach.handed(outcome.error, outcome.finished_at)

    async def _hand_off(self, job: Job, out: Outgoing) -> Receipt:
        if job.kind == "contact":
            await self._show_seen(job)
            # No quick second try: consent may have changed meanwhile, and only a claim asks again.
            await self._look_once_more(job)
            return await self._adapter.send(out)
        async for quick in _quickly():
            with quick:
                return await self._adapter.send(out)
        raise AssertionError("unreachable: the last try raises")

    async def _show_seen(self, job: Job) -> None:
        """What a person answers they have read. The answer itself goes out even if that could not be shown."""
        if job.part or job.answers is None or job.to is None:
            return
        job.looked = -math.inf
        try:
            await self._adapter.seen(job.to, job.answers)
        except SendError as error:
            log.info("not shown as read", channel=self._channel.name, delivery=job.id, code=error.code)

    async def _look_once_more(self, job: Job) -> None:
        """The last thing before the provider is called, unless what has just started the job did look.

        Raises: ConsentChanged; Transient if it cannot be read.
        """
        now = time.monotonic()
        if job.epoch is None or now - job.looked < _FRESH:
            return
        job.looked = now
        try:
            epoch = None if job.identity_id is None else await self._epochs.of(job.identity_id)
        except Exception as error:  # of the database: nothing has been handed off yet
            raise Transient(f"consent could not be read: {type(error).__name__}") from error
        if epoch != job.epoch:
            raise ConsentChanged

    async def _wait_for_pace(self, job: Job) -> None:
        """A further part of a long message takes its turn like any other.

        One that is far off is taken in the queue, where a crash leaves no doubt that it has not been handed off.
        """
        if not self._pace.prepaid:
            left = max(self._pace.wait(job.identity_id), self._pace.delay(job.purpose is Purpose.marketing))
            if left > _LONG:
                raise Held("its next part waits for its turn")
            await self._sleep(self._pace.wait(job.identity_id))
            try:
                await self._shop.write(lambda connection, _: self._pace.take(connection, [job]))
            except Exception as error:  # of the database: this part has not been handed off yet
                raise Held(f"its next part could not get a turn: {type(error).__name__}") from error
            await self._sleep(job.turn - time.monotonic())

    def _hold(self, error: SendError) -> None:
        """Some refusals are about the account or the sender, not about the message."""
        if isinstance(error, ChannelDown):
            self._held_until = time.monotonic() + _HOLD
            log.error("channel down", channel=self._channel.name, code=error.code, detail=error.detail)
        elif isinstance(error, RateLimited) and error.scope in ("account", "sender"):
            self._held_until = time.monotonic() + min(error.after if error.after is not None else 5.0, 300.0)

    async def _drain(self, news: asyncio.Event) -> None:
        """Let what was handed off finish, and settle it."""
        await asyncio.gather(*self._beside.values(), return_exceptions=True)
        self._beside.clear()
        self._ahead = []
        for task in self._tasks:
            task.add_done_callback(lambda _: news.set())
        until = time.monotonic() + _PATIENCE
        while self._tasks and time.monotonic() < until:
            await self._settle()
            await wait(news, _POLL)
        await self._settle()


def _is_of_data(error: BaseException) -> bool:
    """Whether what was to be written is at fault, and not the database."""
    return isinstance(error, Exception) and not is_store_failure(error)


def _least(count: int, room: int | None) -> int:
    return count if room is None else min(count, room)


def _as_configured(channel: Channel, adapter: AnyAdapter) -> Channel:
    if adapter.config.settle is None:
        return channel
    settle = timedelta(seconds=adapter.config.settle)
    return replace(channel, capabilities=replace(channel.capabilities, settle=settle))


def _quickly() -> AsyncRetrying:
    return AsyncRetrying(
        retry=retry_if_exception_type(Transient),
        stop=stop_after_attempt(3),
        wait=wait_exponential_jitter(multiplier=0.1, max=1.0, jitter=0.1),
        reraise=True,
    )
