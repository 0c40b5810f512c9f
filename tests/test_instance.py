"""A copied database calls no provider until somebody takes it for the real one."""

from __future__ import annotations

import errno
import json
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from hub import instance, sending
from hub.campaigns import engine
from hub.campaigns.draft import read
from hub.store import open_store
from tests.paper import Office, office, until


async def _under_way(shop: Office) -> None:
    """One message sent, one that waits for the provider, one campaign that has begun."""
    from hub.contract import Transient

    await shop.write("hello", sender="ann")
    await shop.agent("sent", thread=shop.thread)
    shop.letters.answers = [Transient("busy", after=300)]
    await shop.agent("waits", thread=shop.thread)
    campaign = read(
        {
            "name": "Spring",
            "purpose": "transactional",
            "audience": {"segment": {"all": []}},
            "channels": ["paper"],
            "messages": [{"text": "spring"}],
            "start": "2026-03-02T09:10:00Z",
        }
    )

    def begin(connection: sa.Connection, context: object) -> None:
        engine.start(connection, shop.hub.context(), engine.create(connection, shop.hub.context(), campaign))

    await shop.hub.write(begin)


async def test_a_copy_of_the_directory_calls_nobody_and_then_sends_nothing_twice(tmp_path: Path) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    async with office(f"sqlite:///{here}/hub.db", here) as shop:
        await _under_way(shop)
        waits = shop.letters.handed[-1]
    shutil.copytree(here, there)

    async with office(f"sqlite:///{there}/hub.db", there) as copy:
        assert copy.hub.copied
        async with copy.session.get(f"http://127.0.0.1:{copy.hub.port}/readyz") as ready:
            assert "copy" in (await ready.json())["sending"]
        copy.clock.now = copy.clock.now.replace(hour=10)
        assert await copy.post("paper", {"id": "new", "from": "ann", "text": "still there?"}) == 200

        async def taken_in() -> bool:
            return len(await copy.rows("message", inbound=True)) == 2

        await until(taken_in)
        assert (copy.letters.handed, copy.board.handed) == ([], [])

        def confirm(connection: sa.Connection, context: object) -> int:
            return instance.confirm(connection, copy.hub.context(), instance.Mark(there))

        copy.letters.accepted.append(("paper-900", waits))  # by the real one, after the copy was made
        assert await copy.hub.write(confirm) >= 1

        async def sends() -> bool:
            return [row.state for row in await copy.rows("delivery", kind="contact")] == ["sent", "sent"]

        await until(sends)
        assert [out.text for out in copy.letters.handed] == []
        assert not copy.hub.copied

    async with office(f"sqlite:///{here}/hub.db", here) as original:
        assert not original.hub.copied


async def test_a_dump_read_back_into_another_database_is_a_copy(postgres_dsn: str, tmp_path: Path) -> None:
    async with office(postgres_dsn, tmp_path) as shop:
        assert not shop.hub.copied

        def elsewhere(connection: sa.Connection) -> None:
            held = '{"place": "another server", "seen": 0}'
            connection.execute(sa.text("UPDATE cursor SET value = :held WHERE name = 'instance'"), {"held": held})

        await shop.hub.store.write(elsewhere)
    async with office(postgres_dsn, tmp_path) as copy:
        assert copy.hub.copied


async def _starts(shop: Office) -> None:
    """A campaign to all customers, sent."""
    draft = {
        "name": "Morning", "purpose": "transactional", "audience": {"segment": {"all": []}}, "channels": ["paper"],
        "messages": [{"text": "good morning"}],
    }  # fmt: skip

    def begin(connection: sa.Connection, context: Any) -> None:
        engine.start(connection, context, engine.create(connection, context, read(draft)))

    await shop.hub.write(begin)

    async def sent() -> bool:
        return bool(shop.letters.texts) and await _settled(shop)

    await until(sent)


async def _settled(shop: Office) -> bool:
    return [row.state for row in await shop.rows("delivery", kind="contact")] == ["sent"]


async def test_a_restored_backup_does_not_send_the_campaign_of_this_morning_again(tmp_path: Path) -> None:
    url, file, backup = f"sqlite:///{tmp_path}/hub.db", tmp_path / "hub.db", tmp_path / "backup.db"
    async with office(url, tmp_path) as shop:
        await shop.write("hello", sender="ann")

        async def marked() -> bool:
            return instance.Mark(tmp_path).seen(_place(file)) is not None

        await until(marked)
        with closing(sqlite3.connect(file)) as source, closing(sqlite3.connect(backup)) as target:
            source.backup(target)
        await _starts(shop)
        assert shop.letters.texts == ["good morning"]

    file.write_bytes(backup.read_bytes())  # the same inode
    async with office(url, tmp_path) as back:
        assert back.hub.copied == instance.RESTORED
        async with back.session.get(f"http://127.0.0.1:{back.hub.port}/readyz") as ready:
            assert instance.RESTORED in (await ready.json())["sending"]
        assert (await back.hub.store.read(lambda c: instance.doubt(c, instance.Mark(tmp_path)))) == instance.RESTORED

        def confirm(connection: sa.Connection, context: Any) -> None:
            instance.confirm(connection, context, instance.Mark(tmp_path))

        await back.hub.write(confirm)

        async def sends() -> bool:
            return not back.hub.copied

        await until(sends)
    async with office(url, tmp_path) as again:
        assert again.hub.copied == ""


