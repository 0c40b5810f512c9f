"""Messages to mails, and servers' answers to errors."""

from __future__ import annotations

import asyncio
import re
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default
from typing import Any

import pytest

from adapters.email.errors import Stage, refusal
from adapters.email.testing import ANN, NOON, World, adapter, mail, out, request
from hub.contract import (
    Ambiguous,
    BadAddress,
    ChannelDown,
    MessageReceived,
    Outgoing,
    RateLimited,
    Rejected,
    SendError,
    Transient,
)
from hub.model import Address, Attachment, Purpose, Template
from hub.testing.simulation import Fault

# --- the mail ---


def written(message: Outgoing, **config: Any) -> EmailMessage:
    parsed = message_from_bytes(adapter(**config)._out.letter(message, NOON).content, policy=default)
    assert isinstance(parsed, EmailMessage)
    return parsed


def test_a_mail_says_who_wrote_it_and_where_answers_go() -> None:
    found = written(out("Hello 🌳", subject="Größe"))
    assert (found["From"], found["To"], found["Subject"]) == ("Example Support <support@example.com>", ANN, "Größe")
    assert found["Date"].datetime == NOON
    assert re.fullmatch(r"Example Support <support\+[a-z0-9]{43}@example\.com>", found["Reply-To"])
    assert found.get_content().strip() == "Hello 🌳"
    assert found["X-Loop"] == "support@example.com" and found["Auto-Submitted"] is None


def test_the_message_id_is_the_same_on_every_attempt_and_another_for_every_part() -> None:
    first, again = written(out()), written(out("Hello, once more"))
    assert first["Message-ID"] == again["Message-ID"] != written(out(number=2))["Message-ID"]
    assert re.fullmatch(r"<del_0000000000001\.0\.[a-z2-7]{16}@example\.com>", first["Message-ID"])


def test_without_tokens_or_thread_answers_go_to_the_address() -> None:
    assert written(out(), reply_tokens=False)["Reply-To"] is None
    assert written(out(thread=None))["Reply-To"] is None
    apart = written(out(), reply_tokens=False, reply_address="in@example.net")
    assert apart["Reply-To"] == "Example Support <in@example.net>"


THREADS: list[tuple[dict[str, Any], str | None, list[str]]] = [
    ({}, None, []),
    ({"reply_to": "a@x"}, "a@x", ["a@x"]),
    ({"reply_to": "b@x", "references": ["a@x", "b@x", "c@x"]}, "b@x", ["a@x", "c@x", "b@x"]),
    ({"references": ["a@x", "b@x"]}, "b@x", ["a@x", "b@x"]),
    ({"reply_to": "a@x#0123456789ab"}, "a@x", ["a@x"]),
    ({"reply_to": "a@x\r\nBcc: eve@evil.example"}, None, []),
    ({"reply_to": "z@x", "references": [f"{n}@x" for n in range(90)]}, "z@x",
     ["0@x", *(f"{n}@x" for n in range(72, 90)), "z@x"]),
]  # fmt: skip


@pytest.mark.parametrize(("given", "parent", "references"), THREADS)
def test_an_answer_stands_in_its_thread(given: dict[str, Any], parent: str | None, references: list[str]) -> None:
    found = written(out(**given))
    assert (found["In-Reply-To"] or "").strip("<>") == (parent or "")
    assert [each.strip("<>") for each in (found["References"] or "").split()] == references


SUBJECTS = [
    ("Order", False, "Order"), ("Order", True, "Re: Order"), ("RE: Order", True, "RE: Order"),
    ("Aw: Order", True, "Aw: Order"), ("Re[2]: Order", True, "Re[2]: Order"), ("Return", True, "Re: Return"),
    (None, False, "Message from Example Support"), ("hi\r\nBcc: eve@evil.example", False, "hi Bcc: eve@evil.example"),
]  # fmt: skip


@pytest.mark.parametrize(("subject", "answer", "expected"), SUBJECTS)
def test_the_subject_of_an_answer_begins_with_re_once(subject: str | None, answer: bool, expected: str) -> None:
    assert written(out(subject=subject, reply_to="a@x" if answer else None))["Subject"] == expected


