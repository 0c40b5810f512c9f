"""``hub send``, ``timeline``, ``why`` and ``replay``, beside a hub that runs and without one."""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from hub.app import opened
from hub.model import public_id
from hub.settings import Settings
from tests.paper import Office, Paper, Post, office, until
from tests.process import Cli, write_settings


@pytest.fixture
async def desk(database_url: str, tmp_path: Path) -> AsyncIterator[Office]:
    async with office(database_url, tmp_path, delivered=True) as running:
        # Commands that open the database by themselves (PostgreSQL) know the true time; what they make is due here.
        running.clock.now = datetime.now(UTC) + timedelta(hours=1)
        yield running


@pytest.fixture
def hub(
    desk: Office, tmp_path: Path, database_url: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Cli:
    monkeypatch.chdir(tmp_path)
    config = tmp_path / "hub.toml"
    lines = [f"database_url = {json.dumps(database_url)}", f"data = {json.dumps(str(tmp_path))}"]
    lines += [f'[channels.{name}]\nadapter = "{name}"' for name in desk.hub.channels]
    config.write_text("\n".join(lines))
    return Cli(config, capsys, {name: type(each) for name, each in desk.hub.adapters.items()})


# --- send ---


async def test_a_message_is_sent_and_told(desk: Office, hub: Cli) -> None:
    done = await hub("send", "--purpose", "reply", "paper:ann", "Your parcel is on its way.")
    assert done.code == 0, done.err
    await desk.settled()
    assert desk.letters.texts == ["Your parcel is on its way."]
    [message] = await desk.rows("message")
    assert done.out.splitlines()[0] == f"{public_id('message', message.id)} to paper:ann by paper: queued"


async def test_the_same_key_sends_once(desk: Office, hub: Cli) -> None:
    first = await hub("send", "--purpose", "reply", "paper:ann", "Hello", "--key", "k1", "--json")
    second = await hub("send", "--purpose", "reply", "paper:ann", "Hello", "--key", "k1", "--json")
    await desk.settled()
    assert (first.code, second.code) == (0, 0)
    assert first.json["id"] == second.json["id"]
    assert first.json["idempotency_key"] == "k1"
    assert desk.letters.texts == ["Hello"]
    other = await hub("send", "--purpose", "reply", "paper:ann", "Something else", "--key", "k1")
    assert other.code == 1
    assert "this Idempotency-Key was used for another request" in other.err


@pytest.mark.parametrize("given", [(), ("-",)])
async def test_the_text_comes_from_standard_input(
    desk: Office, hub: Cli, monkeypatch: pytest.MonkeyPatch, given: tuple[str, ...]
) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO("Grüße\nvon uns\n".encode())))
    done = await hub("send", "--purpose", "reply", "paper:ann", *given)
    assert done.code == 0, done.err
    await desk.settled()
    assert desk.letters.texts == ["Grüße\nvon uns"]


