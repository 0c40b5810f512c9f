"""Who enters a campaign that has a trigger: as something happens, one by one."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection

from hub import segments
from hub.campaigns.record import OPEN, Campaign, due_of, planned, set_campaign
from hub.context import Context
from hub.segments import All, Any_, FieldIs, Filter
from hub.store.base import chunks
from hub.store.bulk import insert_many
from hub.store.schema import customer, customer_event, recipient

_PAGE = 500
_COMMITTED = timedelta(seconds=5)  # rows of other transactions with lower ids can be seen by then
_DAY = timedelta(days=1)


def begin(connection: Connection, context: Context, made: Campaign) -> int:
    """Where the cursor stands at the start: what happened before is of no concern."""
    trigger = made.draft.audience.trigger
    assert trigger is not None
    if trigger.event is not None:
        return int(connection.execute(sa.select(sa.func.coalesce(sa.func.max(customer_event.c.id), 0))).scalar_one())
    return context.ids() if trigger.created else 0


def enter(connection: Connection, context: Context, made: Campaign) -> int:
    """Let the next people in. Returns how many were looked at, 0: nobody for now."""
    trigger = made.draft.audience.trigger
    assert trigger is not None
    if context.now < _begin(made):
        return 0
    if trigger.event is not None:
        return _by_event(connection, context, made, trigger.event)
    if trigger.created:
        return _by_creation(connection, context, made)
    return _by_rounds(connection, context, made)


def _by_event(connection: Connection, context: Context, made: Campaign, name: str) -> int:
    query = sa.select(customer_event.c.id, customer_event.c.customer_id, customer_event.c.at).where(
        customer_event.c.id > made.planned_to, customer_event.c.name == name
    )
    rows = connection.execute(query.order_by(customer_event.c.id).limit(_PAGE)).all()
    if not rows:
        return 0
    lately = {row.customer_id for row in rows if row.at >= made.created_at}  # not what is only told late
    stands_for = sa.select(sa.func.coalesce(customer.c.merged_into, customer.c.id))
    people: set[int] = set()
    for some in chunks(lately):
        people.update(connection.execute(stands_for.where(customer.c.id.in_(some))).scalars())
    _enrol(connection, context, made, sorted(people))
    set_campaign(connection, made.id, planned_to=rows[-1].id)
    return len(rows)


def _by_creation(connection: Connection, context: Context, made: Campaign) -> int:
    query = sa.select(customer.c.id).where(
        customer.c.id > made.planned_to,
        customer.c.merged_into.is_(None),
        customer.c.created_at <= context.now - _COMMITTED,
    )
    people = list(connection.execute(query.order_by(customer.c.id).limit(_PAGE)).scalars())
    if people:
        _enrol(connection, context, made, people)
        set_campaign(connection, made.id, planned_to=people[-1])
    return len(people)


def _by_rounds(connection: Connection, context: Context, made: Campaign) -> int:
    """Look through the segment again and again; ``planned_at``: when the last round ended."""
    trigger = made.draft.audience.trigger
    assert trigger is not None
    every = trigger.every or _DAY
    if made.planned_at is not None:
        if context.now < _next_round(made, every):
            return 0
        set_campaign(connection, made.id, planned_at=None, planned_to=0)
        return 1
    among = made.draft.audience.segment or All(all=[])
    if trigger.date is not None:
        among = All(all=[among, _on(trigger.date, _day(made, context.now))])
    people = segments.people(connection, context, among, after=made.planned_to, limit=_PAGE)
    if people:
        _enrol(connection, context, made, people, inside=True)
        set_campaign(connection, made.id, planned_to=people[-1])
    else:
        set_campaign(connection, made.id, planned_at=context.now)
    return len(people)


def _next_round(made: Campaign, every: timedelta) -> datetime:
    """Rounds keep the beat of the start, however long one takes."""
    assert made.planned_at is not None
    begin = _begin(made)
    return begin + ((made.planned_at - begin) // every + 1) * every


def _begin(made: Campaign) -> datetime:
    """The first round. Dates in local time are looked for before the hour comes where the day is earliest."""
    trigger = made.draft.audience.trigger
    begin = made.begins_at if trigger is not None and trigger.date is not None else made.starts_at
    assert begin is not None
    return begin


def _day(made: Campaign, now: datetime) -> date:
    """The day that the round of now is about; in local time the same date for everybody, whenever that comes there."""
    if not made.draft.local_time:
        return now.date()
    assert made.starts_at is not None
    return (made.starts_at + (now - _begin(made)) // _DAY * _DAY).date()


def _on(attribute: str, day: date) -> Filter:
    """Whose date is this day; those of 29 February are not forgotten in other years."""
    name = f"attributes.{attribute.removeprefix('attributes.')}"
    days = [f"{day:%m-%d}"]
    if days == ["02-28"] and (day + _DAY).month == 3:
        days.append("02-29")
    return Any_(any=[FieldIs.model_validate({"field": name, "ends": each}) for each in days])


def _enrol(
    connection: Connection, context: Context, made: Campaign, people: Sequence[int], *, inside: bool = False
) -> None:
    """``inside``: they are known to be in the segment."""
    segment = made.draft.audience.segment
    if segment is not None and not inside:
        people = segments.people(connection, context, segment, among=people)
    known: dict[int, Any] = {}
    for some in chunks(people):
        query = sa.select(recipient.c.customer_id, recipient.c.state, recipient.c.entered_at).where(
            recipient.c.campaign_id == made.id, recipient.c.customer_id.in_(some)
        )
        known |= {row.customer_id: row for row in connection.execute(query)}
    local = None
    if made.draft.start is not None and made.draft.local_time:
        local = datetime.combine(_day(made, context.now), made.draft.start.time())
    due = due_of(connection, made, people, context.now, local, context.now)
    new = [planned(made, person, due[person], None, context.now) for person in people if person not in known]
    insert_many(connection, recipient, new)
    again_after = made.draft.audience.trigger.again_after if made.draft.audience.trigger else None
    if again_after is None:
        return
    again = [
        person for person, row in known.items()
        if row.state not in (*OPEN, "held_out") and row.entered_at <= context.now - again_after
    ]  # fmt: skip
    for person in again:
        connection.execute(
            sa.update(recipient)
            .where(recipient.c.campaign_id == made.id, recipient.c.customer_id == person)
            .values(
                state="planned", step=0, tried="", reason=None, message_id=None, due_at=due[person],
                entered_at=context.now,
            )
        )  # fmt: skip
