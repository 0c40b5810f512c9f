"""Advertising by SMS through the whole hub: permission, night, caps, place."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from hub import advertising, consent, sending
from hub.app import running
from hub.campaigns import engine
from hub.campaigns.check import check
from hub.campaigns.draft import read
from hub.customers import CustomerDraft, IdentityDraft, upsert
from hub.model import Content, decode_content
from hub.policy.ledger import Event, Scope
from hub.registry import Adapters
from hub.render import segments
from hub.settings import Settings
from hub.store.schema import customer
from tests.paper import Board, Clock, Office, Paper, Post, until

LONDON, MIAMI = "+447700900123", "+13055550100"


@pytest.fixture
async def shop(database_url: str, tmp_path: Path) -> AsyncIterator[Office]:
    """Noon in London, seven in the morning in Miami."""
    letters, board, clock = Post(), Post(), Clock()
    clock.now += timedelta(hours=3)
    texts = type("Texts", (Paper,), {"post": letters, "medium": "sms", "scheme": "tel"})
    desk = type("Desk", (Board,), {"post": board})
    channels = {"paper": {"adapter": "texts"}, "board": {"adapter": "desk"}}
    settings = Settings.model_validate(
        {"data": tmp_path, "database_url": database_url, "listen": {"port": 0}, "channels": channels}
    )
    async with running(settings, clock=clock, adapters=Adapters({"texts": texts, "desk": desk})) as hub:
        yield Office(hub, clock, letters, Post(), board, None)  # type: ignore[arg-type]  # no HTTP here


async def allow(shop: Office, number: str, basis: str, days: int = 5) -> None:
    def work(connection: sa.Connection, context: Any) -> None:
        at = context.now - timedelta(days=days)
        scope = Scope("sms", "marketing")
        entry = Event("grant", at, f"tel:{number}", basis=basis, scope=scope)
        consent.append(connection, entry, change="opt_in_marketing", channel=None, source="page", now=context.now)

    await shop.hub.write(work)


async def offer(shop: Office, number: str, text: str = "Sale!") -> None:
    draft = sending.Draft(customer=f"tel:{number}", text=text, purpose="marketing")
    await shop.hub.write(lambda connection, context: sending.accept(connection, context, draft, "me"))
    await shop.settled()


async def last(shop: Office) -> Any:
    return (await shop.rows("delivery", kind="contact"))[-1]


async def test_a_permission_has_to_suffice_where_the_person_is(shop: Office) -> None:
    await offer(shop, LONDON)
    assert ((await last(shop)).state, (await last(shop)).code) == ("denied", "CONSENT_MISSING")
    await allow(shop, LONDON, "express")
    await offer(shop, LONDON)
    assert shop.letters.texts == ["Sale!\nReply STOP to end"]
    await allow(shop, MIAMI, "express")
    await offer(shop, MIAMI)
    assert ((await last(shop)).state, (await last(shop)).code) == ("denied", "CONSENT_INSUFFICIENT")


async def test_nobody_is_woken_and_the_morning_is_spread(shop: Office) -> None:
    await allow(shop, MIAMI, "express_written")
    await offer(shop, MIAMI)
    row = await last(shop)
    assert row.state == "queued"
    assert row.reason.startswith("QUIET_HOURS: closed in America/New_York (US+US-FL), America/Chicago (US+US-FL)")
    opening = shop.clock.now.replace(hour=14, minute=0, second=0, microsecond=0)  # eight in Chicago, as in Pensacola
    assert opening <= row.due_at < opening + timedelta(minutes=10)
    await shop.advance(hours=2, minutes=11)
    assert shop.letters.texts == ["Sale!\nReply STOP to end"]


async def test_what_the_profile_says_counts_beside_the_number(shop: Office) -> None:
    await allow(shop, LONDON, "express")
    away = sa.update(customer).values(time_zone="Australia/Sydney")
    draft = sending.Draft(customer=f"tel:{LONDON}", text="x", purpose="reply")
    await shop.hub.write(lambda connection, context: sending.accept(connection, context, draft, "me"))
    await shop.hub.write(lambda connection, _: connection.execute(away))
    await offer(shop, LONDON)
    row = await last(shop)
    assert row.state == "queued"
    assert row.reason.startswith("QUIET_HOURS: closed in Australia/Sydney")


async def _sent(shop: Office, count: int) -> bool:
    return len(shop.letters.accepted) >= count


async def test_one_offer_a_day_and_answers_do_not_count(shop: Office) -> None:
    await allow(shop, LONDON, "express")
    await offer(shop, LONDON, "one")
    await offer(shop, LONDON, "two")
    assert ((await last(shop)).state, (await last(shop)).reason[:15]) == ("queued", "CAP_CHANNEL_DAY")
    reply = sending.Draft(customer=f"tel:{LONDON}", text="answer", purpose="reply")
    await shop.hub.write(lambda connection, context: sending.accept(connection, context, reply, "me"))
    await until(lambda: _sent(shop, 2))  # it does not stand behind the offer that waits
    await shop.advance(hours=25)
    await offer(shop, LONDON, "three")
    assert shop.letters.texts == ["one\nReply STOP to end", "answer", "three\nReply STOP to end"]


async def test_two_offers_at_once_are_capped_together(shop: Office) -> None:
    await allow(shop, LONDON, "express")

    def both(connection: sa.Connection, context: Any) -> None:
        for text in ("one", "two"):
            draft = sending.Draft(customer=f"tel:{LONDON}", text=text, purpose="marketing")
            sending.accept(connection, context, draft, "me")

    await shop.hub.write(both)
    await shop.settled()
    assert shop.letters.texts == ["one\nReply STOP to end"]


async def test_each_decision_tells_what_it_saw(shop: Office) -> None:
    await allow(shop, MIAMI, "express_written")
    await offer(shop, MIAMI)
    [decision] = await shop.rows("decision")
    for words in ('"QUIET_HOURS"', "express_written of 2026-02-25", "policy_version", '"epoch"', "0 of 1 in 24 h"):
        assert words in decision.detail


@pytest.mark.parametrize(
    "said, heard",
    [
        ("Sale!", "Sale!\nReply STOP to end"),
        ("Sale! Txt STOP to 60777", None),
        ("Soldes. STOP au 36105", None),
        ("Sale! Reply \"UNSUBSCRIBE\" to end", None),
        ("Don't stop dreaming", "Don't stop dreaming\nReply STOP to end"),
        ("The sale ENDs today. END", "The sale ENDs today. END\nReply STOP to end"),
        ("STOP paying too much! " + "All kettles are cheaper until Sunday. " * 3, ""),
    ],
)
async def test_advertising_on_phones_says_how_to_end_it_once(shop: Office, said: str, heard: str | None) -> None:
    await allow(shop, LONDON, "express")
    await offer(shop, LONDON, said)
    assert shop.letters.texts == [f"{said.rstrip()}\nReply STOP to end" if heard == "" else heard or said]


@pytest.mark.parametrize(
    "number, locale, line",
    [
        ("+4915112345678", None, "Ende: STOP antworten"),
        ("+4915112345678", "nl_BE", "Afmelden: antwoord STOP"),
        ("+33612345678", "ja", "Répondez STOP pour finir"),
        ("+358401234567", None, "Reply STOP to end"),
    ],
)
async def test_the_line_is_in_the_language_of_who_reads_it(
    shop: Office, number: str, locale: str | None, line: str
) -> None:
    await allow(shop, number, "express_written")
    draft = sending.Draft(customer=f"tel:{number}", text="x", purpose="reply")
    await shop.hub.write(lambda connection, context: sending.accept(connection, context, draft, "me"))
    tongue = sa.update(customer).values(locale=locale, time_zone="Europe/London")
    await shop.hub.write(lambda connection, _: connection.execute(tongue))
    await offer(shop, number)
    [_, message] = await shop.rows("message")
    assert decode_content(message.content).text == f"Sale!\n{line}"


async def test_a_campaign_is_checked_and_sent_with_the_line(shop: Office) -> None:
    await allow(shop, LONDON, "express")
    await shop.hub.write(partial(upsert, draft=CustomerDraft(identities=[IdentityDraft(address=f"tel:{LONDON}")])))
    draft = read(
        {"name": "Spring", "audience": {"segment": {"all": []}}, "channels": ["paper"], "messages": [{"text": "Sale!"}]}
    )
    made = await shop.hub.write(lambda connection, context: engine.create(connection, context, draft))
    [look] = (await check(shop.hub.store, shop.hub.context, made, "on")).people
    assert (look.verdict, look.text) == ("allow", "Sale!\nReply STOP to end")
    await shop.hub.write(lambda connection, context: engine.start(connection, context, made))
    await until(lambda: _sent(shop, 1))
    assert shop.letters.texts == [look.text]


async def test_answers_and_receipts_say_nothing_of_it(shop: Office) -> None:
    for purpose in ("reply", "transactional"):
        draft = sending.Draft(customer=f"tel:{LONDON}", text=purpose, purpose=purpose)
        await shop.hub.write(partial(sending.accept, draft=draft, sender="me"))
    await shop.settled()
    assert sorted(shop.letters.texts) == ["reply", "transactional"]


async def test_a_sender_that_is_a_name_gives_the_address_of_a_page(shop: Office) -> None:
    channel = replace(shop.hub.channels["paper"], answerable=False)
    content = Content("Sale!")
    advertising.say_how_to_end(content, shop.hub.context(), channel, f"tel:{LONDON}", [])
    text, _, link = content.text.partition("\nEnd: ")
    assert text == "Sale!"
    assert shop.hub.preferences.read(link.rpartition("/")[2]) == (f"tel:{LONDON}", None)


def test_the_line_costs_no_other_alphabet() -> None:
    for words in advertising.texts().values():
        assert segments(words["reply"] + words["link"]).encoding == "GSM-7"
        assert {each for each in words["reply"].split() if each.isupper()} == {"STOP"}
