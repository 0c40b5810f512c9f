"""Double opt-in through the whole hub: one message asks, and only the person's own answer permits anything."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import sqlalchemy as sa

from hub import confirmations, consent, erasure
from hub.app import running
from hub.confirmations import Refused, Wish, texts
from hub.policy.classify import Asked, classify
from hub.policy.ledger import Event, Scope, Target
from hub.policy.pack import default
from hub.registry import Adapters
from hub.settings import Settings
from hub.store.schema import customer
from tests.paper import Board, Clock, Office, Paper, Post
from tests.rest import Api

ANN = "mailto:ann@example.com"


@asynccontextmanager
async def shop_of(database_url: str, tmp_path: Path, **settings: Any) -> AsyncIterator[Office]:
    """A hub with mail (``paper``), SMS (``fax``) and a desk."""
    letters, faxes, board, clock = Post(), Post(), Post(), Clock()
    mail = replace(Paper.capabilities, subject=True)
    kinds: dict[str, Any] = {
        "mail": type("Mail", (Paper,), {"post": letters, "medium": "email", "scheme": "mailto", "capabilities": mail}),
        "texts": type("Texts", (Paper,), {"post": faxes, "medium": "sms", "scheme": "tel"}),
        "desk": type("Desk", (Board,), {"post": board}),
    }
    channels = {"paper": {"adapter": "mail"}, "fax": {"adapter": "texts"}, "board": {"adapter": "desk"}}
    made = Settings.model_validate(
        {"data": tmp_path, "database_url": database_url, "listen": {"port": 0}, "channels": channels, **settings}
    )
    async with running(made, clock=clock, adapters=Adapters(kinds)) as hub, aiohttp.ClientSession() as session:
        yield Office(hub, clock, letters, faxes, board, session)


@pytest.fixture
async def shop(database_url: str, tmp_path: Path) -> AsyncIterator[Office]:
    async with shop_of(database_url, tmp_path, business="Fielding <Kettles>") as running:
        yield running


async def ask(shop: Office, address: str = ANN, **more: Any) -> confirmations.Asked:
    wish = Wish(address, "website", evidence={"says": "“Send me offers”, form v3"}, **more)
    asked = await shop.hub.write(
        lambda connection, context: confirmations.ask(connection, context, shop.hub.confirmations, wish)
    )
    await shop.settled()
    return asked


async def allowed(shop: Office, address: str = ANN, medium: str = "email") -> str:
    target = Target(address, medium, "marketing", jurisdiction="DE")
    found = await shop.hub.store.read(lambda connection: consent.standing(connection, target, shop.clock.now))
    return found.reason


def link(shop: Office) -> str:
    found = re.search(r"https?://\S+/confirm/\S+", shop.letters.texts[-1])
    assert found is not None
    return f"http://127.0.0.1:{shop.hub.port}/confirm/{found[0].rpartition('/')[2]}"


async def open_(shop: Office, method: str, url: str | None = None, language: str = "en") -> tuple[int, str]:
    headers = {"Accept-Language": language, "User-Agent": "Browser/1"}
    async with shop.session.request(method, url or link(shop), headers=headers) as answer:
        return answer.status, await answer.text()


async def test_only_the_button_behind_the_link_confirms_and_only_once(shop: Office) -> None:
    asked = await ask(shop)
    assert asked.expires_at is not None
    [mail] = shop.letters.handed
    assert mail.subject == "Please confirm: messages from Fielding <Kettles>"
    assert str(mail.purpose) == "transactional"
    assert await allowed(shop) == "CONSENT_PENDING"
    for method in ("GET", "HEAD"):
        status, text = await open_(shop, method)
        assert status == 200
    _, text = await open_(shop, "GET")
    assert "May <strong>Fielding &lt;Kettles&gt;</strong> send advertising to <strong>ann@example.com</strong>?" in text
    assert (await open_(shop, "DELETE"))[0] == 405
    assert await allowed(shop) == "CONSENT_PENDING"
    for _ in range(2):
        status, text = await open_(shop, "POST")
        assert (status, "it is confirmed" in text) == (200, True)
    assert await allowed(shop) == "OK"
    first, second = await shop.rows("consent_event")
    assert (first.kind, first.basis, first.actor, first.scope_channel) == ("grant", "double_opt_in", "agent", "email")
    assert (second.kind, second.of_id, second.actor) == ("confirm", first.id, "subject")
    assert '"ip": "127.0.0.1"' in second.evidence and '"user_agent": "Browser/1"' in second.evidence
    assert '"message": "msg_' in second.evidence and '"says": "\\u201cSend me offers' in first.evidence
    assert (await ask(shop)).already
    assert len(shop.letters.handed) == 1


async def test_a_link_is_good_for_three_days(shop: Office) -> None:
    await ask(shop)
    shop.clock.now += timedelta(hours=72, minutes=1)
    for method in ("GET", "POST"):
        status, text = await open_(shop, method)
        assert (status, "no longer valid" in text) == (410, True)
    assert await allowed(shop) == "CONSENT_PENDING"
    assert len(await shop.rows("consent_event")) == 1


async def test_a_no_in_between_ends_what_was_asked(shop: Office) -> None:
    await ask(shop)

    def stop(connection: sa.Connection, context: Any) -> None:
        entry = Event("revoke", context.now, ANN, scope=Scope("*", "marketing"))
        consent.append(connection, entry, change="opt_out_marketing", channel=None, source="page", now=context.now)

    await shop.hub.write(stop)
    status, text = await open_(shop, "POST")
    assert (status, "Nothing was confirmed" in text) == (410, True)
    assert await allowed(shop) == "CONSENT_REVOKED"
    with pytest.raises(Refused, match="only the person can take that back"):
        await ask(shop)
    assert len(shop.letters.handed) == 1


async def test_a_forged_link_confirms_nothing(shop: Office) -> None:
    await ask(shop)
    url = link(shop)
    assert (await open_(shop, "POST", url[:-3] + "xyz"))[0] == 404
    preferences = shop.hub.preferences.make(ANN).rpartition("/")[2]
    assert (await open_(shop, "POST", f"{url.rpartition('/')[0]}/{preferences}"))[0] == 404
    assert await allowed(shop) == "CONSENT_PENDING"


async def test_in_canada_nobody_is_asked_out_of_the_blue(shop: Office) -> None:
    await ask(shop)
    await shop.hub.write(lambda connection, _: connection.execute(sa.update(customer).values(country="CA")))
    shop.clock.now += timedelta(hours=2)
    for address in (ANN, "tel:+14169671111"):
        with pytest.raises(Refused, match="in CA to ask for a permission is itself advertising"):
            await ask(shop, address)
    assert (await ask(shop, own=True)).message is not None, "who asks for it on their own page gets it"
    assert len(shop.letters.handed) == 2

    def bought(connection: sa.Connection, context: Any) -> None:
        entry = Event("grant", context.now, ANN, "import", Scope("email", "marketing"), basis="implied_purchase")
        consent.append(connection, entry, change="opt_in_marketing", channel=None, source="import", now=context.now)

    await shop.hub.write(bought)
    assert (await ask(shop)).already


async def test_nobody_is_asked_again_and_again(shop: Office) -> None:
    await ask(shop)
    with pytest.raises(Refused, match="may be asked again from 2026-03-02 10:00 UTC"):
        await ask(shop)
    for _ in range(2):
        shop.clock.now += timedelta(hours=1, minutes=1)
        await ask(shop)
    shop.clock.now += timedelta(days=20)
    with pytest.raises(Refused, match="asked 3 times of late"):
        await ask(shop)
    assert len(shop.letters.handed) == 3
    shop.clock.now += timedelta(days=11)
    await ask(shop)
    assert (await open_(shop, "POST"))[0] == 200


@pytest.mark.parametrize(("locale", "answer"), [(None, "Yes"), ("de-DE", "ja!"), ("it", "Sì")])
async def test_a_word_confirms_where_one_answers(shop: Office, locale: str | None, answer: str) -> None:
    await shop.write("hello", sender="+447700900123", channel="fax")
    await shop.hub.write(lambda connection, _: connection.execute(sa.update(customer).values(locale=locale)))
    await ask(shop, "tel:+447700900123")
    word = texts()[(locale or "en")[:2]]["word"]
    assert f" {word}" in shop.faxes.texts[-1]
    assert "http" not in shop.faxes.texts[-1]
    await shop.write(answer, sender="+447700900123", channel="fax")
    assert await allowed(shop, "tel:+447700900123", "sms") == "OK"
    assert [row.kind for row in await shop.rows("consent_event")] == ["grant", "confirm"]
    assert await allowed(shop, "tel:+447700900123", "email") == "CONSENT_SCOPE_MISMATCH"


async def test_a_word_by_mail_confirms_nothing_since_anybody_can_write_from_there(shop: Office) -> None:
    await ask(shop)
    await shop.write("YES", sender="ann@example.com")
    assert await allowed(shop) == "CONSENT_PENDING"
    assert [row.kind for row in await shop.rows("consent_event")] == ["grant"]


async def test_the_preference_page_asks_where_a_click_is_not_enough(shop: Office) -> None:
    await shop.write("hello", sender="ann@example.com")
    await shop.hub.write(lambda connection, _: connection.execute(sa.update(customer).values(country="DE")))
    url = f"http://127.0.0.1:{shop.hub.port}/preferences/{shop.hub.preferences.make(ANN).rpartition('/')[2]}"
    for wish in ("nothing", "again"):
        async with shop.session.post(url, data={"wish": wish}) as answer:
            text = await answer.text()
    assert "We have sent you a message" in text
    await shop.settled()
    assert await allowed(shop) == "CONSENT_PENDING"
    assert (await open_(shop, "POST"))[0] == 200
    assert await allowed(shop) == "OK"
    async with shop.session.post(url, data={"wish": "again"}) as answer:
        assert "We have sent you a message" not in await answer.text()


async def test_whoever_was_erased_is_not_asked(shop: Office) -> None:
    await shop.write("hello", sender="ann@example.com")
    await ask(shop)
    url = link(shop)
    [ann] = await shop.rows("customer")
    await shop.hub.write(lambda connection, context: erasure.erase(connection, context, ann.id))
    with pytest.raises(Refused, match="SUPP_ERASED"):
        await ask(shop)
    assert (await open_(shop, "POST", url))[0] == 404


async def test_over_http(shop: Office) -> None:
    rest = Api(shop, "")
    rest.token = await rest.key("send")
    body = {"address": ANN, "source": "website", "evidence": "form v3"}
    first = await rest.post("/consent/requests", body)
    assert (first.status, first.json["state"], first.json["channel"]) == (202, "asked", "paper")
    again = await rest.post("/consent/requests", body)
    assert again.problem == (409, "not_asked")
    nowhere = await rest.post("/consent/requests", {**body, "channel": "fax"})
    assert nowhere.problem == (422, "unsendable")


@pytest.mark.parametrize("language", list(texts()))
def test_each_language_asks_in_full_and_its_word_is_understood(language: str) -> None:
    words = texts()[language]
    assert words.keys() == texts()["en"].keys()
    assert "{link}" in words["link"] and "{word}" in words["reply"] and "{address}" in words["question"]
    assert classify(words["word"], (language,), Asked(pending=True), lists=default().keywords).kind == "opt_in"
    assert classify(words["word"], (language,), Asked(), lists=default().keywords).kind != "opt_in"
