"""SQLite: one writer thread with group commit, readers on snapshots, checkpoints beside both."""

from __future__ import annotations

import array
import asyncio
import contextlib
import errno
import fcntl
import os
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import sqlalchemy as sa
import structlog
from sqlalchemy import Connection

from hub.store import migrations
from hub.store.appends import Append, Appends
from hub.store.base import InboxRow, Ownership, Store, StoreFull
from hub.store.schema import micros
from hub.store.topics import Topics

T = TypeVar("T")

log = structlog.get_logger(__name__)

_CHECKPOINT_PAGES = 4000  # 16 MB of log; a checkpoint beside the writer costs it nothing, inside it 70 ms
_COUNTED = 1.0  # seconds within which checkpoints count as one
_APPEND = "INSERT INTO inbox (channel, method, url, headers, body, received_at) VALUES (?, ?, ?, ?, ?, ?)"
_COUNT_ON = """
    INSERT INTO cursor (name, value) VALUES ('checkpoint', '1')
    ON CONFLICT (name) DO UPDATE SET value = CAST(value AS INTEGER) + 1"""
_CLOSING = 1.0  # seconds that each thread has to end
_GET_GENERATION = 0x80087601  # Linux's FS_IOC_GETVERSION
_READERS = 4
# So that all connections together stay within some 250 MB, however large the database is. What is not in them is in the
# system's own cache, a copy away.
_CACHE = (65536, 8192)  # KiB of the writer, and of each reader
_MAPPED = 32 << 20  # bytes of the file that each connection maps


class DirectoryInUse(RuntimeError):
    """Another process works on this data directory."""


class OtherLog(RuntimeError):
    """The write-ahead log belongs to another state of the file than the one that is there."""


class _Job:
    __slots__ = ("future", "loop", "work")

    def __init__(self, work: Callable[[Connection], Any], loop: asyncio.AbstractEventLoop) -> None:
        self.work = work
        self.loop = loop
        self.future: asyncio.Future[Any] = loop.create_future()


