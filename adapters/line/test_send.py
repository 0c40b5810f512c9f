"""Messages to calls, and answers to receipts and errors."""

from __future__ import annotations

import json
import uuid
from typing import Any

import pytest

from adapters.line.testing import ANN, FIXTURES, TOKEN, out, played, posted, said, taken
from hub.contract import (
    Ambiguous,
    Answer,
    BadAddress,
    ChannelDown,
    Outgoing,
    RateLimited,
    Receipt,
    Rejected,
    SendError,
    Transient,
)
from hub.model import Address, Attachment, Button, Location, Purpose, Template

# --- the call ---

URL = "https://hub.example.com/media/t/"
REPLY, PUSH = "https://api.line.me/v2/bot/message/reply", "https://api.line.me/v2/bot/message/push"


def link(path: str, kind: Any = "file", mime: str | None = None, **more: Any) -> Attachment:
    return Attachment(kind, url=URL + path, mime=mime, **more)


def sent(*files: Attachment, text: str = "") -> Outgoing:
    return out(text, attachments=list(files))


def words(text: str) -> dict[str, Any]:
    return {"type": "text", "text": text}


def picture(path: str) -> dict[str, Any]:
    return {"type": "image", "originalContentUrl": URL + path, "previewImageUrl": URL + path}


def choices(*actions: tuple[str, str, str]) -> dict[str, Any]:
    made = [{"type": "postback", "label": label, "data": data, "displayText": shown} for label, data, shown in actions]
    return {"quickReply": {"items": [{"type": "action", "action": each} for each in made]}}


LONG = "Rather a long title for one choice"
BODIES: list[tuple[Outgoing, list[dict[str, Any]]]] = [
    (out("Héllo ✓"), [words("Héllo ✓")]),
    (out(reply_to="325708"), [words("Hello")]),
    (out("Hi Ann", template=Template("hello", "en")), [words("Hi Ann")]),
    (out("Wrap?", buttons=[Button("y", "Yes"), Button("n", LONG)]),
     [{**words("Wrap?"), **choices(("Yes", "y\nYes", "Yes"), (LONG[:19] + "…", f"n\n{LONG}", LONG))}]),
    (out("Wrap?", buttons=[Button("y" * 299, "Yes")]),
     [{**words("Wrap?"), **choices(("Yes", "y" * 299, "Yes"))}]),
    (sent(link("a.jpg", "image", "image/jpeg"), link("b.png", "image", "image/png"), text="See"),
     [words("See"), picture("a.jpg"), picture("b.png")]),
    (sent(link("a", "image")), [picture("a")]),
    (sent(link("a.gif", "image", "image/gif", name="a.gif")), [words(f"a.gif: {URL}a.gif")]),
    (sent(link("a.jpg", "image", "image/jpeg", size=10_000_001)), [words(f"{URL}a.jpg")]),
    (sent(Attachment("image", url="http://hub.example.com/a.jpg", mime="image/jpeg")),
     [words("http://hub.example.com/a.jpg")]),
    (sent(link("a.mp4", "video", "video/mp4", name="lid.mp4")),
     [{"type": "video", "originalContentUrl": URL + "a.mp4",
       "previewImageUrl": "https://hub.example.com/channels/line/film.png"}]),
    (sent(link("a.mov", "video", "video/quicktime", name="lid.mov")), [words(f"lid.mov: {URL}a.mov")]),
    (sent(link("a.mp4", "video", "video/mp4", size=200_000_001)), [words(f"{URL}a.mp4")]),
    (sent(link("a.m4a", "audio", "audio/mp4", name="a.m4a")), [words(f"a.m4a: {URL}a.m4a")]),
    (sent(link("i.pdf", mime="application/pdf", name="invoice 7.pdf"), text="Page 2"),
     [words("Page 2"), words(f"invoice 7.pdf: {URL}i.pdf")]),
    (out("", location=Location(35.67966, 139.73669, "Shop", "1-3 Kioicho")),
     [{"type": "location", "title": "Shop", "address": "1-3 Kioicho", "latitude": 35.67966, "longitude": 139.73669}]),
    (out("", location=Location(35.6796601, 139.73669)),
     [{"type": "location", "title": "📍", "address": "35.67966, 139.73669", "latitude": 35.6796601,
       "longitude": 139.73669}]),
]


