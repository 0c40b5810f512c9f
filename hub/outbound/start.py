"""Mark jobs as being sent, those of them that are still as they were read. A crash leaves these in doubt, no others."""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import cache
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection

from hub import deliveries
from hub.context import Context
from hub.model import Purpose
from hub.outbound.job import Job
from hub.store.bulk import insert_many
from hub.store.schema import attempt, decision, delivery, micros, pending

_EARLIER = delivery.alias("earlier")


def _overtaking() -> sa.ColumnElement[bool]:
    overtaken = (
        (_EARLIER.c.kind == "contact")
        & (_EARLIER.c.purpose == Purpose.marketing)
        & (_EARLIER.c.state == "queued")
        & (delivery.c.purpose != Purpose.marketing)
    ) | deliveries.is_held(_EARLIER) | ((_EARLIER.c.kind == "mark") & (delivery.c.kind != "mark"))
    return sa.and_(
        _EARLIER.c.channel == delivery.c.channel,
        _EARLIER.c.conversation_id == delivery.c.conversation_id,
        _EARLIER.c.id < delivery.c.id,
        pending(_EARLIER),
        ~overtaken,
    )


_OLDER = _overtaking()
# Something older of the conversation is still to go, on the same channel. The OFFSET makes PostgreSQL look that up for
# each row: as a join it reads the whole queue for each, if the queue was empty when its statistics were made.
OVERTAKING = sa.exists(
    sa.select(sa.literal_column("1")).select_from(_EARLIER).where(_OLDER).offset(sa.literal_column("0"))
)
_COLUMNS = "id, due_at, part, attempts, epoch"
# The state is hidden from PostgreSQL's planner, which would rather go through all that is queued than look up a few.
_START = f"""UPDATE delivery SET state = 'sending' FROM fresh WHERE delivery.id = fresh.id
AND coalesce(delivery.state, '') = 'queued' AND delivery.due_at = fresh.due_at AND delivery.part = fresh.part
AND delivery.attempts = fresh.attempts AND (fresh.epoch IS NULL
    OR fresh.epoch = (SELECT consent_epoch FROM identity WHERE identity.id = delivery.identity_id))
AND NOT EXISTS (SELECT 1 FROM delivery AS earlier
    WHERE {_OLDER.compile(compile_kwargs={"literal_binds": True})} LIMIT 1 OFFSET 0)
RETURNING delivery.id"""  # noqa: S608 - no values


def start(connection: Connection, context: Context, jobs: Sequence[Job]) -> list[Job]:
    """Jobs whose hand-off is to start once this has committed. Of the others somebody has changed something since."""
    jobs = list({job.id: job for job in jobs}.values())  # what would be worst is to send twice
    if not jobs:
        return []
    now = time.monotonic()
    mark = _mark if connection.dialect.name == "sqlite" else _mark_at_once
    marked = mark(connection, context, jobs)
    going = [job for job in jobs if job.id in marked]
    for job in going:
        job.started_at, job.looked = context.now, now
    return going


def _mark(connection: Connection, context: Context, jobs: Sequence[Job]) -> set[int]:
    values: list[Any] = []
    for job in jobs:
        values += _read(job)
    marked = {row[0] for row in connection.exec_driver_sql(_of_values(len(jobs)), tuple(values))}
    going = [job for job in jobs if job.id in marked]
    started = [{"delivery_id": job.id, "number": job.attempts + 1, "started_at": context.now} for job in going]
    insert_many(connection, attempt, started)
    insert_many(connection, decision, [job.decision for job in going if job.decision is not None])
    return marked


def _read(job: Job) -> tuple[int, int, int, int, int | None]:
    assert job.due_at is not None
    return job.id, micros(job.due_at), job.part, job.attempts, job.epoch


@cache
def _of_values(count: int) -> str:
    return f"WITH fresh ({_COLUMNS}) AS (VALUES {', '.join(['(?, ?, ?, ?, ?)'] * count)}) {_START}"


def _mark_at_once(connection: Connection, context: Context, jobs: Sequence[Job]) -> set[int]:
    """In one statement, since each is a round trip."""
    made = [job.decision for job in jobs if job.decision is not None]
    columns = [list(column) for column in zip(*map(_read, jobs), strict=True)]
    decisions = [[each[name] for each in made] for name in _DECISION] if made else []
    if made:
        decisions[1] = [micros(at) for at in decisions[1]]
    values = (*columns, micros(context.now), *decisions)
    return {row[0] for row in connection.exec_driver_sql(_DECIDED if made else _STARTED, values)}


_DECISION = ("delivery_id", "at", "verdict", "reason", "detail")
_STARTED = f"""WITH fresh AS (
SELECT * FROM unnest($1::bigint[], $2::bigint[], $3::integer[], $4::integer[], $5::bigint[]) AS each({_COLUMNS})
), marked AS ({_START}), started AS (
INSERT INTO attempt (delivery_id, number, started_at)
SELECT id, attempts + 1, $6::bigint FROM fresh JOIN marked USING (id)
) SELECT id FROM marked"""  # noqa: S608 - no values
_DECIDED = _STARTED.replace(
    ") SELECT id",
    f"""), decided AS (
INSERT INTO decision ({", ".join(_DECISION)}) SELECT made.* FROM
unnest($7::bigint[], $8::bigint[], $9::text[], $10::text[], $11::text[]) AS made({", ".join(_DECISION)})
JOIN marked ON marked.id = made.delivery_id
) SELECT id""",  # noqa: S608 - as above
)
