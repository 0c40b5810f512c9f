"""What messages cost: by the hub's own prices, in a campaign's check and in its choice of channels."""

from __future__ import annotations

import csv
import json
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from hub import approvals
from hub.campaigns import engine
from hub.campaigns.draft import CampaignError, read
from hub.contract import TemplateNews
from hub.customers import CustomerDraft, IdentityDraft, upsert
from hub.prices import Prices
from hub.settings import ConfigError, load
from tests.paper import Office, office, until
from tests.process import Cli

LIST = [
    {"channel": "sms", "price": "0.08"},
    {"channel": "sms", "to": "+44", "price": "0.04"},
    {"channel": "sms", "to": "+4479", "price": "0.03"},
    {"channel": "sms_us", "price": "0.01"},
    {"channel": "whatsapp", "price": 0},
    {"channel": "whatsapp", "to": "+49", "price": "0.05"},
    {"channel": "whatsapp", "category": "marketing", "price": "0.09"},
]


@pytest.mark.parametrize(
    ("name", "medium", "address", "category", "price"),
    [
        ("sms_uk", "sms", "tel:+4915112345678", None, "0.08"),
        ("sms_uk", "sms", "tel:+442012345678", None, "0.04"),
        ("sms_uk", "sms", "tel:+447900900123", None, "0.03"),
        ("sms_us", "sms", "tel:+447900900123", None, "0.01"),
        ("wa", "whatsapp", "whatsapp:4915112345678", None, "0.05"),
        ("wa", "whatsapp", "whatsapp:4915112345678", "MARKETING", "0.09"),
        ("wa", "whatsapp", "whatsapp:447900900123", "utility", "0"),
        ("mail", "email", "mailto:ann@example.org", None, None),
    ],
)
def test_the_most_exact_price_counts(
    name: str, medium: str, address: str, category: str | None, price: str | None
) -> None:
    found = Prices.model_validate({"list": LIST}).of(name, medium, address, category)
    assert found == (None if price is None else Decimal(price))


def test_prices_are_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "hub.toml"
    file.write_text('[prices]\ncurrency = "SEK"\nlist = [{ channel = "sms", price = 0.5 }]\n')
    assert load(file).prices.of("sms", "sms", "tel:+46", None) == Decimal("0.5")
    monkeypatch.setenv("HUB_PRICES__LIST", '[{"channel": "sms", "price": 0.7}]')
    assert load(file).prices.of("sms", "sms", "tel:+46", None) == Decimal("0.7")
    monkeypatch.setenv("HUB_PRICES__LIST", "0.7")
    with pytest.raises(ConfigError, match=r"prices\.list"):
        load(file)
    file.write_text('[[prices.list]]\nchannel = "sms"\nto = "44"\nprice = 1\n')
    monkeypatch.delenv("HUB_PRICES__LIST")
    with pytest.raises(ConfigError, match=r"prices\.list\.0\.to"):
        load(file)


DRAFT: dict[str, Any] = {
    "name": "Spring",
    "purpose": "transactional",
    "audience": {"segment": {"all": []}},
    "channels": ["paper", "fax"],
    "choose": "cheapest",
    "messages": [{"text": "{{ customer.name }}"}],
}


async def _people(shop: Office, **names: str) -> None:
    for who, name in names.items():
        both = [IdentityDraft(address=f"{scheme}:{who}") for scheme in ("paper", "fax")]
        await shop.hub.write(partial(upsert, draft=CustomerDraft(external_id=who, name=name, identities=both)))


async def test_each_goes_by_the_channel_that_costs_least_for_their_own_text(database_url: str, tmp_path: Path) -> None:
    prices = {"list": [{"channel": "paper", "price": 2}, {"channel": "fax", "price": 3}]}
    async with office(database_url, tmp_path, settings_={"prices": prices}, text_limit=10) as shop:
        await _people(shop, ann="short", bob="that takes two of them")  # on paper; a fax holds more

        def begin(connection: sa.Connection, context: Any) -> None:
            engine.start(connection, context, engine.create(connection, context, read(DRAFT)))

        await shop.hub.write(begin)

        async def both() -> bool:
            return len(await shop.rows("delivery", state="sent")) == 2

        await until(both)
        assert (shop.letters.texts, shop.faxes.texts) == (["short"], ["that takes two of them"])


async def test_cheapest_needs_a_price_for_each_channel(tmp_path: Path) -> None:
    prices = {"list": [{"channel": "paper", "price": 2}]}
    async with office(f"sqlite:///{tmp_path}/hub.db", tmp_path, settings_={"prices": prices}) as shop:
        with pytest.raises(CampaignError, match="choose: cheapest needs a price of 'fax'"):
            await shop.hub.write(lambda c, context: engine.create(c, context, read(DRAFT)))


async def test_a_template_that_is_not_approved_is_named_before_anything_is_sent(tmp_path: Path) -> None:
    async with office(f"sqlite:///{tmp_path}/hub.db", tmp_path) as shop:
        news = TemplateNews(name="promo", language="en", status="rejected")
        await shop.hub.write(lambda c, context: approvals.learn(c, "paper", news, context.now))
        message = {"channel": "paper", "template": {"name": "promo", "language": "en"}}
        campaign = read(DRAFT | {"choose": "in_order", "messages": [message, {"text": "hi"}]})
        words = r"messages.0.template: paper's provider says of promo \(en\): rejected, not approved"
        with pytest.raises(CampaignError, match=words):
            await shop.hub.write(lambda c, context: engine.create(c, context, campaign))


async def test_a_check_tells_what_it_would_cost(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    url = f"sqlite:///{tmp_path}/hub.db"
    prices = {"currency": "SEK", "list": [{"channel": "paper", "price": 0.1}]}
    async with office(url, tmp_path, settings_={"prices": prices}, text_limit=10) as shop:
        await _people(shop, ann="short", bob="that takes three of them")
        await shop.hub.write(partial(upsert, draft=CustomerDraft(
            external_id="cy", name="Cy", identities=[IdentityDraft(address="fax:cy")])))  # fmt: skip
        await shop.write("STOP", sender="ann")
        config = tmp_path / "hub.toml"
        lines = [f"database_url = {json.dumps(url)}", f"data = {json.dumps(str(tmp_path))}"]
        config.write_text("\n".join(lines + [f'[channels.{name}]\nadapter = "{name}"' for name in shop.hub.channels]))
        (tmp_path / "c.toml").write_text(
            'name = "Spring"\npurpose = "transactional"\nchannels = ["paper", "fax"]\n'
            'audience = { segment = { all = [] } }\nmessages = [{ text = "{{ customer.name }}" }]\n'
        )
        hub = Cli(config, capsys, {name: type(each) for name, each in shop.hub.adapters.items()})
        done = await hub("campaign", "check", "c.toml", "--out", "o.csv")
        assert "paper: 1 messages, 3 parts or segments, 0.3 SEK" in done.out
        assert "fax: 1 messages, 1 parts or segments, no price is known" in done.out
        assert "estimated cost: 0.3 SEK, and what 1 messages cost for which no price is known" in done.out
        with (tmp_path / "o.csv").open() as file:
            rows = {each["external_id"]: (each["cost"], each["currency"]) for each in csv.DictReader(file)}
        assert rows == {"ann": ("", ""), "bob": ("0.3", "SEK"), "cy": ("", "")}
        plain = (await hub("campaign", "check", "c.toml", "--json")).json
        assert (plain["cost"], plain["currency"], plain["channels"]["paper"]["cost"]) == (0.3, "SEK", 0.3)
