"""What people write by SMS, where the carriers and the number's country count."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from hub import consent, inbound
from hub.contract import ConsentChanged, MessageReceived
from hub.model import Party
from hub.policy.ledger import Event, Scope
from hub.store.base import InboxRow
from tests.paper import Office, Paper
from tests.policy.test_confirmations import shop_of

ONE_SMS = 160  # characters
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


async def test_help_and_an_opt_out_are_answered_in_the_name_of_the_business(
    database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Paper, "capabilities", replace(Paper.capabilities, answers=frozenset()))
    async with shop_of(database_url, tmp_path, business="Fielding Kettles") as shop:
        for text in ("HELP", "STOP", "STOP", "stop please", "help"):
            await shop.write(text, sender=ANN, channel="fax")
        help_, confirmation, again = shop.faxes.texts
    assert confirmation == "Fielding Kettles: you will get no more messages here. Reply START to get them again."
    assert help_ == again
    assert help_.startswith("Fielding Kettles: ")
    assert max(map(len, (help_, confirmation))) <= ONE_SMS


async def test_what_the_provider_answers_is_not_answered_again(
    database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Paper, "capabilities", replace(Paper.capabilities, answers=frozenset({"stop", "help"})))
    async with shop_of(database_url, tmp_path) as shop:
        for text in ("HELP", "Stop\n"):
            await shop.write(text, sender=ANN, channel="fax")
        assert shop.faxes.texts == []
        await shop.write("stop please", sender="+447700900456", channel="fax")  # Twilio knows no such word
        assert len(shop.faxes.texts) == 1


async def test_what_the_provider_tells_of_itself_is_not_answered_again(shop: Office) -> None:
    party = Party("tel", ANN)

    def come(connection: sa.Connection, context: Any) -> None:
        heard = MessageReceived("1", party, context.now, "Stop!")
        row = InboxRow("fax", "POST", "", "{}", b"", context.now)
        told = ConsentChanged("1", party, "opt_out", context.now)
        inbound.apply(connection, context, [inbound.Translated(row, context.channels["fax"], [heard, told])])

    await shop.hub.write(come)
    await shop.settled()
    assert {kind for kind, *_ in await said(shop)} == {"revoke"}
    assert shop.faxes.texts == []


async def test_yes_to_an_agents_question_subscribes_nobody(shop: Office) -> None:
    await shop.write("hello", sender="ann@example.com", channel="paper")
    await shop.write("STOP", sender="ann@example.com", channel="paper")
    await shop.agent("Shall we still repair your kettle?", thread=shop.thread)
    assert shop.letters.texts[-1] == "Shall we still repair your kettle?"
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
