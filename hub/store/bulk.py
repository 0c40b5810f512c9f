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
    moments = _moments(table, names)
    if not moments:
        return rows
    places = [place for place, name in enumerate(names) if name in moments]
    return [_changed(row, places, moment) for row in rows]


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
) -> None:
    dialect = connection.dialect.name
    moments = _moments(table, names)
    if dialect == "sqlite":
        statement, order = _sqlite(table, names, keys, null)
        pick = itemgetter(*order) if len(order) > 1 else (lambda row: (row[order[0]],))
        values = [pick(row) for row in rows]
        if moments:
            places = [place for place, name in enumerate(order) if name in moments]
            values = [_changed(value, places, micros) for value in values]
        connection.exec_driver_sql(statement, values)
        return
    columns = []
    for name in names:
        column = [row[name] for row in rows]
        columns.append([None if each is None else micros(each) for each in column] if name in moments else column)
    connection.exec_driver_sql(_postgres(table, names, keys, null), tuple(columns))


def _changed(values: Sequence[Any], places: Sequence[int], convert: _Convert) -> tuple[Any, ...]:
    """The same with what is not None at these places converted."""
    changed = list(values)
    for place in places:
        if changed[place] is not None:
            changed[place] = convert(changed[place])
    return tuple(changed)


@lru_cache(maxsize=256)
def _moments(table: sa.Table, names: tuple[str, ...]) -> frozenset[str]:
    return frozenset(name for name in names if isinstance(table.c[name].type, Moment))


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