@pytest.mark.parametrize(("message", "objects"), BODIES)
async def test_a_message_is_one_push(message: Outgoing, objects: list[dict[str, Any]]) -> None:
    adapter, player = played(taken())
    assert await adapter.send(message) == Receipt("461230966842064897")
    [(method, url, headers, content)] = player.asked
    assert (method, url) == ("POST", PUSH) and headers["authorization"] == f"Bearer {TOKEN}"
    assert json.loads(content) == {"to": ANN, "messages": objects}


async def test_a_film_is_a_link_where_nobody_sees_its_picture() -> None:
    adapter, player = played(taken())
    adapter.host.public_url = "http://127.0.0.1:8080"
    await adapter.send(sent(link("a.mp4", "video", "video/mp4")))
    assert json.loads(player.asked[0][3])["messages"] == [words(f"{URL}a.mp4")]


async def test_the_retry_key_is_the_parts_own() -> None:
    adapter, player = played(*[taken()] * 3)
    for key in ("del_1.0", "del_1.0", "del_1.1"):
        await adapter.send(out(key=key))
    keys = [headers["x-line-retry-key"] for _, _, headers, _ in player.asked]
    assert keys[0] == keys[1] != keys[2] and str(uuid.UUID(keys[0])) == keys[0]


async def test_another_hub_has_other_retry_keys() -> None:
    adapter, player = played(*[taken()] * 2)
    await adapter.send(out())
    adapter.host.secret = b"another hub's secret, as long"
    await adapter.send(out())
    assert len({headers["x-line-retry-key"] for _, _, headers, _ in player.asked}) == 2


IMPOSSIBLE: list[tuple[Outgoing, type[SendError], str]] = [
    (out(to=Address("tel", "+447700900123")), BadAddress, "address"),
    (out(to=Address("line", "ann")), BadAddress, "address"),
    (out(to=Address("line", "U" + "G" * 32)), BadAddress, "address"),
    (out(""), Rejected, "empty"),
    (out("", template=Template("hello", "en")), Rejected, "empty"),
    (sent(*[link("a", "image")] * 5, text="See"), Rejected, "files"),
    (sent(Attachment(data=b"x")), Rejected, "file"),
    (out("Wrap?", buttons=[Button("y" * 301, "Yes")]), Rejected, "buttons"),
    (out("Wrap?", buttons=[Button("y\nz", "Yes")]), Rejected, "buttons"),
    (out("Wrap?", buttons=[Button("y", "")]), Rejected, "buttons"),
]


@pytest.mark.parametrize(("message", "kind", "code"), IMPOSSIBLE)
async def test_what_cannot_be_sent_is_not_tried(message: Outgoing, kind: type[SendError], code: str) -> None:
    adapter, player = played()
    with pytest.raises(SendError) as caught:
        await adapter.send(message)
    assert type(caught.value) is kind and caught.value.code == code and player.asked == []


# --- the answer ---

RECEIPTS: list[tuple[Answer, Receipt]] = [
    (taken("1"), Receipt("1")),
    (taken("1", "2"), Receipt("1", "sent", {"ids": "1 2"})),
    (taken("1", status=409), Receipt("1")),
    (said(409, {"message": "The retry key is already accepted"}, x_line_accepted_request_id="r1"), Receipt("r1")),
    (said(200, {}, x_line_request_id="r2"), Receipt("r2")),
]


@pytest.mark.parametrize(("answer", "receipt"), RECEIPTS)
async def test_what_was_accepted_now_or_before_has_a_receipt(answer: Answer, receipt: Receipt) -> None:
    assert await played(answer)[0].send(out()) == receipt


def no(status: int, message: str, *details: tuple[str, str], **headers: str) -> Answer:
    told = [{"message": words, "property": where} for words, where in details]
    return said(status, {"message": message, **({"details": told} if told else {})}, **headers)


