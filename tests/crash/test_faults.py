"""The disk is full, the database goes away, providers repeat and reorder: refused or taken, but never half."""

from __future__ import annotations

import asyncio
import os
import resource
import shlex
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import IO

import asyncpg
import pytest

from hub.testing.postgres import VARIABLE, new_database, postgres_url
from tests.crash.conftest import Note
from tests.crash.hubs import START
from tests.crash.ordeal import INSISTS, Ordeal, ordeal

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
ROOM = 24 << 20  # bytes of the small disk


async def refuses(world: Ordeal) -> None:
    """Both ways in say no, and ``/readyz`` too."""
    [phone, *_] = world.load.phones
    world.sms.insists = 0.0
    assert await world.load.text(phone) == 503
    body = {"customer": f"tel:{phone}", "text": "x", "purpose": "reply"}
    status, problem = await world.hub.ask("POST", "/api/v1/messages", body, "x")
    assert status == 503 and problem["code"] in ("store_full", "store_unavailable"), problem
    status, body = await world.hub.ask("GET", "/readyz")
    assert (status, body["status"]) == (503, "cannot commit")
    world.sms.insists = INSISTS


async def goes_on(world: Ordeal, note: Note) -> None:
    """The same process takes everything again."""
    await world.hub.ready()
    for phone in world.load.phones:
        await world.load.text(phone)
        await world.load.send(phone)
    outcome = await world.outcome()
    note(outcome)
    assert outcome.clean, outcome
    assert outcome.acknowledged > len(world.load.phones)


async def test_files_that_may_not_grow(tmp_path: Path, seed: int, note: Note) -> None:
    async with ordeal(f"sqlite:///{tmp_path}/hub.db", tmp_path, seed, phones=3) as world:
        await world.hub.start()
        await world.hub.ready()
        await world.load.text(world.load.phones[0])
        await world.settled()
        usual = resource.prlimit(world.hub.pid, resource.RLIMIT_FSIZE)
        resource.prlimit(world.hub.pid, resource.RLIMIT_FSIZE, (4096, usual[1]))
        await refuses(world)
        resource.prlimit(world.hub.pid, resource.RLIMIT_FSIZE, usual)
        await goes_on(world, note)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    place = tmp_path / "disk"
    place.mkdir()
    options = ["-t", "tmpfs", "-o", f"size={ROOM}", "tmpfs", str(place)]
    mounted = subprocess.run(["mount", *options], capture_output=True, text=True, check=False)
    if mounted.returncode:
        pytest.skip(f"cannot mount a small disk: {mounted.stderr.strip()}")
    yield place
    subprocess.run(["umount", "--lazy", str(place)], check=True)


async def test_a_full_disk(small_disk: Path, tmp_path: Path, seed: int, note: Note) -> None:
    async with ordeal(f"sqlite:///{small_disk}/hub.db", tmp_path, seed, phones=3) as world:
        await world.hub.start()
        await world.hub.ready()
        world.load.start()
        await world.sms.ledger.wait_for("accept", count=5, timeout=START)
        filler = small_disk / "filler"
        with filler.open("wb", buffering=0) as file:
            while await world.hub.status("/readyz") == 200:  # it goes on in the room that its files have left
                await asyncio.to_thread(_fill, file)
        await refuses(world)
        filler.unlink()
        await world.load.stop()
        await goes_on(world, note)


@pytest.fixture
def own_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A PostgreSQL that no other test uses, with its commits on disk."""
    monkeypatch.delenv(VARIABLE, raising=False)
    with postgres_url(durable=True, shared=tmp_path) as url:
        yield url


async def test_postgres_that_crashes_under_load(own_server: str, tmp_path: Path, seed: int, note: Note) -> None:
    async with new_database(own_server) as database_url, ordeal(database_url, tmp_path, seed) as world:
        data = await _ask(database_url, "SHOW data_directory")
        await world.hub.start()
        await world.hub.ready()
        world.load.start()
        for _ in range(2):
            await asyncio.sleep(world.random.uniform(0.5, 2.0))
            program = await asyncio.to_thread(_stop, Path(data))
            await refuses(world)
            await asyncio.to_thread(_start, Path(data), program)
            await world.hub.ready()
        await world.load.stop()
        await goes_on(world, note)


async def test_providers_that_repeat_and_reorder(database_url: str, tmp_path: Path, seed: int, note: Note) -> None:
    async with ordeal(database_url, tmp_path, seed) as world:
        for faults in (world.sms.faults, world.slack.faults):
            faults.seed = seed
            faults.duplicate_callbacks = True
            faults.rates = {"error_after": 0.05, "drop_after": 0.05, "drop_before": 0.05, "throttle": 0.02}
            faults.delay = 0.2
        world.sms.faults.shuffle_callbacks = True
        await world.hub.start()
        await world.hub.ready()
        for _ in range(3):
            await asyncio.gather(*(world.load.text(each) for each in world.load.phones))
            await asyncio.gather(*(world.load.send(each) for each in world.load.phones))
            await asyncio.gather(*(world.load.answer(each) for each in world.load.phones))
        outcome = await world.outcome()
        note(outcome)
        assert outcome.clean, outcome
        for sent in (each for some in world.load.sent.values() for each in some if each.message):
            told = await world.hub.get(f"/api/v1/messages/{sent.message}")
            assert told["state"] == "delivered", told


def _fill(file: IO[bytes]) -> None:
    with suppress(OSError):
        while True:
            file.write(bytes(4096))


async def _ask(url: str, question: str) -> str:
    connection = await asyncpg.connect(url)
    try:
        return str(await connection.fetchval(question))
    finally:
        await connection.close()


def _stop(data: Path) -> Path:
    """At once, without a goodbye to clients or a checkpoint. Returns the directory of its programs."""
    pid = int((data / "postmaster.pid").read_text().split()[0])
    programs = Path(f"/proc/{pid}/exe").resolve().parent
    _pg_ctl(programs, data, "stop", "-m", "immediate")
    return programs


def _start(data: Path, programs: Path) -> None:
    """With the options it had."""
    _, *options = shlex.split((data / "postmaster.opts").read_text())
    at = options.index("-D")
    _pg_ctl(programs, data, "start", "-l", str(data.parent / "log"), "-o", shlex.join(options[:at] + options[at + 2 :]))


def _pg_ctl(programs: Path, data: Path, *words: str) -> None:
    owner = data.stat()
    who = {"user": owner.st_uid, "group": owner.st_gid, "extra_groups": []} if os.geteuid() == 0 else {}
    command = [str(programs / "pg_ctl"), words[0], "-w", "-D", str(data), *words[1:]]
    done = subprocess.run(
        command, cwd=data.parent, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, check=False, timeout=60, **who
    )
    assert done.returncode == 0, command
