"""A conversation goes on elsewhere: whoever writes there with the token is the same customer, and nobody else is."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from hub.continuation import LIFE, plain, token_in
from hub.contract import MessageReceived, Request
from hub.inbound import content_of
from hub.model import Party, encode
from hub.registry import adapters, parse_config
from hub.testing.host import LocalHost
from tests.paper import Office, office
from tests.rest import Api, api

ROOT = Path(__file__).parent.parent
NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)
JOINED_NOTHING = "joined nothing"


@pytest.fixture
async def desk(database_url: str, tmp_path: Path) -> AsyncIterator[Office]:
    async with office(database_url, tmp_path) as running:
        yield running


async def given(desk: Office, channel: str = "fax", sender: str = "ann") -> str:
    """The token in the link that an agent had sent to a new customer."""
    await desk.write(f"hello, {sender} here", sender=sender)
    await desk.agent(f"!continue {channel}", thread=desk.threads[-1])
    return desk.letters.texts[-1].rpartition("=")[2]


async def owners(desk: Office) -> dict[str, int]:
    return {row.address: row.customer_id for row in await desk.rows("identity")}


async def test_the_customer_is_the_same_on_the_other_channel(desk: Office) -> None:
    token = await given(desk)
    assert desk.letters.texts == [f"Continue by fax: https://fax.example/?start={token}"]
    await desk.write(f"Hi! ({token}) here I am", channel="fax", sender="555")
    found = await owners(desk)
    assert found["fax:555"] == found["paper:ann"]
    assert [row.proof for row in await desk.rows("identity", address="fax:555")] == ["verified"]
    assert len(await desk.rows("conversation")) == 1
    assert desk.posts[-2] == "Hi! here I am"
    assert "fax:555 used the link" in desk.posts[-1]
    await desk.agent("welcome", thread=desk.thread)
    assert desk.faxes.texts == ["welcome"]


async def test_a_parameter_of_the_link_does_as_well_as_words(desk: Office) -> None:
    token = await given(desk)
    before = desk.posts
    await desk.write("", channel="fax", sender="555", entry=token)
    found = await owners(desk)
    assert found["fax:555"] == found["paper:ann"]
    assert len(desk.posts) == len(before) + 1, "only the notice: nothing was said"
    assert len(desk.threads) == 1


async def test_a_token_in_a_subject_counts_and_is_not_shown(desk: Office) -> None:
    token = await given(desk)
    await desk.write("as agreed", channel="fax", sender="555", subject=f"Re: Hi! ({token})")
    found = await owners(desk)
    assert found["fax:555"] == found["paper:ann"]
    assert token not in str(await desk.rows("message", inbound=True, channel="fax"))


async def test_the_agent_chooses_the_words(desk: Office) -> None:
    await desk.write("hello")
    post = await desk.agent("!continue fax Let us go on here:", thread=desk.thread)
    assert desk.letters.texts[0].startswith("Let us go on here: https://fax.example/")
    assert "sent" in desk.marks(post)


@pytest.mark.parametrize("channel", ["board", "nowhere"])
async def test_a_link_that_cannot_be_made_is_told(desk: Office, channel: str) -> None:
    await desk.write("hello")
    post = await desk.agent(f"!continue {channel}", thread=desk.thread)
    assert desk.letters.texts == []
    assert desk.marks(post) == ["inside"]
    assert any("Channels: paper, fax" in text for text in desk.posts)


async def test_further_messages_of_the_same_person_change_nothing(desk: Office) -> None:
    token = await given(desk)
    await desk.write(f"Hi! ({token})", channel="fax", sender="555")
    await desk.write(f"Hi again! ({token})", channel="fax", sender="555")
    assert desk.posts[-1] == "Hi again!"
    assert len([text for text in desk.posts if "used the link" in text]) == 1


def bent(token: str) -> str:
    """Another MAC."""
    return token[:-2] + ("a" if token[-2] != "a" else "b") + token[-1]


async def refused(desk: Office, **letter: Any) -> str:
    """Why a letter joined nothing, as the desk was told."""
    before = await owners(desk)
    await desk.write(letter.pop("text"), **{"channel": "fax", "sender": "555"} | letter)
    after = await owners(desk)
    assert {address: after[address] for address in before} == before
    address = f"{letter.get('channel', 'fax')}:{letter.get('sender', '555')}"
    assert [other for other, customer in after.items() if customer == after[address]] == [address]
    told = desk.posts[-1]
    assert JOINED_NOTHING in told
    notice = (await desk.rows("message", author_kind="automation"))[-1]
    [thread] = await desk.rows("conversation", id=notice.conversation_id)
    assert thread.customer_id == after[address], "told where it was used"
    return told


async def test_a_forged_token_joins_nothing(desk: Office) -> None:
    token = await given(desk)
    assert "not made by this hub" in await refused(desk, text=bent(token))
    assert token not in desk.posts[-2] and bent(token) not in desk.posts[-2]


async def test_a_token_for_another_channel_joins_nothing(desk: Office) -> None:
    token = await given(desk, channel="paper")
    assert "for this channel" in await refused(desk, text=f"Hi! ({token})")


async def test_a_token_of_another_hub_joins_nothing(database_url: str, tmp_path: Path, desk: Office) -> None:
    async with office(f"sqlite:///{tmp_path}/other.db", tmp_path / "other") as other:
        token = await given(other)
    await desk.write("hello")
    assert "not made by this hub" in await refused(desk, text=f"Hi! ({token})")


async def test_who_is_known_as_another_customer_is_not_joined(desk: Office) -> None:
    await desk.write("hello", channel="fax", sender="555")
    token = await given(desk)
    told = await refused(desk, text=f"Hi! ({token})")
    assert "known as another customer" in told


async def test_who_wrote_a_moment_before_without_the_token_is_not_joined_either(desk: Office) -> None:
    token = await given(desk)
    letters = [{"id": "a", "from": "555", "text": "hello"}, {"id": "b", "from": "555", "text": token}]
    assert await desk.post("fax", *letters) == 200
    await desk.settled()
    found = await owners(desk)
    assert found["fax:555"] != found["paper:ann"]
    assert JOINED_NOTHING in desk.posts[-1]


@pytest.mark.parametrize("apart", [True, False])
async def test_a_token_is_good_for_one_address(desk: Office, apart: bool) -> None:
    token = await given(desk)
    letters = [{"id": name, "from": name, "text": f"Hi! ({token})"} for name in ("555", "666")]
    for some in [letters[:1], letters[1:]] if apart else [letters]:
        assert await desk.post("fax", *some) == 200
        await desk.settled()
    found = await owners(desk)
    assert found["fax:555"] == found["paper:ann"] != found["fax:666"]
    assert "somebody else has used it" in desk.posts[-1]


async def test_an_expired_token_joins_nothing(desk: Office) -> None:
    token = await given(desk)
    await desk.advance(seconds=LIFE.total_seconds())
    assert "expired" in await refused(desk, text=f"Hi! ({token})")


async def test_an_address_that_nobody_vouches_for_is_not_joined(desk: Office) -> None:
    token = await given(desk)
    assert "nobody vouches" in await refused(desk, text=f"Hi! ({token})", proof="claimed")
    await desk.write(f"Hi! ({token})", channel="fax", sender="777")
    assert (await owners(desk))["fax:777"] == (await owners(desk))["paper:ann"], "it was not used up"


async def test_an_address_that_another_customer_only_claims_is_not_taken_away(desk: Office) -> None:
    await desk.write("hello", channel="fax", sender="555", proof="claimed")
    token = await given(desk)
    assert "known as another customer" in await refused(desk, text=f"Hi! ({token})")


@pytest.mark.parametrize("known", [True, False])
async def test_a_further_address_of_another_customer_keeps_the_two_apart(desk: Office, known: bool) -> None:
    """A link that was passed on: who follows it is new on this channel, but not to us."""
    token = await given(desk)
    if known:
        await desk.write("hello", sender="bob")
        letters = []
    else:  # a moment before, in the same batch
        letters = [{"id": "a", "from": "777", "text": "hello", "also": {"paper:bob": "provider"}}]
    letters.append({"id": "b", "from": "555", "text": f"Hi! ({token})", "also": {"paper:bob": "provider"}})
    assert await desk.post("fax", *letters) == 200
    await desk.settled()
    found = await owners(desk)
    assert found["fax:555"] == found["paper:bob"] != found["paper:ann"]
    assert JOINED_NOTHING in desk.posts[-1]


async def test_a_further_address_of_the_same_customer_does_no_harm(desk: Office) -> None:
    token = await given(desk)
    await desk.write(f"Hi! ({token})", channel="fax", sender="555", also={"paper:ann": "provider"})
    found = await owners(desk)
    assert found["fax:555"] == found["paper:ann"]
    assert await desk.rows("link") == [], "nothing had to be merged"


async def test_an_event_that_comes_twice_is_told_once(desk: Office) -> None:
    token = await given(desk)
    letter = {"id": "a", "from": "555", "text": f"Hi! ({token})"}
    for _ in range(2):
        assert await desk.post("fax", letter) == 200
    await desk.settled()
    assert len([text for text in desk.posts if "used the link" in text]) == 1


async def test_a_token_fits_every_link(desk: Office) -> None:
    token = await given(desk)
    assert re.fullmatch(r"[A-Za-z0-9_-]{1,64}", token)
    assert token.lower() == token, "servers of mail fold case"


# --- links of adapters ---

SMS = {"account_sid": "AC1", "auth_token": "f" * 32}
META = {"phone_number_id": "1", "access_token": "t", "app_secret": "s"}
LINE = {"channel_secret": "s", "channel_access_token": "t"}
MESSENGER = {"access_token": "t", "app_secret": "s", "verify_token": "v"}
LINKS: list[tuple[str, dict[str, Any], str | None]] = [
    ("twilio_sms", {**SMS, "from_number": "+12025550100"}, "sms:+12025550100?body=Hi%21%20%28omni-x%29"),
    ("twilio_sms", {**SMS, "from_number": "12345"}, "sms:12345?body=Hi%21%20%28omni-x%29"),
    ("twilio_sms", {**SMS, "from_number": "Example"}, None),
    ("twilio_sms", {**SMS, "messaging_service_sid": "MG1"}, None),
    ("whatsapp_cloud", {**META, "phone_number": "+12025550100"}, "https://wa.me/12025550100?text=Hi%21%20%28omni-x%29"),
    ("whatsapp_cloud", META, None),
    ("email", {"address": "help+1@example.com"}, "mailto:help%2B1@example.com?subject=Hi%21%20%28omni-x%29"),
    ("webchat", {"allowed_origins": ["*"], "page": "https://a.example/?b"}, "https://a.example/?b#chat=omni-x"),
    ("webchat", {"allowed_origins": ["*"]}, None),
    ("telegram", {"bot_token": "1:a", "mode": "polling", "username": "a_bot"}, "https://t.me/a_bot?start=omni-x"),
    ("telegram", {"bot_token": "1:a", "mode": "polling"}, None),
    ("line", {**LINE, "basic_id": "@a.b"}, "https://line.me/R/oaMessage/%40a.b/?Hi%21%20%28omni-x%29"),
    ("line", LINE, None),
]


@pytest.mark.parametrize(("adapter", "config", "link"), LINKS)
def test_a_channel_tells_its_link(adapter: str, config: dict[str, Any], link: str | None) -> None:
    kind = adapters().named(adapter)
    assert kind("one", parse_config(kind, config), LocalHost()).entry_link("omni-x") == link


TOKEN = "omni-" + "a2" * 19 + "b"
FIRST: list[tuple[str, dict[str, Any], str, str]] = [
    ("telegram", {"bot_token": "1:a", "mode": "polling"}, "start.json", "order-1042"),
    ("messenger", {**MESSENGER, "page_id": "1234567890"}, "referral.json", "poster-7"),
    ("twilio_sms", {**SMS, "from_number": "+12025550100"}, "sms.form", "Hi"),
    ("twilio_whatsapp", {**SMS, "from_number": "+12025550100"}, "text.form", "Hello%2C+is+it+here%3F"),
    ("whatsapp_cloud", {**META, "phone_number_id": "106540352242922"}, "text.json", "Does it come in another colour?"),
]


@pytest.mark.parametrize(("adapter", "config", "fixture", "word"), FIRST)
def test_a_token_is_found_in_what_a_provider_sends_and_is_not_shown(
    adapter: str, config: dict[str, Any], fixture: str, word: str
) -> None:
    body = (ROOT / "adapters" / adapter / "fixtures" / fixture).read_text(encoding="utf-8")
    assert word in body
    kind = adapters().named(adapter)
    seen = Request("POST", "https://hub.example.com/hooks/x", {}, body.replace(word, f"({TOKEN})").encode(), NOON)
    if adapter == "telegram":
        seen.body = body.replace(word, TOKEN).encode()
    [event] = kind("x", parse_config(kind, config), LocalHost()).receive(seen)
    assert isinstance(event, MessageReceived)
    assert token_in(event) == TOKEN
    assert TOKEN not in encode(content_of(plain(event)))


def test_blanks_beside_a_token_cost_no_more_than_other_text() -> None:
    """In a process of its own, which ends after 20 seconds of the processor: nothing else stops an expression."""
    program = (
        "import resource, tests.test_continuation as this;"
        "resource.setrlimit(resource.RLIMIT_CPU, (20, 20));"
        "print(this.plain(this.said(f'{this.TOKEN} a' + ' ' * 400_000 + 'b')).text == 'a' + ' ' * 400_000 + 'b')"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.stdout == "True\n", done


BESIDE = [
    ("Hi {} you", "Hi you"), ("{}Hi", "Hi"), ("Hi \t  ({})", "Hi"), ("a ({})({}) b", "a b"), ("a\n {}\nb", "a\n\nb"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "shown"), BESIDE)
def test_a_token_goes_with_the_blanks_before_it(text: str, shown: str) -> None:
    assert plain(said(text.replace("{}", TOKEN))).text == shown


def said(text: str) -> MessageReceived:
    return MessageReceived("1", Party("tel", "+447700900123"), NOON, text)


# --- the API ---


@pytest.fixture
async def rest(database_url: str, tmp_path: Path) -> AsyncIterator[Api]:
    async with api(database_url, tmp_path) as client:
        yield client


async def test_a_program_makes_a_link(rest: Api) -> None:
    await rest.office.write("hello")
    [found] = (await rest.get("/conversations")).json["items"]
    made = await rest.post(f"/conversations/{found['id']}/links", {"channel": "fax"})
    assert made.status == 200, made.text
    assert (made.json["conversation"], made.json["channel"]) == (found["id"], "fax")
    token = made.json["url"].removeprefix("https://fax.example/?start=")
    await rest.office.write(token, channel="fax", sender="555")
    [row] = (await rest.get("/customers")).json["items"]
    assert {each["address"] for each in row["identities"]} == {"paper:ann", "fax:555"}


async def test_a_program_is_told_why_there_is_no_link(rest: Api) -> None:
    await rest.office.write("hello")
    [found] = (await rest.get("/conversations")).json["items"]
    reader = await rest.key("read")
    path = f"/conversations/{found['id']}/links"
    assert (await rest.post(path, {"channel": "fax"}, token=reader)).status == 403
    wrong = await rest.post(path, {"channel": "board"})
    assert wrong.problem == (422, "invalid_body")
    assert "there are: paper, fax" in wrong.json["detail"]
    assert (await rest.post("/conversations/con_0000000000000/links", {"channel": "fax"})).status == 404
