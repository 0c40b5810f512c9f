"""Ways in which a hub dies on the spot, or is wrong. By name, for ``tests.crash.runner``.

A point is a moment on a message's way: ``run`` it and the process kills itself there, the first time it comes by.
"""

from __future__ import annotations

import asyncio
import importlib
import os
import signal
import time
from collections.abc import Callable
from functools import wraps
from typing import Any

import asyncpg
import sqlalchemy as sa

Flaw = Callable[[], None]
WRONG: dict[str, Flaw] = {}


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


# --- dying at a point ---


def at_call(name: str, *, after: bool = False) -> Flaw:
    """Before that function (``module:Class.method``) does anything, or when it has done all."""

    def install() -> None:
        owner, attribute = _find(name)
        original = getattr(owner, attribute)

        @wraps(original)
        async def waited(*args: Any, **more: Any) -> Any:
            if after:
                await original(*args, **more)
            die()

        @wraps(original)
        def called(*args: Any, **more: Any) -> Any:
            if after:
                original(*args, **more)
            die()

        setattr(owner, attribute, waited if asyncio.iscoroutinefunction(original) else called)

    return install


def at_commit(statement: str, about: str = "", *, after: bool = False, times: int = 1) -> Flaw:
    """When a transaction with such a statement, ``about`` among its values, is about to commit, or has."""

    def install() -> None:
        seen = 0

        @sa.event.listens_for(sa.Engine, "before_cursor_execute")
        def executing(connection: sa.Connection, _cursor: Any, text: str, values: Any, *_: Any) -> None:
            nonlocal seen
            if statement in " ".join(text.split()) and about in str(values):
                seen += 1
                if seen >= times:
                    connection.info["doomed"] = True

        @sa.event.listens_for(sa.Engine, "commit")
        def committing(connection: sa.Connection) -> None:
            if connection.info.get("doomed") and not after:
                die()

        @sa.event.listens_for(sa.Engine, "begin")
        def beginning(connection: sa.Connection) -> None:
            if connection.info.get("doomed"):  # the one before has committed
                die()

        @sa.event.listens_for(sa.pool.Pool, "checkin")
        def done(_raw: Any, record: Any) -> None:
            if record.info.get("doomed"):
                die()

    return install


def at_statement(statement: str, *, times: int = 1) -> Flaw:
    """Before the so-manieth such statement is executed."""

    def install() -> None:
        seen = 0

        @sa.event.listens_for(sa.Engine, "before_cursor_execute")
        def executing(_connection: sa.Connection, _cursor: Any, text: str, *_: Any) -> None:
            nonlocal seen
            if " ".join(text.split()).startswith(statement):
                seen += 1
                if seen >= times:
                    die()

    return install


def at_append() -> None:
    """The inbox rows are written, or on their way to PostgreSQL; nobody knows whether they are committed."""
    from hub.store.sqlite import SqliteStore

    execute = asyncpg.Connection.execute

    async def executed(self: asyncpg.Connection, query: str, *args: Any, **more: Any) -> Any:
        if "INSERT INTO inbox" in query:
            asyncio.get_running_loop().call_later(0.001, die)
        return await execute(self, query, *args, **more)

    asyncpg.Connection.execute = executed
    commit_appends = SqliteStore._commit_appends

    def committed(self: SqliteStore, connection: sa.Connection, group: list[Any]) -> None:
        sa.event.listen(self._engine, "commit", lambda _: die())
        commit_appends(self, connection, group)

    SqliteStore._commit_appends = committed


# On the way in, and an API request.
TAKEN: dict[str, Flaw] = {
    "webhook read, not stored": at_call("hub.web.hooks:inbox_row"),
    "webhook stored, not committed": at_append,
    "webhook committed, not answered": at_call("hub.web.hooks:Hooks.stored"),
    "batch translated": at_call("hub.projector:_apply"),
    "batch applied, not committed": at_commit("INSERT INTO event"),
    "batch committed": at_commit("INSERT INTO event", after=True),
    "request read": at_call("hub.sending:accept"),
    "intent written, not committed": at_commit("INSERT INTO idempotency"),
    "intent committed, not answered": at_call("hub.web.api.serve:_response"),
}
# On the way out, with nothing but the answer to tell what was sent.
SENT: dict[str, Flaw] = {
    "claimed for Slack, not committed": at_commit("INSERT INTO attempt"),
    "claimed for Slack": at_commit("INSERT INTO attempt", after=True),
    "claimed for Twilio, not committed": at_commit("INSERT INTO decision"),
    "claimed for Twilio": at_commit("INSERT INTO decision", after=True),
    "before the call to Twilio": at_call("adapters.twilio_sms.adapter:TwilioSms.send"),
    "Twilio's answer read": at_call("adapters.twilio_sms.adapter:TwilioSms.send", after=True),
    "before the call to Slack": at_call("adapters.slack.adapter:Slack.send"),
    "Slack's answer read": at_call("adapters.slack.adapter:Slack.send", after=True),
    "Slack's answer settled, not committed": at_commit("INSERT INTO receipt", "slack"),
    "Slack's answer settled": at_commit("INSERT INTO receipt", "slack", after=True),
    "Twilio's answer settled, not committed": at_commit("INSERT INTO receipt", "sms"),
    "Twilio's answer settled": at_commit("INSERT INTO receipt", "sms", after=True),
    "first part out": at_call("hub.outbound.lane:Lane._wait_for_pace"),
}
TOLD: dict[str, Flaw] = {"status applied, not committed": at_commit("UPDATE receipt")}
# After a death, while the hub finds out what it was doing.
RECOVERY: dict[str, Flaw] = {
    "doubts marked, not committed": at_call("hub.outbound.lane:in_doubt_after_crash", after=True),
    "Twilio asked": at_call("adapters.twilio_sms.adapter:TwilioSms.lookup", after=True),
    "Slack asked": at_call("adapters.slack.adapter:Slack.lookup", after=True),
}
# At the very start, with an empty database; each leaves it as empty for the next.
MIGRATION: dict[str, Flaw] = {
    "migration begun": at_statement("CREATE TABLE", times=2),
    "migration in the middle": at_statement("CREATE TABLE", times=12),
    "migration done, not committed": at_commit("CREATE TABLE", times=20),
    "migration committed": at_commit("CREATE TABLE", after=True),
}


