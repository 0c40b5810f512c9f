"""Settings, and raw mails to events."""

from __future__ import annotations

import re
from base64 import b64encode
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from pydantic import ValidationError

from adapters.email.letters import report
from adapters.email.testing import ANN, FIXTURES, NOON, THREAD, adapter, mail, out, request
from hub.contract import MessageReceived, Rejected, StatusChanged, Unparseable
from hub.model import Attachment, Party, Proof

# --- settings ---

WRONG: list[tuple[dict[str, Any], str]] = [
    ({"address": "support"}, "address"),
    ({"address": "support@example.com\r\nBcc: x@example.com"}, "address"),
    ({"name": "x" * 61}, "name"),
    ({"base_url": "https://example.com"}, "set smtp_host"),
    ({"imap_host": "imap.example.com"}, "needs a login"),
    ({"imap_host": "imap.example.com", "user": "support"}, "needs a login"),
    ({"imap_host": "https://imap.example.com", "user": "a", "password": "b"}, "imap_host"),
    ({"user": "a\r\nb"}, "user has characters that no login has"),
    ({"password": ""}, "empty"),
    ({"address": "customer-service-de@example.com", "reply_address": "the-whole-support-team@example.com"}, "too long"),
    ({"imap_idle": 1800}, "1740"),
    ({"smtp_tls": "ssl"}, "starttls"),
    ({"authserv_ids": ["two words"]}, "authserv_ids"),
]


