"""Mails built to keep a reader busy: each is read or refused at a bounded price, whatever its size."""

from __future__ import annotations

import subprocess
import sys
from base64 import encodebytes
from collections.abc import Callable

import pytest

from adapters.email.testing import NOON, adapter, mail, out, request
from hub.contract import MessageReceived

HEAD = b"From: Eve <eve@example.org>\r\nSubject: hi\r\n"
PARTS = HEAD + b"Content-Type: multipart/mixed; boundary=x\r\n\r\n--x\r\n"
HTML = HEAD + b"Content-Type: text/html\r\n\r\n"
BASE64 = b"Content-Transfer-Encoding: base64\r\n\r\n"
FLOWED = b"Content-Type: text/plain; format=flowed\r\n"
SERVER = b"From: MAILER-DAEMON@example.org\r\nReturn-Path: <>\r\n"
REPORT = SERVER + b"Content-Type: multipart/report; report-type=delivery-status; boundary=x\r\n\r\n--x\r\n"
BLANKS = b"\r\n".join([b" " * 900] * 65)  # folded: no line may be longer than 998
MARKS = [
    b'a"', b"=?utf-8?b?", b"=?x?q?y", b"(", b'"', b'"\\', b",", b"<", b"< ", b"@", b"a@b,", b"\\", b"a ", b" ", b".",
    b"<a@b> ", b";", b"[", b"a@[", b"\xc3\xa9", b"\xc2\xa0", b"\xff", b"a=;",
]  # fmt: skip
HEADERS = (
    b"To", b"Subject", b"Reply-To", b"Authentication-Results", b"Message-ID", b"References", b"In-Reply-To", b"Date",
    b"X-Loop",
)  # fmt: skip


