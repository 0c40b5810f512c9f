"""Messages to calls, and answers to receipts and errors."""

from __future__ import annotations

import json
from typing import Any

import pytest

from adapters.telegram.testing import ANN, BOT, TOKEN, out, played, said, taken
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
from hub.model import Address, Attachment, Button, Location, Template

# --- the call ---

URL = "https://hub.example.com/media/t/"


async def call_of(message: Outgoing) -> tuple[str, dict[str, Any]]:
    """Method and fields of the call."""
    adapter, player = played(taken())
    assert await adapter.send(message) == Receipt(f"{ANN}:43")
    [(method, url, headers, content)] = player.asked
    start = f"https://api.telegram.org/bot{TOKEN}/"
    assert method == "POST" and url.startswith(start) and headers["content-type"] == "application/json"
    fields: dict[str, Any] = json.loads(content)
    assert fields.pop("chat_id") == ANN
    return url.removeprefix(start), fields


def link(path: str, kind: Any = "file", mime: str | None = None, **more: Any) -> Attachment:
    return Attachment(kind, url=URL + path, mime=mime, **more)


def sent(*files: Attachment, text: str = "", **more: Any) -> Outgoing:
    return out(text, attachments=list(files), **more)


def keys(*titles: str) -> dict[str, Any]:
    return {"inline_keyboard": [[{"text": each, "callback_data": f"b{n}"}] for n, each in enumerate(titles)]}


CALLS: list[tuple[Outgoing, str, dict[str, Any]]] = [
    (out("Héllo *_✓ <b>"), "sendMessage", {"text": "Héllo *_✓ <b>"}),
    (out(to=Address("telegram", str(ANN))), "sendMessage", {"text": "Hello"}),
    (out(reply_to=f"{ANN}:41"), "sendMessage",
     {"text": "Hello", "reply_parameters": {"message_id": 41, "allow_sending_without_reply": True}}),
    (out(reply_to="-100:41"), "sendMessage", {"text": "Hello"}),
    (out(reply_to="callback:4382"), "sendMessage", {"text": "Hello"}),
    (out("Wrap?", buttons=[Button("b0", "Yes"), Button("b1", "No")]), "sendMessage",
     {"text": "Wrap?", "reply_markup": keys("Yes", "No")}),
    (out("Hi Ann", template=Template("hello", "en")), "sendMessage", {"text": "Hi Ann"}),
    (sent(link("a.jpg", "image", "image/jpeg"), text="Cap"), "sendPhoto", {"photo": URL + "a.jpg", "caption": "Cap"}),
    (sent(link("a", "image")), "sendPhoto", {"photo": URL + "a"}),
    (sent(link("a.gif", "image", "image/gif")), "sendAnimation", {"animation": URL + "a.gif"}),
    (sent(link("a.svg", "image", "image/svg+xml")), "sendDocument", {"document": URL + "a.svg"}),
    (sent(link("a.jpg", "image", "image/jpeg", size=11 << 20)), "sendDocument", {"document": URL + "a.jpg"}),
    (sent(link("a.mp4", "video", "video/mp4")), "sendVideo", {"video": URL + "a.mp4"}),
    (sent(link("a.mov", "video", "video/quicktime")), "sendDocument", {"document": URL + "a.mov"}),
    (sent(link("a.ogg", "audio", "audio/ogg; codecs=opus")), "sendVoice", {"voice": URL + "a.ogg"}),
    (sent(link("a.mp3", "audio", "audio/mpeg")), "sendAudio", {"audio": URL + "a.mp3"}),
    (sent(link("a.wav", "audio", "audio/wav")), "sendDocument", {"document": URL + "a.wav"}),
    (sent(link("a.webp", "sticker", "image/webp")), "sendSticker", {"sticker": URL + "a.webp"}),
    (sent(link("i.pdf", mime="application/pdf"), text="P 2"), "sendDocument",
     {"document": URL + "i.pdf", "caption": "P 2"}),
    (out("", location=Location(51.5, -0.1)), "sendLocation", {"latitude": 51.5, "longitude": -0.1}),
    (out("", location=Location(51.5, -0.1, "Shop", "1 Road")), "sendVenue",
     {"latitude": 51.5, "longitude": -0.1, "title": "Shop", "address": "1 Road"}),
    (out("", location=Location(51.5, -0.1, None, "1 Road")), "sendVenue",
     {"latitude": 51.5, "longitude": -0.1, "title": "1 Road", "address": "1 Road"}),
]


@pytest.mark.parametrize(("message", "method", "fields"), CALLS)
async def test_a_message_is_one_call(message: Outgoing, method: str, fields: dict[str, Any]) -> None:
    assert await call_of(message) == (method, fields)


