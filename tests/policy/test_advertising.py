"""Advertising by SMS through the whole hub: permission, night, caps, place."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from hub import consent, sending
from hub.app import running
from hub.policy.ledger import Event, Scope
from hub.registry import Adapters
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
    assert shop.letters.texts == ["Sale!"]
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
    assert shop.letters.texts == ["Sale!"]


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
    assert shop.letters.texts == ["one", "answer", "three"]


async def test_two_offers_at_once_are_capped_together(shop: Office) -> None:
    await allow(shop, LONDON, "express")

    def both(connection: sa.Connection, context: Any) -> None:
        for text in ("one", "two"):
            draft = sending.Draft(customer=f"tel:{LONDON}", text=text, purpose="marketing")
            sending.accept(connection, context, draft, "me")

    await shop.hub.write(both)
    await shop.settled()
    assert shop.letters.texts == ["one"]


async def test_each_decision_tells_what_it_saw(shop: Office) -> None:
    await allow(shop, MIAMI, "express_written")
    await offer(shop, MIAMI)
    [decision] = await shop.rows("decision")
    for words in ('"QUIET_HOURS"', "express_written of 2026-02-25", "policy_version", '"epoch"', "0 of 1 in 24 h"):
        assert words in decision.detail
