"""Messages to calls, and answers to receipts and errors."""

from __future__ import annotations

import json
from typing import Any

import pytest

from adapters.graph.records import error
from adapters.graph.testing import KEY, SECRET, TOKEN, WORD, said, taken
from adapters.graph.webhook import digest
from adapters.messenger.testing import ANN, PAGE, out, played
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
ZOE = Author(AuthorKind.agent, "Zoe")
BOT = Author(AuthorKind.automation, "Bot")


async def body_of(message: Outgoing) -> dict[str, Any]:
    adapter, player = played(taken())
    await adapter.send(message)
    [(method, url, headers, content)] = player.asked
    assert (method, url) == ("POST", f"https://graph.facebook.com/v25.0/me/messages?appsecret_proof={PROOF}")
    assert headers["authorization"] == f"Bearer {TOKEN}" and headers["content-type"] == "application/json"
    body: dict[str, Any] = json.loads(content)
    return body


def file(kind: Any, **more: Any) -> Outgoing:
    return out("", attachments=[Attachment(kind, url=FILE, **more)])


def attached(kind: str) -> dict[str, Any]:
    return {"attachment": {"type": kind, "payload": {"url": FILE, "is_reusable": False}}}


def choices(number: int, title: str = "Choice") -> list[Button]:
    return [Button(f"b{each}", f"{title} {each}") for each in range(number)]


QUICK = [{"content_type": "text", "title": f"Choice {each}", "payload": f"b{each}"} for each in range(13)]
MESSAGES: list[tuple[Outgoing, dict[str, Any]]] = [
    (out("Héllo ✓"), {"text": "Héllo ✓"}),
    (file("image"), attached("image")),
    (file("sticker"), attached("image")),
    (file("video"), attached("video")),
    (file("audio"), attached("audio")),
    (file("file", name="a.pdf"), attached("file")),
    (file("contact"), attached("file")),
    (out("Which?", buttons=choices(13)), {"text": "Which?", "quick_replies": QUICK}),
    (out("", buttons=choices(13)), {"text": "↓", "quick_replies": QUICK}),
]


@pytest.mark.parametrize(("message", "content"), MESSAGES)
async def test_messages_become_calls(message: Outgoing, content: dict[str, Any]) -> None:
    recipient = {"recipient": {"id": ANN}, "messaging_type": "RESPONSE"}
    assert await body_of(message) == recipient | {"message": {**content, "metadata": KEY}}


ORDER = Template("order_update", "en_GB", {"1": "Ann", "button.0": "7"})
WORDS = {"type": "body", "parameters": [{"type": "text", "text": "Ann"}]}
LINK = {"type": "button", "sub_type": "url", "index": "0", "parameters": [{"type": "text", "text": "7"}]}
HEAD = {"type": "header", "parameters": [{"type": "image", "image": {"link": FILE}}]}
TEMPLATES: list[tuple[Outgoing, list[dict[str, Any]]]] = [
    (out("", template=ORDER), [WORDS, LINK]),
    (out("In words", template=ORDER, author=ZOE, late=True), [WORDS, LINK]),
    (out("", template=ORDER, attachments=[Attachment("image", url=FILE)]), [HEAD, WORDS, LINK]),
]


@pytest.mark.parametrize(("message", "components"), TEMPLATES)
async def test_a_template_is_of_kind_utility(message: Outgoing, components: list[dict[str, Any]]) -> None:
    template = {"name": "order_update", "language": {"code": "en_GB"}, "components": components}
    body = await body_of(message)
    assert (body["messaging_type"], body["message"]) == ("UTILITY", {"template": template, "metadata": KEY})


TYPES: list[tuple[Outgoing, str, str | None]] = [
    (out(), "RESPONSE", None),
    (out(author=ZOE), "RESPONSE", None),
    (out(purpose=Purpose.transactional), "UPDATE", None),
    (out(purpose=Purpose.marketing), "UPDATE", None),
    (out(author=ZOE, late=True), "MESSAGE_TAG", "HUMAN_AGENT"),
    (out(author=BOT, late=True), "RESPONSE", None),
    (out(late=True), "RESPONSE", None),
]


@pytest.mark.parametrize(("message", "kind", "tag"), TYPES)
async def test_only_a_late_answer_of_a_person_is_tagged(message: Outgoing, kind: str, tag: str | None) -> None:
    body = await body_of(message)
    assert (body["messaging_type"], body.get("tag")) == (kind, tag)


async def test_an_answer_names_what_it_answers() -> None:
    assert (await body_of(out(reply_to="m_7")))["reply_to"] == {"mid": "m_7"}


async def test_a_person_is_reached_with_and_without_the_page() -> None:
    assert (await body_of(out(to=Address("psid", ANN))))["recipient"] == {"id": ANN}


IMPOSSIBLE: list[tuple[Outgoing, type[SendError]]] = [
    (out(to=Address("mailto", "ann@example.com")), BadAddress),
    (out(to=Address("igsid", f"{PAGE}:{ANN}")), BadAddress),
    (out(to=Address("psid", f"{PAGE}:ann")), BadAddress),
    (out(to=Address("psid", f"99:{ANN}")), Rejected),
    (out(""), Rejected),
    (out("", reply_to="m_7", reaction="👍"), Rejected),
    (out("", template=Template("order_update", "en", {"1": " "})), Rejected),
    (out("", template=ORDER, attachments=[Attachment("image", data=b"x")]), Rejected),
    (out("", template=ORDER, attachments=[Attachment("audio", url=FILE)]), Rejected),
    (out("Which?", buttons=choices(14)), Rejected),
    (out("Which?", buttons=choices(1, "A title that is long")), Rejected),
    (out("Cap", attachments=[Attachment("image", url=FILE)]), Rejected),
    (out("", attachments=[Attachment("image", url=FILE)] * 2), Rejected),
    (out("", attachments=[Attachment("image", data=b"x")]), Rejected),
]


