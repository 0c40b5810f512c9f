"""``hub serve`` and ``hub migrate`` as processes: how they start, refuse and stop."""

from __future__ import annotations

import asyncio
import json
import resource
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import sqlalchemy as sa

from adapters.twilio_sms.simulator import Simulator
from hub.cli._logging import without_words
from hub.store import open_store
from hub.store.schema import delivery, receipt
from hub.testing.simulation import Fault
from tests.process import Cli, run, served, write_settings

CHAT = {"chat": {"adapter": "webchat", "allowed_origins": ["https://shop.example"]}}
MESSAGE = {"customer": "tel:+447700900123", "text": "Your parcel is on its way.", "purpose": "transactional"}


@pytest.fixture
async def twilio() -> AsyncIterator[Simulator]:
    simulator = Simulator()
    simulator.deliver = False
    await simulator.start()
    yield simulator
    await simulator.stop()


def sms(simulator: Simulator) -> dict[str, dict[str, Any]]:
    return {"sms": {"adapter": "twilio_sms", **simulator.config()}}


async def rows(url: str, table: sa.Table) -> list[Any]:
    store = await open_store(url)
    try:
        return await store.read(lambda connection: list(connection.execute(sa.select(table)).all()))
    finally:
        await store.close()


# --- start ---


async def test_one_line_says_that_it_is_ready_where_and_with_what(tmp_path: Path, database_url: str) -> None:
    write_settings(tmp_path, CHAT, database_url=database_url)
    async with served(tmp_path) as hub:
        [ready] = hub.events
        assert ready["channels"] == "chat"
        assert ready["roles"] == "web, inbound, outbound, pull"
        assert ready["database"].partition("://")[0] == database_url.partition("://")[0]
        assert ready["level"] == "info"
        async with hub.session.get(ready["url"] + "/readyz") as answer:
            assert (answer.status, (await answer.json())["status"]) == (200, "ok")
        hub.process.terminate()
        assert await hub.end() == 0


async def test_it_may_open_more_files_than_it_begins_with(tmp_path: Path) -> None:
    write_settings(tmp_path, CHAT)
    before, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    few = min(500, most)
    resource.setrlimit(resource.RLIMIT_NOFILE, (few, most))  # what a process starts with is its parent's
    try:
        async with served(tmp_path) as hub:
            files, _ = resource.prlimit(hub.process.pid, resource.RLIMIT_NOFILE)
            assert files == min(16_384, most)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (before, most))


async def test_without_a_channel_it_starts_and_says_what_is_missing(tmp_path: Path) -> None:
    write_settings(tmp_path)
    async with served(tmp_path) as hub:
        assert (await hub.event("no channel is configured"))["level"] == "warning"


async def test_the_database_password_is_in_no_line(tmp_path: Path) -> None:
    write_settings(tmp_path)
    url = "postgresql://hub:hunter2@127.0.0.1:1/hub"
    done = await run("serve", cwd=tmp_path, HUB_DATABASE_URL=url)
    assert done.code == 1
    assert done.err.startswith("hub: the database cannot be opened")
    assert "hunter2" not in done.out + done.err


# --- refusals ---


async def test_an_unknown_setting_is_named(tmp_path: Path) -> None:
    write_settings(tmp_path)
    done = await run("serve", cwd=tmp_path, HUB_LISTEN__PROT="1")
    assert (done.code, done.out) == (2, "")
    assert done.err == (
        "hub: unknown setting listen.prot (env HUB_LISTEN__PROT); did you mean listen.port (HUB_LISTEN__PORT)?\n"
    )
    assert not (tmp_path / "data").exists(), "settings are checked before anything is made"


async def test_a_channel_that_lacks_a_setting_stops_the_start(tmp_path: Path) -> None:
    write_settings(tmp_path, {"sms": {"adapter": "twilio_sms", "from_number": "+12025550100"}})
    done = await run("serve", cwd=tmp_path)
    assert done.code == 2
    assert "channels.sms.account_sid is missing" in done.err
    assert not (tmp_path / "data").exists()


async def test_a_second_hub_on_one_data_directory_is_refused(tmp_path: Path) -> None:
    write_settings(tmp_path, CHAT)
    async with served(tmp_path) as hub:
        second = await run("serve", cwd=tmp_path)
        assert (second.code, second.out) == (1, "")
        assert second.err.startswith(f"hub: another hub works on {tmp_path / 'data'}; stop it, or")
        async with hub.session.get(hub.url + "/readyz") as answer:
            assert answer.status == 200
    again = await run("migrate", cwd=tmp_path)
    assert again.code == 0, "the lock goes with the process, even if it is killed"


async def test_two_hubs_share_one_postgresql(tmp_path: Path, postgres_dsn: str) -> None:
    write_settings(tmp_path, CHAT, database_url=postgres_dsn)
    async with served(tmp_path) as one, served(tmp_path) as other:
        assert one.url != other.url
        for hub in (one, other):
            async with hub.session.get(hub.url + "/readyz") as answer:
                assert answer.status == 200


async def test_a_port_in_use_is_named(tmp_path: Path) -> None:
    write_settings(tmp_path, CHAT)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = await run("serve", "--port", str(port), cwd=tmp_path)
    assert done.code == 1
    assert done.err == (
        f"hub: cannot listen on 127.0.0.1:{port} (Address already in use): stop what listens there, or choose another "
        "address (settings listen.host and listen.port)\n"
    )


async def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    write_settings(tmp_path, CHAT)
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "hub.db").write_text("shopping list " * 100)
    done = await run("serve", cwd=tmp_path)
    assert done.code == 1
    assert done.err.startswith("hub: the database cannot be opened (file is not a database)")
    assert "Traceback" not in done.err