@pytest.mark.parametrize(("change", "words"), WRONG)
def test_wrong_settings_are_explained(change: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        adapter(**change)


def test_settings_for_sending_only_are_enough() -> None:
    assert adapter(smtp_host="smtp.example.com", imap_host=None).config.imap_login == (None, None)


# --- captured mails ---

WRITER = Party("mailto", ANN, "Ann Fielding", Proof.provider)
PARENT = "del_05akgy93g0000.0.aaaaaaaaaaaaaaaa@example.com"
LATER: dict[str, Any] = {"reply_to": PARENT, "references": ["first@example.org", PARENT]}


def message(name: str, text: str, *, proof: Proof = Proof.provider, **more: Any) -> MessageReceived:
    at = NOON - timedelta(minutes=2)
    subject = more.pop("subject", "Order 1042")
    sender = more.pop("sender", replace(WRITER, proof=proof))
    return MessageReceived(f"{name}@example.org", sender, at, text, subject=subject, **more)


RECEIVED: dict[str, list[Any]] = {
    "plain": [message("plain", "Where is my order?\n\nAnn")],
    "html": [message("html", "Where is my order?\n\nSee the order (https://example.com/o/1042)")],
    "files": [
        message(
            "files",
            "The lid is missing, see the picture.",
            attachments=[
                Attachment("image", ref="part:2", mime="image/png", name="box.png"),
                Attachment("file", ref="part:3", mime="application/pdf", name="Rechnung März.pdf"),
                Attachment("file", ref="part:4", mime="message/rfc822", name="mail.eml"),
            ],
        )
    ],
    "reply_gmail": [message("reply_gmail", "Yes, please send a new one.", subject="Re: Order 1042", **LATER)],
    "reply_outlook": [message("reply_outlook", "Schön, ich warte – danke.", subject="AW: Order 1042", **LATER)],
    "reply_outlook_plain": [message("reply_outlook_plain", "Yes please.", subject="RE: Order 1042", **LATER)],
    "reply_apple": [message("reply_apple", "Yes please.", subject="Re: Order 1042", **LATER)],
    "reply_between": [
        message(
            "reply_between",
            "On Sat, 31 Jan 2026 at 11:40, Example Support wrote:\n"
            "> Shall we send a new lid?\nYes.\n> Or a new box?\nNo, thank you.",
            subject="Re: Order 1042",
            **LATER,
        )
    ],
    "flowed": [message("flowed", "This line was broken for transport and is one.")],
    "koi8": [message("koi8", "Где мой заказ?", subject="Заказ")],
    "iso2022jp": [message("iso2022jp", "注文はどこですか。")],
    "false_label": [message("false_label", "訂單在哪裡？")],
    "no_label": [message("no_label", "Größe?", subject="Größe")],
    "auto_reply": [
        message("auto_reply", "I am away until Monday.", subject="Automatic reply: Order 1042", automatic=True, **LATER)
    ],
    "list": [message("list", "This week only.", subject="[offers] News", automatic=True)],
    "foreign_references": [
        message(
            "foreign", "And mine?", subject="Re: Order 7",
            reply_to="someone@else.example", references=["root@else.example", "someone@else.example"],
        )
    ],
    "forged_token": [message("forged_token", "Let me in.")],
    "broken_mime": [
        message("broken", "Hello there!", attachments=[Attachment("file", ref="part:1", mime="multipart/alternative")])
    ],
    # Who could have taken a Message-ID from another's mail gets a mark behind it.
    "no_verdict": [message("no_verdict", "Where is my order?", proof=Proof.claimed)],
    "forged_verdict": [message("forged", "Send it to 5 Low Street instead.", proof=Proof.claimed)],
    "taken_message_id": [
        message("taken", "I was first.", sender=Party("mailto", "eve@evil.example", "Eve", Proof.claimed))
    ],
    "own_came_back": [],
}  # fmt: skip
UNREADABLE = {"no_sender": "no address in", "not_a_mail": "no address in", "two_senders": "more than one From"}
MARKED = {"no_verdict", "forged_verdict", "taken_message_id"}


def test_every_captured_mail_is_expected() -> None:
    assert sorted([*RECEIVED, *UNREADABLE, "no_message_id"]) == sorted(path.stem for path in FIXTURES.iterdir())


def read(name: str) -> bytes:
    return (FIXTURES / f"{name}.eml").read_bytes()


@pytest.mark.parametrize("name", RECEIVED)
def test_captured_mails_become_events(name: str) -> None:
    events = adapter().receive(request(read(name)))
    for event in events:
        assert isinstance(event, MessageReceived)
        event.html = event.full_text = None  # have tests of their own
        plain, mark, _ = event.external_id.partition("#")
        assert bool(mark) is (name in MARKED)
        event.external_id = plain
    assert events == RECEIVED[name]


@pytest.mark.parametrize("name", UNREADABLE)
def test_what_nobody_can_read_is_unparseable(name: str) -> None:
    with pytest.raises(Unparseable, match=UNREADABLE[name]):
        adapter().receive(request(read(name)))


def received(raw: bytes, **config: Any) -> MessageReceived:
    [event] = adapter(**config).receive(request(raw))
    assert isinstance(event, MessageReceived)
    return event


def test_a_mail_without_message_id_is_known_by_what_it_says() -> None:
    event, again = received(read("no_message_id")), received(read("no_message_id"))
    assert event.external_id == again.external_id and event.external_id.endswith("@missing.invalid")
    assert received(mail("One", Message_ID="")).external_id != received(mail("Two", Message_ID="")).external_id


def test_the_whole_mail_is_kept_beside_its_new_part() -> None:
    event = received(read("reply_gmail"))
    assert event.full_text is not None and "Shall we send a new lid?" in event.full_text
    assert event.html is not None and "gmail_quote" in event.html
    assert received(read("html")).full_text is None


ON = "On Sat, 31 Jan 2026 at 11:40, Example Support <support@example.com> wrote:"
NEW: list[tuple[str, str]] = [
    (f"Yes.\n\n{ON}\n\n> A new lid?\n> Zoe", "Yes."),
    (f"Hi Zoe\n\n{ON}\n> A new lid?\nYes.\n> Or a box?\nNo.", f"Hi Zoe\n\n{ON}\n> A new lid?\nYes.\n> Or a box?\nNo."),
    (f"{ON}\n> A new lid?\n\nYes.", "Yes."),
    (f"{ON}\n> A new lid?", f"{ON}\n> A new lid?"),
    ("> A new lid?", "> A new lid?"),
    ("Ja.\n\nAm Sa., 31. Jan. 2026 um 11:40 Uhr schrieb Zoe <z@example.com>:\n\n> Neu?", "Ja."),
    ("Oui.\n\nLe sam. 31 janv. 2026 à 11:40, Zoe <z@example.com> a écrit :\n\n> Neuf ?", "Oui."),
    ("Yes.\n\n-----Original Message-----\nFrom: Zoe\nSent: Saturday\nTo: Ann\nSubject: x\n\nA lid?", "Yes."),
    ("Yes.\n-- \nAnn\n12 High Street", "Yes."),
    ("-- \nAnn", "-- \nAnn"),
    ("1 > 0\n\n\n\n\n- one\n- two", "1 > 0\n\n- one\n- two"),
    ("x" * 30_000, "x" * 30_000),
]


@pytest.mark.parametrize(("text", "new"), NEW)
def test_what_is_new_is_shown(text: str, new: str) -> None:
    event = received(mail(text, Content_Type="text/plain; charset=utf-8"))
    assert event.text == new
    assert event.full_text in (None, text)


def test_a_phone_that_only_speaks_of_itself_says_nothing() -> None:
    event = received(mail("Sent from my iPhone", Subject="STOP"))
    assert (event.text, event.subject, event.full_text) == ("", "STOP", "Sent from my iPhone")
    assert received(mail("Sent from my iPhone", Subject="")).text == "Sent from my iPhone"


def test_a_mail_of_parts_without_a_boundary_is_shown_as_it_is() -> None:
    event = received(mail("--b\r\n\r\nHello\r\n--b--", MIME_Version="1.0", Content_Type="multipart/mixed"))
    assert "Hello" in event.text and event.attachments == []


async def test_files_are_fetched_out_of_the_raw_mail() -> None:
    raw = request(read("files"))
    made = adapter()
    expected = {"part:2": b"\x89PNG\r\n\x1a\npicture", "part:3": b"%PDF-1.7"}
    for ref, data in expected.items():
        content = await made.fetch(Attachment(ref=ref), raw)
        assert content is not None and b"".join([part async for part in content]) == data
    for ref, given in (("part:9", raw), ("part:2", None), ("x", raw)):
        with pytest.raises(Rejected, match="mail"):
            await made.fetch(Attachment(ref=ref), given)


RUSSIAN = "Где мой заказ? Он должен был прийти вчера."
CHARSETS = [
    ("ks_c_5601-1987", "안녕하세요 똠방각하".encode("cp949"), "안녕하세요 똠방각하"),
    ("gb2312", "訂單朱镕基".encode("gb18030"), "訂單朱镕基"),
    ("iso-8859-1", "€ “smart”".encode("cp1252"), "€ “smart”"),
    ("utf-8//TRANSLIT", "Größe".encode(), "Größe"),
    ("cp-850", "Größe".encode("cp850"), "Größe"),
    ("x-mac-roman", "café".encode("mac_roman"), "café"),
    ("unknown-8bit", "Größe".encode("latin-1"), "Größe"),
    ("utf-8", "été à Genève".encode("latin-1"), "été à Genève"),
    ("nonsense", RUSSIAN.encode("koi8-r"), RUSSIAN),
    ("us-ascii", "訂單在哪裡？".encode(), "訂單在哪裡？"),
    ("utf-8", b"nul\0 and \x1b bell", "nul and  bell"),
]


@pytest.mark.parametrize(("label", "body", "text"), CHARSETS)
def test_labels_of_charsets_are_not_believed_blindly(label: str, body: bytes, text: str) -> None:
    head = mail("", Content_Type=f"text/plain; charset={label}", Content_Transfer_Encoding="8bit")
    assert received(head + body).text == text


def parts(*inside: str, kind: str = "mixed") -> bytes:
    body = "".join(f"--b\r\n{each}\r\n" for each in inside)
    return mail(f"{body}--b--", MIME_Version="1.0", Content_Type=f"multipart/{kind}; boundary=b")


HELLO = "Content-Type: text/plain\r\n\r\nHello"
PARTS: dict[str, tuple[bytes, list[tuple[str, str | None]]]] = {
    "calendar": (parts(HELLO, "Content-Type: text/calendar\r\n\r\nBEGIN:VCALENDAR", kind="alternative"),
                 [("text/calendar", "invite.ics")]),
    "amp": (parts(HELLO, "Content-Type: text/x-amp-html\r\n\r\n<html>", kind="alternative"), []),
    "signed": (parts(HELLO, "Content-Type: application/pkcs7-signature; name=smime.p7s\r\n\r\nx", kind="signed"), []),
    "tnef": (parts(HELLO, "Content-Type: application/ms-tnef; name=winmail.dat\r\n\r\nx"),
             [("application/ms-tnef", "winmail.dat")]),
    "mail": (parts(HELLO, "Content-Type: message/rfc822\r\n\r\nFrom: x@example.net\r\n\r\ninner"),
             [("message/rfc822", "mail.eml")]),
    "name in pieces": (
        parts(HELLO, "Content-Type: application/pdf;\r\n name*0*=utf-8''a%20;\r\n name*1*=%C3%A4.pdf\r\n\r\n"),
        [("application/pdf", "a ä.pdf")],
    ),
    "bare name": (parts(HELLO, 'Content-Type: application/pdf; name="März.pdf"\r\n\r\nx'),
                  [("application/pdf", "März.pdf")]),
    "name that turns": (parts(HELLO, "Content-Type: application/pdf; name=\"a\u202efdp.exe\"\r\n\r\nx"),
                        [("application/pdf", "afdp.exe")]),
}  # fmt: skip


@pytest.mark.parametrize("name", PARTS)
def test_parts_that_are_no_text(name: str) -> None:
    raw, files = PARTS[name]
    event = received(raw)
    assert (event.text, event.unsupported) == ("Hello", None)
    assert [(file.mime, file.name) for file in event.attachments] == files


@pytest.mark.parametrize("raw", [
    mail("AAAA", Content_Type="application/pkcs7-mime; smime-type=enveloped-data; name=smime.p7m"),
    parts("Content-Type: application/pgp-encrypted\r\n\r\nVersion: 1",
          "Content-Type: application/octet-stream; name=encrypted.asc\r\n\r\nx", kind="encrypted"),
])  # fmt: skip
def test_mail_that_only_its_receiver_can_open_says_so(raw: bytes) -> None:
    event = received(raw)
    assert event.unsupported == "encrypted mail" and len(event.attachments) == 1


# --- who wrote ---

PASS = "mx.example.com; dmarc=pass header.from=example.org"
SENDERS: list[tuple[str, str, str, Proof]] = [
    (f"Ann <{ANN}>", PASS, ANN, Proof.provider),
    ("ANN@Example.ORG", PASS, ANN, Proof.provider),
    (f"Ann <{ANN}>", "", ANN, Proof.claimed),
    (f"Ann <{ANN}>", "mx.evil.example; dmarc=pass header.from=example.org", ANN, Proof.claimed),
    (f"Ann <{ANN}>", "mx.example.com; dmarc=none header.from=example.org", ANN, Proof.claimed),
    (f"Ann <{ANN}>", "mx.example.com; dmarc=pass header.from=evil.example", ANN, Proof.claimed),
    (f"Ann <{ANN}>", "mx.example.com; x=y (dmarc=pass header.from=example.org)", ANN, Proof.claimed),
    (f"Ann <{ANN}>", 'mx.example.com; x="; dmarc=pass header.from=example.org"', ANN, Proof.claimed),
    ("ann@shop.example.org", PASS, "ann@shop.example.org", Proof.provider),
    (f'"{ANN}" <eve@evil.example>', PASS, "eve@evil.example", Proof.claimed),
    (f"{ANN} <eve@example.org>", PASS, "eve@example.org", Proof.claimed),
    (f"<{ANN}> <eve@example.org>", PASS, "eve@example.org", Proof.claimed),
    ("Jörg <jörg@exämple.org>", "", "jörg@exämple.org", Proof.claimed),
]


@pytest.mark.parametrize(("header", "verdict", "address", "proof"), SENDERS)
def test_only_our_own_server_vouches_for_a_sender(header: str, verdict: str, address: str, proof: Proof) -> None:
    sender = received(mail(From=header, Authentication_Results=verdict)).sender
    assert (sender.value, sender.proof) == (address, proof)


def test_without_names_of_our_server_nobody_is_proven() -> None:
    assert received(read("plain"), authserv_ids=[]).sender.proof is Proof.claimed


def test_a_contact_form_is_answered_at_its_reply_to() -> None:
    event = received(mail(From="Form <help@example.com>", Reply_To=f"Ann <{ANN}>", Authentication_Results=PASS))
    assert event.sender == Party("mailto", ANN, "Ann", Proof.claimed)


@pytest.mark.parametrize(
    "headers",
    [
        {"From": '"Ann via Support" <support@example.com>', "X_Original_From": f"Ann <{ANN}>"},
        {"From": "'Ann' via Sales <sales@example.net>", "Reply_To": f"Ann <{ANN}>"},
        {"From": "Shop <no-reply@shop.example>", "Reply_To": f"Ann <{ANN}>"},
    ],
)
def test_who_wrote_through_a_group_or_a_machine_is_answered(headers: dict[str, str]) -> None:
    assert received(mail(**headers)).sender == Party("mailto", ANN, "Ann", Proof.claimed)


def test_a_reply_to_takes_nobodys_place() -> None:
    event = received(mail(Reply_To="eve@evil.example", Authentication_Results=PASS))
    assert (event.sender.value, event.sender.proof) == (ANN, Proof.provider)


def test_nothing_in_a_name_turns_the_line_around() -> None:
    assert received(mail(From=f"\u202eeve <{ANN}>")).sender.name == "eve"


def test_a_name_that_looks_like_an_address_is_not_shown() -> None:
    assert received(mail(From='"bank@bank.example" <eve@evil.example>')).sender.name is None


# --- which conversation ---


def token(to: str = ANN, now: datetime = NOON, **more: Any) -> str:
    """The address at which we ask for an answer."""
    made = adapter(now=now, **more)
    content = made._out.letter(out(to=to), now).content.decode()
    found = re.search(r"^Reply-To: .*<(.*)>", content, re.MULTILINE)
    assert found is not None
    return found[1]


def test_an_answer_to_our_token_finds_its_conversation_and_proves_its_sender() -> None:
    for name in ("To", "Cc", "Delivered_To", "X_Original_To"):
        event = received(mail(**({"To": "x@example.com"} | {name: f"Support <{token()}>"})))
        assert (event.thread, event.sender.proof) == (THREAD, Proof.verified)
    assert received(mail(To=token().upper())).thread == THREAD


def bent(address: str) -> str:
    place = address.index("+") + 25
    return address[:place] + ("a" if address[place] != "a" else "b") + address[place + 1 :]


STRANGE: dict[str, tuple[str, str]] = {
    "bent": (bent(token()), ANN),
    "of another": (token("bob@example.org"), ANN),
    "expired": (token(now=NOON - timedelta(days=366)), ANN),
    "of another channel": (token(secret=b"another secret of thirty-two byte"), ANN),
    "cut": (token().replace("@", "")[:40] + "@example.com", ANN),
    "used by a sender who hides": (token(), f'"{ANN}" <eve@evil.example>'),
}


@pytest.mark.parametrize("kind", STRANGE)
def test_a_token_that_is_not_the_senders_is_worth_nothing(kind: str) -> None:
    to, sender = STRANGE[kind]
    event = received(mail(To=to, From=sender))
    assert (event.thread, event.sender.proof) == (None, Proof.claimed)


def test_a_token_in_a_mail_that_names_two_senders_finds_its_conversation_but_proves_nothing() -> None:
    event = received(mail(To=token(), From=f"eve@evil.example <{ANN}>"))
    assert (event.sender.value, event.thread, event.sender.proof) == (ANN, THREAD, Proof.claimed)


def test_references_are_few_and_in_order() -> None:
    many = " ".join(f"<{number}@example.org>" for number in range(3000))
    event = received(mail(References=many, In_Reply_To="<parent@example.org> (her mail)"))
    assert event.references[0] == "0@example.org" and event.references[-1] == "parent@example.org"
    assert len(event.references) == 50 and event.reply_to == "parent@example.org"


def test_a_subject_alone_joins_nothing() -> None:
    event = received(mail(Subject="Re: Order 1042"))
    assert (event.thread, event.reply_to, event.references) == (None, None, [])


def test_a_date_of_the_future_or_of_nowhere_is_not_believed() -> None:
    for date in ("Sun, 31 Jan 2027 12:00:00 +0000", "yesterday", "Thu, 1 Jan 1970 00:00:00 +0000", ""):
        assert received(mail(Date=date)).at == NOON
    assert received(mail(Date="Sat, 31 Jan 2026 10:00:00 -0100")).at == datetime(2026, 1, 31, 11, tzinfo=UTC)


# --- machines ---

AUTOMATIC: list[dict[str, str]] = [
    {"Auto_Submitted": "auto-replied"}, {"Auto_Submitted": "auto-generated; owner-email=x"}, {"Precedence": "bulk"},
    {"Precedence": "Auto_Reply"}, {"X_Auto_Response_Suppress": "All"}, {"X_Autoreply": "yes"},
    {"List_Unsubscribe": "<https://example.org/u>"}, {"Feedback_ID": "1:2"}, {"Return_Path": "<>"},
    {"From": "MAILER-DAEMON@example.org"}, {"From": "No Reply <no-reply@example.org>"},
    {"Subject": "Automatische Antwort: Order"}, {"Subject": "Out of Office"}, {"Subject": "自动回复: Order"},
    {"Subject": "Автоответ: Order"}, {"Subject": "Fuera de la oficina"}, {"Subject": "Abwesend: Urlaub"},
]  # fmt: skip


@pytest.mark.parametrize("headers", AUTOMATIC)
def test_mail_of_machines_is_marked(headers: dict[str, str]) -> None:
    assert received(mail(**headers)).automatic


@pytest.mark.parametrize(
    "headers",
    [{"Auto_Submitted": "no"}, {"Precedence": "normal"}, {"Subject": "Automatic door is broken"},
     {"Return_Path": f"<{ANN}>"}, {"From": "norah@example.org"}],
)  # fmt: skip
def test_mail_of_people_is_not(headers: dict[str, str]) -> None:
    assert not received(mail(**headers)).automatic


OURS: list[dict[str, str]] = [
    {"From": "support@example.com"}, {"From": "help@example.com"}, {"From": "support+x@example.com"},
    {"X_Loop": "support@example.com"},
]  # fmt: skip


@pytest.mark.parametrize("headers", OURS)
def test_mail_of_our_own_that_came_back_is_dropped(headers: dict[str, str]) -> None:
    assert adapter().receive(request(mail(**headers))) == []


def test_a_mail_of_ours_is_known_by_its_message_id() -> None:
    made = adapter()
    content = made._out.letter(out(), NOON).content
    stripped = re.sub(rb"(From|X-Loop): [^\r]*", b"From: Group <group@example.org>", content, count=1)
    stripped = re.sub(rb"X-Loop: [^\r]*\r\n", b"", stripped)
    assert made.receive(request(stripped)) == []


# --- reports ---

NO_USER = ("5.1.1", "550 5.1.1 <ann@example.org>: User unknown")
REPORTS: list[tuple[str, str, str | None, bool]] = [
    (*NO_USER, "5.1.1", True),
    ("5.0.0", "550 5.1.1 User unknown", "5.1.1", True),
    ("5.0.0", "554 no such user", "5.0.0", True),
    ("5.0.0", "550 Requested action not taken: mailbox unavailable (blocked by policy)", "5.0.0", False),
    ("5.0.0", "554 Sender address rejected: Access denied", "5.0.0", False),
    ("5.2.2", "552 5.2.2 Mailbox full", "5.2.2", False),
    ("5.7.1", "550 5.7.1 Rejected as spam", "5.7.1", False),
    ("4.4.1", "connection timed out", "4.4.1", False),
]


@pytest.mark.parametrize(("status", "words", "code", "dead"), REPORTS)
def test_a_delivery_report_fails_the_mail_it_names(status: str, words: str, code: str, dead: bool) -> None:
    made = adapter()
    letter = made._out.letter(out(), NOON)
    raw = report("mx.example.org", "support@example.com", letter.content, ANN, status, words)
    [event] = made.receive(request(raw))
    assert isinstance(event, StatusChanged)
    assert (event.external_id, event.key, event.state) == (letter.message_id, "del_0000000000001.0", "failed")
    assert (event.code, event.bad_address) == (code, dead)
    assert event.detail == words


ABOUT: list[tuple[str, list[tuple[str, bool]]]] = [
    ("Final-Recipient: <Ann@Example.ORG>", [("failed", True)]),
    ("Final-Recipient: rfc822; ann@example.net\r\nOriginal-Recipient: rfc822; ann@example.org", [("failed", True)]),
    ("Final-Recipient: rfc822; boss@example.net", [("failed", False)]),
    ("Final-Recipient: rfc822; boss@example.net\r\nAction: failed\r\nStatus: 5.1.1\r\n\r\n"
     "Final-Recipient: rfc822; ann@example.org\r\nAction: delivered\r\nStatus: 2.0.0\r\n\r\n"
     "Final-Recipient: rfc822; chief@example.net", [("delivered", False)]),
]  # fmt: skip


@pytest.mark.parametrize(("recipient", "states"), ABOUT)
def test_a_report_about_whom_they_forward_to_says_nothing_of_our_address(
    recipient: str, states: list[tuple[str, bool]]
) -> None:
    made = adapter()
    raw = report("mx.example.org", "support@example.com", made._out.letter(out(), NOON).content, ANN, *NO_USER)
    told = made.receive(request(raw.replace(b"Final-Recipient: rfc822; ann@example.org", recipient.encode())))
    assert [(each.state, each.bad_address) for each in told if isinstance(each, StatusChanged)] == states


def test_a_delay_is_no_failure_and_a_delivery_is_told() -> None:
    made = adapter()
    raw = report("mx.example.org", "support@example.com", made._out.letter(out(), NOON).content, ANN, *NO_USER)
    assert made.receive(request(raw.replace(b"Action: failed", b"Action: delayed"))) == []
    [event] = made.receive(request(raw.replace(b"Action: failed", b"Action: delivered")))
    assert isinstance(event, StatusChanged) and event.state == "delivered"


def test_a_report_about_a_mail_that_is_not_ours_is_only_a_mail() -> None:
    original = mail(Message_ID="<del_0000000000001.0.aaaaaaaaaaaaaaaa@example.com>")
    event = received(report("mx.example.org", "support@example.com", original, ANN, *NO_USER))
    assert event.automatic and event.subject == "Undelivered Mail Returned to Sender"


def test_a_report_without_a_form_is_read() -> None:
    made = adapter()
    letter = made._out.letter(out(), NOON)
    words = f"Hi. This is the qmail-send program.\r\n\r\n<{ANN}>:\r\nSorry, no mailbox here by that name. (#5.1.1)\r\n"
    raw = mail(f"{words}\r\n--- Below this line is a copy of the message.\r\n\r\n{letter.content.decode()}",
               From="MAILER-DAEMON@example.org", Return_Path="<>", Subject="failure notice")  # fmt: skip
    [event] = made.receive(request(raw))
    assert isinstance(event, StatusChanged) and (event.key, event.state) == ("del_0000000000001.0", "failed")
    assert event.bad_address


AWAY = [
    "Ich bin bis 5.12.26 nicht im Büro.",
    "We are upgrading to release 5.4.2 today.",
    "Your ticket is open. The last one was about: 550 5.1.1 user unknown",
]


@pytest.mark.parametrize("words", AWAY)
@pytest.mark.parametrize("headers", [{}, {"Auto_Submitted": ""}, {"From": "postmaster@example.org"}])
def test_an_automatic_answer_to_our_mail_is_no_bounce(words: str, headers: dict[str, str]) -> None:
    made = adapter()
    ours = made._out.letter(out(), NOON).message_id
    headers = {"In_Reply_To": f"<{ours}>", "Auto_Submitted": "auto-replied", "Return_Path": "<>"} | headers
    [event] = made.receive(request(mail(words, Content_Type="text/plain; charset=utf-8", **headers)))
    assert isinstance(event, MessageReceived)
    assert (event.text, event.automatic, event.reply_to) == (words, True, ours)


def test_a_refusal_in_the_words_of_a_mail_server_is_read() -> None:
    made = adapter()
    ours = made._out.letter(out(), NOON).message_id
    words = f"Your mail of 5.12.26 was not delivered.\r\nmx.example.org said: 550-5.1.1 no such account\r\n\r\n{ours}"
    [event] = made.receive(request(mail(words, From="postmaster@example.org")))
    assert isinstance(event, StatusChanged)
    assert (event.state, event.code, event.bad_address) == ("failed", "5.1.1", True)
    assert event.detail == "mx.example.org said: 550-5.1.1 no such account"


def test_an_address_of_a_machine_is_no_status() -> None:
    made = adapter()
    letter = made._out.letter(out(), NOON)
    words = f"This is a permanent error. The following address failed:\r\n\r\n  {ANN}\r\n"
    told = "    host mx.example.org [1.2.3.4]: 550 No such user here\r\n\r\n------ This is a copy ------\r\n\r\n"
    raw = mail(words + told + letter.content.decode(), From="Mailer-Daemon@example.org", Return_Path="<>",
               X_Failed_Recipients=ANN, Auto_Submitted="auto-replied")  # fmt: skip
    [event] = made.receive(request(raw))
    assert isinstance(event, StatusChanged)
    assert (event.state, event.code, event.bad_address) == ("failed", None, True)


def test_a_complaint_is_an_opt_out() -> None:
    made = adapter()
    letter = made._out.letter(out(), NOON)
    raw = report("mx.example.org", "support@example.com", letter.content, ANN, *NO_USER)
    raw = raw.replace(b"report-type=delivery-status", b"report-type=feedback-report")
    raw = raw.replace(b"message/delivery-status", b"message/feedback-report")
    raw = raw.replace(b"Reporting-MTA: dns; mx.example.org\r\n", b"Feedback-Type: abuse\r\nVersion: 1")
    [event] = made.receive(request(raw))
    assert isinstance(event, StatusChanged) and event.opted_out and event.state == "delivered"
    for kind in (b"auth-failure", b"not-spam"):
        assert made.receive(request(raw.replace(b"Type: abuse", b"Type: " + kind))) == []
    for kind in (b"virus", b"other", b"new-kind"):
        [other] = made.receive(request(raw.replace(b"Type: abuse", b"Type: " + kind)))
        assert isinstance(other, StatusChanged) and (other.code, other.opted_out) == ("complaint", True)
    told = b"Feedback-Type: abuse\r\nVersion: 1"
    packed = b"Content-Transfer-Encoding: base64\r\n\r\n" + b64encode(told)
    head, _, tail = raw.partition(told)
    assert made.receive(request(head.removesuffix(b"\r\n") + packed + tail)) == [event]


# --- mails built to break a reader ---

NESTED = b"".join(b'Content-Type: multipart/mixed; boundary="b%d"\r\n\r\n--b%d\r\n' % (n, n) for n in range(60))
HEAD = b"From: ann@example.org\r\n"
BOMBS = {
    "many parts": HEAD + b"Content-Type: multipart/mixed; boundary=b\r\n\r\n" + b"--b\r\n\r\nx\r\n" * 10_000,
    "deep parts": HEAD + NESTED,
    "mails in mails": HEAD + b"Content-Type: message/rfc822\r\n\r\n" * 300,
    "long headers": HEAD + b"X: " + b"x" * 300_000 + b"\r\n\r\n",
}


@pytest.mark.parametrize("kind", BOMBS)
def test_mails_built_to_exhaust_are_refused(kind: str) -> None:
    with pytest.raises(Unparseable):
        adapter().receive(request(BOMBS[kind]))


HEAVY: dict[str, dict[str, str]] = {
    "comments in comments": {"To": "(" * 500 + ")" * 500 + " b@example.com"},
    "many recipients": {"To": "a@b.c, " * 16_000},
    "many brackets": {"From": "<" * 20_000 + ANN},
    "encoded words": {"Subject": "=?utf-8?q?a?= " * 5_000},
}


@pytest.mark.parametrize("kind", HEAVY)
def test_heavy_headers_are_read(kind: str) -> None:
    assert received(mail(**HEAVY[kind])).text == "Hello"


@pytest.mark.parametrize("label", ["undefined", "idna", "punycode", "utf-7", "no-such", "rot13"])
def test_a_label_that_nothing_can_be_read_by_hides_no_text_and_no_name(label: str) -> None:
    head = f"From: {ANN}\r\nContent-Type: multipart/mixed; boundary=x\r\n\r\n--x\r\n"
    words = f"Content-Type: text/plain; charset={label}\r\n\r\ncafé\r\n--x\r\n"
    file = f"Content-Disposition: attachment; filename*={label}''m%C3%A4rz.txt\r\n\r\n1\r\n--x--"
    event = received((head + words + file).encode())
    assert (event.text, [each.name for each in event.attachments]) == ("café", ["märz.txt"])
