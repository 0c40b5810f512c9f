"""Links of campaigns: what happens on the site they lead to is known by campaign, variant and customer."""

from __future__ import annotations

import html
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from hub import customers, identity, tracking
from hub.client import AsyncClient, Refused
from hub.customers import CustomerDraft, IdentityDraft
from hub.keys import local_token
from hub.model import public_id
from hub.settings import master_key
from hub.templates import TemplateError, parse
from tests.paper import Office, office

SHOP = "https://shop.example/sale?colour=red#new"
DRAFT: dict[str, Any] = {
    "name": "Spring",
    "purpose": "transactional",
    "audience": {"segment": {"all": []}},
    "channels": ["paper"],
    "goal": "purchase",
    "variants": {"A": 40, "B": 40},
    "holdout": 20,
    "messages": [{"text": "{{ customer.external_id }} {{ '" + SHOP + "' | track }}"}],
}
NAMES = [f"p{number}" for number in range(12)]


@pytest.fixture
async def shop(database_url: str, tmp_path: Path) -> AsyncIterator[Office]:
    async with office(database_url, tmp_path) as running:
        for name in NAMES:
            draft = CustomerDraft(external_id=name, identities=[IdentityDraft(address=f"paper:{name}")])
            await running.hub.write(partial(customers.upsert, draft=draft))
        yield running


@pytest.fixture
async def hub(shop: Office) -> AsyncIterator[AsyncClient]:
    token = local_token(master_key(shop.hub.settings))
    async with AsyncClient(f"http://127.0.0.1:{shop.hub.port}", token) as client:
        yield client


async def _sent(shop: Office, hub: AsyncClient) -> dict[str, str]:
    """Who was written to, and the id in their link."""
    await hub.create_campaign(DRAFT)
    await hub.start("Spring")
    assert (await hub.wait("Spring", timeout=20)).campaign.state == "finished"
    found = {}
    for text in shop.letters.texts:
        name, url = text.split(" ")
        parts = urlsplit(url)
        assert parts._replace(query="").geturl() == "https://shop.example/sale#new"
        query = parse_qs(parts.query)
        assert query.keys() == {"colour", "hub"}
        found[name] = query["hub"][0]
    return found


async def test_what_happens_after_a_link_joins_campaign_variant_and_customer(shop: Office, hub: AsyncClient) -> None:
    links = await _sent(shop, hub)
    people = {each.external_id: each async for each in hub.people("Spring")}
    assert len(set(links.values())) == len(links)
    [first, second, *_] = sorted(links)
    held = next(name for name, each in people.items() if each.state == "held_out")
    assert await hub.record_event(None, "visit", link=links[first])
    assert await hub.record_event(None, "purchase", link=links[first], external_id="order-1")
    assert not await hub.record_event(None, "purchase", link=links[first], external_id="order-1")
    assert await hub.record_event(None, "visit", link=links[second])
    assert await hub.record_event(held, "purchase")

    answer = await hub.post("/events", {"link": links[second], "name": "visit"})
    assert (answer["customer"], answer["campaign"]) == (people[second].customer, (await hub.campaign("Spring")).id)
    assert (await hub.count({"event": "visit"})).customers == 2
    stats = await hub.stats("Spring")
    expected: dict[str, dict[str, int]] = {"A": {}, "B": {}, "held_out": {}}
    for name, event in ((first, "visit"), (first, "purchase"), (second, "visit")):
        part = expected[people[name].variant]
        part[event] = part.get(event, 0) + 1
    assert {part: each.events for part, each in stats.results.items()} == expected
    assert (stats.converted, stats.results["held_out"].converted, stats.results["held_out"].sent) == (1, 1, 0)
    assert sum(each.people for each in stats.results.values()) == stats.people == len(NAMES)


async def test_forged_foreign_and_old_links_are_refused(shop: Office, hub: AsyncClient) -> None:
    links = await _sent(shop, hub)
    name, good = min(links.items())
    [message] = [row for row in await shop.rows("message") if row.content.find(f"{name} ") >= 0]
    other = tracking.link(b"another hub's secret", message.id, SHOP)
    stranger = tracking.link(shop.hub.context().secret, message.id + 1, SHOP)
    forged = ["", "x", "é" * 24, good[:-1], good[:-2] + ("A" if good[-2] != "A" else "B") + good[-1], good + "=="]
    forged += [parse_qs(urlsplit(url).query)["hub"][0] for url in (other, stranger)]
    for each in forged:
        with pytest.raises(Refused):
            await hub.record_event(None, "visit", link=each)
    with pytest.raises(Refused, match="give the customer, or the link"):
        await hub.record_event(name, "visit", link=good)
    assert await shop.rows("customer_event") == []

    shop.clock.now += tracking.LIFE - timedelta(hours=1)
    assert await hub.record_event(None, "visit", link=good)
    shop.clock.now += timedelta(hours=2)
    with pytest.raises(Refused, match="links count for 90 days"):
        await hub.record_event(None, "visit", link=good)


async def test_a_link_to_somebody_who_was_merged_is_of_who_stands_for_them(shop: Office, hub: AsyncClient) -> None:
    links = await _sent(shop, hub)
    ids = {row.external_id: row.id for row in await shop.rows("customer")}
    [keep, drop] = sorted(links, key=ids.__getitem__)[:2]
    await shop.hub.write(lambda c, context: identity.merge(c, context, ids[keep], ids[drop], "a test"))
    answer = await hub.post("/events", {"link": links[drop], "name": "visit"})
    assert answer["customer"] == public_id("customer", ids[keep])
    stats = await hub.stats("Spring")
    assert sum(each.events.get("visit", 0) for each in stats.results.values()) == 1


def test_only_web_addresses_are_tracked_and_html_keeps_its_form() -> None:
    now = datetime(2026, 3, 2, tzinfo=UTC)
    track = partial(tracking.link, b"secret", 7)
    for url in ("javascript:alert(1)", "shop.example/sale", "mailto:ann@example.org", "https://", "//shop.example"):
        with pytest.raises(TemplateError, match="track makes links of web addresses"):
            parse("{{ url | track }}").render({"url": url}, now=now, track=track)
    with pytest.raises(TemplateError, match="only in the texts of campaigns"):
        parse("{{ 'https://shop.example' | track }}").render({}, now=now)
    page = parse('<a href="{{ url | track }}">x</a>', html=True).render({"url": SHOP}, now=now, track=track)
    assert html.unescape(page.split('"')[1]) == track(SHOP)
    assert "&amp;hub=" in page