def test_html_stands_beside_the_text_and_files_behind_it() -> None:
    files = [
        Attachment("image", mime="image/png", name="box.png", data=b"\x89PNG"),
        Attachment("file", mime="x/y\r\nX-Evil: 1", name='a"\r\nX-Evil: 1/../ä.txt', data=b"data"),
    ]
    found = written(out("Hello", html="<p>Hello</p>", attachments=files))
    parts = [(part.get_content_type(), part.get_filename()) for part in found.walk()]
    assert parts == [
        ("multipart/mixed", None), ("multipart/alternative", None), ("text/plain", None), ("text/html", None),
        ("image/png", "box.png"), ("application/octet-stream", 'a" X-Evil: 1_.._ä.txt'),
    ]  # fmt: skip
    assert [part.get_payload(decode=True) for part in found.iter_attachments()] == [b"\x89PNG", b"data"]
    assert not any("X-Evil" in part for part in found.walk())


def test_what_a_machine_wrote_says_so() -> None:
    found = written(out(automatic=True))
    assert (found["Auto-Submitted"], found["X-Auto-Response-Suppress"]) == ("auto-generated", "All")
    assert written(out(automatic=True, reply_to="a@x"))["Auto-Submitted"] == "auto-replied"
    assert written(out(purpose=Purpose.marketing))["Precedence"] == "bulk"


