"""``hub campaign`` and ``hub segment``, beside a hub that runs."""

from __future__ import annotations

import asyncio
import csv
import json
import tomllib
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

import pytest

from hub import customers
from hub.client import AsyncClient
from hub.contract import Rejected
from hub.customers import CustomerDraft, IdentityDraft
from hub.keys import local_token
from hub.settings import load, master_key
from tests.paper import Office, office, until
from tests.process import Cli, run, write_settings

GOLD = """
name = "Spring"
purpose = "transactional"
channels = ["paper"]
audience = { segment = { field = "tier", is = "gold" } }
messages = [{ text = "Hi {{ first }}" }]
variables.first = { source = "customer.name", fallback = "there" }
"""
LIST = """
name = "Codes"
purpose = "transactional"
channels = ["paper"]
audience = { list = true }
messages = [{ text = "Your code is {{ code }}" }]
variables.code = { required = true }
"""


@pytest.fixture
async def shop(sqlite_url: str, tmp_path: Path) -> AsyncIterator[Office]:
    async with office(sqlite_url, tmp_path) as running:
        for name, tier in (("ann", "gold"), ("bob", "gold"), ("cy", "basic")):
            address = IdentityDraft(address=f"paper:{name}", proof="verified")
            draft = CustomerDraft(external_id=name, name=name.title(), tier=tier, identities=[address])
            await running.hub.write(partial(customers.upsert, draft=draft))
        yield running