def text(piece: str, size: int = 19_500) -> bytes:
    return HEAD + b"Content-Type: text/plain; charset=utf-8\r\n\r\n" + (piece * (size // len(piece))).encode() + b"x"


def parts(part: bytes, count: int = 190) -> bytes:
    return PARTS + (part + b"\r\n--x\r\n") * count


def bounce(piece: bytes) -> bytes:
    """Of a mail of ours, in no form."""
    ours = adapter()._out.letter(out(), NOON).message_id
    return SERVER + b"\r\n" + ours.encode() + b"\r\n" + piece * (250_000 // len(piece))


HOSTILE: dict[str, Callable[[], bytes]] = {
    # headers
    **{
        f"headers of {mark!r}": lambda mark=mark: HEAD + b"".join(  # type: ignore[misc]  # a default binds the loop's value
            name + b": <" + mark * (20_000 // len(mark)) + b"\r\n" for name in HEADERS
        ) + b"\r\nhi"
        for mark in MARKS
    },
    **{
        f"{name!r} of blanks": lambda name=name: (  # type: ignore[misc]  # a default binds the loop's value
            HEAD + name + b": <\r\n" + BLANKS + b"x\r\n\r\nhi"
        )
        for name in (b"In-Reply-To", b"Message-ID", b"References")
    },
    "From of blanks": lambda: b"From: " + b"\xc2\xa0" * 1_900 + b"x\r\n\r\nhi",
    "verdicts that quote": lambda: HEAD + (b"Authentication-Results: x; " + b'"\\' * 4_990 + b"\r\n") * 25 + b"\r\nhi",
    "encoded words without an end": lambda: HEAD + b"Subject: " + b"=?a?q?x" * 9_000 + b"\r\n\r\nhi",
    "parameters": lambda: HEAD + b'Content-Type: text/plain; x="\r\n ' + b";" * 60_000 + b"\r\n\r\nhi",
    "parameters of a part": lambda: PARTS + b'Content-Type: text/plain; x="' + b";" * 200_000 + b"\r\n\r\nhi\r\n--x--",
    "parameters of all parts": lambda: parts(
        b'Content-Type: text/plain; x="' + b";" * 199 + b'\\"' * 3_900 + b"\r\n\r\nhi"
    ),
    "names in pieces": lambda: PARTS + b"Content-Disposition: attachment;\r\n" + b"".join(
        b" filename*%d*=utf-8''%%41;\r\n" % number for number in range(40_000)
    ) + b"\r\nhi\r\n--x--",
    "headers of a part": lambda: (
        PARTS + b"X: b\r\n" * 900_000 + b"Content-Type: \xff\r\n" * 90_000 + b"\r\nhi\r\n--x--"
    ),
    "a header of a part": lambda: PARTS + b"X: b\r\n" + b" c\r\n" * 900_000 + b"\r\nhi\r\n--x--",
    # structure
    "lines": lambda: HEAD + b"\r\n" + b"\n" * 24_000_000,
    "lines of many parts": lambda: b"From: a@example.org\r\n" + b"".join(
        b'Content-Type: multipart/mixed; boundary="b%d"\r\n\r\n--b%d\r\n' % (number, number) for number in range(90)
    ) + b"\r\n" + b"--\n" * 990_000,
    "recipients of a report": lambda: REPORT + b"Content-Type: message/delivery-status\r\n\r\n" + b"\n" * 990_000,
    "returned mails": lambda: REPORT + (
        b"Content-Type: text/rfc822-headers\r\n\r\n" + b"aaaaaaaaaaaaaaa." * 8_000 + b"\r\n--x\r\n"
    ) * 190,
    # text
    "flowed": lambda: HEAD + FLOWED + b"\r\n" + b"a \r\n" * 900_000,
    "flowed, packed": lambda: HEAD + FLOWED + BASE64 + encodebytes(b"a \n" * 6_000_000),
    **{
        f"text of {piece!r}": lambda piece=piece: text(piece)  # type: ignore[misc]  # a default binds the loop's value
        for piece in (
            "Le x a écrit:\n", "On x wrote:\n", "Am x schrieb x:\n", "De : x\nEnvoyé : x\n", "From: x\nTo: x\n",
            "\xa0\n", "On " + "a " * 240 + "\n", ">\n", "Sent from my x\n", "Best regards\n",
            "Disclaimer: mail mail\n", "--\n",
        )
    },
    **{
        f"line of {piece!r}": lambda piece=piece: text(piece, 500_000)  # type: ignore[misc]  # as above
        for piece in ("-", " ", "\xa0", "- ", "sent from my ", "a@", "omni-", "> ")
    },
    # HTML
    "a tag without an end": lambda: HTML + b"<" + b"a" * 4_000_000,
    "attributes": lambda: HTML + b"<a" + b" id" * 1_000_000,
    "an id": lambda: HTML + b"<div id=" + b"x_" * 2_000_000 + b">",
    "a digit": lambda: HTML + b"&#" + b"1" * 300_000 + b";",
    "many documents": lambda: parts(b"Content-Type: text/html\r\n\r\n" + b"<b>x</b>" * 8_000),
    "lists in lists": lambda: HTML + b"<ul>" * 49 + b"x<br>" * 45_000,
    **{
        f"HTML of {piece!r}": lambda piece=piece: HTML + piece * (3_000_000 // len(piece))  # type: ignore[misc]  # as above
        for piece in (b"<", b"<p>", b"<!-- -->", b"<div class=gmail_attr>-----</div>", b"[x](", b"&#x26;")
    },
    # mail servers that keep to no standard
    **{
        f"bounce of {piece!r}": lambda piece=piece: bounce(piece)  # type: ignore[misc]  # as above
        for piece in (b"a", b" ", b"\n", b"<", b"a@b.c\n", b"550 5.1.1 \n", b"RCPT TO:<", b"Undeliverable to: ")
    },
}  # fmt: skip

READER = """
import resource, signal
from adapters.email.test_hostile import HOSTILE
from adapters.email.testing import adapter, request
from hub.contract import Unparseable

resource.setrlimit(resource.RLIMIT_AS, (1_500_000_000,) * 2)
reader = adapter()
for name, made in HOSTILE.items():
    print(name, flush=True)
    raw = made()
    signal.setitimer(signal.ITIMER_PROF, 20)  # seconds of the processor; what is not back by then is killed
    try:
        reader.receive(request(raw))
    except Unparseable:
        pass
    signal.setitimer(signal.ITIMER_PROF, 0)
print("all are read", flush=True)
"""


@pytest.mark.timeout(600)  # it takes twelve seconds of a processor, which others may use too
def test_no_mail_keeps_its_reader_busy_or_fills_the_memory() -> None:
    done = subprocess.run([sys.executable, "-c", READER], capture_output=True, text=True, check=False)
    assert done.stdout.split("\n")[-2] == "all are read", f"{done.stdout.split(chr(10))[-2]!r} {done.stderr[-2000:]}"


def read(raw: bytes) -> MessageReceived:
    [event] = adapter().receive(request(raw))
    assert isinstance(event, MessageReceived)
    return event


def test_a_digit_of_any_length_hides_no_words() -> None:
    assert read(HTML + b"<p>Where is my order?<p>&#" + b"1" * 300_000 + b";").text.startswith("Where is my order?")


def test_blanks_in_an_id_are_not_of_it() -> None:
    assert read(mail(In_Reply_To="<\r\n  first@example.org\r\n >")).reply_to == "first@example.org"