@pytest.mark.parametrize(("message", "kind"), IMPOSSIBLE)
async def test_what_messenger_cannot_show_is_refused_without_a_call(message: Outgoing, kind: type[SendError]) -> None:
    adapter, player = played()
    with pytest.raises(kind):
        await adapter.send(message)
    assert player.asked == []


# --- the answer ---


async def test_what_is_accepted_is_sent() -> None:
    adapter, _ = played(taken("m_7"))
    assert await adapter.send(out()) == Receipt("m_7")


def refused(code: int, subcode: int | None = None, status: int = 400) -> Answer:
    return said(status, error(code, subcode, "No."))


ANSWERS: list[tuple[Answer | SendError, type[SendError], str | None]] = [
    *[(refused(10, subcode), WindowClosed, f"10/{subcode}") for subcode in (2018278, 2534022, 2018065)],
    (refused(10), ChannelDown, "10"),
    (refused(551), OptedOut, "551"),
    (refused(551, 1545041), OptedOut, "551/1545041"),
    (refused(200, 1545041), OptedOut, "200/1545041"),
    *[(refused(100, subcode), BadAddress, f"100/{subcode}") for subcode in (2018001, 2534014)],
    *[(refused(code), RateLimited, str(code)) for code in (4, 17, 32, 613, 80006)],
    (refused(4, 2018354), RateLimited, "4/2018354"),
    *[(refused(code), Transient, str(code)) for code in (1, 2, 1200)],
    (refused(2, status=503), Transient, "2"),
    *[(refused(code), ChannelDown, str(code)) for code in (0, 3, 102, 190, 200, 230, 299, 467)],
    (refused(190, 463), ChannelDown, "190/463"),
    (refused(100, 33), ChannelDown, "100/33"),
    (said(400, error(100, None, "Invalid appsecret_proof provided in the API argument")), ChannelDown, "100"),
    *[(refused(100, code), Rejected, f"100/{code}") for code in (2018034, 2018047, 2018109)],
    *[(refused(200, code), Rejected, f"200/{code}") for code in (2018028, 2018108)],
    *[(refused(code), Rejected, str(code)) for code in (100, 368, 999999)],
    (said(200, error(10, 2018278)), WindowClosed, "10/2018278"),
    (said(400, {"error": {"code": 999999, "is_transient": True}}), Transient, "999999"),
    (said(429), RateLimited, "429"),
    (said(401), ChannelDown, "401"),
    (said(404, b"<html>"), ChannelDown, "404"),
    (said(302, location="https://elsewhere.example"), ChannelDown, "302"),
    (said(400, b"[" * 100_000), Rejected, "400"),
    (said(400, {"error": {"code": "190", "error_subcode": [], "message": 7}}), Rejected, "400"),
    (said(408), Ambiguous, "408"),
    (said(500, b"<html>"), Ambiguous, "500"),
    (said(200, b"<html>"), Ambiguous, "200"),
    (said(200, {"message_id": ""}), Ambiguous, "200"),
    (Ambiguous("answer lost"), Ambiguous, None),
    (Transient("no connection"), Transient, None),
]


@pytest.mark.parametrize(("answer", "kind", "code"), ANSWERS)
async def test_answers_become_errors(answer: Answer | SendError, kind: type[SendError], code: str | None) -> None:
    adapter, _ = played(answer)
    with pytest.raises(SendError) as caught:
        await adapter.send(out())
    assert type(caught.value) is kind and caught.value.code == code
    assert not isinstance(answer, Answer) or b'"No."' not in answer.body or "No." in caught.value.detail
    assert kind is not ChannelDown or "check" in caught.value.detail


USAGE = json.dumps({PAGE: [{"type": "messenger", "call_count": 100, "estimated_time_to_regain_access": 3},
                           {"type": "pages", "estimated_time_to_regain_access": 0}]})
THROTTLES = [
    (refused(4), "account", 60),
    (refused(32), "sender", 60),
    (refused(613), "sender", 5),
    (said(429), "account", None),
    (said(429, retry_after="7"), "account", 7),
    (said(400, error(613), retry_after="inf"), "sender", 5),
    (said(400, error(80006), x_business_use_case_usage=USAGE), "sender", 180),
    (said(400, error(80006), x_business_use_case_usage="[1]"), "sender", 60),
]


@pytest.mark.parametrize(("answer", "scope", "after"), THROTTLES)
async def test_a_throttle_says_what_must_slow_down(answer: Answer, scope: str, after: float | None) -> None:
    adapter, _ = played(answer)
    with pytest.raises(RateLimited) as caught:
        await adapter.send(out())
    assert (caught.value.scope, caught.value.after) == (scope, after)


async def test_secrets_are_in_no_error_and_no_repr() -> None:
    for answer, kind, _ in ANSWERS:
        adapter, _ = played(answer, app_secret_previous="the-old-secret")
        with pytest.raises(kind) as caught:
            await adapter.send(out())
        shown = f"{caught.value!r} {caught.value.detail} {adapter!r} {adapter.config!r}"
        assert not [secret for secret in (TOKEN, SECRET, WORD, PROOF, "the-old-secret") if secret in shown]
