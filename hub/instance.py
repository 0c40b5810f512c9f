"""Whether this database is the one that worked here, or a copy or an older state of it: such a one sends nothing.

The database knows the place where it works. A file beside it knows how far it has come (``seen``): a database that is
behind the file was put back from a backup, and what was sent since then is unknown to it.
"""

from __future__ import annotations

import errno
import json
import os
from datetime import datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection

from hub.clock import id_floor
from hub.context import Context, lane_topic
from hub.store.schema import cursor, delivery, micros, moment

COPY = "this database is a copy of one that worked elsewhere"
RESTORED = "this database is older than what was sent from here: it was restored from a backup"
AWAY = timedelta(minutes=15)  # a hub that was gone for longer may have been put back from a snapshot, files and all
_NAME = "instance"
_MACHINE = Path("/etc/machine-id")
_NOT_NOW = (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EIO)
_TICK = timedelta(microseconds=1)
_BEAT = timedelta(minutes=2)  # within which a hub that works has noted it


class Mark:
    """The file in the data directory. It is never ahead of the database, but may be a second behind."""

    def __init__(self, data: Path) -> None:
        self._path = data / "last_seen"

    def keep(self, place: str, seen: datetime) -> None:
        """Raises: OSError."""
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        draft = self._path.with_name(f"{self._path.name}.{os.getpid()}")
        draft.write_text(json.dumps({"place": place, "seen": micros(seen)}), encoding="utf-8")
        draft.replace(self._path)

    def seen(self, place: str) -> datetime | None:
        """How far the database of that place had come; None if the file does not tell."""
        try:
            held = json.loads(self._path.read_text(encoding="utf-8"))
            return moment(held["seen"]) if held["place"] == place else None
        except (OSError, ValueError, KeyError, TypeError):
            return None


def recognise(connection: Connection, context: Context, mark: Mark) -> str:
    """Why this hub may not send, "" if it may. A database that has never worked anywhere becomes this one."""
    held, place = _held(connection), fingerprint(connection)
    if held is None:
        _keep(connection, place, context.now)
        return ""
    why = doubt(connection, mark)
    if why == RESTORED and held["place"]:  # so that others who share it know as well
        _keep(connection, "", moment(held["seen"]))
    return why


def doubt(connection: Connection, mark: Mark) -> str:
    """As ``recognise``, but changes nothing."""
    held, place = _held(connection), fingerprint(connection)
    if held is None:
        return ""
    seen = mark.seen(place)
    if held["place"] == "" or (held["place"] == place and seen is not None and moment(held["seen"]) < seen):
        return RESTORED
    return "" if held["place"] == place else COPY


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
    return f"{_machine()}:{path}:{path.stat().st_ino}:{connection.info['generation']}"


@cache
def _machine() -> str:
    """Read once: a process that has no file left to open is no other machine."""
    try:
        return _MACHINE.read_text("ascii").strip()
    except OSError as error:
        if error.errno in _NOT_NOW:
            raise
        return ""


def confirm(connection: Connection, context: Context, mark: Mark) -> int:
    """From now on this is the one that sends. Returns how many messages were under way when the copy was made.

    Those may have been sent since by the hub that was copied, so they are in doubt: settled by each adapter's
    idempotency class, and never sent blindly. What was accepted here since then nobody else knows: it goes out.
    """
    held, place = _held(connection), fingerprint(connection)
    before = [moment(held["seen"])] if held is not None else []
    seen = mark.seen(place)
    _keep(connection, place, max([context.now, *before, *([seen] if seen is not None else [])]) + _TICK)
    under_way = sa.update(delivery).where(delivery.c.state.in_(("queued", "sending")))
    if before:
        under_way = under_way.where(delivery.c.id < id_floor(before[0] + _BEAT))
    changed = connection.execute(under_way.values(state="indoubt", due_at=context.now))
    context.news |= {lane_topic(name) for name in context.channels}
    return int(changed.rowcount)


def beat(connection: Connection, context: Context) -> tuple[timedelta, str, datetime]:
    """Note that the hub works. Returns how long ago it last did, and what the mark keeps once this is committed."""
    held = _held(connection, lock=True)  # hubs that share it take turns
    if held is None:
        return timedelta(0), "", context.now
    last = moment(held["seen"])
    seen = max(context.now, last + _TICK)  # it only grows, whatever the clock does
    _keep(connection, held["place"], seen)
    return context.now - last, held["place"], seen


def _held(connection: Connection, *, lock: bool = False) -> dict[str, Any] | None:
    query = sa.select(cursor.c.value).where(cursor.c.name == _NAME)
    value = connection.execute(query.with_for_update() if lock else query).scalar_one_or_none()
    found: dict[str, Any] | None = json.loads(value) if value else None
    return found


def _keep(connection: Connection, place: str, seen: datetime) -> None:
    value = json.dumps({"place": place, "seen": micros(seen)})
    if not connection.execute(sa.update(cursor).where(cursor.c.name == _NAME).values(value=value)).rowcount:
        connection.execute(sa.insert(cursor).values(name=_NAME, value=value))
