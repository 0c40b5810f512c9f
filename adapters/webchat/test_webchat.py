"""Web chat over a real socket: who gets in, what is kept, what is shown, what is refused."""

from __future__ import annotations

import asyncio
import base64
import json
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from pydantic import ValidationError

from adapters.webchat.adapter import VISITOR_HEADER, WebChat, WebChatConfig
from adapters.webchat.frames import TEXT_LIMIT
from adapters.webchat.simulator import sign
from adapters.webchat.testing import NOON, SECRET, Impatient, Site
from hub.contract import BadAddress, Outgoing, Request, Unparseable
from hub.model import Address, Attachment, Button, json_ready
from hub.testing.host import LocalHost
from hub.testing.simulation import Fault

FIXTURES = [json.loads(line) for line in (Path(__file__).parent / "fixtures/receive.jsonl").read_text().splitlines()]


# --- who gets in --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("config", "origin", "status"), [
    ({}, "https://evil.example", 403),
    ({}, "null", 403),
    ({}, None, 403),
    ({}, "http://127.0.0.1", 403),  # another port is another site
    ({"allowed_origins": ["https://www.example.com"]}, "https://www.example.com.evil.example", 403),
    ({"allowed_origins": ["https://www.example.com"]}, "https://www.example.com", 101),
    ({"allowed_origins": ["*"]}, "https://anybody.example", 101),
    ({"allowed_origins": ["*"]}, "null", 403),
    ({"allow_missing_origin": True}, None, 101),
    ({"allow_missing_origin": True}, "https://evil.example", 403),
])
async def test_only_allowed_origins_get_a_socket(
    sites: Any, config: dict[str, Any], origin: str | None, status: int
) -> None:
    site = await sites(**config)
    visitor = site.visitor()
    visitor.origin = origin
    if status == 101:
        await visitor.connect()
    else:
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await visitor.connect()
        assert refused.value.status == status
        assert not site.hub.emitted


@pytest.mark.parametrize("origin", ["https://www.example.com/", "www.example.com", "null", "https://*.example.com", ""])
def test_an_origin_that_no_browser_sends_is_refused_at_start(origin: str) -> None:
    with pytest.raises(ValidationError, match="no origin"):
        WebChatConfig(allowed_origins=(origin,))


@pytest.mark.parametrize("secret", ["", "x" * 31])
def test_a_short_identity_secret_is_refused_at_start_and_not_repeated(secret: str) -> None:
    with pytest.raises(ValidationError, match="openssl rand") as error:
        WebChatConfig(allowed_origins=("*",), identity_secret=secret)
    assert not secret or secret not in str(error.value.errors(include_input=False))


async def test_a_visitor_gets_a_random_id_and_resumes_with_the_token_alone(site: Site) -> None:
    first, other, again = site.visitor(), site.visitor(), site.visitor()
    await first.connect()
    await other.connect()
    await again.connect(resume=first.session)
    assert again.id == first.id != other.id
    assert first.id is not None and len(first.id) == 2 + 32 and first.id.startswith("a-")


@pytest.mark.parametrize("forge", [
    lambda session, id: id,  # the id is no token
    lambda session, id: "a-" + "0" * 32 + session[34:],  # another visitor under this signature
    lambda session, id: session[:-2] + ("AA" if session[-2:] != "AA" else "BB"),
    lambda session, id: "",
    lambda session, id: "x" * 5000,
])
async def test_a_session_that_we_did_not_sign_is_refused(site: Site, forge: Callable[[str, str], str]) -> None:
    visitor = await site.visitor().connect()
    attacker = site.visitor()
    await attacker.dial()
    await attacker.say(type="hello", session=forge(visitor.session or "", visitor.id or ""))
    assert await attacker.closed() == 4401


async def test_a_session_of_another_channel_or_too_old_is_refused(site: Site) -> None:
    visitor = await site.visitor().connect()
    site.hub._now = datetime.now(UTC) + timedelta(days=366)
    with pytest.raises(Exception, match="4401"):
        await site.visitor().connect(resume=visitor.session)
    site.hub._now = None
    foreign = WebChat("shop", site.adapter.config, site.hub)._visitors
    with pytest.raises(Exception, match="not valid"):
        foreign.who(session=visitor.session, token=None)


