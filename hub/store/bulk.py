"""Many rows in one statement, and statements made once.

Past SQLAlchemy's per-row work: ``executemany`` on SQLite, ``unnest`` on PostgreSQL. To put a statement together takes
it longer than to run it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from operator import itemgetter
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection

from hub.store.base import chunks
from hub.store.schema import Moment, micros, moment

SOME: sa.BindParameter[Any] = sa.bindparam("some", expanding=True)  # the list of a statement that ``among`` runs
_Convert = Callable[[Any], Any]
_ARRAYS: tuple[tuple[type[sa.types.TypeEngine[Any]], str], ...] = (
    (sa.Boolean, "boolean"),
    (sa.BigInteger, "bigint"),
    (sa.Integer, "integer"),
    (sa.LargeBinary, "bytea"),
    (sa.Text, "text"),
)


def among(
    connection: Connection, statement: sa.Executable, values: Iterable[Any], **others: Any
) -> Iterator[sa.Row[*tuple[Any, ...]]]:
    """Rows of a statement with ``SOME`` in it, and the ``others`` by name, for as many values as there are."""
    for some in chunks(values):
        yield from connection.execute(statement, {"some": some, **others})


def select_many(
    connection: Connection,
    table: sa.Table,
    names: tuple[str, ...],
    key: str,
    values: Iterable[Any],
    more: str = "",
    *given: Any,
) -> list[Sequence[Any]]:
    """These columns of the rows whose ``key`` column is one of the values.

    ``more``: a further condition in SQL, with a ``?`` for each value ``given``.
    """
    rows: list[Sequence[Any]] = []
    on_sqlite = connection.dialect.name == "sqlite"
    for some in chunks(values, 1024):
        statement = _select(table, names, key, len(some) if on_sqlite else 0, more)
        rows += fetch(connection, statement, *(some if on_sqlite else [some]), *given)
    return _converted(rows, _moments(table, names), moment)


def fetch(connection: Connection, statement: str, *values: Any) -> Sequence[Sequence[Any]]:
    """Rows of a statement with a ``?`` for each value. Instants are integers, as the database has them."""
    if connection.dialect.name != "sqlite":
        statement = _numbered(statement)
    return connection.exec_driver_sql(statement, values).fetchall()


@lru_cache(maxsize=256)
def _numbered(statement: str) -> str:
    first, *rest = statement.split("?")
    return first + "".join(f"${place}{part}" for place, part in enumerate(rest, 1))


def insert_many(connection: Connection, table: sa.Table, rows: Sequence[Mapping[str, Any]]) -> None:
    """Insert rows that all have the same keys."""
    if rows:
        _run(connection, table, rows, tuple(rows[0]), ())


def insert_new(connection: Connection, table: sa.Table, rows: Sequence[Mapping[str, Any]]) -> int:
    """Insert those that break no constraint of uniqueness, and leave out the others. Returns how many were inserted."""
    return _run(connection, table, rows, tuple(rows[0]), (), more=" ON CONFLICT DO NOTHING") if rows else 0


def update_many(
    connection: Connection,
    table: sa.Table,
    key: str | tuple[str, ...],
    rows: Sequence[Mapping[str, Any]],
    null: str = "",
) -> None:
    """Set the other columns of each row by its ``key`` column or columns. All rows have the same keys.

    ``null``: a column that must be null; rows where it is not stay as they are.
    """
    if rows:
        _run(connection, table, rows, tuple(rows[0]), (key,) if isinstance(key, str) else key, null)


def _run(
    connection: Connection,
    table: sa.Table,
    rows: Sequence[Mapping[str, Any]],
    names: tuple[str, ...],
    keys: tuple[str, ...],
    null: str = "",
    more: str = "",
) -> int:
    dialect = connection.dialect.name
    if dialect == "sqlite":
        statement, order = _sqlite(table, names, keys, null)
        values = _converted(_picked(rows, order), _moments(table, order), micros)
        return connection.exec_driver_sql(statement + more, values).rowcount
    columns = zip(*_converted(_picked(rows, names), _moments(table, names), micros), strict=True)
    return connection.exec_driver_sql(_postgres(table, names, keys, null) + more, tuple(map(list, columns))).rowcount


def _picked(rows: Sequence[Mapping[str, Any]], names: tuple[str, ...]) -> list[Sequence[Any]]:
    return list(map(itemgetter(*names), rows)) if len(names) > 1 else [(row[names[0]],) for row in rows]


def _converted(rows: list[Sequence[Any]], places: Sequence[int], convert: _Convert) -> list[Sequence[Any]]:
    """The same with what is not None at these places converted. A column at a time: quicker than row by row."""
    if not rows or not places:
        return rows
    columns: list[Iterable[Any]] = [*zip(*rows, strict=True)]
    for place in places:
        columns[place] = [None if value is None else convert(value) for value in columns[place]]
    return [*zip(*columns, strict=True)]


@lru_cache(maxsize=256)
def _moments(table: sa.Table, names: tuple[str, ...]) -> tuple[int, ...]:
    """Places of the instants."""
    return tuple(place for place, name in enumerate(names) if isinstance(table.c[name].type, Moment))


@lru_cache(maxsize=256)
def _select(table: sa.Table, names: tuple[str, ...], key: str, count: int, more: str) -> str:
    """``count``: how many values SQLite is given; 0 on PostgreSQL, which takes them as one array."""
    found = f"IN ({', '.join('?' * count)})" if count else f"= ANY(?::{_array(table, key)}[])"
    found = f'"{key}" {found}'
    condition = f"{found} AND ({more})" if more else found
    return f"SELECT {_listed(names)} FROM {table.name} WHERE {condition}"  # noqa: S608 - names from the schema


@lru_cache(maxsize=256)
def _sqlite(
    table: sa.Table, names: tuple[str, ...], keys: tuple[str, ...], null: str
) -> tuple[str, tuple[str, ...]]:
    if not keys:
        marks = ", ".join("?" * len(names))
        return f"INSERT INTO {table.name} ({_listed(names)}) VALUES ({marks})", names  # noqa: S608 - names from the schema
    changed = tuple(name for name in names if name not in keys)
    sets = ", ".join(f'"{name}" = ?' for name in changed)
    found = " AND ".join([*(f'"{key}" = ?' for key in keys), *_is_null(table, null)])
    return f"UPDATE {table.name} SET {sets} WHERE {found}", (*changed, *keys)  # noqa: S608 - as above


@lru_cache(maxsize=256)
def _postgres(table: sa.Table, names: tuple[str, ...], keys: tuple[str, ...], null: str) -> str:
    arrays = ", ".join(f"${place}::{_array(table, name)}[]" for place, name in enumerate(names, 1))
    if not keys:
        return f"INSERT INTO {table.name} ({_listed(names)}) SELECT * FROM unnest({arrays})"  # noqa: S608 - as above
    sets = ", ".join(f'"{name}" = new."{name}"' for name in names if name not in keys)
    source = f"unnest({arrays}) AS new({_listed(names)})"
    same = (f'{table.name}."{key}" = new."{key}"' for key in keys)
    found = " AND ".join([*same, *_is_null(table, null)])
    return f"UPDATE {table.name} SET {sets} FROM {source} WHERE {found}"  # noqa: S608 - as above


def _is_null(table: sa.Table, name: str) -> list[str]:
    return [f'{table.name}."{name}" IS NULL'] if name else []


def _array(table: sa.Table, name: str) -> str:
    kind = table.c[name].type
    if isinstance(kind, Moment):
        return "bigint"
    return next(word for known, word in _ARRAYS if isinstance(kind, known))


def _listed(names: Sequence[str]) -> str:
    return ", ".join(f'"{name}"' for name in names)