async def test_a_broken_file_of_the_policy_refuses_the_start_and_is_named(tmp_path: Path) -> None:
    write_settings(tmp_path, CHAT)
    shutil.copytree(Path(__file__).parents[1] / "config", tmp_path / "config")
    (tmp_path / "config" / "policy" / "keywords.toml").write_text("opt_out = 1\n", encoding="utf-8")
    done = await run("serve", cwd=tmp_path, PYTHONPATH=str(tmp_path))
    assert done.code == 1
    assert done.err.startswith("hub: the policy cannot be read: config/policy/keywords.toml: opt_out")
    assert "Traceback" not in done.err


# --- stop ---


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_lets_the_send_in_flight_finish_and_be_committed(
    tmp_path: Path, database_url: str, twilio: Simulator, number: signal.Signals
) -> None:
    write_settings(tmp_path, sms(twilio), database_url=database_url)
    twilio.faults.queued.append(Fault("slow", delay=0.7))
    async with served(tmp_path) as hub:
        await hub.post("/api/v1/messages", MESSAGE)
        await twilio.ledger.wait_for("request")
        hub.process.send_signal(number)
        assert (await hub.event("stopping"))["signal"] == number.name
        assert await hub.end() == 0
        assert hub.events[-1]["event"] == "stopped"
        with pytest.raises(aiohttp.ClientConnectorError):
            await hub.session.get(hub.url + "/healthz")
    [sent] = await rows(database_url, delivery)
    assert sent.state == "sent"
    [taken] = await rows(database_url, receipt)
    assert [taken.external_id] == [each.sid for each in twilio.messages]
    assert not (tmp_path / "data" / "address").exists()


async def test_a_second_signal_ends_it_at_once(tmp_path: Path, twilio: Simulator) -> None:
    asked = asyncio.Event()

    async def never_answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()
        asked.set()
        await reader.read()  # until the hub is gone
        writer.close()

    async with await asyncio.start_server(never_answer, "127.0.0.1", 0) as server:
        base = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        write_settings(tmp_path, {"sms": {"adapter": "twilio_sms", **twilio.config(), "base_url": base}})
        async with served(tmp_path) as hub:
            await hub.post("/api/v1/messages", MESSAGE)
            await asked.wait()
            hub.process.terminate()
            await hub.event("stopping")
            hub.process.terminate()
            assert await hub.end() == 128 + signal.SIGTERM
            assert hub.events[-1]["event"] == "exit at once"


# --- the log ---


def test_a_failure_is_logged_by_kind_and_place_but_not_in_its_words() -> None:
    secret = "hunter2"
    try:
        try:
            raise KeyError(secret)
        except KeyError as error:
            raise ValueError(f"the customer wrote {secret}") from error
    except ValueError as error:
        event = without_words(None, "error", {"event": "worker failed", "exc_info": error})
    assert "test_cli_serve.py" in event["exception"]
    assert event["exception"].endswith("ValueError from KeyError")
    assert "hunter2" not in str(event)


def test_libraries_are_heard_when_they_warn_and_not_below() -> None:
    script = (
        "import logging; from hub.cli._logging import start_logging; start_logging('debug', 'json');"
        "logging.getLogger('slack_sdk').info('payload'); logging.getLogger('asyncio').warning('%s is slow', 'it');"
        "logging.getLogger('hub.x').debug('ours')"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert [(each["event"], each["level"]) for each in lines] == [("it is slow", "warning"), ("ours", "debug")]
    assert done.stderr == ""


# --- migrate ---


@pytest.fixture
def hub(
    tmp_path: Path, empty_database_url: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Cli:
    monkeypatch.chdir(tmp_path)
    return Cli(write_settings(tmp_path, database_url=empty_database_url), capsys)


async def test_migrate_fills_an_empty_database_once(hub: Cli) -> None:
    check = await hub("migrate", "--check", "--json")
    assert (check.code, check.json["before"], check.json["pending"][0]) == (1, None, "0001")
    first = await hub("migrate")
    assert (first.code, "from an empty database to revision" in first.out) == (0, True)
    again = await hub("migrate", "--json")
    assert (again.code, again.json["applied"], again.json["after"]) == (0, [], again.json["head"])
    assert (await hub("migrate", "--check")).code == 0


async def test_a_database_of_a_newer_version_is_refused(hub: Cli, empty_database_url: str, tmp_path: Path) -> None:
    assert (await hub("migrate")).code == 0
    await set_revision(empty_database_url, "9999")
    for done in (await hub("migrate"), await hub("timeline", "cus_1"), await run("serve", cwd=tmp_path)):
        assert done.code == 1
        assert done.err.startswith("hub: the database was made by a newer version (9999)")


async def test_hubs_that_share_a_database_wait_for_its_migration(tmp_path: Path, empty_postgres_dsn: str) -> None:
    write_settings(tmp_path, database_url=empty_postgres_dsn)
    assert (await run("migrate", cwd=tmp_path)).code == 0
    await set_revision(empty_postgres_dsn, "0001")
    done = await run("serve", cwd=tmp_path)
    assert done.code == 1
    assert done.err.startswith("hub: the database is of an older version (0001): stop all its hubs, then: hub migrate")


async def set_revision(url: str, revision: str) -> None:
    store = await open_store(url)
    statement = sa.text(f"UPDATE alembic_version SET version_num = '{revision}'")
    await store.write(lambda connection: connection.execute(statement))
    await store.close()