NOBODY = "The property, 'to', in the request body is invalid (line: -, column: -)"
REFUSALS: list[tuple[Answer | SendError, type[SendError], str | None]] = [
    (no(400, NOBODY), BadAddress, "400"),
    (no(400, "Failed to send messages"), BadAddress, "400"),
    (no(400, "The request body has 1 error(s)", ("May not be empty", "to")), BadAddress, "400"),
    (no(400, "The request body has 1 error(s)", ("May not be empty", "messages[0].text")), Rejected, "400"),
    (no(401, "Authentication failed."), ChannelDown, "401"),
    (no(403, "Not authorized"), ChannelDown, "403"),
    (no(404, "Not found"), ChannelDown, "404"),
    (no(413, "Too large"), Rejected, "413"),
    (no(429, "The API rate limit has been exceeded. Try again later."), RateLimited, "429 rate"),
    (no(429, "You have reached your monthly limit."), RateLimited, "429 monthly"),
    (no(500, "Internal Server Error"), Transient, "500"),
    (said(502, b"<html>"), Transient, "502"),
    (said(200, b"<html>"), Ambiguous, "200"),
    (said(409, {}), Ambiguous, "409"),
    (said(302, b""), ChannelDown, "302"),
    (said(400, b"[" * 100_000), Rejected, "400"),
    (said(400, {"message": ["x"], "details": [1, {"property": 2}]}), Rejected, "400"),
    (Transient("no connection: refused"), Transient, None),
    (Ambiguous("answer lost: TimeoutError"), Ambiguous, None),
]


@pytest.mark.parametrize(("answer", "kind", "code"), REFUSALS)
async def test_answers_become_errors(answer: Answer | SendError, kind: type[SendError], code: str | None) -> None:
    with pytest.raises(SendError) as caught:
        await played(answer)[0].send(out())
    assert type(caught.value) is kind and caught.value.code == code


async def test_the_words_are_lines_own() -> None:
    answer = no(400, "The request body has 1 error(s)", ("May not be empty", "messages[0].text"))
    with pytest.raises(Rejected, match=r"has 1 error\(s\): May not be empty \(messages\[0\].text\) \(HTTP 400\)"):
        await played(answer)[0].send(out())


LIMITS: list[tuple[Answer, float, str]] = [
    (no(429, "The API rate limit has been exceeded."), 1, "sender"),
    (no(429, "The API rate limit has been exceeded.", retry_after="7"), 7, "sender"),
    (no(429, "The API rate limit has been exceeded.", retry_after="inf"), 1, "sender"),
    (no(429, "You have reached your monthly limit."), 3600, "account"),
]


@pytest.mark.parametrize(("answer", "after", "scope"), LIMITS)
async def test_limits_are_of_the_second_or_of_the_month(answer: Answer, after: float, scope: str) -> None:
    with pytest.raises(RateLimited) as caught:
        await played(answer)[0].send(out())
    assert (caught.value.after, caught.value.scope) == (after, scope)


# --- replies ---

USED_UP = no(400, "Invalid reply token")
LOST = Ambiguous("answer lost: TimeoutError")
FAST = no(429, "The API rate limit has been exceeded.")
# Answers to the calls of the first and of a second attempt; which calls were made, and what came of each attempt.
Story = tuple[list[Answer | SendError], list[str], list[str]]
STORIES: dict[str, Story] = {
    "taken": ([taken()], ["reply"], ["sent"]),
    "too old": ([USED_UP, taken()], ["reply", "push"], ["sent"]),
    "too old, and the push is lost": ([USED_UP, LOST, taken(status=409)], ["reply", "push", "push"],
                                      ["ambiguous", "sent"]),
    "lost, not taken": ([LOST, taken()], ["reply", "reply"], ["sent"]),
    "lost, perhaps taken": ([LOST, USED_UP], ["reply", "reply"], ["unknown"]),
    "5xx, perhaps taken": ([no(500, "Internal Server Error"), USED_UP], ["reply", "reply"], ["unknown"]),
    "lost twice": ([LOST, LOST, USED_UP], ["reply", "reply", "reply"], ["ambiguous", "unknown"]),
    "lost, then too fast": ([LOST, FAST, taken()], ["reply", "reply", "reply"], ["rate_limited", "sent"]),
    "too fast": ([FAST, taken()], ["reply", "push"], ["rate_limited", "sent"]),
    "never left": ([Transient("refused"), taken()], ["reply", "push"], ["transient", "sent"]),
    "wrong": ([no(400, "The request body has 1 error(s)")], ["reply"], ["rejected"]),
}