async def test_every_hello_renews_the_session(site: Site) -> None:
    visitor = await site.visitor().connect()
    first = visitor.session
    site.hub._now = datetime.now(UTC) + timedelta(days=300)
    renewed = (await site.visitor().connect(resume=first)).session
    site.hub._now = datetime.now(UTC) + timedelta(days=600)
    assert (await site.visitor().connect(resume=renewed)).id == visitor.id


async def test_the_hello_cannot_name_a_visitor(site: Site) -> None:
    victim, attacker = await site.visitor().connect(), site.visitor()
    await attacker.dial()
    await attacker.say(type="hello", visitor=victim.id, id=victim.id, session=None)
    welcome = await attacker.until(lambda: attacker.frames and attacker.frames[0])
    assert welcome["visitor"] != victim.id


async def test_a_signed_visitor_is_the_same_in_every_browser_and_brings_proven_addresses(site: Site) -> None:
    claims = {"name": "Ann\r\nÆble", "email": "Ann@Example.com", "phone": "+44 7400 123456"}
    laptop = await site.visitor().connect(token=site.website.sign("42", **claims))
    phone = await site.visitor().connect(token=site.website.sign("42"))
    other = await site.visitor().connect(token=site.website.sign("43"))
    assert laptop.id == phone.id != other.id
    assert laptop.session is None  # logging out of the website leaves nothing behind
    await laptop.write("hi")
    [event] = site.hub.said()
    assert [(p.scheme, p.value, p.proof) for p in event.also] == [
        ("tel", "+447400123456", "verified"), ("mailto", "ann@example.com", "verified"),
    ]
    assert event.sender.name == "AnnÆble" and event.sender.proof == "verified"
    assert all(letter.isprintable() and letter.isascii() for letter in site.hub.emitted[0].headers[VISITOR_HEADER])


@pytest.mark.parametrize("claims", [
    {"phone": "07400 123456"}, {"phone": "+1"}, {"phone": ""}, {"email": "ann@"}, {"email": "a@b\r\nBcc: x@y.z"},
])
async def test_an_address_that_is_none_is_ignored(site: Site, claims: dict[str, str]) -> None:
    visitor = await site.visitor().connect(token=site.website.sign("42", **claims))
    await visitor.write("hi")
    assert site.hub.said()[0].also == []


def _swap(token: str, part: int, change: Callable[[bytes], bytes]) -> str:
    parts = token.split(".")
    raw = base64.urlsafe_b64decode(parts[part] + "==")
    parts[part] = base64.urlsafe_b64encode(change(raw)).rstrip(b"=").decode()
    return ".".join(parts)


NOW = time.time()


@pytest.mark.parametrize(("token", "code"), [
    (sign("another secret of thirty-two bytes!", "site", "42"), 4401),
    (sign("", "site", "42"), 4401),
    (_swap(sign(SECRET, "site", "42"), 1, lambda raw: raw.replace(b'"42"', b'"43"')), 4401),
    (_swap(sign(SECRET, "site", "42"), 0, lambda raw: raw.replace(b"HS256", b"none")), 4401),
    (sign(SECRET, "site", "42").rpartition(".")[0] + ".", 4401),
    (sign(SECRET, "site", "42", lifetime=-1), 4401),
    (sign(SECRET, "site", "42", lifetime=25 * 3600), 4401),
    (sign(SECRET, "site", "42", exp=None), 4401),
    (sign(SECRET, "site", "42", jti=""), 4401),
    (sign(SECRET, "site", ""), 4401),
    (sign(SECRET, "site", "x" * 201), 4401),
    (sign(SECRET, "shop", "42"), 4403),
    (sign(SECRET, "site", "42", aud=["site"]), 4401),
    ("", 4401),
    ("..", 4401),
    ("é.é.é", 4401),
    ("." * 5000, 4401),
])
async def test_a_forged_expired_or_foreign_visitor_token_is_refused(site: Site, token: str, code: int) -> None:
    visitor = site.visitor()
    await visitor.dial()
    await visitor.say(type="hello", token=token)
    assert await visitor.closed() == code
    assert not visitor.frames


async def test_without_an_identity_secret_nobody_is_signed(sites: Any) -> None:
    site = await sites(identity_secret=None)
    visitor = site.visitor()
    await visitor.dial()
    await visitor.say(type="hello", token=sign("", "site", "42"))
    assert await visitor.closed() == 4403


