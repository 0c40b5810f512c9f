"""What people write by SMS, where the carriers and the number's country count."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from hub import consent
from hub.policy.ledger import Event, Scope
from tests.paper import Office
from tests.policy.test_confirmations import shop_of

ANN = "+447700900123"


@pytest.fixture
async def shop(database_url: str, tmp_path: Path) -> AsyncIterator[Office]:
    async with shop_of(database_url, tmp_path) as running:
        yield running


async def said(shop: Office, number: str = ANN) -> list[tuple[str, str, str]]:
    rows = await shop.rows("consent_event", address=f"tel:{number}")
    return [(row.kind, row.scope_channel, row.scope_purpose) for row in rows]


@pytest.mark.parametrize(
    ("number", "text"),
    [
        ("+33612345678", "ARRET"),
        ("+41791234567", "Désabonner"),
        ("+34612345678", "no más"),
        ("+5511987654321", "SAIR"),
        ("+15145550100", "arrêt svp"),
        ("+81312345678", "配信停止"),
    ],
)
async def test_the_languages_of_the_numbers_country_are_read(shop: Office, number: str, text: str) -> None:
    await shop.write(text, sender=number, channel="fax")
    assert await said(shop, number) == [("revoke", "*", "*")]


async def test_no_other_countries_languages_are_read(shop: Office) -> None:
    await shop.write("alto", sender="+390612345678", channel="fax")
    await shop.write("seis", sender="+34612345678", channel="fax")
    assert await shop.rows("consent_event") == []


async def test_yes_to_an_agents_question_subscribes_nobody(shop: Office) -> None:
    await shop.write("hello", sender="ann@example.com", channel="paper")
    await shop.write("STOP", sender="ann@example.com", channel="paper")
    await shop.agent("Shall we still repair your kettle?", thread=shop.thread)
    assert shop.letters.texts == ["Shall we still repair your kettle?"]
    await shop.write("Yes", sender="ann@example.com", channel="paper")
    assert [row.kind for row in await shop.rows("consent_event")] == ["revoke"]


async def test_start_opens_all_that_a_stop_by_sms_has_closed(shop: Office) -> None:
    await shop.write("hello", sender=ANN, channel="fax")

    def stop(connection: sa.Connection, context: Any) -> None:
        entry = Event("revoke", context.now, f"tel:{ANN}", "import", Scope("rcs"))
        consent.append(connection, entry, change="opt_out", channel=None, source="import", now=context.now)

    await shop.hub.write(stop)
    await shop.agent("Here?", thread=shop.thread)
    await shop.write("START", sender=ANN, channel="fax")
    await shop.agent("There?", thread=shop.thread)
    assert [row.reason for row in await shop.rows("decision")] == ["CONSENT_REVOKED_ALL", "ALLOWED"]
    assert shop.posts[-1] == f"Opted in again: tel:{ANN} may be written to."