@pytest.mark.parametrize("story", STORIES)
async def test_a_reply_is_never_sent_twice(story: str) -> None:
    answers, calls, outcomes = STORIES[story]
    adapter, player = played(*answers)
    adapter.receive(posted((FIXTURES / "text.json").read_bytes()))
    found = []
    for _ in outcomes:
        try:
            await adapter.send(out())
            found.append("sent")
        except Ambiguous as error:
            found.append("ambiguous" if error.settles else "unknown")
        except SendError as error:
            found.append(error.kind)
    assert [url.rpartition("/")[2] for _, url, _, _ in player.asked] == calls and found == outcomes
    for _, url, headers, body in player.asked:
        assert ("x-line-retry-key" in headers) is (url == PUSH)
        assert json.loads(body).get("replyToken") == (None if url == PUSH else "nHuyWiB7yP5Zw52FIkcQobQuGDX001")


async def test_a_token_works_once() -> None:
    adapter, player = played(taken(), taken())
    adapter.receive(posted((FIXTURES / "text.json").read_bytes()))
    await adapter.send(out(key="del_1.0"))
    await adapter.send(out(key="del_1.1"))
    assert [url for _, url, _, _ in player.asked] == [REPLY, PUSH]


PUSHED: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({"free_replies": False}, {}),
    ({}, {"purpose": Purpose.marketing}),
    ({}, {"to": Address("line", "U" + "1" * 32)}),
]


@pytest.mark.parametrize(("config", "more"), PUSHED)
async def test_other_messages_are_pushed(config: dict[str, Any], more: dict[str, Any]) -> None:
    adapter, player = played(taken(), **config)
    adapter.receive(posted((FIXTURES / "text.json").read_bytes()))
    await adapter.send(out(**more))
    assert [url for _, url, _, _ in player.asked] == [PUSH]


# --- files ---

FETCHES: list[tuple[Answer | SendError, type[SendError]]] = [
    (said(202), Transient),
    (said(404, {"message": "Not found"}), Rejected),
    (said(410, {"message": "Gone"}), Rejected),
    (said(401, {"message": "Authentication failed."}), ChannelDown),
    (said(500, b""), Transient),
    (LOST, Transient),
]


@pytest.mark.parametrize(("answer", "kind"), FETCHES)
async def test_what_keeps_a_file_away(answer: Answer | SendError, kind: type[SendError]) -> None:
    with pytest.raises(SendError) as caught:
        await played(answer)[0].fetch(Attachment(ref="325708"), None)
    assert type(caught.value) is kind


HOSTS: list[tuple[dict[str, Any], str]] = [
    ({}, "https://api-data.line.me"),
    ({"base_url": "http://127.0.0.1:1/"}, "http://127.0.0.1:1"),
    ({"base_url": "http://127.0.0.1:1", "data_url": "http://127.0.0.1:2"}, "http://127.0.0.1:2"),
]


@pytest.mark.parametrize(("config", "host"), HOSTS)
async def test_files_are_at_a_host_of_their_own(config: dict[str, Any], host: str) -> None:
    adapter, player = played(said(200, b"JPG"), **config)
    await adapter.fetch(Attachment(ref="../325708"), None)
    assert player.asked[0][1] == f"{host}/v2/bot/message/..%2F325708/content"


async def test_a_file_elsewhere_is_not_ours() -> None:
    assert await played()[0].fetch(Attachment(url="https://a.example"), None) is None
