"""``hub key``, beside a hub that runs and without one."""

from __future__ import annotations

import asyncio
import json
import re
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from hub.cli import main
from hub.cli.base import State
from tests.rest import api

Run = Callable[..., Awaitable[tuple[int, str, str]]]


@pytest.fixture
def hub(database_url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """A command's exit code, standard output and standard error."""
    monkeypatch.chdir(tmp_path)
    config = tmp_path / "hub.toml"
    config.write_text(f"database_url = {json.dumps(database_url)}\ndata = {json.dumps(str(tmp_path))}\n")

    async def run(*arguments: str) -> tuple[int, str, str]:
        capsys.readouterr()
        code = await asyncio.to_thread(main, ["--config", str(config), *arguments], State())
        return (code, *capsys.readouterr())

    return run


async def test_a_key_made_beside_a_running_hub_works_until_it_is_revoked(
    hub: Run, database_url: str, tmp_path: Path
) -> None:
    async with api(database_url, tmp_path) as rest:
        code, out, err = await hub("key", "create", "script", "--scope", "read", "--scope", "send")
        assert code == 0, err
        token = out.strip()
        assert token.startswith("hub_")
        assert "cannot be shown again" in err
        assert (await rest.get("/customers", token=token)).status == 200
        assert (await rest.get("/keys", token=token)).problem == (403, "forbidden")
        key_id = token.split("_")[1]
        code, out, err = await hub("key", "revoke", key_id)
        assert (code, out.startswith(f"{key_id} (script) was revoked at 2")) == (0, True), err
        assert (await rest.get("/customers", token=token)).problem == (401, "unauthorized")


async def test_keys_are_made_listed_and_revoked_without_a_hub_that_runs(hub: Run) -> None:
    code, out, err = await hub("key", "list")
    assert (code, out) == (0, "no API key yet; make one: hub key create NAME --scope read\n"), err
    assert json.loads((await hub("key", "list", "--json"))[1]) == []
    made = json.loads((await hub("key", "create", "script", "--scope", "send", "--json"))[1])
    assert (made["key"]["name"], made["key"]["scopes"]) == ("script", ["send"])
    listed = json.loads((await hub("key", "list", "--json"))[1])
    assert listed == [made["key"]]
    _, table, _ = await hub("key", "list")
    assert made["key"]["id"] in table
    assert made["token"] not in table
    gone = json.loads((await hub("key", "revoke", made["key"]["id"], "--json"))[1])
    assert gone["revoked_at"] is not None


async def test_a_command_that_makes_a_new_hub_says_where(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HUB_DATA", "typo")
    said = []
    for _ in range(2):
        assert await asyncio.to_thread(main, ["key", "list", "--json"], State()) == 0
        done = capsys.readouterr()
        assert json.loads(done.out) == []
        said.append(done.err)
    first, second = said
    assert first.startswith(f"hub: there was no hub in {tmp_path}/typo: this command made a new and empty one; ")
    assert second == ""


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("create", "x"), 2, "--scope"),
        (("create", "x", "--scope", "root"), 2, "'read', 'send', 'admin'"),
        (("create", "a\nb", "--scope", "read"), 1, "name"),
        (("revoke", "../channels"), 1, "no API key is known as '../channels'"),
    ],
)
async def test_what_cannot_be_done_says_why(hub: Run, arguments: tuple[str, ...], code: int, said: str) -> None:
    found, out, err = await hub("key", *arguments)
    assert (found, out) == (code, "")
    assert said in err


async def test_only_the_key_is_printed_even_where_logs_were_set_up_before(database_url: str, tmp_path: Path) -> None:
    config = tmp_path / "hub.toml"
    config.write_text(f"database_url = {json.dumps(database_url)}\ndata = {json.dumps(str(tmp_path))}\n")
    program = "import structlog, sys; structlog.configure(cache_logger_on_first_use=False); " \
        "from hub.cli import main; sys.exit(main(sys.argv[1:]))"
    run = await asyncio.create_subprocess_exec(
        sys.executable, "-c", program, "--config", str(config), "key", "create", "script", "--scope", "send",
        stdout=asyncio.subprocess.PIPE,
    )
    out, _ = await run.communicate()
    assert (run.returncode, re.fullmatch(rb"hub_[0-9a-z]+_\S+\n", out) is not None) == (0, True), out