@pytest.mark.parametrize("frame", [
    '{"type":"message","id":"12345678","text":"hi"}', "[]", "nonsense", '{"type":"hello","after":"-1"}', "[" * 50_000,
])
async def test_whoever_does_not_say_hello_first_is_sent_away(site: Site, frame: str) -> None:
    visitor = site.visitor()
    await visitor.dial()
    assert visitor._line is not None
    await visitor._line.socket.send_str(frame)
    assert await visitor.closed() == 1008
    assert not site.hub.emitted


async def test_whoever_says_nothing_is_sent_away(sites: Any) -> None:
    site = await sites(Impatient)
    visitor = site.visitor()
    await visitor.dial()
    assert await visitor.closed() == 1008


# --- what the visitor writes --------------------------------------------------------------------------------------


async def test_a_message_is_acknowledged_only_when_it_is_durable(site: Site) -> None:
    site.hub.gate = asyncio.Event()
    visitor = await site.visitor().connect()
    writing = asyncio.create_task(visitor.write("hi"))
    await visitor.ledger.wait_for("deliver")
    await visitor.say(type="nonsense")  # would be answered after the ack if that had been sent at once
    done, _ = await asyncio.wait([writing], timeout=0.1)
    assert not done and visitor._new("ack") is None and not site.hub.emitted
    site.hub.gate.set()
    await writing
    assert [event.text for event in site.hub.said()] == ["hi"]


async def test_the_same_client_id_is_the_same_message(site: Site) -> None:
    visitor = await site.visitor().connect()
    id = await visitor.write("hi")
    await visitor.connect()
    await visitor.write("hi", id=id)
    assert {event.external_id for event in site.hub.said()} == {f"{visitor.id}/{id}"}
    assert visitor.texts() == ["me: hi"]


@pytest.mark.parametrize("fault", ["drop_before", "drop_after"])
async def test_a_weak_line_neither_loses_nor_doubles(site: Site, fault: Any) -> None:
    visitor = await site.visitor().connect()
    site.website.faults.queued = [Fault(fault), Fault(fault)]
    await visitor.write("one")
    await visitor.write("two")
    await visitor.until(lambda: len(visitor.entries) == 2)
    assert visitor.texts() == ["me: one", "me: two"]
    assert len({event.external_id for event in site.hub.said()}) == 2


async def test_what_cannot_be_stored_is_not_acknowledged(site: Site) -> None:
    visitor = await site.visitor().connect()
    site.hub.down = True
    id = await visitor.post("hi")
    answer = await visitor.until(lambda: visitor._answer(id, 0))
    assert (answer["code"], answer["after"]) == ("unavailable", 5)
    site.hub.down = False
    await visitor.write("hi", id=id)


@pytest.mark.parametrize(("frame", "code"), [
    ({"type": "message", "id": "12345678", "text": ""}, "empty"),
    ({"type": "message", "id": "12345678", "text": " \0\n"}, "empty"),
    ({"type": "message", "id": "12345678", "text": "é" * 4001}, "too_long"),
    ({"type": "message", "id": "../../etc", "text": "x"}, "bad_frame"),
    ({"type": "message", "id": "a-victim/12345678", "text": "x"}, "bad_frame"),
    ({"type": "message", "id": "12345678", "text": "x", "selection": {"id": "", "title": "x"}}, "bad_frame"),
    ({"type": "message", "text": "x"}, "bad_frame"),
    ({"type": "message", "id": "12345678", "text": "\ud800"}, "bad_frame"),
    ({"type": "status", "state": "read", "ids": ["del_1.0"]}, "bad_frame"),
    ({"type": "hello"}, "bad_frame"),
    ({"type": "got", "upto": -1}, "bad_frame"),
])
async def test_what_is_refused_is_answered_and_not_kept(site: Site, frame: dict[str, Any], code: str) -> None:
    visitor = await site.visitor().connect()
    await visitor.say(**frame)
    assert (await visitor.until(lambda: visitor._new("error")))["code"] == code
    await visitor.write("still here")
    assert [event.text for event in site.hub.said()] == ["still here"]


async def test_the_longest_message_and_a_choice_arrive_whole(site: Site) -> None:
    visitor = await site.visitor().connect()
    await visitor.write("😀" * 4000)
    await visitor.write("Yes", selection={"id": "y", "title": "Yes"})
    long, choice = site.hub.said()
    assert long.text == "😀" * 4000
    assert choice.selection is not None and (choice.selection.id, choice.text) == ("y", "Yes")


