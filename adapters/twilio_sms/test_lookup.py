"""What became of a send whose answer was lost."""

from __future__ import annotations

from datetime import timedelta
from email.utils import format_datetime
from typing import Any
from urllib.parse import urlsplit

import pytest

from adapters.twilio.records import Sms
from adapters.twilio_sms.testing import NOON, PHONE, World, out, played, said, sid
from hub.contract import (
    Ambiguous,
    Answer,
    ChannelDown,
    SendError,
    Transient,
)
from hub.model import Attachment

# --- lookup ---


def record(number: int, **more: Any) -> Sms:
    at = NOON + timedelta(seconds=number)
    return Sms(sid(number), more.pop("from_", "+12025550100"), more.pop("to", PHONE), more.pop("body", "Hello"),
               **{"created": at, "status": "queued", **more})


async def test_lookup_finds_the_same_message_only_oldest_first(world: World) -> None:
    world.twilio.messages = [
        record(0),
        record(1, body="Hello "),
        record(2, to="+14133882222"),
        record(3, from_="+12025550199"),
        record(4, media=["https://hub.example.com/media/a"]),
        record(5, direction="inbound", from_=PHONE, to="+12025550100"),
        record(6, status="sent", sent=NOON),
        record(7, status="delivered", sent=NOON),
        record(8, status="undelivered", error_code=30005),
        record(9),  # still waits in Twilio's queue: never sent, so without a DateSent
    ]
    since = NOON + timedelta(seconds=1, microseconds=999)
    found = await world.adapter.lookup(out(), since)
    assert [(each.external_id, each.state) for each in found] == [
        (sid(6), "sent"), (sid(7), "delivered"), (sid(8), "queued"), (sid(9), "queued"),
    ]
    assert found[2].detail["error_code"] == "30005"
    file = [Attachment(url="https://hub.example.com/media/other-token")]
    assert [each.external_id for each in await world.adapter.lookup(out(attachments=file), since)] == [sid(4)]


async def test_lookup_counts_a_second_as_the_whole_of_it(world: World) -> None:
    world.twilio.messages = [record(1)]
    assert len(await world.adapter.lookup(out(), NOON + timedelta(seconds=1, microseconds=900_000))) == 1
    assert await world.adapter.lookup(out(), NOON + timedelta(seconds=2)) == []


async def test_lookup_of_a_messaging_service_knows_no_sender() -> None:
    async with World() as world:
        adapter = world.build(from_number=None, messaging_service_sid=world.twilio.service_sid)
        receipt = await adapter.send(world.sent())
        assert receipt.detail == {"num_segments": "0"}
        assert [each.external_id for each in await adapter.lookup(out(), NOON)] == [receipt.external_id]
        assert await world.build(from_number=None, messaging_service_sid="MG0").lookup(out(), NOON) == []


async def test_lookup_reads_all_pages(world: World) -> None:
    world.twilio.messages = [record(number) for number in range(1500)]
    found = await world.adapter.lookup(out(), NOON)
    assert [each.external_id for each in found] == [sid(number) for number in range(1500)]
    assert len(world.twilio.ledger.of("query")) == 2


LISTED = {"sid": "SM1", "direction": "outbound-api", "body": "Hello", "num_media": "0", "status": "sent",
          "date_created": format_datetime(NOON)}
UNANSWERED: list[tuple[Answer, type[SendError]]] = [
    (said(500), Ambiguous),
    (said(200, b"<html>"), ChannelDown),
    (said(200, {"messages": None}), Transient),
    (said(200, {"messages": [None]}), Transient),
    (said(200, {"messages": [LISTED | {"sid": None}]}), Transient),
    (said(200, {"messages": [LISTED | {"date_created": None}]}), Transient),
    (said(200, {"messages": [LISTED | {"date_created": "Sat, 31 Jan 2026 12:00:00 -0000"}]}), Transient),
]


@pytest.mark.parametrize(("answer", "error"), UNANSWERED)
async def test_lookup_never_takes_a_strange_answer_for_no(answer: Answer, error: type[SendError]) -> None:
    adapter, _ = played(answer)
    with pytest.raises(error):
        await adapter.lookup(out(), NOON)


async def test_lookup_gives_up_rather_than_miss_a_page() -> None:
    page = said(200, {"messages": [], "next_page_uri": "@evil.example/2010-04-01/x"})
    adapter, player = played(*[page] * 20)
    with pytest.raises(Transient, match="more than 20 pages"):
        await adapter.lookup(out(), NOON)
    assert {urlsplit(url).hostname for _, url, *_ in player.asked} == {"api.twilio.com"}