def test_advertising_can_be_ended_with_one_click() -> None:
    page = "https://hub.example/preferences/" + "t" * 90
    found = written(out(purpose=Purpose.marketing, unsubscribe=page))
    assert found["List-Unsubscribe"] == f"<{page}>"
    assert found["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
    assert written(out())["List-Unsubscribe"] is None


HOSTILE = "Hi\r\nBcc: eve@evil.example\r\n\r\n.\r\nx\0\u2028\x0b" + "y" * 2000


def test_nothing_that_is_written_becomes_a_header_or_a_long_line() -> None:
    content = adapter()._out.letter(out(HOSTILE, subject=HOSTILE, html=HOSTILE), NOON).content
    assert message_from_bytes(content)["Bcc"] is None
    assert b"\0" not in content and content.isascii()
    assert max(map(len, content.split(b"\r\n"))) <= 998
    assert b"\n" not in content.replace(b"\r\n", b"") and b"\r" not in content.replace(b"\r\n", b"")


REFUSED: list[tuple[dict[str, Any], type[SendError]]] = [
    ({"to": "ann"}, BadAddress),
    ({"to": "ann@example.org\r\nRCPT TO:<eve@evil.example>"}, BadAddress),
    ({"to": "ann@example.org, eve@evil.example"}, BadAddress),
    ({"attachments": [Attachment(url="https://example.com/a")]}, Rejected),
    ({"text": "", "template": Template("welcome", "en")}, Rejected),
    ({"text": "x" * 30_000}, Rejected),
]


@pytest.mark.parametrize(("message", "error"), REFUSED)
async def test_what_cannot_be_a_mail_is_not_tried(message: dict[str, Any], error: type[SendError]) -> None:
    with pytest.raises(error):
        await adapter(max_size=20_000).send(out(**message))


async def test_other_addresses_and_missing_servers_are_told() -> None:
    with pytest.raises(BadAddress, match="not a mail address: tel"):
        await adapter().send(Outgoing("del_1.0", Address("tel", "+447700900123"), "Hello"))
    with pytest.raises(ChannelDown, match="set smtp_host"):
        await adapter().send(out())


# --- refusals ---

REFUSALS: list[tuple[int, str, Stage, type[SendError], str]] = [
    (421, "4.7.0 Too many connections", "connect", RateLimited, "4.7.0"),
    (450, "4.2.0 Greylisted, try again in 300 seconds", "rcpt", Transient, "4.2.0"),
    (450, "4.7.1 Too much mail", "rcpt", RateLimited, "4.7.1"),
    (451, "4.3.0 Lookup failure", "data", Transient, "4.3.0"),
    (452, "4.2.2 Mailbox full", "rcpt", Transient, "4.2.2"),
    (452, "4.5.3 Too many recipients", "rcpt", RateLimited, "4.5.3"),
    (454, "4.7.0 Temporary authentication failure", "login", Transient, "4.7.0"),
    (530, "5.7.0 Must issue STARTTLS first", "mail", ChannelDown, "5.7.0"),
    (535, "5.7.8 Bad credentials", "login", ChannelDown, "5.7.8"),
    (550, "5.7.30 Basic authentication is not supported", "mail", ChannelDown, "5.7.30"),
    (550, "5.4.5 Daily user sending limit exceeded", "data", RateLimited, "5.4.5"),
    (550, "5.1.1 User unknown", "rcpt", BadAddress, "5.1.1"),
    (550, "5.1.10 Recipient not found", "rcpt", BadAddress, "5.1.10"),
    (550, "No such user here", "rcpt", BadAddress, "550"),
    (550, "Blocked by policy", "rcpt", Rejected, "550"),
    (552, "5.2.2 Over quota", "rcpt", Rejected, "5.2.2"),
    (552, "5.3.4 Message too big", "data", Rejected, "5.3.4"),
    (553, "5.7.1 Sender address rejected", "mail", ChannelDown, "5.7.1"),
    (554, "5.7.1 Spam", "data", Rejected, "5.7.1"),
    (554, "5.7.26 Unauthenticated mail", "data", Rejected, "5.7.26"),
    (250, "2.0.0 Ok", "data", Transient, "250"),
    (354, "?", "content", Ambiguous, "354"),
]


@pytest.mark.parametrize(("code", "words", "stage", "error", "name"), REFUSALS)
def test_replies_are_sorted(code: int, words: str, stage: Stage, error: type[SendError], name: str) -> None:
    found = refusal(code, words, stage)
    assert type(found) is error and found.code == name and words in found.detail


@pytest.mark.parametrize(
    ("code", "words", "stage", "scope"),
    [
        (421, "4.7.0 Too many connections", "connect", "account"),
        (421, "4.7.28 Unusual rate of mail", "data", "domain"),
        (421, "4.7.28 Unusual rate of mail", "content", "domain"),
        (421, "4.7.0 [TSS04] Messages temporarily deferred", "rcpt", "domain"),
        (421, "4.3.2 Shutting down", "data", "account"),
        (450, "4.7.1 Too much mail", "rcpt", "domain"),
        (550, "5.4.5 Daily user sending limit exceeded", "data", "account"),
    ],
)
def test_who_found_us_too_fast(code: int, words: str, stage: Stage, scope: str) -> None:
    found = refusal(code, words, stage)
    assert isinstance(found, RateLimited) and found.scope == scope


# --- with a server ---


async def test_a_mail_arrives_and_the_next_uses_the_same_connection(world: World) -> None:
    receipt = await world.adapter.send(out("Hello 🌳", subject="Order"))
    again = await world.adapter.send(out("And again", number=2))
    assert [(each.id, each.text, each.subject) for each in world.inbox()] == [
        (receipt.external_id, "Hello 🌳", "Order"), (again.external_id, "And again", "Message from Example Support"),
    ]  # fmt: skip
    assert receipt.state == "sent" and "queued as" in receipt.detail["answer"]
    assert world.provider.connections == 1
    [line, _] = world.provider.ledger.of("accept")
    assert line.data["key"] == "del_0000000000001.0"


async def test_lines_that_begin_with_a_dot_arrive_as_they_are(world: World) -> None:
    await world.adapter.send(out(".\n..\n.hidden\nEnd."))
    assert [each.text for each in world.inbox()] == [".\n..\n.hidden\nEnd."]


async def test_a_connection_that_the_server_closed_is_made_anew(world: World) -> None:
    await world.adapter.send(out())
    world.provider.hang_up()
    await world.adapter.send(out(number=2))
    world.provider.faults.queued.append(Fault("drop_before", code="mail"))
    await world.adapter.send(out(number=3))
    world.provider.faults.queued.append(Fault("throttle", code="mail"))
    await world.adapter.send(out(number=4))
    assert len(world.inbox()) == world.provider.connections == 4


FAULTS: list[tuple[Fault, type[SendError], int]] = [
    (Fault("throttle"), RateLimited, 0),
    (Fault("throttle", code="mail"), RateLimited, 0),
    (Fault("error"), Transient, 0),
    (Fault("error", code="mail"), Transient, 0),
    (Fault("error", code="rcpt"), Transient, 0),
    (Fault("reject"), Rejected, 0),
    (Fault("reject", code="550 5.1.1 User unknown"), BadAddress, 0),
    (Fault("reject", code="535 5.7.8 Log in again"), ChannelDown, 0),
    (Fault("drop_before", code="mail"), Transient, 0),
    (Fault("drop_before", code="rcpt"), Transient, 0),
    (Fault("error", code="data"), Transient, 0),
    (Fault("drop_before", code="data"), Transient, 0),
    (Fault("drop_before"), Ambiguous, 0),
    (Fault("drop_after"), Ambiguous, 1),
    (Fault("late_accept", delay=0.02), Ambiguous, 1),
    (Fault("slow", delay=30), Ambiguous, 0),
]


@pytest.mark.parametrize(("fault", "error", "taken"), FAULTS)
async def test_faults_of_the_server_and_what_it_took(
    world: World, fault: Fault, error: type[SendError], taken: int
) -> None:
    world.provider.faults.queued.append(fault)
    tested = world.build(smtp_patience=0.2)
    with pytest.raises(SendError) as caught:
        await tested.send(out())
    assert type(caught.value) is error
    if fault.kind != "slow":
        await world.provider.settle()
    assert len(world.inbox()) == len(world.provider.ledger.of("accept")) == taken
    await world.adapter.send(out(number=2))  # and it goes on


async def test_a_refused_recipient_leaves_the_connection_usable(world: World) -> None:
    world.provider.refused["bob@example.org"] = "550 5.1.1 <bob@example.org>: Recipient address rejected: User unknown"
    with pytest.raises(BadAddress) as caught:
        await world.adapter.send(out(to="bob@example.org"))
    assert caught.value.code == "5.1.1" and "User unknown" in caught.value.detail
    await world.adapter.send(out())
    assert world.provider.connections == 1 and len(world.inbox()) == 1


CONFIGS: list[tuple[dict[str, Any], type[SendError], str]] = [
    ({"password": "wrong"}, ChannelDown, "check user and password"),
    ({"user": None, "password": None, "imap_host": None}, ChannelDown, "Authentication required"),
    ({"address": "other@hub.example.com"}, ChannelDown, "may send as this address"),
    ({"smtp_tls": "starttls"}, ChannelDown, "check smtp_tls"),
    ({"smtp_port": 1}, Transient, "no connection to 127.0.0.1:1"),
    ({"smtp_host": "nowhere.invalid"}, Transient, "no connection to nowhere.invalid"),
]


@pytest.mark.parametrize(("config", "error", "words"), CONFIGS)
async def test_wrong_settings_are_told(
    world: World, config: dict[str, Any], error: type[SendError], words: str
) -> None:
    tested = world.build(**config)
    with pytest.raises(error, match=words):
        await tested.send(out())
    health = await tested.check()
    assert not health.ok and re.search(words, health.detail)


async def test_a_mail_larger_than_the_server_takes_is_not_handed_over(world: World) -> None:
    world.provider.size = 2_000
    with pytest.raises(Rejected, match="the mail server takes 2000"):
        await world.adapter.send(out("x" * 3_000))


async def test_many_mails_at_once_share_a_few_connections(world: World) -> None:


    await asyncio.gather(*(world.adapter.send(out(number=number)) for number in range(4)))
    await asyncio.gather(*(world.adapter.send(out(number=number)) for number in range(4, 8)))
    assert len({each.id for each in world.inbox()}) == 8 and world.provider.connections == 4


async def test_check_logs_in_at_both_servers(world: World) -> None:
    health = await world.adapter.check()
    assert (health.ok, health.detail) == (True, "smtp 127.0.0.1, imap 127.0.0.1 INBOX")
    wrong = await world.build(imap_password="wrong").check()
    assert not wrong.ok and "check user and password" in wrong.detail
    assert not (await world.build(imap_port=1).check()).ok
    assert not (await world.build(imap_folder="Nothing").check()).ok
    assert (await world.build(imap_move_to="Done").check()).ok
    missing = await world.build(imap_move_to="Nothing").check()
    assert not missing.ok and "mend imap_move_to" in missing.detail


async def test_an_answer_in_a_mail_program_comes_back_to_its_conversation(world: World) -> None:
    sent = out("Shall we send a new lid?", subject="Order")
    await world.adapter.send(sent)
    answer = await world.provider.write(ANN, "Yes please.", answers=world.inbox()[0])
    [event] = world.adapter.receive(request(answer.raw, world.host.now()))
    assert isinstance(event, MessageReceived)
    assert (event.text, event.thread, event.subject) == ("Yes please.", sent.thread, "Re: Order")
    assert event.reply_to == world.inbox()[0].id


def test_mail_of_a_stranger_is_no_answer() -> None:
    [event] = adapter().receive(request(mail()))
    assert isinstance(event, MessageReceived) and event.thread is None