# --- being wrong ---


def answers_before_the_commit() -> None:
    from hub.store import sqlite

    append = sqlite.SqliteStore.append
    tasks: set[asyncio.Task[None]] = set()

    async def at_leisure(self: sqlite.SqliteStore, row: Any) -> None:
        await asyncio.sleep(0.3)
        await append(self, row)

    def appended(self: sqlite.SqliteStore, row: Any) -> asyncio.Future[None]:
        task = asyncio.create_task(at_leisure(self, row))
        tasks.add(task)
        task.add_done_callback(tasks.discard)
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        done.set_result(None)
        return done

    sqlite.SqliteStore.append = appended


def marks_sent_before_the_hand_off() -> None:
    from hub.outbound import lane
    from hub.store.schema import delivery

    start, hand_off = lane.start, lane.Lane._hand_off

    def started(connection: sa.Connection, *args: Any, **more: Any) -> Any:
        jobs = start(connection, *args, **more)
        ids = [job.id for job in jobs]
        connection.execute(sa.update(delivery).where(delivery.c.id.in_(ids)).values(state="sent"))
        return jobs

    async def at_leisure(self: lane.Lane, *args: Any) -> Any:
        await asyncio.sleep(0.2)
        return await hand_off(self, *args)

    lane.start, lane.Lane._hand_off = started, at_leisure


def sends_again_what_is_in_doubt() -> None:
    from hub.outbound import lane
    from hub.store.schema import delivery

    def queued(connection: sa.Connection, _context: Any, channel: Any, **_: Any) -> int:
        doubtful = sa.update(delivery).where(delivery.c.channel == channel.name, delivery.c.state == "sending")
        return connection.execute(doubtful.values(state="queued")).rowcount

    lane.in_doubt_after_crash = queued


def forgets_what_it_has_seen() -> None:
    from hub import inbound

    inbound.event_key = lambda *_: os.urandom(16)


def moves_the_cursor_first() -> None:
    from hub import projector

    project = projector.Projector._project

    async def projected(self: projector.Projector, rows: Any) -> None:
        await self._store.write(lambda connection: projector.move(connection, rows[-1].id))
        await asyncio.sleep(0.2)
        await project(self, rows)

    projector.Projector._project = projected


def sends_the_newest_first() -> None:
    from hub.outbound import claim, start
    from hub.store.schema import delivery

    def due(connection: sa.Connection, context: Any, channel: str, limit: int, _known: Any, **_: Any) -> Any:
        query = sa.select(delivery).where(
            delivery.c.channel == channel, delivery.c.state == "queued", delivery.c.due_at <= context.now
        )
        return connection.execute(query.order_by(delivery.c.id.desc()).limit(min(limit, 2))).all()

    claim._due = due
    start._START = start._START.partition("AND NOT EXISTS")[0] + "RETURNING delivery.id"


WRONG |= {
    "answers before the commit": answers_before_the_commit,
    "marks sent before the hand-off": marks_sent_before_the_hand_off,
    "sends again what is in doubt": sends_again_what_is_in_doubt,
    "forgets what it has seen": forgets_what_it_has_seen,
    "moves the cursor first": moves_the_cursor_first,
    "sends the newest first": sends_the_newest_first,
}


# --- hand-offs and a person's no ---


def writes_down_each_look() -> None:
    """No flaw: a line in the file CRASH_LOOKS for each message that goes to the provider now: when it last looked at
    the ledger (seconds of the machine's clock), to whom it goes, and its words."""
    from hub.outbound import lane

    look = lane.Lane._look_once_more
    file = os.open(os.environ["CRASH_LOOKS"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    async def looked(self: lane.Lane, job: Any) -> None:
        before = time.monotonic()
        await look(self, job)
        at = job.looked if job.looked > 0 else before
        os.write(file, f"{at} {job.to} {job.content.text}\n".encode())

    lane.Lane._look_once_more = looked


def does_not_look_once_more() -> None:
    from hub.outbound import lane, start

    read = start._read

    def looking_away(job: Any) -> tuple[int | None, ...]:
        return (*read(job)[:-1], None)  # with any consent

    async def blind(_lane: lane.Lane, _job: Any) -> None:
        return None

    start._read, lane.Lane._look_once_more = looking_away, blind


RACE: dict[str, Flaw] = {
    "does not look once more": does_not_look_once_more,
    "writes down each look": writes_down_each_look,  # the last, so that it is asked first
}
ALL = TAKEN | SENT | TOLD | RECOVERY | MIGRATION | WRONG | RACE


def _find(name: str) -> tuple[Any, str]:
    """The owner of ``module:Class.method`` or ``module:function``, and the last name."""
    module, _, path = name.partition(":")
    owner: Any = importlib.import_module(module)
    *outer, attribute = path.split(".")
    for each in outer:
        owner = getattr(owner, each)
    return owner, attribute