async def test_bytes_go_along_as_a_form() -> None:
    adapter, player = played(taken())
    file = Attachment("image", url=URL + "a.jpg", mime="image/jpeg\r\nX: y", name='a"\r\nb.jpg', data=b"\xff\xd8JPG")
    await adapter.send(sent(file, text="Cap é", buttons=[Button("b0", "Yes")]))
    [(_, url, headers, body)] = player.asked
    boundary = headers["content-type"].removeprefix("multipart/form-data; boundary=")
    pieces = body.split(f"--{boundary}".encode())
    assert url.endswith("/sendDocument") and pieces[0] == b"" and pieces[-1] == b"--\r\n"
    head = 'Content-Disposition: form-data; name="{}"'
    assert pieces[1] == f"\r\n{head.format('chat_id')}\r\n\r\n{ANN}\r\n".encode()
    assert pieces[2] == f"\r\n{head.format('caption')}\r\n\r\nCap é\r\n".encode()
    assert json.loads(pieces[3].split(b"\r\n\r\n")[1]) == keys("Yes")
    named = f'{head.format("document")}; filename="a___b.jpg"\r\nContent-Type: application/octet-stream'
    assert pieces[4] == f"\r\n{named}\r\n\r\n".encode() + b"\xff\xd8JPG\r\n"


@pytest.mark.parametrize(("emoji", "shown"), [("👍", [{"type": "emoji", "emoji": "👍"}]), ("", [])])
async def test_a_reaction_is_set_or_taken_back(emoji: str, shown: list[Any]) -> None:
    adapter, player = played(said(200, {"ok": True, "result": True}))
    receipt = await adapter.send(out("", reply_to=f"{ANN}:41", reaction=emoji))
    assert receipt.external_id == f"{ANN}:41:del_0000000000001.0"
    assert player.asked[0][1].endswith("/setMessageReaction")
    assert json.loads(player.asked[0][3]) == {"chat_id": ANN, "message_id": 41, "reaction": shown}


IMPOSSIBLE: list[tuple[Outgoing, type[SendError], str]] = [
    (out(to=Address("tel", "+447700900123")), BadAddress, "address"),
    (out(to=Address("telegram", "@ann")), BadAddress, "address"),
    (out(to=Address("telegram", "999:3527065")), Rejected, "bot"),
    (out(""), Rejected, "empty"),
    (out("", template=Template("hello", "en")), Rejected, "empty"),
    (out("", reaction="👍"), Rejected, "reaction"),
    (out("", reaction="👍", reply_to="callback:1"), Rejected, "reaction"),
    (sent(link("a"), link("b")), Rejected, "files"),
    (sent(Attachment(ref="x")), Rejected, "file"),
    (sent(link("a.webp", "sticker", "image/webp"), text="Cap"), Rejected, "caption"),
    (out("Wrap?", buttons=[Button("é" * 33, "Yes")]), Rejected, "buttons"),
    (out("Wrap?", buttons=[Button("", "Yes")]), Rejected, "buttons"),
    (out("Wrap?", buttons=[Button("b0", "")]), Rejected, "buttons"),
]


@pytest.mark.parametrize(("message", "kind", "code"), IMPOSSIBLE)
async def test_what_cannot_be_sent_is_not_tried(message: Outgoing, kind: type[SendError], code: str) -> None:
    adapter, player = played()
    with pytest.raises(SendError) as caught:
        await adapter.send(message)
    assert type(caught.value) is kind and caught.value.code == code and player.asked == []


# --- the answer ---


def no(status: int, description: str, **parameters: Any) -> Answer:
    return said(status, {"ok": False, "error_code": status, "description": description, "parameters": parameters})


HTML = b"<html>502 Bad Gateway</html>"
REFUSALS: list[tuple[Answer | SendError, type[SendError], str | None]] = [
    (no(429, "Too Many Requests: retry after 30", retry_after=30), RateLimited, "429"),
    (no(403, "Forbidden: bot was blocked by the user"), OptedOut, "403 blocked"),
    (no(403, "Forbidden: user is deactivated"), BadAddress, "403 deactivated"),
    (no(403, "Forbidden: bot can't initiate conversation with a user"), WindowClosed, "403"),
    (no(403, "Forbidden: bot can't send messages to bots"), BadAddress, "403"),
    (no(403, "Forbidden: bot was kicked from the group chat"), BadAddress, "403"),
    (no(403, "Forbidden: something new"), Rejected, "403"),
    (no(400, "Bad Request: chat not found"), BadAddress, "400 chat not found"),
    (no(400, "Bad Request: user not found"), BadAddress, "400 chat not found"),
    (no(400, "Bad Request: PEER_ID_INVALID"), BadAddress, "400 chat not found"),
    (no(400, "Bad Request: message is too long"), Rejected, "400"),
    (no(400, "Bad Request: can't parse entities: Can't find end"), Rejected, "400"),
    (no(400, "Bad Request: wrong HTTP URL specified"), Rejected, "400"),
    (no(401, "Unauthorized"), ChannelDown, "401"),
    (no(404, "Not Found"), ChannelDown, "404"),
    (no(409, "Conflict: terminated by other getUpdates request"), Transient, "409"),
    (no(413, "Request Entity Too Large"), Rejected, "413"),
    (no(500, "Internal Server Error"), Ambiguous, "500"),
    (said(502, HTML), Ambiguous, "502"),
    (said(200, HTML), Ambiguous, "200"),
    (said(200, b"[]"), Ambiguous, "200"),
    (said(200, {"ok": True, "result": True}), Ambiguous, "200"),
    (said(200, {"ok": True}), Ambiguous, "200"),
    (said(200, {"ok": False, "error_code": 403, "description": "Forbidden: bot was blocked by the user"}), OptedOut,
     "403 blocked"),
    (said(302, b""), ChannelDown, "302"),
    (said(400, b"[" * 100_000), Rejected, "400"),
    (said(400, {"ok": False, "error_code": True, "description": ["x"], "parameters": 1}), Rejected, "400"),
    (Transient("no connection: refused"), Transient, None),
    (Ambiguous("answer lost: TimeoutError"), Ambiguous, None),
]