async def test_the_text_comes_from_a_file(desk: Office, hub: Cli, tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text("From a file.\n")
    assert (await hub("send", "--purpose", "reply", "paper:ann", "--file", "text.txt")).code == 0
    await desk.settled()
    assert desk.letters.texts == ["From a file."]
    (tmp_path / "text.txt").write_bytes(b"\xff\xfe")
    refused = await hub("send", "--purpose", "reply", "paper:ann", "--file", "text.txt")
    assert (refused.code, refused.err) == (
        1, "hub: text.txt is no UTF-8 text (byte 0); a file is sent with --attach\n"
    )


async def test_a_dry_run_shows_decision_and_text_and_leaves_no_trace(desk: Office, hub: Cli) -> None:
    done = await hub("send", "--purpose", "reply", "paper:stranger", "word " * 300, "--dry-run", "--json")
    assert done.code == 0, done.err
    found = done.json
    assert (found["verdict"], found["reason"], found["customer"]) == ("allow", "ALLOWED", None)
    assert (found["channel"], found["address"]) == ("paper", "paper:stranger")
    assert [len(part["text"]) <= 1000 for part in found["parts"]] == [True, True]
    shown = await hub("send", "--purpose", "reply", "paper:stranger", "Hello", "--dry-run")
    assert "part 1 of 1, 5 characters\n    Hello\n" in shown.out
    assert shown.out.endswith("nothing was sent\n")
    await desk.settled()
    assert (await desk.rows("message"), await desk.rows("customer"), await desk.rows("delivery")) == ([], [], [])
    assert desk.letters.handed == []


async def test_a_dry_run_says_what_forbids_it(desk: Office, hub: Cli) -> None:
    desk.clock.now = datetime.now(UTC)  # the command may decide by itself: STOP is not yet to come
    await desk.write("STOP")
    done = await hub("send", "--purpose", "reply", "paper:ann", "Buy!", "--dry-run")
    assert done.code == 1
    assert "block: CONSENT_REVOKED_ALL" in done.out
    assert "they opted out of everything on" in done.out


async def test_waiting_ends_with_the_delivery(desk: Office, hub: Cli) -> None:
    waiting = asyncio.create_task(hub("send", "--purpose", "reply", "paper:ann", "Hello", "--wait", "--json"))
    await until(lambda: desk.rows("receipt"))
    await desk.status("paper-1", "delivered")
    done = await waiting
    assert done.code == 0, done.err
    assert (done.json["state"], done.json["done"]) == ("delivered", True)


async def test_waiting_ends_with_a_refusal_and_its_reason(desk: Office, hub: Cli) -> None:
    await desk.write("STOP")
    done = await hub("send", "--purpose", "reply", "paper:ann", "Hello", "--wait")
    assert done.code == 1
    assert "denied – CONSENT_REVOKED_ALL: they opted out of everything on" in done.out
    assert "hub why msg_" in done.out


async def test_waiting_ends_when_the_time_is_up(desk: Office, hub: Cli) -> None:
    done = await hub("send", "--purpose", "reply", "paper:ann", "Hello", "--wait", "--timeout", "0", "--json")
    assert (done.code, done.json["done"]) == (1, False)
    assert done.json["state"] in ("queued", "sending", "sent")


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("send", "--purpose", "reply", "nobody", "Hello"), 1, "no customer is known as 'nobody'"),
        (("send", "paper:ann", "Hello", "--channel", "phax"), 1, "no channel to customers is called 'phax'"),
        (("send", "paper:ann", "Hello", "--attach", "ftp://x"), 1, "attachments.0.url"),
        (("send", "paper:ann", "Hello", "--file", "x", "--json"), 2, "give the text once"),
        (("send", "paper:ann", "Hello", "--purpose", "fun"), 2, "purpose"),
        (
            ("consent", "ask", "mailto:ann@example.com", "--source", "shop", "--evidence", "x"),
            1,
            "asked: no channel reaches addresses of the scheme mailto: (channels that do: none)\n",
        ),
        (("timeline", "nobody"), 1, "no customer is known as 'nobody'"),
        (("why", "msg_nothing"), 1, "no message is known as 'msg_nothing'"),
        (("replay",), 2, "say what to replay"),
        (("replay", "1", "--failed"), 2, "say what to replay"),
        (("replay", "--since", "yesterday"), 2, "it looks like 30m, 2h, 3d or"),
    ],
)
async def test_what_is_wrong_is_said(desk: Office, hub: Cli, arguments: tuple[str, ...], code: int, words: str) -> None:
    done = await hub(*arguments)
    assert (done.code, done.out) == (code, "")
    assert words in done.err
    assert len(done.err.splitlines()) == 1


# --- timeline and why ---


async def test_a_timeline_tells_all_channels_oldest_first(desk: Office, hub: Cli) -> None:
    await desk.write("Where is my parcel?", sender="ann", name="Ann")
    await desk.agent("On its way.", thread=desk.thread)
    await desk.write("Thanks! \x1b[31mred\u202e", sender="ann")
    shown = await hub("timeline", "paper:ann")
    assert shown.code == 0, shown.err
    order = [shown.out.index(words) for words in ("Where is my parcel?", "On its way.", "Thanks!")]
    assert order == sorted(order)
    assert "Zoe (agent)" in shown.out
    assert "\x1b" not in shown.out and "\u202e" not in shown.out, "what others write cannot steer the terminal"
    found = (await hub("timeline", "paper:ann", "--json")).json
    assert [each["direction"] for each in found["messages"]] == ["in", "out", "in"]
    assert found["messages"][1]["state"] == "sent"
    by_id = await hub("timeline", found["customer"]["id"], "--limit", "1", "--json")
    assert [each["text"][:6] for each in by_id.json["messages"]] == ["Thanks"]
    assert "(the newest 1; more with --limit)" in (await hub("timeline", "paper:ann", "--limit", "1")).out


async def test_a_timeline_shows_decisions_when_asked(desk: Office, hub: Cli) -> None:
    await desk.write("Hello")
    await desk.write("STOP")
    await hub("send", "--purpose", "reply", "paper:ann", "Buy!")
    await desk.settled()
    plain = await hub("timeline", "paper:ann")
    assert "denied – CONSENT_REVOKED" in plain.out
    assert "decided" not in plain.out
    decided = (await hub("timeline", "paper:ann", "--decisions")).out
    assert "block CONSENT_REVOKED_ALL they opted out of everything on" in decided


async def test_a_customer_without_messages_has_an_empty_timeline(desk: Office, hub: Cli) -> None:
    from hub import customers
    from hub.customers import CustomerDraft

    draft = CustomerDraft(external_id="crm/7", name="Bo")
    await desk.hub.write(lambda connection, context: customers.upsert(connection, context, draft))
    shown = await hub("timeline", "crm/7")
    assert shown.code == 0, shown.err
    assert shown.out.startswith("Bo (cus_")
    assert "no messages yet" in shown.out
    assert (await hub("timeline", "crm/7", "--json")).json["messages"] == []


