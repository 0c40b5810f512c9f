"""Whether this database is the one that worked here, or a copy of it. A copy sends nothing until somebody says so."""

from __future__ import annotations

import json
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection

from hub.context import Context, lane_topic
from hub.store.schema import cursor, delivery, micros, moment

_NAME = "instance"
_MACHINE = Path("/etc/machine-id")
AWAY = timedelta(minutes=15)  # a hub that was gone for longer may have been put back from a snapshot


def recognise(connection: Connection, context: Context) -> bool:
    """Whether this hub may send. A database that has never worked anywhere becomes this one."""
    held = _held(connection)
    if held is None:
        _keep(connection, fingerprint(connection), context)
        return True
    return bool(held["place"] == fingerprint(connection))


def fingerprint(connection: Connection) -> str:
    """What a copy, a dump that was read back, or a clone of the disk in another place does not share."""
    if connection.dialect.name == "postgresql":
        oid = connection.exec_driver_sql("SELECT oid FROM pg_database WHERE datname = current_database()").scalar_one()
        try:
            with connection.begin_nested():
                control = connection.exec_driver_sql("SELECT system_identifier FROM pg_control_system()")
                return f"{control.scalar_one()}:{oid}"
        except sa.exc.DBAPIError:  # some hosted servers do not tell
            return str(oid)
    path = Path(connection.exec_driver_sql("PRAGMA database_list").all()[0][2]).resolve()
    machine = ""
    with suppress(OSError):
        machine = _MACHINE.read_text("ascii").strip()
    return f"{machine}:{path}:{path.stat().st_ino}"


def confirm(connection: Connection, context: Context) -> int:
    """From now on this is the one that sends. Returns how many messages were under way when the copy was made.

    Those may have been sent since by the hub that was copied, so they are in doubt: settled by each adapter's
    idempotency class, and never sent blindly.
    """
    _keep(connection, fingerprint(connection), context)
    under_way = sa.update(delivery).where(delivery.c.state.in_(("queued", "sending")))
    changed = connection.execute(under_way.values(state="indoubt", due_at=context.now))
    context.news |= {lane_topic(name) for name in context.channels}
    return int(changed.rowcount)


def beat(connection: Connection, context: Context) -> timedelta:
    """Note that the hub works. Returns how long ago it last did."""
    held = _held(connection)
    if held is None:
        return timedelta(0)
    away = context.now - moment(held["seen"])
    _keep(connection, held["place"], context)
    return away


def _held(connection: Connection) -> dict[str, Any] | None:
    value = connection.execute(sa.select(cursor.c.value).where(cursor.c.name == _NAME)).scalar_one_or_none()
    found: dict[str, Any] | None = json.loads(value) if value else None
    return found


def _keep(connection: Connection, place: object, context: Context) -> None:
    value = json.dumps({"place": place, "seen": micros(context.now)})
    if not connection.execute(sa.update(cursor).where(cursor.c.name == _NAME).values(value=value)).rowcount:
        connection.execute(sa.insert(cursor).values(name=_NAME, value=value))