@pytest.fixture
def hub(shop: Office, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Cli:
    monkeypatch.chdir(tmp_path)
    config = tmp_path / "hub.toml"
    lines = [f"database_url = {json.dumps(f'sqlite:///{tmp_path}/hub.db')}", f"data = {json.dumps(str(tmp_path))}"]
    lines += [f'[channels.{name}]\nadapter = "{name}"' for name in shop.hub.channels]
    config.write_text("\n".join(lines))
    (tmp_path / "gold.toml").write_text(GOLD)
    (tmp_path / "list.toml").write_text(LIST)
    return Cli(config, capsys, {name: type(each) for name, each in shop.hub.adapters.items()})


def people(path: Path, *lines: str) -> str:
    path.write_text("\n".join(lines) + "\n")
    return path.name


async def campaigns(hub: Cli) -> dict[str, str]:
    return {each["name"]: each["state"] for each in (await hub("campaign", "list", "--json")).json}


# --- check ---


async def test_a_check_tells_everything_and_leaves_no_trace(shop: Office, hub: Cli, tmp_path: Path) -> None:
    await shop.write("STOP", sender="bob")
    done = await hub("campaign", "check", "gold.toml", "--out", "outlook.csv")
    assert done.code == 0, done.err
    for words in ("allow", "block", "CONSENT_REVOKED_ALL", "paper: 1 messages, 1 parts", "Hi Ann",
                  "1 of 2 people would get Spring; nothing was sent"):  # fmt: skip
        assert words in done.out
    with (tmp_path / "outlook.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [(each["external_id"], each["verdict"], each["text"]) for each in rows] == [
        ("ann", "allow", "Hi Ann"), ("bob", "block", "Hi Bob")
    ]  # fmt: skip
    assert (await campaigns(hub), await shop.rows("recipient"), shop.letters.handed) == ({}, [], [])


async def test_a_check_of_a_list_names_rows_that_cannot_be_used(hub: Cli, tmp_path: Path) -> None:
    name = people(tmp_path / "p.csv", "customer,cod", "ann,A", "eve,B", "ann,C", "cy")
    done = await hub("campaign", "check", "list.toml", "--people", name, "--json")
    assert done.code == 2, "nobody has a code"
    assert done.json["problems"] == [
        {"row": 3, "detail": "no customer is known as 'eve'"},
        {"row": 4, "detail": "customer 'ann' is in line 2 already"},
        {"row": 5, "detail": "1 cells, but line 1 names 2 columns"},
    ]
    assert done.json["notes"] == ["p.csv: no variable is called 'cod'; did you mean code?"]
    assert done.json["verdicts"] == [{"verdict": "skip", "reason": "MISSING_VALUE", "people": 1}]
    assert done.err.splitlines()[-1] == "hub: nobody would get a message"
    good = people(tmp_path / "p.csv", "customer,code", "ann,A", "eve,B")
    assert (await hub("campaign", "check", "list.toml", "--people", good)).code == 1


# --- send ---


async def test_a_campaign_is_sent_followed_and_accounted_for(shop: Office, hub: Cli, tmp_path: Path) -> None:
    done = await hub("campaign", "send", "gold.toml", "--out", "outcome.jsonl", "--json")
    assert done.code == 0, done.err
    assert (done.json["people"], done.json["states"], done.json["campaign"]["state"]) == (2, {"sent": 2}, "finished")
    assert sorted(shop.letters.texts) == ["Hi Ann", "Hi Bob"]
    rows = [json.loads(line) for line in (tmp_path / "outcome.jsonl").read_text().splitlines()]
    assert [(each["external_id"], each["state"]) for each in rows] == [("ann", "sent"), ("bob", "sent")]
    shown = await hub("campaign", "stats", "Spring")
    assert "Spring: 2 sent, of 2; finished; 0 replied, 0 opted out" in shown.out


async def test_the_same_file_is_not_sent_twice(shop: Office, hub: Cli) -> None:
    assert (await hub("campaign", "send", "gold.toml")).code == 0
    again = await hub("campaign", "send", "gold.toml")
    assert again.code == 2
    assert "there is a campaign called 'Spring' already" in again.err
    assert "that one is finished; what came of it: hub campaign stats 'Spring'" in again.err
    assert len(shop.letters.handed) == 2


async def test_a_failure_is_an_exit_code(shop: Office, hub: Cli) -> None:
    shop.letters.answers = [Rejected("no such box", code="77")]
    done = await hub("campaign", "send", "gold.toml")
    assert done.code == 1
    assert "1 sent, 1 failed, of 2; finished" in done.out
    assert "77" in done.out


async def test_a_list_with_a_problem_is_not_sent_unless_told_so(shop: Office, hub: Cli, tmp_path: Path) -> None:
    name = people(tmp_path / "p.csv", "id,code", "ann,A", "eve,B")
    refused = await hub("campaign", "send", "list.toml", "--people", name)
    assert refused.code == 2
    assert refused.err.splitlines() == [
        "p.csv:3: no customer is known as 'eve'",
        "hub: nothing was sent: 1 rows have problems; mend them, or say --skip-problems",
    ]
    assert (await campaigns(hub), shop.letters.handed) == ({}, [])
    done = await hub("campaign", "send", "list.toml", "--people", name, "--skip-problems")
    assert done.code == 0, done.err
    assert shop.letters.texts == ["Your code is A"]


async def test_a_person_who_is_in_a_list_under_two_names_is_told(shop: Office, hub: Cli, tmp_path: Path) -> None:
    name = people(tmp_path / "p.csv", "customer,code", "ann,A", "paper:ann,B", "bob,C")
    note = "p.csv: 1 rows are of people whom another row has by another name (id, address): each gets one message"
    checked = await hub("campaign", "check", "list.toml", "--people", name, "--json")
    assert (checked.code, checked.json["repeated"], checked.json["going"], checked.json["notes"]) == (1, 1, 2, [note])
    refused = await hub("campaign", "send", "list.toml", "--people", name)
    assert (refused.code, refused.err.splitlines()[0], shop.letters.handed) == (2, note, [])
    done = await hub("campaign", "send", "list.toml", "--people", name, "--skip-problems")
    assert (done.code, sorted(shop.letters.texts)) == (0, ["Your code is A", "Your code is C"]), done.err


@pytest.mark.parametrize(
    ("text", "arguments", "words"),
    [
        (GOLD.replace("{{ first }}", "{{ frist }}"), [], "messages.0.text: frist is used but not declared"),
        (GOLD.replace('"gold"', '"none"'), [], "audience: nobody is in the segment"),
        (GOLD.replace('["paper"]', '["pigeon"]'), [], "no channel to customers is called 'pigeon'"),
        (GOLD + "rat = 3", [], "rat"),
        (GOLD + "][", [], "is no TOML"),
        (LIST, [], "hand it over with --people"),
        (GOLD, ["--people", "p.csv"], "its audience is a segment"),
        (LIST, ["--people", "p.csv"], "there is no such file"),
        (LIST, ["--people", "empty.csv"], "audience: the list is empty"),
        (GOLD, ["--out", "x.pdf"], "the name ends in .csv or .jsonl"),
    ],
)
async def test_what_cannot_work_is_refused_before_anything_is_sent(
    shop: Office, hub: Cli, tmp_path: Path, text: str, arguments: list[str], words: str
) -> None:
    (tmp_path / "c.toml").write_text(text)
    (tmp_path / "empty.csv").write_text("customer,code\n")
    done = await hub("campaign", "send", "c.toml", *arguments)
    assert (done.code, done.out) == (2, "")
    assert words in done.err
    assert (await campaigns(hub), shop.letters.handed) == ({}, [])


async def test_paused_resumed_and_cancelled_by_name(shop: Office, hub: Cli) -> None:
    shop.letters.gate = asyncio.Event()
    sending = asyncio.create_task(hub("campaign", "send", "gold.toml"))

    async def running() -> bool:
        return bool(await shop.rows("campaign", state="running"))

    await until(running)
    named = Cli(hub.config, hub.capsys, hub.extra)
    await named("campaign", "pause", "Spring", "--reason", "a typo")
    done = await sending
    assert done.code == 1
    assert [each.state for each in await shop.rows("campaign")] == ["paused"]
    assert (await named("campaign", "resume", "Spring")).out == "Spring: running\n"
    assert (await named("campaign", "cancel", "Spring")).out == "Spring: cancelled\n"
    shop.letters.gate.set()
    again = await named("campaign", "resume", "Spring")
    assert (again.code, "only a paused one can be resumed" in again.err) == (1, True)
    assert "no campaign is known as 'Winter'" in (await named("campaign", "stats", "Winter")).err


async def test_time_is_up_and_the_campaign_goes_on(shop: Office, hub: Cli) -> None:
    shop.letters.gate = asyncio.Event()
    done = await hub("campaign", "send", "gold.toml", "--timeout", "0")
    assert (done.code, "it goes on: hub campaign stats 'Spring'" in done.err) == (1, True)
    shop.letters.gate.set()


async def test_without_a_hub_that_works_nothing_is_begun(tmp_path: Path) -> None:
    write_settings(tmp_path)
    (tmp_path / "gold.toml").write_text(GOLD)
    done = await run("campaign", "send", "gold.toml", cwd=tmp_path)
    assert (done.code, done.out) == (2, "")
    assert "no hub runs that would do it" in done.err
    assert (await run("campaign", "list", cwd=tmp_path)).out.startswith("no campaign yet")


async def test_who_enters_by_a_trigger_is_not_waited_for(shop: Office, hub: Cli, tmp_path: Path) -> None:
    text = GOLD.replace('{ segment = { field = "tier", is = "gold" } }', "{ trigger = { created = true } }")
    (tmp_path / "c.toml").write_text(text)
    assert "people enter by its trigger" in (await hub("campaign", "check", "c.toml")).err
    done = await hub("campaign", "send", "c.toml")
    assert (done.code, await campaigns(hub)) == (0, {"Spring": "running"})
    assert shop.letters.handed == []
    assert (await hub("campaign", "cancel", "Spring")).code == 0


async def test_a_draft_is_forgotten_by_cancelling_it(shop: Office, hub: Cli) -> None:
    token = local_token(master_key(load(hub.config)))
    async with AsyncClient(f"http://127.0.0.1:{shop.hub.port}", token) as client:
        await client.create_campaign(tomllib.loads(GOLD))
    taken = await hub("campaign", "send", "gold.toml")
    assert (taken.code, "that one is draft; to forget it: hub campaign cancel 'Spring'" in taken.err) == (2, True)
    assert (await hub("campaign", "cancel", "Spring")).out == "Spring: forgotten\n"
    assert (await hub("campaign", "send", "gold.toml")).code == 0


# --- segments ---


async def test_segments_are_saved_counted_listed_and_forgotten(hub: Cli, tmp_path: Path) -> None:
    gold = '{"field": "tier", "is": "gold"}'
    (tmp_path / "f.json").write_text(gold)
    assert (await hub("segment", "save", "gold", gold)).out == "gold: 2 customers; reached by paper 2, fax 0\n"
    assert (await hub("segment", "count", "gold", "--json")).json["customers"] == 2
    assert (await hub("segment", "count", "@f.json", "--json")).json["customers"] == 2
    assert [each["name"] for each in (await hub("segment", "list", "--json")).json] == ["gold"]
    wrong = await hub("segment", "count", '{"field": "teir"}')
    assert (wrong.code, "no such field: 'teir'" in wrong.err) == (1, True), wrong.err
    assert (await hub("segment", "count", "{")).code == 2
    assert (await hub("segment", "delete", "gold")).code == 0
    assert (await hub("segment", "delete", "gold")).code == 1
