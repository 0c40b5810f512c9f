"""``hub doctor``: what it finds, what it advises, and that it changes nothing."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import sqlalchemy as sa

from adapters.email.simulator import Simulator as Post
from adapters.twilio_sms.simulator import Simulator
from hub.host import bookmarks
from hub.store import open_store
from hub.store.schema import delivery
from hub.store.topics import Topics
from tests.process import Cli, Done, run, served, write_settings

# Everything is allowed to root, whatever the files say.
AS_OTHERS = ("setpriv", "--bounding-set=-dac_override,-dac_read_search") if os.geteuid() == 0 else ()
PUBLIC = "https://hub.example.com"


@dataclass
class Doctor:
    hub: Cli

    async def __call__(self, *arguments: str) -> Done:
        return await self.hub("doctor", *arguments)


Settings = Callable[..., Doctor]


@pytest.fixture
def settings(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.chdir(tmp_path)
    return lambda *channels, **top: Doctor(Cli(write_settings(tmp_path, *channels, **top), capsys))


@pytest.fixture
async def twilio() -> AsyncIterator[Simulator]:
    simulator = Simulator()
    await simulator.start()
    yield simulator
    await simulator.stop()


def sms(simulator: Simulator, **more: Any) -> dict[str, dict[str, Any]]:
    return {"sms": {"adapter": "twilio_sms", **simulator.config(), **more}}


def levels(done: Done) -> dict[str, str]:
    return {each["check"]: each["level"] for each in done.json}


def advice(done: Done) -> list[str]:
    return [each["check"] for each in done.json if bool(each["next"]) != (each["level"] != "ok")]


async def test_before_the_first_start_the_channels_are_asked_and_nothing_is_made(
    settings: Settings, tmp_path: Path, twilio: Simulator
) -> None:
    doctor = settings(sms(twilio), public_url=PUBLIC)
    done = await doctor("--json")
    assert done.code == 1, done.err
    assert levels(done) == {
        "settings": "ok", "public_url": "ok", "desk": "warning", "disk": "ok", "database": "ok", "channel sms": "ok"
    }
    assert advice(done) == [], "each finding says what to do, unless all is well"
    assert not (tmp_path / "data").exists()


async def test_a_wrong_password_of_a_provider_is_an_error_with_advice(settings: Settings, twilio: Simulator) -> None:
    doctor = settings(sms(twilio, auth_token="0" * 32), public_url=PUBLIC)
    done = await doctor()
    assert done.code == 2, done.err
    assert "channel sms: compare channels.sms with the provider's console" in done.out
    assert "0" * 32 not in done.out + done.err


async def test_a_provider_that_is_not_there_is_an_error(settings: Settings, twilio: Simulator) -> None:
    doctor = settings(sms(twilio, base_url="http://127.0.0.1:1"), public_url=PUBLIC)
    assert levels(await doctor("--json"))["channel sms"] == "error"


async def test_every_mistake_in_the_settings_is_found(settings: Settings) -> None:
    doctor = settings({"a": {"adapter": "twilio_smss"}, "b": {"adapter": "twilio_sms"}})
    done = await doctor("--json")
    assert done.code == 2
    assert set(levels(done).values()) == {"error"}
    details = " ".join(each["detail"] for each in done.json)
    assert "did you mean twilio_sms?" in details
    assert "channels.b.account_sid is missing" in details


async def test_a_policy_that_is_not_there_is_an_error(settings: Settings, tmp_path: Path) -> None:
    doctor = settings(public_url=PUBLIC, policy=str(tmp_path / "nope"))
    done = await doctor("--json")
    assert (done.code, levels(done)["policy"]) == (2, "error"), done.out
    for command in (("policy", "check", str(tmp_path / "nope")), ("key", "list")):
        refused = await doctor.hub(*command)
        assert (refused.code, "nope: there is no such folder" in refused.err) == (1, True), refused


@pytest.mark.skipif(bool(AS_OTHERS) and not shutil.which("setpriv"), reason="root, and no setpriv")
@pytest.mark.parametrize("name", ["hub.db", "secret_key", "."])
async def test_what_this_user_may_not_touch_is_named(
    tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / "hub"
    place.mkdir()
    text = write_settings(place).read_text("utf-8")
    (place / "hub.toml").write_text("".join(line for line in text.splitlines(True) if "secret_key" not in line))
    monkeypatch.chdir(place)
    assert (await Cli(place / "hub.toml", capsys)("key", "create", "x", "--scope", "admin")).code == 0
    path = place / "data" / name
    path.chmod(0o000 if name == "secret_key" else 0o555)
    done = await run("doctor", "--json", cwd=place, before=AS_OTHERS)
    found = {each["check"]: each for each in done.json}
    assert (done.code, found["data"]["level"]) == (2, "error"), done.out
    assert str(path) in found["data"]["detail"]
    refused = await run("serve", cwd=place, before=AS_OTHERS)
    assert refused.code in (1, 2) and "unexpected" not in refused.err
    path.chmod(0o755)


async def test_a_hub_that_runs_is_asked(
    settings: Settings, tmp_path: Path, twilio: Simulator, database_url: str
) -> None:
    doctor = settings(sms(twilio), public_url=PUBLIC, database_url=database_url)
    async with served(tmp_path) as hub:
        done = await doctor("--json")
        assert (done.code, levels(done)["inbox"]) == (1, "ok"), done.out
        assert levels(done)["database"] == "ok"
        assert [each["level"] for each in done.json if each["check"] == "clock"] == ["ok"], "one row, on each database"
        async with aiohttp.ClientSession() as session, session.get(hub.url + "/readyz") as answer:
            assert answer.status == 200


async def test_a_database_that_cannot_be_reached_is_an_error_and_channels_are_asked_all_the_same(
    settings: Settings, tmp_path: Path, twilio: Simulator
) -> None:
    doctor = settings(sms(twilio), database_url="postgresql://hub:hunter2@127.0.0.1:1/hub")
    done = await doctor("--json")
    assert (done.code, levels(done)["database"], levels(done)["channel sms"]) == (2, "error", "ok")
    assert "hunter2" not in done.out + done.err


async def test_an_empty_database_is_left_alone(settings: Settings, twilio: Simulator, empty_postgres_dsn: str) -> None:
    doctor = settings(sms(twilio), public_url=PUBLIC, database_url=empty_postgres_dsn)
    done = await doctor("--json")
    assert (done.code, levels(done)["database"]) == (1, "warning")
    assert (await doctor.hub("migrate", "--check", "--json")).json["before"] is None


async def test_without_a_channel_it_says_how_to_add_one(settings: Settings) -> None:
    doctor = settings(outbound="off")
    done = await doctor()
    assert done.code == 1
    assert "channels: add one to the settings" in done.out
    assert 'outbound: set outbound = "on" to send' in done.out


async def test_advertising_by_mail_wants_a_postal_address(settings: Settings) -> None:
    mails = {"mail": {"adapter": "email", "address": "hub@example.com", "smtp_host": "127.0.0.1", "smtp_port": 1}}
    missing = "postal_address: set postal_address to who and where you are"
    assert missing in (await settings(mails, public_url=PUBLIC)()).out
    assert missing not in (await settings(mails, public_url=PUBLIC, postal_address="12 Mill Lane, Leeds")()).out


async def test_what_waits_for_a_channel_that_is_not_configured_is_a_warning(
    settings: Settings, twilio: Simulator, database_url: str
) -> None:
    doctor = settings(sms(twilio), public_url=PUBLIC, database_url=database_url)
    await doctor.hub("migrate")
    now = datetime(2026, 3, 2, tzinfo=UTC)
    row = {"id": 1, "conversation_id": 1, "channel": "sms_old", "kind": "contact", "purpose": "reply", "priority": 10,
           "state": "queued", "due_at": now, "expires_at": now, "created_at": now}
    store = await open_store(database_url, Topics())
    await store.write(lambda connection: connection.execute(sa.insert(delivery).values(row)))
    await store.close()
    done = await doctor("--json")
    [found] = [each for each in done.json if each["check"] == "waiting"]
    assert found["level"] == "warning" and "1 deliveries for sms_old" in found["detail"]
    assert "channels.sms_old" in found["next"]


async def test_a_login_that_changes_with_each_use_stays_good(settings: Settings, tmp_path: Path) -> None:
    post = Post(oauth=True)
    await post.start()
    try:
        doctor = settings({"mail": {"adapter": "email", **post.config()}}, public_url=PUBLIC)
        await doctor.hub("migrate")
        first = await doctor("--json")
        async with served(tmp_path):
            await holds(lambda: post.imap.sessions == 1)  # it has logged in, and kept what follows
            beside = await doctor("--json")
            assert post.tokens is not None
            post.tokens.revoke()
            post.imap.drop()
            await post.write("ann@example.org", "Hello")
            await holds(lambda: all(post.imap.seen().values()))
        after = await doctor("--json")
        assert [levels(each)["channel mail"] for each in (first, beside, after)] == ["ok"] * 3, after.out
        assert len(post.ledger.of("token", grant="refresh_token")) == 5  # each doctor's, and two of the hub's
    finally:
        await post.stop()


async def test_what_a_hub_has_read_while_a_channel_is_checked_stays_read(
    settings: Settings, tmp_path: Path
) -> None:
    post = Post(oauth=True)
    await post.start()
    try:
        doctor = settings({"mail": {"adapter": "email", **post.config()}}, public_url=PUBLIC)
        await doctor.hub("migrate")
        async with served(tmp_path):
            await holds(lambda: post.imap.sessions == 1)
            assert post.tokens is not None
            post.tokens.gate = asyncio.Event()
            checking = asyncio.create_task(doctor("--json"))
            await post.ledger.wait_for("token", count=2)
            await post.write("ann@example.org", "Hello")
            await holds(lambda: all(post.imap.seen().values()))
            post.tokens.gate.set()
            assert levels(await checking)["channel mail"] == "ok"
        store = await open_store(f"sqlite:///{tmp_path}/data/hub.db", Topics())
        known = await store.read(lambda connection: bookmarks(connection, "mail"))
        await store.close()
        assert json.loads(known["imap"])["uid"] == max(post.imap.seen())
    finally:
        await post.stop()


async def holds(what: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not what():  # noqa: ASYNC110 - a mailbox announces nothing
            await asyncio.sleep(0.02)
