"""What the policy has to know reaches it: days, places and numbers of real messages, from database to decision."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import sqlalchemy as sa

from hub import consent, sending
from hub.app import running
from hub.customers import CustomerDraft, IdentityDraft, upsert
from hub.policy.advice import told
from hub.policy.ledger import Event, Scope
from hub.policy.pack import default
from hub.policy.places import Known, country_behind, whereabouts
from hub.registry import Adapters
from hub.settings import Settings
from tests.paper import Board, Clock, Office, Paper, Post

TEMPLATE = {"name": "sale", "language": "en"}


@asynccontextmanager
async def shop(
    database_url: str, tmp_path: Path, at: str, medium: str = "sms", *schemes: str, **settings: Any
) -> AsyncIterator[Office]:
    """Its channel ``paper`` is of that medium, and reaches these schemes; all of them are ``tel`` for SMS."""
    letters, board, clock = Post(), Post(), Clock()
    clock.now = datetime.fromisoformat(at)
    first, *others = schemes or ("tel",)
    window = {"window": timedelta(hours=24), "templates": True} if medium == "whatsapp" else {}
    can = replace(Paper.capabilities, subject=medium == "email", html=medium == "email", **window)
    kinds: dict[str, Any] = {
        "texts": type(
            "Texts", (Paper,),
            {"post": letters, "medium": medium, "scheme": first, "reaches": tuple(others), "capabilities": can},
        ),
        "desk": type("Desk", (Board,), {"post": board}),
    }  # fmt: skip
    channels = {"paper": {"adapter": "texts"}, "board": {"adapter": "desk"}}
    made = Settings.model_validate(
        {"data": tmp_path, "database_url": database_url, "listen": {"port": 0}, "channels": channels, **settings}
    )
    async with running(made, clock=clock, adapters=Adapters(kinds)) as hub, aiohttp.ClientSession() as session:
        yield Office(hub, clock, letters, Post(), board, session)


async def advertise(shop: Office, to: str, profile: dict[str, Any] | None = None, **more: Any) -> tuple[str, str]:
    """State and reason of an offer to somebody who asked for such offers."""

    def work(connection: sa.Connection, context: Any) -> None:
        if profile:
            draft = CustomerDraft(external_id="7", identities=[IdentityDraft(address=to)], **profile)
            upsert(connection, context, draft)
        entry = Event("grant", context.now, to, basis="express_written", scope=Scope(purpose="marketing"))
        consent.append(connection, entry, change="opt_in_marketing", channel=None, source="page", now=context.now)
        made = sending.Draft.model_validate({"customer": to, "purpose": "marketing", "text": "Sale!"} | more)
        sending.accept(connection, context, made, "me")

    await shop.hub.write(work)
    await shop.settled()
    row = (await shop.rows("delivery", kind="contact"))[-1]
    return row.state, row.reason or ""


# --- days ---


@pytest.mark.parametrize(
    ("to", "at", "opens"),
    [
        ("tel:+33612345678", "2026-07-14T10:00:00+02:00", "2026-07-15 06:00"),
        ("tel:+33612345678", "2026-12-25T10:00:00+01:00", "2026-12-26 07:00"),
        ("tel:+12055550100", "2026-12-25T12:00:00-06:00", "2026-12-26 14:00"),
        ("tel:+447700900123", "2026-12-25T12:00:00+00:00", ""),  # no rule there speaks of holidays
        ("tel:+33612345678", "2026-07-15T10:00:00+02:00", ""),
    ],
)
async def test_nothing_is_advertised_on_holidays_where_that_is_forbidden(
    database_url: str, tmp_path: Path, to: str, at: str, opens: str
) -> None:
    async with shop(database_url, tmp_path, at) as running:
        state, reason = await advertise(running, to)
        assert (state, reason.partition(":")[0]) == (("queued", "NO_SEND_DAY") if opens else ("sent", ""))
        assert f"opens {opens}" in reason or not opens


# --- places ---

LONDON, PARIS = "Europe/London", "Europe/Paris"


def law(**known: Any) -> dict[str, tuple[str, ...]]:
    """Rules by time zone."""
    return {each.zone: each.rules for each in whereabouts(Known(**known), default()).places}


def test_each_place_has_the_law_of_its_country() -> None:
    assert law(number="+447700900123", country="FR") == {PARIS: ("FR",), LONDON: ("GB",)}
    assert law(number="+33612345678", country="GB", zone=LONDON) == {LONDON: ("GB",), PARIS: ("FR",)}
    assert law(number="+33612345678", zone=LONDON) == {LONDON: ("FR",), PARIS: ("FR",)}
    assert law(country="FR") == {PARIS: ("FR",)}
    assert law(zone=LONDON) == {LONDON: ("*",)}
    assert law() == {}
    texas = law(number="+12125550100", country="US", region="US-TX")
    assert texas == dict.fromkeys(("America/Chicago", "America/Denver", "America/New_York"), ("US", "US-TX"))


@pytest.mark.parametrize(
    ("to", "country", "at", "state"),
    [
        ("tel:+447700900123", "FR", "2026-06-10T22:30:00+02:00", "queued"),
        ("tel:+33612345678", "GB", "2026-06-14T12:00:00+02:00", "queued"),  # a Sunday
        ("tel:+33612345678", "GB", "2026-06-15T12:00:00+02:00", "sent"),
    ],
)
async def test_a_number_and_a_profile_of_two_countries_keep_the_hours_of_both(
    database_url: str, tmp_path: Path, to: str, country: str, at: str, state: str
) -> None:
    async with shop(database_url, tmp_path, at) as running:
        found, reason = await advertise(running, to, {"name": "Ann", "country": country})
        assert found == state
        assert state == "sent" or ("Europe/Paris (FR)" in reason and "Europe/London (GB)" in reason)


# --- numbers ---


@pytest.mark.parametrize(
    ("address", "country"),
    [
        ("tel:+13055550100", "US"),
        ("tel:+14169671111", "CA"),
        ("whatsapp:US.13491208655302741918", "US"),
        ("whatsapp:447700900123", "GB"),
        ("whatsapp:nobody", None),
        ("mailto:us.ann@example.com", None),
    ],
)
def test_an_address_tells_the_country_of_its_number(address: str, country: str | None) -> None:
    assert country_behind(address) == country


@pytest.mark.parametrize(
    ("to", "purpose", "code"),
    [
        ("tel:+13055550100", "marketing", "PROVIDER_COUNTRY_RESTRICTED"),
        ("whatsapp:US.1349", "marketing", "PROVIDER_COUNTRY_RESTRICTED"),
        ("tel:+13055550100", "transactional", None),
        ("tel:+447700900123", "marketing", None),
    ],
)
async def test_whatsapp_takes_no_advertising_to_numbers_of_the_us(
    database_url: str, tmp_path: Path, to: str, purpose: str, code: str | None
) -> None:
    async with shop(database_url, tmp_path, "2026-06-10T18:00:00+00:00", "whatsapp", "whatsapp", "tel") as running:
        await advertise(running, to, {"name": "Ann"}, purpose=purpose, template=TEMPLATE)
        [row] = await running.rows("delivery", kind="contact")
        assert (row.state, row.code) == (("denied", code) if code else ("sent", None))


# --- mails ---

MILL = "Fielding & Daughters, 12 Mill Lane, Leeds LS1 4AB"
MAILTO = "mailto:ann@example.com"


def mails(database_url: str, tmp_path: Path, **settings: Any) -> Any:
    return shop(database_url, tmp_path, "2026-06-10T12:00:00+00:00", "email", "mailto", **settings)


@pytest.mark.parametrize(
    ("settings", "code", "advice"),
    [
        ({}, "EMAIL_NO_POSTAL_ADDRESS", "Set postal_address in the settings"),
        ({"postal_address": MILL, "public_url": "http://hub.example.com"}, "EMAIL_NO_HTTPS_UNSUB", "Set public_url to"),
    ],
)
async def test_advertising_by_mail_is_refused_where_it_lacks_something(
    database_url: str, tmp_path: Path, settings: dict[str, Any], code: str, advice: str
) -> None:
    async with mails(database_url, tmp_path, **settings) as running:
        await advertise(running, MAILTO)
        await advertise(running, MAILTO, purpose="transactional")
        rows = await running.rows("delivery", kind="contact")
        assert [(row.state, row.code) for row in rows] == [("denied", code), ("sent", None)]
        assert advice in told(code, rows[0].reason)


async def test_the_postal_address_stands_under_each_advertising_mail_once(database_url: str, tmp_path: Path) -> None:
    async with mails(database_url, tmp_path, postal_address=MILL, public_url="https://hub.example.com") as running:
        await advertise(running, MAILTO, text="Sale!", html="<html><body><p>Sale!</p></body></html>")
        await advertise(running, MAILTO, text=f"Sale!\n\n{MILL}\nEnd it: …")
        await advertise(running, MAILTO, text="Your parcel", purpose="transactional")
        offer, own, parcel = (out for _, out in running.letters.accepted)
        assert offer.text == f"Sale!\n\n{MILL}"
        assert str(offer.html).endswith("<p>Fielding &amp; Daughters, 12 Mill Lane, Leeds LS1 4AB</p></body></html>")
        assert (own.text.count(MILL), parcel.text) == (1, "Your parcel")
        assert str(offer.unsubscribe).startswith("https://hub.example.com/preferences/")
