"""What a send asks of Slack, and what Slack's answers mean."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest

from adapters.slack.blocks import CHUNK, card, message, pieces, signature
from adapters.slack.calls import LARGEST
from adapters.slack.testing import ANN, DESK, NOON, TOKEN, Player, played, said
from adapters.slack.text import escape, unescape
from hub.contract import (
    Ambiguous,
    Answer,
    BadAddress,
    Card,
    ChannelDown,
    Mark,
    Outgoing,
    RateLimited,
    Rejected,
    SendError,
    Transient,
)
from hub.model import Address, Attachment, Author, AuthorKind, Purpose, Template

ROOT = f"{DESK}:1769860800.000100"
TAKEN = said(200, {"ok": True, "channel": DESK, "ts": "1769860900.000100", "message": {}})


def out(text: str = "Hello", **more: Any) -> Outgoing:
    given: dict[str, Any] = {"thread": ROOT, "author": ANN, "origin": "sms"} | more
    return Outgoing(key="del_0000000000001.0", to=Address("slack", DESK), text=text, **given)


def asked(player: Player, number: int = 0) -> dict[str, Any]:
    data: dict[str, Any] = json.loads(player.asked[number][3])
    return data


async def test_a_post_names_its_thread_its_author_and_our_key() -> None:
    adapter, player = played(TAKEN)
    receipt = await adapter.send(out())
    assert receipt.external_id == f"{DESK}:1769860900.000100"
    method, url, headers, _ = player.asked[0]
    assert (method, url) == ("POST", "https://slack.com/api/chat.postMessage")
    assert headers["authorization"] == f"Bearer {TOKEN}"
    body = asked(player)
    assert (body["channel"], body["thread_ts"]) == (DESK, "1769860800.000100")
    assert (body["username"], body["icon_emoji"], body["text"]) == ("Ann · SMS", ":iphone:", "Hello")
    assert body["metadata"] == {"event_type": "omnihub", "event_payload": {"key": "del_0000000000001.0"}}
    assert (body["unfurl_links"], body["unfurl_media"], body["link_names"], body["parse"]) == (
        False, False, False, "none",
    )  # fmt: skip


async def test_what_a_post_answers_stands_above_it_as_a_quote() -> None:
    adapter, player = played(TAKEN, TAKEN)
    await adapter.send(out("Yes", quoted="Zoe: *1001*?\n<!here>"))
    await adapter.send(out("Yes", quoted="Zoe: [deleted message]", edits=ROOT))
    for number, words in enumerate(("Zoe: *1001*? <!here>", "Zoe: [deleted message]")):
        first, second = asked(player, number)["blocks"]
        assert first["elements"][0] == {"type": "rich_text_quote", "elements": [{"type": "text", "text": words}]}
        assert second["elements"][0]["elements"] == [{"type": "text", "text": "Yes"}]
        assert asked(player, number)["text"] == "Yes"


FAILURES: list[tuple[Answer | SendError, SendError]] = [
    (said(200, {"ok": False, "error": code}), kind("", code=code))
    for code, kind in {
        "invalid_auth": ChannelDown, "not_authed": ChannelDown, "token_revoked": ChannelDown,
        "token_expired": ChannelDown, "account_inactive": ChannelDown, "missing_scope": ChannelDown,
        "channel_not_found": ChannelDown, "not_in_channel": ChannelDown, "is_archived": ChannelDown,
        "restricted_action": ChannelDown, "msg_too_long": Rejected, "no_text": Rejected,
        "thread_not_found": BadAddress, "some_new_error": Rejected, "service_unavailable": Transient,
        "request_timeout": Transient, "ratelimited": RateLimited,
    }.items()
]  # fmt: skip
FAILURES += [
    (said(429, {"ok": False, "error": "ratelimited"}, retry_after="30"), RateLimited("", code="ratelimited", after=30)),
    (said(429, b"Too many requests", retry_after="soon"), RateLimited("", code="429")),
    (said(503, {"ok": False, "error": "service_unavailable"}), Transient("", code="service_unavailable")),
    (said(500, b"<html>"), Ambiguous("", code="500")),
    (said(504, {"ok": False, "error": "mystery"}), Ambiguous("", code="mystery")),
    (said(200, b"<html>"), Ambiguous("", code="200")),
    (said(200, b"[]"), Ambiguous("", code="200")),
    (said(200, {"ok": True}), Ambiguous("", code="no_ts")),
    (said(404, b"nothing here"), ChannelDown("", code="404")),
    (said(302, b""), ChannelDown("", code="302")),
    (said(413, b"large"), Rejected("", code="413")),
    (Ambiguous("answer lost"), Ambiguous("answer lost")),
    (Transient("no connection"), Transient("no connection")),
]


@pytest.mark.parametrize(("answer", "expected"), FAILURES)
async def test_what_an_answer_means(answer: Answer | SendError, expected: SendError) -> None:
    adapter, _ = played(answer)
    with pytest.raises(SendError) as caught:
        await adapter.send(out())
    assert facts(caught.value) == facts(expected)


def facts(error: SendError) -> tuple[str, str | None, float | None]:
    return error.kind, error.code, getattr(error, "after", None)


@pytest.mark.parametrize(("emoji", "name"), [("👍", "+1"), ("❤️", "heart"), ("🎉", "tada"), ("🐙", "octopus")])
async def test_a_reaction_is_one(emoji: str, name: str) -> None:
    adapter, player = played(said(200, {"ok": True}))
    receipt = await adapter.send(out("", reaction=emoji, reply_to=ROOT))
    assert receipt.external_id == f"{ROOT}#{name}" and player.asked[0][1].endswith("/reactions.add")
    assert asked(player) == {"channel": DESK, "timestamp": "1769860800.000100", "name": name}


@pytest.mark.parametrize(("emoji", "target"), [("", ROOT), ("no emoji", ROOT), ("👍", None), ("👍", "elsewhere")])
async def test_a_reaction_that_slack_cannot_show_is_rejected(emoji: str, target: str | None) -> None:
    adapter, player = played()
    with pytest.raises(Rejected):
        await adapter.send(out("", reaction=emoji, reply_to=target))
    assert player.asked == []


@pytest.mark.parametrize("throttled", [said(429, b"slow"), said(429, {"ok": False, "error": "ratelimited"})])
async def test_a_reaction_that_is_too_fast_holds_no_posts(throttled: Answer) -> None:
    adapter, _ = played(throttled, throttled)
    with pytest.raises(RateLimited) as caught:
        await adapter.send(out(mark=Mark(ROOT, "sent")))
    assert caught.value.scope == "pair"
    with pytest.raises(RateLimited) as caught:
        await adapter.send(out())
    assert caught.value.scope == "sender"


async def test_an_error_says_what_to_do_and_keeps_slacks_words() -> None:
    refusal = {"ok": False, "error": "missing_scope", "needed": "chat:write", "provided": "users:read"}
    blocks = {"ok": False, "error": "invalid_blocks", "response_metadata": {"messages": ["[ERROR] too long"]}}
    adapter, _ = played(said(200, refusal), *[said(200, blocks)] * 2)
    with pytest.raises(ChannelDown, match=r"missing_scope \(chat:write\); add the scope"):
        await adapter.send(out())
    with pytest.raises(Rejected, match="too long"):
        await adapter.send(out())


async def test_what_slack_does_not_take_as_blocks_is_shown_as_plain_text() -> None:
    adapter, player = played(said(200, {"ok": False, "error": "invalid_blocks"}), TAKEN)
    await adapter.send(out("*Hello* <!channel>"))
    body = asked(player, 1)
    assert (body["blocks"], body["text"], body["mrkdwn"]) == ([], "*Hello* &lt;!channel&gt;", False)
    assert body["metadata"] == asked(player)["metadata"] and body["thread_ts"] == "1769860800.000100"


SHOWN = Card("cnv_1", "Ann", "open", ["sms"])


@pytest.mark.parametrize("code", ["message_not_found", "cant_update_message"])
async def test_a_card_that_cannot_be_kept_up_to_date_is_gone(code: str) -> None:
    adapter, _ = played(*[said(200, {"ok": False, "error": code})] * 2)
    with pytest.raises(BadAddress):
        await adapter.send(out(card=SHOWN, edits=ROOT))
    with pytest.raises(Rejected):
        await adapter.send(out(edits=ROOT))


# --- the desk has moved ---

OLD = "C0OLDDESK:1769860800.000100"


async def test_nothing_is_posted_to_a_channel_that_the_desk_has_left() -> None:
    adapter, player = played(said(200, {"ok": False, "error": "channel_not_found"}))
    for each in (out(thread=OLD), out(thread=OLD, card=SHOWN, edits=OLD)):
        with pytest.raises(BadAddress, match="C0OLDDESK"):
            await adapter.send(each)
    assert player.asked == []
    with pytest.raises(BadAddress):  # the reason belongs into the new thread
        await adapter.send(out(thread=OLD, mark=Mark(OLD, "failed", "no such number")))


@pytest.mark.parametrize("code", ["channel_not_found", "is_archived"])
async def test_what_is_out_of_reach_in_a_channel_that_the_desk_has_left_holds_up_nothing(code: str) -> None:
    gone = said(200, {"ok": False, "error": code})
    adapter, _ = played(*[gone] * 5)
    for each in (out(mark=Mark(OLD, "sent")), out(edits=OLD), out(reaction="👍", reply_to=OLD)):
        with pytest.raises(Rejected):
            await adapter.send(each)
    for each in (out(mark=Mark(ROOT, "sent")), out(edits=ROOT)):
        with pytest.raises(ChannelDown):
            await adapter.send(each)


async def test_a_new_thread_points_to_the_one_before_it() -> None:
    link = "https://simulated.slack.com/archives/C0OLDDESK/p1769860800000100"
    adapter, player = played(TAKEN, said(200, {"ok": True, "permalink": link}), TAKEN)
    await adapter.send(out(thread=None, card=Card("cnv_1", "Ann", "open", [], before=OLD)))
    line = asked(player, 2)
    assert line["thread_ts"] == "1769860900.000100" and link in json.dumps(line["blocks"])
    adapter, player = played(TAKEN, said(200, {"ok": False, "error": "message_not_found"}), TAKEN)
    await adapter.send(out(thread=None, card=Card("cnv_1", "Ann", "open", [], before=OLD)))
    assert asked(player, 2)["text"] == "This conversation goes on from an earlier thread"


# --- text is inert ---

HOSTILE = [
    "<!channel> <!here> <!everyone> <!subteam^S123|x> <@U123>",
    "&lt;!channel&gt; &amp;lt;",
    "*bold* _it_ ~no~ `code` <https://example.com|bank.example>",
    "@channel @here #general",
    ":tada: a & b < c > d",
    "\u202egnp.exe \x00 \ud800",
]


@pytest.mark.parametrize("text", HOSTILE)
def test_what_a_customer_writes_is_never_markup(text: str) -> None:
    body = message(out(text))
    clean = text.replace("\0", "").encode("utf-8", "replace").decode()
    assert "<" not in body["text"] and unescape(body["text"]) == clean
    [block] = body["blocks"]
    assert block["type"] == "rich_text"  # a tree of plain text
    assert block["elements"][0]["elements"] == [{"type": "text", "text": clean}]


@pytest.mark.parametrize("text", HOSTILE[:5])
def test_escaping_and_back_is_the_text(text: str) -> None:
    assert unescape(escape(text)) == text


def test_a_hostile_name_is_one_line_and_stays_a_name() -> None:
    author = Author(AuthorKind.customer, "Ann\n<!channel>\u202e" + "x" * 200)
    name = signature(author, "sms", Purpose.reply)["username"]
    assert "\n" not in name and "\u202e" not in name and len(name) <= 80 and name.endswith(" · SMS")


def test_a_hostile_card_is_inert() -> None:
    shown = Card("cnv_1", "<!channel>", "open", ["mailto:<!here>"], assignee="<@U1>", preview="<!everyone> " * 100)
    body = card(shown)
    marked = [each for block in body["blocks"] if block["type"] == "context" for each in block["elements"]]
    assert all("<@" not in each["text"] and "<!" not in each["text"] for each in marked)
    assert "<" not in body["text"] and len(body["text"]) < 4000


@pytest.mark.parametrize("length", [1, CHUNK, CHUNK + 1, 12_000])
def test_long_text_is_cut_into_blocks_and_nothing_is_lost(length: int) -> None:
    text = ("word " * 3000)[:length]
    assert "".join(pieces(text)) == text and max(map(len, pieces(text))) <= CHUNK
    assert len(message(out(text))["blocks"]) <= 50
    assert all(each.endswith(" ") for each in pieces(text)[:-1]), "a word is not cut"


def test_a_word_longer_than_a_block_is_cut() -> None:
    assert [len(each) for each in pieces("x" * (CHUNK + 1))] == [CHUNK, 1]


def test_a_template_without_words_is_refused() -> None:
    with pytest.raises(Rejected, match="no templates"):
        message(Outgoing("k", Address("slack", "C1"), template=Template("moved", "en")))


@pytest.mark.parametrize(
    ("author", "origin", "purpose", "expected"),
    [
        (ANN, "sms", Purpose.reply, ("Ann · SMS", ":iphone:")),
        (ANN, "email", Purpose.reply, ("Ann · Email", ":email:")),
        (ANN, "webchat", Purpose.reply, ("Ann · Web chat", ":speech_balloon:")),
        (ANN, "carrier_pigeon", Purpose.reply, ("Ann · Carrier pigeon", ":incoming_envelope:")),
        (Author(AuthorKind.customer, ""), "sms", Purpose.reply, ("Unknown · SMS", ":iphone:")),
        (Author(AuthorKind.agent, "Ada"), "sms", Purpose.reply, ("Ada · SMS", ":bust_in_silhouette:")),
        (Author(AuthorKind.agent, "Ada"), None, Purpose.note, ("Ada · note", ":memo:")),
        (Author(AuthorKind.automation, "omnihub"), None, Purpose.note, ("omnihub", ":gear:")),
    ],
)
def test_under_which_name_a_post_appears(
    author: Author, origin: str | None, purpose: Purpose, expected: tuple[str, str]
) -> None:
    shown = signature(author, origin, purpose)
    assert (shown["username"], shown["icon_emoji"]) == expected


def test_a_card_says_how_things_stand() -> None:
    open_ = card(Card("cnv_1", "Ann", "open", ["sms"], preview="Hi", waiting_since=NOON, unverified=True))
    words = json.dumps(open_, ensure_ascii=False)
    assert "unassigned" in words and "waiting since" in words and "unverified" in words and '"resolve"' in words
    done = json.dumps(card(Card("cnv_1", "Ann", "resolved", ["sms"], assignee="Ada")))
    assert '"reopen"' in done and '"resolve"' not in done and "assigned to Ada" in done


# --- files ---


@pytest.mark.parametrize(
    "url", ["https://evil.example/x", "http://files.slack.com/x", "https://slack.com.evil.example/x", "file:///x"]
)
async def test_our_token_goes_to_slack_only(url: str) -> None:
    adapter, player = played()
    with pytest.raises(Rejected, match="not a file of Slack's"):
        await adapter.fetch(Attachment("file", ref=url), None)
    assert player.asked == []


async def test_a_file_too_large_to_hold_is_not_fetched() -> None:
    adapter, player = played()
    with pytest.raises(Rejected, match="bytes"):
        await adapter.fetch(Attachment("file", ref="https://files.slack.com/x", size=LARGEST + 1), None)
    assert player.asked == []


async def test_slacks_login_page_is_no_file() -> None:
    adapter, _ = played(said(200, b"<html>", content_type="text/html; charset=utf-8"))
    with pytest.raises(ChannelDown, match="login page"):
        await adapter.fetch(Attachment("file", ref="https://files.slack.com/x"), None)


async def test_a_web_page_that_somebody_shared_is_a_file() -> None:
    answer = said(200, b"<html>", content_type="text/html", content_disposition="attachment")
    adapter, _ = played(answer)
    content = await adapter.fetch(Attachment("file", ref="https://files.slack.com/x"), None)
    assert content is not None and [part async for part in content] == [b"<html>"]


# --- settings ---


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"channel": "#desk"}, "channel's id"),
        ({"signing_secret": None}, "app_token"),
        ({"bot_token": "xapp-1"}, "xoxb-"),
        ({"bot_token": " "}, "xoxb-"),
        ({"app_token": "xoxb-1"}, "xapp-"),
    ],
)
def test_a_wrong_setting_is_named_with_what_to_do(change: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        played(**change)


async def test_a_lookup_reads_every_page() -> None:
    adapter, player = played(
        said(200, {"ok": True, "messages": [], "response_metadata": {"next_cursor": "abc="}}),
        said(200, {"ok": True, "messages": [
            {"ts": "1769860900.000100", "metadata": {"event_type": "omnihub", "event_payload": {"key": out().key}}},
            {"ts": "1769860901.000100", "metadata": {"event_type": "other", "event_payload": {"key": out().key}}},
            {"ts": "1769860902.000100"},
        ]}),
    )  # fmt: skip
    found = await adapter.lookup(out(), NOON - timedelta(minutes=1))
    assert [each.external_id for each in found] == [f"{DESK}:1769860900.000100"]
    assert "conversations.replies" in player.asked[0][1] and "cursor=abc%3D" in player.asked[1][1]