async def test_typing_is_told_but_not_more_than_needed(site: Site) -> None:
    visitor = await site.visitor().connect()
    for _ in range(5):
        await visitor.say(type="typing")
    await visitor.write("hi")
    assert [event.type for event in site.hub.events] == ["typing", "message"]


async def test_too_fast_is_said_and_nothing_is_lost(site: Site) -> None:
    visitor = await site.visitor().connect()
    ids = [await visitor.post(f"message {number}") for number in range(30)]
    answers = [await visitor.until(lambda id=id: visitor._answer(id, 0)) for id in ids]  # type: ignore[misc]  # a default binds the loop's value
    kinds = [answer.get("code", "ack") for answer in answers]
    assert kinds[:20] == ["ack"] * 20 and "rate_limited" in kinds[20:]
    assert len(site.hub.said()) == kinds.count("ack")
    refused = ids[kinds.index("rate_limited")]
    await visitor.write("once more", id=refused)
    assert site.hub.said()[-1].external_id == f"{visitor.id}/{refused}"


async def test_a_flood_is_cut_off(site: Site) -> None:
    visitor = await site.visitor().connect()
    for _ in range(300):
        await visitor.say(type="seen", id="1")
    assert await visitor.closed() == 1008


async def test_an_oversized_frame_ends_the_connection(site: Site) -> None:
    visitor = await site.visitor().connect()
    await visitor.say(type="message", id="12345678", text="x" * 70_000)
    assert await visitor.closed() == 1009
    assert not site.hub.emitted


async def test_a_binary_frame_ends_the_connection(site: Site) -> None:
    visitor = await site.visitor().connect()
    assert visitor._line is not None
    await visitor._line.socket.send_bytes(b"\0")
    assert await visitor.closed() == 1003


async def test_one_address_has_a_limited_number_of_sockets(sites: Any) -> None:
    site = await sites(connections_per_ip=2)
    first, second, third = (site.visitor() for _ in range(3))
    await first.connect()
    await second.connect()
    with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
        await third.connect()
    assert refused.value.status == 429
    assert await site.adapter.ended.get() is None
    await first.close()
    await site.adapter.ended.get()
    await third.connect()


async def test_a_visitor_who_never_reads_is_cut_off(sites: Any) -> None:
    site = await sites(Impatient)
    token = site.website.sign("42")
    known = await site.visitor().connect(token=token)
    for _ in range(2500):
        site.hub.put(Address("webchat", known.id or ""), "x" * 4000)
    await known.close()
    await site.adapter.ended.get()
    reader, writer = await asyncio.open_connection("127.0.0.1", int(site.url.rpartition(":")[2]), limit=1024)
    key = base64.b64encode(b"0" * 16).decode()
    writer.write(
        f"GET /channels/site/socket HTTP/1.1\r\nHost: x\r\nOrigin: {site.website.origin}\r\nConnection: Upgrade\r\n"
        f"Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n\r\n".encode()
    )
    hello = json.dumps({"type": "hello", "token": token}).encode()
    writer.write(b"\x81\xfe" + len(hello).to_bytes(2, "big") + b"\0\0\0\0" + hello)
    async with asyncio.timeout(5):
        await site.adapter.ended.get()
    assert not reader.at_eof()  # it was the hub that gave up, not the visitor
    writer.close()


# --- what the visitor sees ----------------------------------------------------------------------------------------


async def test_a_reply_is_shown_at_once_and_confirmed(site: Site) -> None:
    visitor = await site.visitor().connect()
    await visitor.write("hi")
    entry = await site.hub.reply(visitor, "hello <b>you</b>", buttons=[Button("y", "Yes")])
    shown = await visitor.read("hello")
    assert (shown["author"], shown["text"], shown["buttons"]) == (
        "Bea", "hello <b>you</b>", [{"id": "y", "title": "Yes"}],
    )
    assert shown["id"] == str(entry.id).zfill(20)  # text: the number would lose digits in a browser
    await site.hub.until(lambda: site.hub.statuses() == [(entry.external_id, "delivered")])
    await visitor.see()
    await site.hub.until(lambda: site.hub.statuses()[1:] == [(entry.external_id, "read")])