@pytest.mark.parametrize(("answer", "kind", "code"), REFUSALS)
async def test_answers_become_errors(answer: Answer | SendError, kind: type[SendError], code: str | None) -> None:
    adapter, player = played(answer)
    with pytest.raises(SendError) as caught:
        await adapter.send(out())
    assert type(caught.value) is kind and caught.value.code == code and len(player.asked) == 1


WAITS: list[tuple[Answer, float | None]] = [
    (no(429, "Too Many Requests: retry after 30", retry_after=30), 30),
    (said(429, HTML, retry_after="7"), 7),
    (said(429, HTML), None),
    (no(429, "", retry_after="soon"), None),
    (no(429, "", retry_after=-1), None),
    (no(429, "", retry_after=10**400), None),
]


@pytest.mark.parametrize(("answer", "after"), WAITS)
async def test_too_fast_slows_the_whole_bot(answer: Answer, after: float | None) -> None:
    with pytest.raises(RateLimited) as caught:
        await played(answer)[0].send(out())
    assert (caught.value.after, caught.value.scope) == (after, "sender")


async def test_a_group_that_moved_is_written_to_where_it_is_now() -> None:
    moved = no(400, "Bad Request: group chat was upgraded to a supergroup chat", migrate_to_chat_id=-100123)
    adapter, player = played(moved, taken(9, -100123))
    assert await adapter.send(out(to=Address("telegram", f"{BOT}:-123"))) == Receipt("-100123:9")
    assert [json.loads(body)["chat_id"] for *_, body in player.asked] == [-123, -100123]


async def test_a_group_that_moves_again_and_again_is_followed_once() -> None:
    moved = no(400, "Bad Request: group chat was upgraded to a supergroup chat", migrate_to_chat_id=-100123)
    with pytest.raises(Rejected):
        await played(moved, moved)[0].send(out())


LEAKS: list[SendError] = [
    Transient(f"no connection: https://api.telegram.org/bot{TOKEN}/sendMessage"),
    Ambiguous(f"answer lost: {TOKEN}"),
]


@pytest.mark.parametrize("error", LEAKS)
async def test_no_error_repeats_the_token(error: SendError) -> None:
    file = said(200, {"ok": True, "result": {"file_path": "photos/file_1.jpg"}})
    with pytest.raises(SendError) as sending:
        await played(error)[0].send(out())
    with pytest.raises(SendError) as fetching:
        await played(file, error)[0].fetch(Attachment(ref="x"), None)
    for caught in (sending.value, fetching.value):
        assert TOKEN not in str(caught) + caught.detail and caught.__cause__ is None
    health = await played(error)[0].check()
    assert not health.ok and TOKEN not in health.detail


# --- files ---

FETCHES: list[tuple[list[Answer | SendError], type[SendError]]] = [
    ([no(400, "Bad Request: file is too big")], Rejected),
    ([no(400, "Bad Request: invalid file_id")], Rejected),
    ([said(200, {"ok": True, "result": {}})], Rejected),
    ([said(200, {"ok": True, "result": {"file_path": "../bot1/getMe"}})], Rejected),
    ([said(200, {"ok": True, "result": {"file_path": "photos/../../bot1/getMe"}})], Rejected),
    ([said(200, {"ok": True, "result": {"file_path": "a?b"}})], Rejected),
    ([said(200, {"ok": True, "result": {"file_path": "//evil.example/a"}})], Rejected),
    ([said(200, {"ok": True, "result": {"file_path": "a/b"}}), no(404, "Not Found")], Transient),
    ([said(200, {"ok": True, "result": {"file_path": "a/b"}}), said(502, HTML)], Transient),
    ([said(502, HTML)], Transient),
    ([no(401, "Unauthorized")], ChannelDown),
]


@pytest.mark.parametrize(("answers", "kind"), FETCHES)
async def test_what_keeps_a_file_away(answers: list[Answer | SendError], kind: type[SendError]) -> None:
    with pytest.raises(SendError) as caught:
        await played(*answers)[0].fetch(Attachment(ref="BQAC1"), None)
    assert type(caught.value) is kind


async def test_a_file_without_a_ref_is_not_ours() -> None:
    assert await played()[0].fetch(Attachment(url="https://a.example"), None) is None
