"""Messages to calls, and answers to receipts and errors."""

from __future__ import annotations

import json
from typing import Any

import pytest

from adapters.graph.records import error
from adapters.graph.testing import KEY, SECRET, TOKEN, said, taken
from adapters.graph.webhook import digest
from adapters.instagram.testing import ACCOUNT, ANN, out, played
from hub.contract import (
    Ambiguous,
    Answer,
    BadAddress,
    ChannelDown,
    OptedOut,
    Outgoing,
    RateLimited,
    Receipt,
    Rejected,
    SendError,
    Transient,
    WindowClosed,
)
from hub.model import Address, Attachment, Author, AuthorKind, Button, Purpose, Template

PROOF = digest(SECRET, TOKEN.encode())
FILE = "https://hub.example.com/media/t/a"
HOMES = {"facebook": "https://graph.facebook.com", "instagram": "https://graph.instagram.com"}


@pytest.mark.parametrize("login", HOMES)
async def test_each_way_of_access_has_a_home(login: str) -> None:
    adapter, player = played(taken("i_1"), login=login)
    assert await adapter.send(out()) == Receipt("i_1")
    [(method, url, headers, content)] = player.asked
    assert (method, url) == ("POST", f"{HOMES[login]}/v25.0/me/messages?appsecret_proof={PROOF}")
    assert headers["authorization"] == f"Bearer {TOKEN}"
    assert json.loads(content) == {
        "recipient": {"id": ANN}, "messaging_type": "RESPONSE", "message": {"text": "Hello", "metadata": KEY}
    }


async def body_of(message: Outgoing) -> dict[str, Any]:
    adapter, player = played(taken())
    await adapter.send(message)
    body: dict[str, Any] = json.loads(player.asked[0][3])
    return body


def file(kind: Any, mime: str | None = None, **more: Any) -> Outgoing:
    return out("", attachments=[Attachment(kind, url=FILE, mime=mime, **more)])


FILES: list[tuple[Outgoing, str | None]] = [
    (file("image", "image/png"), "image"),
    (file("image", "image/jpeg; x=1"), "image"),
    (file("image"), "image"),
    (file("sticker", "image/gif"), "image"),
    (file("image", "image/webp"), None),
    (file("image", "image/jpeg", size=(8 << 20) + 1), None),
    (file("video", "video/mp4", size=20 << 20), "video"),
    (file("audio", "audio/mp4"), "audio"),
    (file("audio", "audio/ogg"), None),
    (file("file", "application/pdf"), "file"),
    (file("file", "application/zip"), None),
    (file("file"), None),
    (file("contact", "text/vcard"), None),
]


@pytest.mark.parametrize(("message", "kind"), FILES)
async def test_what_instagram_would_not_show_goes_out_as_a_link(message: Outgoing, kind: str | None) -> None:
    said = (await body_of(message))["message"]
    shown = {"attachment": {"type": kind, "payload": {"url": FILE, "is_reusable": False}}} if kind else {"text": FILE}
    assert said == shown | {"metadata": KEY}


async def test_a_link_to_a_file_has_its_name() -> None:
    assert (await body_of(file("file", "application/zip", name="a.zip")))["message"]["text"] == f"a.zip: {FILE}"


async def test_a_choice_an_answer_and_a_late_answer() -> None:
    body = await body_of(out("Which?", buttons=[Button("b", "Red")], reply_to="i_7"))
    assert body["message"]["quick_replies"] == [{"content_type": "text", "title": "Red", "payload": "b"}]
    assert body["reply_to"] == {"mid": "i_7"}
    late = await body_of(out(late=True, author=Author(AuthorKind.agent, "Zoe")))
    assert (late["messaging_type"], late["tag"]) == ("MESSAGE_TAG", "HUMAN_AGENT")
    assert (await body_of(out(purpose=Purpose.marketing)))["messaging_type"] == "UPDATE"


async def test_there_are_no_templates_but_their_words_can_be_sent() -> None:
    assert (await body_of(out("Shipped", template=Template("order_update", "en"))))["message"]["text"] == "Shipped"


IMPOSSIBLE: list[tuple[Outgoing, type[SendError]]] = [
    (out(to=Address("psid", f"{ACCOUNT}:{ANN}")), BadAddress),
    (out(to=Address("igsid", "@ann")), BadAddress),
    (out(to=Address("igsid", f"99:{ANN}")), Rejected),
    (out(""), Rejected),
    (out("", reply_to="i_7", reaction="❤"), Rejected),
    (out("", template=Template("order_update", "en")), Rejected),
]


@pytest.mark.parametrize(("message", "kind"), IMPOSSIBLE)
async def test_what_cannot_be_is_refused_without_a_call(message: Outgoing, kind: type[SendError]) -> None:
    adapter, player = played()
    with pytest.raises(kind):
        await adapter.send(message)
    assert player.asked == []


ANSWERS: list[tuple[Answer | SendError, type[SendError], str | None]] = [
    (said(403, error(10, 2534022)), WindowClosed, "10/2534022"),
    (said(400, error(100, 2534014)), BadAddress, "100/2534014"),
    (said(400, error(551)), OptedOut, "551"),
    (said(400, error(613)), RateLimited, "613"),
    (said(400, error(190)), ChannelDown, "190"),
    (said(403, error(200)), ChannelDown, "200"),
    (said(400, error(100)), Rejected, "100"),
    (said(400, error(368)), Rejected, "368"),
    (said(503, error(2)), Transient, "2"),
    (said(502), Ambiguous, "502"),
    (Ambiguous("answer lost"), Ambiguous, None),
]


@pytest.mark.parametrize(("answer", "kind", "code"), ANSWERS)
async def test_answers_become_errors(answer: Answer | SendError, kind: type[SendError], code: str | None) -> None:
    adapter, _ = played(answer)
    with pytest.raises(SendError) as caught:
        await adapter.send(out())
    assert type(caught.value) is kind and caught.value.code == code
    assert not [secret for secret in (TOKEN, SECRET, PROOF) if secret in f"{caught.value!r} {caught.value.detail}"]