async def test_seen_takes_an_external_id_too_and_is_told_once(site: Site) -> None:
    visitor = site.visitor()
    visitor.confirms = False
    await visitor.connect()
    entry = await site.hub.reply(visitor, "hello")
    await visitor.read("hello")
    for _ in range(3):
        await visitor.say(type="seen", id=entry.external_id)
    await visitor.write("done")
    assert site.hub.statuses() == [(entry.external_id, "read")]


async def test_a_reply_still_being_sent_is_shown_first_and_confirmed_later(site: Site) -> None:
    visitor = await site.visitor().connect()
    entry = await site.hub.reply(visitor, "hello", state="sending", external_id=None)
    await visitor.read("hello")
    await visitor.write("did the confirmation pass?")  # frames are taken in order
    assert site.hub.statuses() == []
    site.hub.swap(entry, state="sent", external_id="del_9.0")
    await site.hub.until(lambda: site.hub.statuses() == [("del_9.0", "delivered")])


async def test_a_visitor_confirms_only_what_was_shown_to_them(site: Site) -> None:
    visitor, other = await site.visitor().connect(), await site.visitor().connect()
    secret = await site.hub.reply(other, "for the other one")
    await other.read("for the other one")
    await site.hub.until(lambda: site.hub.statuses() == [(secret.external_id, "delivered")])
    await visitor.say(type="seen", id=secret.external_id)
    await visitor.say(type="seen", id="99999999999999999999")
    await visitor.write("done")
    later = await site.hub.reply(visitor, "later")
    await site.hub.until(lambda: (later.external_id, "delivered") in site.hub.statuses())
    assert not [status for status in site.hub.statuses() if status[1] == "read"]
    assert visitor.texts() == ["me: done", "them: later"]


async def test_whoever_was_away_sees_what_was_missed_without_repeats(site: Site) -> None:
    visitor = await site.visitor().connect()
    await visitor.write("hi")
    await site.hub.reply(visitor, "one")
    await visitor.read("one")
    await visitor.hang_up()
    for number in range(250):
        await site.hub.reply(visitor, f"missed {number}")
    await visitor.connect()
    entries = [frame["text"] for frame in visitor.frames if frame["type"] == "entry"]
    assert entries == [f"missed {number}" for number in range(250)]
    await site.hub.until(lambda: len(site.hub.statuses()) == 251)


async def test_a_reply_that_becomes_visible_late_is_still_shown(site: Site) -> None:
    visitor = await site.visitor().connect()
    entry = site.hub.put(Address("webchat", visitor.id or ""), "placeholder")
    site.hub.entries.clear()  # queued before, handed off after what the visitor writes now
    await visitor.write("anybody there?")
    await visitor.until(lambda: visitor.entries)
    await site.hub.reply(visitor, "yes", id=entry.id)
    await visitor.read("yes")


async def test_who_logs_in_brings_what_they_said_before_once(site: Site) -> None:
    visitor = await site.visitor().connect()
    await visitor.write("My kettle broke")
    anonymous, session = visitor.id, visitor.session
    await visitor.connect(token=site.website.sign("42", email="ann@example.com"))
    await site.visitor().connect(resume=session, token=site.website.sign("43"))
    login, other = site.hub.logins()
    assert (login.sender.value, login.former) == (visitor.id, [Address("webchat", anonymous or "")])
    assert (login.also[0].value, login.automatic, login.text) == ("ann@example.com", True, "")
    assert login.external_id == other.external_id, "it counts for the first"
    assert visitor.session is None
    await visitor.connect()
    assert len(site.hub.logins()) == 2


@pytest.mark.parametrize("session", ["", "a-0123456789abcdef0123456789abcdef", "a-0.ZZZZZZ.forged"])
async def test_a_login_with_a_session_that_is_not_valid_is_a_login(site: Site, session: str) -> None:
    visitor = await site.visitor().connect(resume=session, token=site.website.sign("42"))
    assert (visitor.id or "").startswith("u-")
    assert site.hub.logins() == []


async def test_a_signed_visitor_sees_the_history_in_another_browser(site: Site) -> None:
    laptop = await site.visitor().connect(token=site.website.sign("42"))
    await laptop.write("from the laptop")
    phone = await site.visitor().connect(token=site.website.sign("42"))
    assert phone.texts() == ["me: from the laptop"]
    assert phone.entries[0]["key"] is None  # only the visitor's own id of it
    stranger = await site.visitor().connect(token=site.website.sign("4"))
    assert stranger.texts() == []