class SqliteStore(Store):
    """``path``: the database file. Its directory is locked: a second process is refused with DirectoryInUse.

    Raises: OtherLog if the file was put back beside the log of a hub that crashed.
    """

    dialect = "sqlite"
    node = 0

    def __init__(self, path: Path, topics: Topics) -> None:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if path.exists() and not os.access(path, os.W_OK):
            raise PermissionError(errno.EACCES, "this user may not write there", str(path))
        self._path = path
        self._topics = topics
        self._lock = _lock_directory(path)
        try:
            _refuse_other_log(path, self._lock)
        except OtherLog:
            os.close(self._lock)
            raise
        generation = _generation(path)
        self._engine = _engine(path, generation, read_only=False)
        try:
            self._engine.connect().close()
        except sa.exc.DatabaseError:  # something else than a database
            os.close(self._lock)
            raise
        self._readers = _engine(path, generation, read_only=True)
        self._pool = ThreadPoolExecutor(_READERS, thread_name_prefix="store-read")
        self._appends = Appends()
        self._jobs: deque[_Job] = deque()
        self._work = threading.Event()
        self._waking = False
        self._stopped = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._writer = threading.Thread(target=self._write_loop, name="store-write", daemon=True)
        self._checkpointer = threading.Thread(target=self._checkpoint_loop, name="store-checkpoint", daemon=True)
        self._checkpoint_wanted = threading.Event()
        self._checkpointing = False  # from when it is wanted until the log may begin anew
        self._checkpointed = False
        self._count_again = 0.0  # monotonic seconds
        self._writer.start()
        self._checkpointer.start()

    async def write(self, work: Callable[[Connection], T], *, alone: bool = False) -> T:
        job = _Job(work, asyncio.get_running_loop())
        if self._stopped:
            raise _closed()
        self._jobs.append(job)
        self._work.set()
        return await job.future  # type: ignore[no-any-return]  # the future holds what `work` returned

    async def read(self, work: Callable[[Connection], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._pool, self._read, work)

    def _read(self, work: Callable[[Connection], T]) -> T:
        with self._readers.connect() as connection, connection.begin():
            return work(connection)

    def append(self, row: InboxRow | None) -> asyncio.Future[None]:
        if self._stopped:
            future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            future.set_exception(_closed())
            return future
        future = self._appends.add(row)
        if not self._waking:  # with what else comes in this turn of the loop
            self._waking = True
            future.get_loop().call_soon(self._wake)
        return future

    def _wake(self) -> None:
        self._waking = False
        self._work.set()

    def own(self, name: str) -> Ownership:
        return _Always()  # the directory's lock already keeps every other process out

    def publish(self, topic: str) -> None:
        self._topics.publish(topic)

    async def migrate(self) -> tuple[str | None, str]:
        before, after = await self.write(migrations.upgrade)
        return before, after

    async def revision(self) -> str | None:
        return await self.read(migrations.current)

    async def close(self) -> None:
        self._stopped = True
        self._work.set()
        await asyncio.to_thread(self._writer.join, _CLOSING)
        self._checkpoint_wanted.set()
        await asyncio.to_thread(self._checkpointer.join, _CLOSING)
        if self._writer.is_alive() or self._checkpointer.is_alive():
            log.warning("closed while another program held the database; the next start reads the log")
            return  # they end with the process, and so does the lock of the directory
        self._pool.shutdown()
        self._engine.dispose()
        self._readers.dispose()
        os.close(self._lock)

    # --- the writer thread ---

    def _write_loop(self) -> None:
        with self._engine.connect() as connection:
            while True:
                self._work.wait()
                self._work.clear()
                while (group := self._appends.take()) or self._jobs:
                    if group:
                        self._commit_appends(connection, group)
                    if self._jobs:
                        _run(self._jobs.popleft(), connection)
                    self._note_log_size(connection)
                if self._checkpointed:
                    self._begin_log_anew(connection)
                if self._stopped:
                    return

    def _commit_appends(self, connection: Connection, group: list[Append]) -> None:
        loop = group[0].future.get_loop()
        rows = [
            (row.channel, row.method, row.url, row.headers, row.body, micros(row.received_at))
            for row, _, _ in group
            if row is not None
        ]
        error: Exception | None = None
        try:
            with connection.begin():
                raw = connection.connection.driver_connection
                assert raw is not None
                raw.executemany(_APPEND, rows)
        except Exception as failure:  # every waiter must learn of it
            error = _understood(failure)
        loop.call_soon_threadsafe(_resolve, [each.future for each in group], error)

    # --- checkpoints ---

    def _note_log_size(self, connection: Connection) -> None:
        if self._checkpointing or _size(_log_of(self._path)) <= _CHECKPOINT_PAGES * 4096:
            return
        self._checkpointing = True
        self._checkpoint_wanted.set()
        if time.monotonic() < self._count_again:  # under load one follows the other
            return
        self._count_again = time.monotonic() + _COUNTED
        with contextlib.suppress(sa.exc.SQLAlchemyError), connection.begin():  # no room: the next start knows less
            connection.exec_driver_sql(_COUNT_ON)

    def _begin_log_anew(self, connection: Connection) -> None:
        """Under load some commit is always left out of a checkpoint, and the log grows: the writer does the rest."""
        self._checkpointed = False
        raw = connection.connection.driver_connection
        assert raw is not None
        with contextlib.suppress(sqlite3.DatabaseError):  # the next checkpoint tells of it
            raw.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
        self._checkpointing = False

    def _checkpoint_loop(self) -> None:
        connection = sqlite3.connect(self._path, check_same_thread=False, isolation_level=None)
        while not self._stopped:
            self._checkpoint_wanted.wait()
            self._checkpoint_wanted.clear()
            try:
                counted = _counted(connection)
                _, frames, moved = connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
                if frames == moved:
                    os.pwrite(self._lock, b"%20d\n" % counted, 0)
            except sqlite3.OperationalError:
                pass  # busy: a later commit asks again
            except sqlite3.DatabaseError as error:
                log.error("the database file cannot be written to", file=str(self._path), error=str(error))
            self._checkpointed = True
            self._work.set()
        with contextlib.suppress(sqlite3.DatabaseError):  # the next start reads the log then
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        connection.close()


class _Always(Ownership):
    async def __aenter__(self) -> None:
        return None

    async def __aexit__(self, *error: object) -> None:
        return None


def _closed() -> RuntimeError:
    return RuntimeError("the store is closed")


def _run(job: _Job, connection: Connection) -> None:
    try:
        with connection.begin():
            result = job.work(connection)
    except BaseException as failure:  # whatever it was, it belongs to who asked
        job.loop.call_soon_threadsafe(_settle, job.future, None, _understood(failure))
    else:
        job.loop.call_soon_threadsafe(_settle, job.future, result, None)


def _settle(future: asyncio.Future[Any], result: Any, error: BaseException | None) -> None:
    if future.done():
        return
    if error:
        future.set_exception(error)
    else:
        future.set_result(result)


def _resolve(futures: list[asyncio.Future[None]], error: Exception | None) -> None:
    for future in futures:
        _settle(future, None, error)


def _understood(failure: BaseException) -> Any:
    original = getattr(failure, "orig", failure)
    if isinstance(original, sqlite3.OperationalError) and "full" in str(original):
        return StoreFull("the disk or the database's page limit is full; nothing was written")
    return failure


def _lock_directory(path: Path) -> int:
    descriptor = os.open(path.with_name(path.name + ".lock"), os.O_CREAT | os.O_RDWR, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise DirectoryInUse(
            f"another hub works on {path.parent}; stop it, or give this one its own directory (setting: data)"
        ) from None
    return descriptor


# The log has no mark of the file it belongs to: beside a file that was put back after a crash SQLite would apply it all
# the same, and leave pages of two states. So checkpoints are counted in the database, and the lock's file keeps how
# many have come into it: a file that knows of fewer is an older one.


def _refuse_other_log(path: Path, lock: int) -> None:
    reached = os.pread(lock, 21, 0).strip()
    if not _size(_log_of(path)) or not reached.isdigit():
        return
    with contextlib.suppress(sqlite3.DatabaseError):  # between two states because of a crash: the log mends it
        file = sqlite3.connect(f"{path.absolute().as_uri()}?immutable=1", uri=True)  # without its log
        try:
            known = _counted(file)
        finally:
            file.close()
        if known < int(reached):
            raise OtherLog(
                f"{path} was put back, but beside it still lies the log of the hub that crashed, of a later state: to "
                f"go on with what was put back, remove {_log_of(path).name} and {path.name}-shm, then start again"
            )


def _counted(connection: sqlite3.Connection) -> int:
    row = connection.execute("SELECT value FROM cursor WHERE name = 'checkpoint'").fetchone()
    return int(row[0]) if row else 0


def _log_of(path: Path) -> Path:
    return path.with_name(path.name + "-wal")


def _size(path: Path) -> int:
    """Bytes; 0 if there is no such file."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def _generation(path: Path) -> int:
    """Tells the file from another that had its inode's number before; 0 where the file system does not say.

    Asked before SQLite has the file open, and never again: to close it would take away the locks that SQLite holds on
    it, as they are the process's. Another program that closes it then removes the log, and with it what was committed.
    """
    found = array.array("l", [0])
    with contextlib.suppress(OSError):
        descriptor = os.open(path, os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.ioctl(descriptor, _GET_GENERATION, found)
        finally:
            os.close(descriptor)
    return found[0] & 0xFFFFFFFF


def _engine(path: Path, generation: int, *, read_only: bool) -> sa.Engine:
    engine = sa.create_engine(
        f"sqlite:///{path}",
        connect_args={"check_same_thread": False, "timeout": 30.0, "cached_statements": 512},
        poolclass=sa.pool.QueuePool,
        pool_size=_READERS if read_only else 1,
        max_overflow=0,
    )

    @sa.event.listens_for(engine, "connect")
    def _prepare(raw: sqlite3.Connection, record: Any) -> None:
        record.info["generation"] = generation
        raw.isolation_level = None  # we begin transactions ourselves, the driver would begin them too late
        raw.execute("PRAGMA journal_mode=WAL")
        raw.execute("PRAGMA synchronous=FULL")
        raw.execute("PRAGMA foreign_keys=ON")
        raw.execute("PRAGMA wal_autocheckpoint=0")
        raw.execute(f"PRAGMA journal_size_limit={_CHECKPOINT_PAGES * 4096}")  # once it has begun anew
        raw.execute(f"PRAGMA cache_size=-{_CACHE[read_only]}")
        raw.execute("PRAGMA temp_store=MEMORY")
        raw.execute(f"PRAGMA mmap_size={_MAPPED}")
        if read_only:
            raw.execute("PRAGMA query_only=ON")

    @sa.event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        # A deferred transaction that upgrades to writing fails at once with BUSY_SNAPSHOT.
        connection.exec_driver_sql("BEGIN" if read_only else "BEGIN IMMEDIATE")

    return engine