async def test_what_is_accepted_while_a_copy_is_held_goes_out_once_it_may(tmp_path: Path) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    async with office(f"sqlite:///{here}/hub.db", here) as shop:
        await shop.write("hello", sender="ann")
    shutil.copytree(here, there)
    async with office(f"sqlite:///{there}/hub.db", there, later=10) as copy:
        assert copy.hub.copied
        draft = sending.Draft(customer="paper:ann", text="while held", purpose="reply")
        await copy.hub.write(lambda connection, context: sending.accept(connection, context, draft, "me"))
        mark = instance.Mark(there)
        await copy.hub.write(lambda connection, context: instance.confirm(connection, context, mark))

        async def sends() -> bool:
            return copy.letters.texts == ["while held"]

        await until(sends)


async def test_a_database_that_is_put_back_while_the_hub_runs_sends_nothing_more(
    database_url: str, tmp_path: Path
) -> None:
    async with office(database_url, tmp_path) as shop:
        await shop.write("hello", sender="ann")

        async def marked() -> bool:
            held = (await shop.rows("cursor", name="instance"))[0]
            return instance.Mark(tmp_path).seen(json.loads(held.value)["place"]) is not None

        await until(marked)

        def put_back(connection: sa.Connection) -> None:
            row = connection.execute(sa.text("SELECT value FROM cursor WHERE name = 'instance'")).scalar_one()
            old = json.dumps(json.loads(row) | {"seen": json.loads(row)["seen"] - 60_000_000})
            connection.execute(sa.text("UPDATE cursor SET value = :old WHERE name = 'instance'"), {"old": old})

        await shop.hub.store.write(put_back)

        async def noticed() -> bool:
            return shop.hub.copied == instance.RESTORED

        await until(noticed)
        handed = len(shop.board.handed)
        await shop.post("paper", {"id": "new", "from": "ann", "text": "still there?"})

        async def taken_in() -> bool:
            return len(await shop.rows("message", inbound=True)) == 2

        await until(taken_in)
        assert len(shop.board.handed) == handed
    async with office(database_url, tmp_path / "another machine") as other:
        assert other.hub.copied == instance.RESTORED, "the database says it to hubs that have no file of their own"


def _place(file: Path) -> str:
    with closing(sqlite3.connect(file)) as database:
        held = database.execute("SELECT value FROM cursor WHERE name = 'instance'").fetchone()
    return str(json.loads(held[0])["place"])


async def test_a_file_that_took_the_inode_of_the_database_is_another_one(tmp_path: Path) -> None:
    async def fingerprint() -> str:
        store = await open_store(f"sqlite:///{tmp_path}/hub.db")
        await store.migrate()
        found = await store.read(instance.fingerprint)
        await store.close()
        return found

    before = await fingerprint()
    assert await fingerprint() == before
    if before.endswith(":0"):
        pytest.skip("this file system tells no generation")
    (tmp_path / "hub.db").unlink()
    assert await fingerprint() != before


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE])
async def test_a_hub_that_cannot_open_files_is_no_copy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    machine = tmp_path / "machine-id"
    machine.write_text("4fd1")
    monkeypatch.setattr(instance, "_MACHINE", machine)
    instance._machine.cache_clear()
    try:
        async with office(f"sqlite:///{tmp_path}/hub.db", tmp_path) as shop:

            def fails(*_: object, **__: object) -> str:
                raise OSError(number, "Too many open files")

            monkeypatch.setattr(Path, "read_text", fails)
            assert not await shop.hub.store.read(lambda connection: instance.doubt(connection, shop.hub._mark))
    finally:
        instance._machine.cache_clear()


async def test_after_a_long_absence_campaigns_wait_for_a_word(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/hub.db"
    async with office(url, tmp_path) as shop:
        await _under_way(shop)
    async with office(url, tmp_path, later=20) as back:
        [row] = await back.rows("campaign")
        assert (row.state, row.reason) == ("paused", "the hub was away for 20 min; resume to go on")
        assert back.letters.texts == []


@pytest.mark.parametrize("minutes", [0, 14])
async def test_after_a_short_absence_they_go_on(tmp_path: Path, minutes: int) -> None:
    url = f"sqlite:///{tmp_path}/hub.db"
    async with office(url, tmp_path) as shop:
        await _under_way(shop)
    async with office(url, tmp_path, later=minutes) as back:
        assert [row.state for row in await back.rows("campaign")] == ["running"]