async def test_only_files_of_the_hub_are_linked(site: Site) -> None:
    visitor = await site.visitor().connect()
    files = [
        Attachment("image", url=f"{site.url}/media/t/a.png", name="a.png"),
        Attachment("image", url="https://tracker.example/pixel.gif", name="pixel.gif"),
        Attachment("file", url=f"{site.url}.evil.example/x", name="x"),
        Attachment("file", url="javascript:alert(1)", name="y"),
    ]
    await site.hub.reply(visitor, "look", attachments=files)
    shown = await visitor.read("look")
    assert [file["url"] for file in shown["attachments"]] == [f"{site.url}/media/t/a.png", None, None, None]


async def test_a_broken_history_ends_the_connection_for_another_try(site: Site) -> None:
    visitor = await site.visitor().connect()
    site.hub.entries[f"webchat:{visitor.id}"] = None  # type: ignore[assignment]  # makes history raise
    site.hub.publish(f"webchat:site:{visitor.id}")
    assert await visitor.closed() == 1011


async def test_closing_the_channel_sends_visitors_away(site: Site) -> None:
    visitor = await site.visitor().connect()
    await site.adapter.hang_up()
    assert await visitor.closed() == 1001


# --- the rest of the contract -------------------------------------------------------------------------------------


def _adapter() -> WebChat:
    return WebChat("site", WebChatConfig(allowed_origins=("*",)), LocalHost())


@pytest.mark.parametrize("case", FIXTURES, ids=[case["id"] for case in FIXTURES])
def test_receive(case: dict[str, Any]) -> None:
    headers = {VISITOR_HEADER: json.dumps(case["visitor"])} if case["visitor"] else {}
    body = json.dumps(case["body"]).encode()
    request = Request("WS", "https://hub.example.com/channels/site/socket", headers, body, NOON)
    if case["events"] is None:
        with pytest.raises(Unparseable):
            _adapter().receive(request)
        return
    events = json_ready(_adapter().receive(request))
    for event, expected in zip(events, case["events"], strict=True):
        assert event["at"] == "2026-01-31T12:00:00Z"
        assert {name: event.get(name) for name in expected} == expected


def test_there_is_no_webhook() -> None:
    verified = _adapter().verify(Request("POST", "https://hub.example.com/hooks/site", {}, b"{}", NOON))
    assert (verified.accept, verified.status) == (False, 403)


async def test_send_names_the_part_by_its_key_and_refuses_other_schemes() -> None:
    receipt = await _adapter().send(Outgoing(key="del_1.0", to=Address("webchat", "a-01"), text="hi"))
    assert (receipt.external_id, receipt.state) == ("del_1.0", "sent")
    with pytest.raises(BadAddress):
        await _adapter().send(Outgoing(key="del_1.0", to=Address("tel", "+447700900123"), text="hi"))


def test_an_answer_is_one_part_since_visitors_see_and_confirm_whole_messages() -> None:
    can = WebChat.capabilities
    assert can.text_limit > 40_000 > TEXT_LIMIT  # Slack's longest message
    assert can.captions is None and min(can.media_max, can.buttons) >= 100


@pytest.mark.parametrize("coding", ["gzip", "identity"])
async def test_the_widget_is_served_as_one_cacheable_script(site: Site, coding: str) -> None:
    async with aiohttp.ClientSession(headers={"Accept-Encoding": coding}, auto_decompress=False) as http:
        async with http.get(f"{site.url}/channels/site/widget.js") as answer:
            body = await answer.read()
        assert answer.status == 200 and answer.content_type == "text/javascript"
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers.get("Content-Encoding", "identity") == coding
        etag = answer.headers["ETag"]
        assert etag.startswith('"')  # strong
        async with http.get(f"{site.url}/channels/site/widget.js", headers={"If-None-Match": etag}) as again:
            assert again.status == 304 and again.headers["ETag"] == etag
    if coding == "gzip":
        assert len(body) < 15_000


def test_the_widget_never_writes_markup() -> None:
    source = (Path(__file__).parent / "widget.js").read_text()
    for word in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "Function(", "location"):
        assert word not in source