async def test_why_tells_decision_attempts_and_receipts(desk: Office, hub: Cli) -> None:
    sent = (await hub("send", "--purpose", "reply", "paper:ann", "Hello", "--json")).json
    await desk.settled()
    await desk.status("paper-1", "delivered")
    shown = await hub("why", sent["id"])
    assert shown.code == 0, shown.err
    for words in (
        f"{sent['delivery']} to the customer by paper paper:ann: delivered",
        "allow, ALLOWED (policy",
        "ok  CONSENT_REVOKED        not opted out",
        "attempt 1",
        "part 1",
        "delivered, provider id paper-1",
    ):
        assert words in shown.out
    assert (await hub("why", sent["delivery"], "--json")).json == (await hub("why", sent["id"], "--json")).json


async def test_why_names_the_check_that_failed(desk: Office, hub: Cli) -> None:
    await desk.write("STOP")
    sent = (await hub("send", "--purpose", "reply", "paper:ann", "Buy!", "--json")).json
    await desk.settled()
    shown = await hub("why", sent["id"])
    assert "denied – CONSENT_REVOKED_ALL: they opted out of everything on" in shown.out
    assert "NO  CONSENT_REVOKED_ALL" in shown.out
    assert desk.letters.handed == []


async def test_why_says_of_a_customers_message_that_nothing_was_decided(desk: Office, hub: Cli) -> None:
    await desk.write("Hello")
    [message] = await desk.rows("message")
    assert "nothing was decided" in (await hub("why", public_id("message", message.id))).out


# --- replay ---


async def test_a_delivery_that_could_not_be_read_is_replayed_once_it_can(desk: Office, hub: Cli) -> None:
    assert await desk.post("paper", body=b"not a letter") == 200
    await desk.write("Hello")
    dry = await hub("replay", "--failed", "--dry-run")
    assert dry.code == 1
    assert "not a letter" in dry.out
    assert dry.out.endswith("0 of 1 can be read: 0 events; nothing was changed\n")
    still = await hub("replay", "--failed", "--json")
    assert (still.code, still.json["failed"], still.json["items"][0]["inbox_id"]) == (1, 1, 1)


async def test_a_replay_has_no_second_effect(desk: Office, hub: Cli) -> None:
    for number in range(3):
        await desk.write(f"Hello {number}")
    before = (await desk.rows("message"), await desk.rows("delivery"), await desk.rows("conversation"))
    done = await hub("replay", "--since", "2026-01-01", "--channel", "paper", "--json")
    assert done.code == 0, done.err
    assert [each["inbox_id"] for each in done.json["items"]] == [1, 2, 3]
    await desk.settled()
    assert (await desk.rows("message"), await desk.rows("delivery"), await desk.rows("conversation")) == before
    assert (await hub("replay", "--since", "2200-01-01")).out == "nothing to replay: no delivery is like that\n"
    assert (await hub("replay", "--since", "2026-01-01", "--channel", "fax", "--json")).json["items"] == []


async def test_a_replay_of_many_tells_how_far_it_is(desk: Office, hub: Cli) -> None:
    letters = [{"id": f"l{number}", "from": "ann", "text": "x"} for number in range(105)]
    await asyncio.gather(*(desk.post("paper", letter) for letter in letters))
    await desk.settled()
    done = await hub("replay", "--since", "2026-01-01", "--dry-run")
    assert done.code == 0, done.err
    assert done.err.splitlines() == ["100 of 105", "105 of 105"]
    assert done.out == "105 of 105 can be read: 105 events; nothing was changed\n"


async def test_an_id_that_is_not_in_the_inbox_is_named(desk: Office, hub: Cli) -> None:
    done = await hub("replay", "4711")
    assert (done.code, "not in the inbox: 4711" in done.out) == (1, True)


# --- without a hub that runs ---


@pytest.fixture
async def alone(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Cli:
    monkeypatch.chdir(tmp_path)
    paper = type("Paper", (Paper,), {"post": Post()})
    return Cli(write_settings(tmp_path, {"paper": {"adapter": "paper"}}), capsys, {"paper": paper})


async def test_without_a_hub_a_message_waits_for_one(alone: Cli) -> None:
    refused = await alone("send", "paper:ann", "Hello", "--wait")
    assert refused.code == 1
    assert "\nhub: nothing was sent: no hub runs" in refused.err
    done = await alone("send", "paper:ann", "Hello")
    assert (done.code, done.out.splitlines()[1]) == (0, "no hub runs here, so it waits for one: hub serve")
    told = await alone("timeline", "paper:ann", "--json")
    assert [each["state"] for each in told.json["messages"]] == ["queued"]
    assert "looked at next as soon as its turn comes, given up at" in (await alone("why", done.out.split()[0])).out
    assert alone.extra["paper"].post.handed == []


async def test_a_command_waits_for_another_one_to_end(alone: Cli, tmp_path: Path) -> None:
    async with opened(Settings.model_validate({"data": tmp_path / "data"})):
        waiting = asyncio.create_task(alone("send", "paper:ann", "Hello"))
        done, _ = await asyncio.wait({waiting}, timeout=0.3)
        assert not done
    assert (await waiting).code == 0
