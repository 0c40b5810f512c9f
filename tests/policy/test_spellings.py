"""One address however it is written: what was said under one spelling counts under all."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from hub import consent, sending
from hub.customers import parse_address
from hub.policy.ledger import Event, Scope
from hub.store.schema import consent_event
from tests.paper import Office, Paper, office

PAIRS = [
    ("+551187654321", "+5511987654321"),
    ("+5511987654321", "+551187654321"),
    ("+5215512345678", "+525512345678"),
]


@pytest.fixture
async def shop(database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Office]:
    """Its channel reaches numbers."""
    monkeypatch.setattr(Paper, "scheme", "tel")
    async with office(database_url, tmp_path) as running:
        yield running


async def allow(shop: Office, address: str) -> None:
    def work(connection: sa.Connection, context: Any) -> None:
        entry = Event("grant", context.now, address, basis="express_written", scope=Scope("paper", "marketing"))
        consent.append(connection, entry, change="opt_in_marketing", channel=None, source="page", now=context.now)

    await shop.hub.write(work)


async def offer(shop: Office, address: str, purpose: Any = "marketing") -> str | None:
    draft = sending.Draft(customer=address, text="Sale!", purpose=purpose)
    await shop.hub.write(lambda connection, context: sending.accept(connection, context, draft, "me"))
    await shop.settled()
    row = (await shop.rows("delivery", kind="contact"))[-1]
    return row.code or row.state


@pytest.mark.parametrize(("one", "other"), PAIRS)
async def test_a_no_from_one_spelling_of_a_number_stops_the_other(shop: Office, one: str, other: str) -> None:
    await allow(shop, f"tel:{other}")
    assert await offer(shop, f"tel:{other}") == "sent"
    await shop.write("STOP", sender=one)
    assert await offer(shop, f"tel:{other}") == "CONSENT_REVOKED_ALL"
    assert await offer(shop, f"tel:{other}", "transactional") == "CONSENT_REVOKED_ALL"
    held = await shop.hub.store.read(lambda connection: consent.suppressions(connection, [f"tel:{other}"]))
    assert [reason for reason, _ in held[f"tel:{other}"]] == ["opt_out"]
    await shop.write("START", sender=other)
    assert await offer(shop, f"tel:{other}") == "sent"
    assert await shop.rows("suppression") == []
    assert {each.to.value for _, each in shop.letters.accepted} == {other}


async def test_a_no_raises_the_epoch_of_the_other_spelling(shop: Office) -> None:
    one, other = PAIRS[0]
    await shop.write("hello", sender=other)
    [before] = [row.consent_epoch for row in await shop.rows("identity")]
    await shop.write("STOP", sender=one)
    epochs = {row.address: row.consent_epoch for row in await shop.rows("identity")}
    assert epochs[f"tel:{other}"] > before


async def test_an_entry_of_before_under_an_odd_spelling_still_counts(shop: Office) -> None:
    await shop.write("STOP", sender="+447700900123")
    old = "mailto:straße@example.com"
    await shop.hub.write(lambda connection, _: connection.execute(sa.update(consent_event).values(address=old)))
    assert await shop.hub.store.read(lambda connection: consent.refused_in_person(connection, old))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("mailto:straße@example.com", "mailto:strasse@example.com"),
        ("mailto:Ａnn@example.com", "mailto:ann@example.com"),
        ("mailto:ann@xn--bcher-kva.de", "mailto:ann@bücher.de"),
        ("mailto:ann@bücher.de", "mailto:ann@xn--bcher-kva.de"),
    ],
)
async def test_a_no_counts_for_a_mail_address_in_other_letters(shop: Office, one: str, other: str) -> None:
    def work(connection: sa.Connection, context: Any) -> bool:
        consent.record(connection, one, "opt_out", channel=None, source="keyword", evidence={}, at=context.now,
                       now=context.now)  # fmt: skip
        return consent.refused_in_person(connection, other) and bool(consent.events(connection, [other]))

    assert await shop.hub.write(work)


def test_a_typed_address_is_read_in_ordinary_letters() -> None:
    assert str(parse_address("mailto:ＡＮＮ@example.com")) == "mailto:ann@example.com"
    assert str(parse_address("mailto:straße@example.com")) == "mailto:straße@example.com"  # it is written to
    assert str(parse_address("tel:+52 1 55 1234 5678")) == "tel:+525512345678"
