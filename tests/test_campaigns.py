"""Campaigns from draft to outcome, through lanes and policy, on both databases."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any, TypeVar
from zoneinfo import ZoneInfo

import pytest
import sqlalchemy as sa

from hub import approvals, consent, customers, events, identity
from hub.campaigns import check, engine, outcomes, person, record, worker
from hub.campaigns.draft import CampaignDraft, CampaignError, read, read_toml
from hub.campaigns.engine import Added
from hub.campaigns.record import Campaign
from hub.contract import RateLimited, Rejected, TemplateNews, Transient
from hub.customers import CustomerDraft, IdentityDraft, upsert
from hub.events import EventDraft
from hub.feedback import Failure, take
from hub.store.schema import delivery
from tests.paper import Office, office, until

T = TypeVar("T")

PEOPLE: dict[str, dict[str, Any]] = {
    "ann": {"locale": "en-GB", "tier": "gold", "attributes": {"city": "Wien"}},
    "bob": {"locale": "de-DE", "tier": "gold"},
    "cy": {"locale": "en", "tier": "basic", "attributes": {"city": "Graz"}},
    "di": {"tier": "gold", "reach": "fax"},
    "ed": {"tier": "gold", "reach": None},
}


def draft(**more: Any) -> CampaignDraft:
    values = {
        "name": "Spring",
        "purpose": "transactional",
        "audience": {"segment": {"field": "tier", "is": "gold"}},
        "channels": ["paper"],
        "messages": [{"text": "Hello {{ customer.external_id }}"}],
    }
    return read(values | more)


@pytest.fixture
async def shop(database_url: str, tmp_path: Path) -> AsyncIterator[Office]:
    async with office(database_url, tmp_path) as running:
        await running.hub.write(fill)
        yield running


def fill(connection: sa.Connection, context: Any) -> None:
    for name, values in PEOPLE.items():
        known = dict(values)
        scheme = known.pop("reach", "paper")
        addresses = [IdentityDraft(address=f"{scheme}:{name}")] if scheme else []
        upsert(connection, context, CustomerDraft(external_id=name, identities=addresses, **known))


async def made(shop: Office, campaign: CampaignDraft) -> Campaign:
    return await shop.hub.write(lambda c, context: engine.create(c, context, campaign))


async def now(shop: Office, name: str = "Spring") -> Campaign:
    shop.hub.topics.publish("campaigns")  # the worker looks at once
    found = await shop.hub.store.read(lambda c: engine.get(c, name))
    assert found is not None
    return found


async def act(shop: Office, work: Callable[[sa.Connection, Any, Campaign], T]) -> T:
    held = await now(shop)
    return await shop.hub.write(lambda c, context: work(c, context, held))


async def started(shop: Office, campaign: CampaignDraft) -> Campaign:
    held = await made(shop, campaign)
    await shop.hub.write(lambda c, context: engine.start(c, context, held))
    return await now(shop, held.name)


async def ended(shop: Office) -> dict[str, int]:
    """Outcomes once the campaign has finished."""

    async def finished() -> bool:
        return (await now(shop)).state == "finished"

    await until(finished)
    return await tally(shop)


async def tally(shop: Office) -> dict[str, int]:
    held = await now(shop)
    total: Counter[str] = Counter()
    for states in (await shop.hub.store.read(lambda c: outcomes.stats(c, held))).values():
        total.update(states)
    return dict(total)


async def test_a_campaign_whose_file_cannot_be_had_fails_and_says_so(shop: Office) -> None:
    file = {"url": "https://127.0.0.1/invoice.pdf", "name": "invoice.pdf"}
    await started(shop, draft(messages=[{"text": "Your invoice", "attachments": [file]}]))

    async def failed() -> bool:
        await shop.advance(seconds=2)
        return bool(await shop.rows("delivery", kind="contact", state="failed"))

    await until(failed)
    reasons = {row.reason for row in await shop.rows("delivery", kind="contact")}
    words = "rejected: the file invoice.pdf could not be fetched: The address could not be reached."
    assert (reasons, shop.letters.handed) == ({words}, [])


async def test_a_campaign_whose_channel_is_not_configured_any_more_pauses_and_says_why(
    database_url: str, tmp_path: Path
) -> None:
    async with office(database_url, tmp_path) as shop:
        await shop.hub.write(fill)
        shop.letters.answers = [Transient("busy", after=600)] * 2
        await started(shop, draft())
    others = {name: {"adapter": name} for name in ("fax", "board")}
    async with office(database_url, tmp_path, later=1, settings_={"channels": others}) as shop:

        async def paused() -> bool:
            return (await now(shop)).state == "paused"

        await until(paused)
        [told] = await shop.rows("alert", kind="campaign")
        assert told.detail.endswith("paused itself: paper not configured")


async def test_a_segment_that_cannot_be_looked_at_pauses_its_campaign_and_no_other(
    database_url: str, tmp_path: Path
) -> None:
    async with office(database_url, tmp_path) as shop:
        await shop.hub.write(fill)
        await started(shop, draft(name="Older", start="2026-03-02T12:00:00Z"))
        await started(shop, draft(audience={"segment": {"reach": "fax"}, "trigger": {"every": "30m"}}))
    others = {name: {"adapter": name} for name in ("paper", "board")}
    async with office(database_url, tmp_path, later=5, settings_={"channels": others}) as shop:
        await shop.advance(hours=1)

        async def paused() -> bool:
            return (await now(shop)).state == "paused"

        await until(paused)
        [told] = await shop.rows("alert", kind="campaign")
        assert "Spring paused itself: audience.segment: no channel to customers is called 'fax'" in told.detail
        await shop.advance(hours=2)
        await sent(shop, "Hello ann", "Hello bob")


async def test_everybody_in_the_segment_gets_one_message_or_a_reason(shop: Office) -> None:
    await started(shop, draft())
    assert await ended(shop) == {"sent": 2, "skipped": 2}
    assert sorted(shop.letters.texts) == ["Hello ann", "Hello bob"]
    skipped = [row.reason for row in await shop.rows("recipient", state="skipped")]
    assert skipped == ["NO_CHANNEL: no address that paper reaches"] * 2
    assert shop.posts == []  # the desk hears of it when somebody answers


async def test_an_answer_shows_the_campaign_at_the_desk_and_counts(shop: Office) -> None:
    held = await started(shop, draft())
    await ended(shop)
    await shop.write("tell me more", sender="ann")
    assert shop.posts == ["Hello ann", "tell me more"]
    assert await shop.hub.store.read(lambda c: outcomes.replied(c, held)) == {"": 1}
    await shop.agent("gladly", thread=shop.thread)
    assert shop.letters.texts[-1] == "gladly"


async def test_texts_fit_channel_language_and_variant(shop: Office) -> None:
    campaign = draft(
        channels=["fax", "paper"],
        variants={"A": 50, "B": 50},
        messages=[
            {"text": "Hello, {{ city }}!"},
            {"text": "Hallo, {{ city }}!", "language": "de"},
            {"text": "FAX {{ city }}", "channel": "fax"},
            {"text": "B!", "variant": "B"},
        ],
        variables={"city": {"fallback": "you"}},
    )
    await made(shop, campaign)
    await act(shop, engine.start)
    await ended(shop)
    people = {row.external_id: person.variant(campaign, row.id) for row in await shop.rows("customer")}
    texts = {"ann": "Hello, Wien!", "bob": "Hallo, you!", "di": "FAX you"}
    expected = {name: "B!" if people[name] == "B" else text for name, text in texts.items()}
    assert sorted(shop.letters.texts) == sorted([expected["ann"], expected["bob"]])
    assert shop.faxes.texts == [expected["di"]]


@pytest.mark.parametrize(
    ("locale", "text"),
    [("fil-PH", "English"), ("fi-FI", "suomi"), ("pt-BR", "Brasil"), ("pt_BR", "Brasil"), ("pt-PT", "Portugal"),
     ("PT", "Portugal"), (None, "English")],
)  # fmt: skip
def test_the_nearest_language_is_taken_whatever_the_order(locale: str | None, text: str) -> None:
    said = [("fi", "suomi"), ("pt", "Portugal"), ("pt-BR", "Brasil"), (None, "English")]
    for order in (said, said[::-1]):
        found = draft(messages=[{"text": text} | ({"language": name} if name else {}) for name, text in order])
        chosen = found.message("paper", locale, "")
        assert chosen is not None
        assert chosen.text == text


async def test_a_missing_value_stops_that_person_only(shop: Office) -> None:
    await started(shop, draft(messages=[{"text": "{{ city }}"}], variables={"city": {"required": True}}))
    assert await ended(shop) == {"sent": 1, "skipped": 3}
    assert shop.letters.texts == ["Wien"]
    assert "MISSING_VALUE: city has no value" in {row.reason for row in await shop.rows("recipient")}


async def test_values_are_said_in_words(shop: Office) -> None:
    values = {"ann": {"tags": ["vip", "early"], "paid": True, "points": 12.0}, "bob": {"tags": ["x"], "paid": False}}
    for name, attributes in values.items():
        await shop.hub.write(partial(upsert, draft=CustomerDraft(external_id=name, attributes=attributes)))
    text = "{{ tags }}; {{ paid }}{% if paid %}, thanks{% endif %}; {{ points }}"
    known = {"tags": {"fallback": "-"}, "paid": {"fallback": "-"}, "points": {"type": "number", "fallback": 0}}
    await started(shop, draft(messages=[{"text": text}], variables=known))
    await ended(shop)
    assert sorted(shop.letters.texts) == ["vip, early; true, thanks; 12", "x; false; 0"]


@pytest.mark.parametrize("value", ["nan", "inf", "-Infinity", "1e999", "twelve"])
async def test_what_is_no_number_is_not_said(shop: Office, value: str) -> None:
    wrong = CustomerDraft(external_id="ann", attributes={"points": value})
    await shop.hub.write(partial(upsert, draft=wrong))
    known = {"points": {"type": "number", "fallback": 0}}
    await started(shop, draft(messages=[{"text": "{{ points }}"}], variables=known))
    await ended(shop)
    assert shop.letters.texts == ["0"]


async def test_nobody_gets_marketing_who_has_not_asked_for_it(shop: Office) -> None:
    def agree(connection: sa.Connection, context: Any) -> None:
        consent.record(
            connection, "paper:bob", "opt_in", channel=None, source="api", evidence={}, at=context.now, now=context.now
        )

    await shop.hub.write(agree)
    held = await started(shop, draft(purpose="marketing"))
    assert await ended(shop) == {"sent": 1, "denied": 1, "skipped": 2}
    assert shop.letters.texts == ["Hello bob"]
    await shop.write("STOP", sender="bob")
    assert await shop.hub.store.read(lambda c: outcomes.opted_out(c, held)) == {"": 1}


@pytest.mark.parametrize(("days", "blamed"), [(6, {"": 1}), (60, {})])
async def test_a_no_is_an_answer_to_what_came_lately(shop: Office, days: int, blamed: dict[str, int]) -> None:
    held = await started(shop, draft())
    await ended(shop)
    await shop.advance(days=days)
    await shop.write("STOP", sender="bob")
    assert await shop.hub.store.read(lambda c: outcomes.opted_out(c, held)) == blamed


async def test_a_check_tells_what_will_happen_and_changes_nothing(shop: Office) -> None:
    def agree(connection: sa.Connection, context: Any) -> None:
        for who in ("paper:ann", "paper:cy"):
            consent.record(
                connection, who, "opt_in", channel=None, source="api", evidence={}, at=context.now, now=context.now
            )

    await shop.hub.write(agree)
    values = {"purpose": "marketing", "audience": {"segment": {"all": []}}, "channels": ["paper", "fax"]}
    held = await made(shop, draft(**values, start="2026-03-02T10:00:00Z", messages=[{"text": "{{ customer.locale }}"}]))
    before = {name: await shop.rows(name) for name in ("recipient", "message", "delivery", "conversation", "decision")}
    looks = (await check.check(shop.hub.store, shop.hub.context, held, "on")).people
    found = {look.external_id: look for look in looks}
    assert {name: (look.verdict, look.reason, look.channel) for name, look in found.items()} == {
        "ann": ("allow", "ALLOWED", "paper"),
        "bob": ("block", "CONSENT_MISSING", "paper"),
        "cy": ("allow", "ALLOWED", "paper"),
        "di": ("skip", "MISSING_VALUE", None),
        "ed": ("skip", "NO_CHANNEL", None),
    }
    assert (found["ann"].text, found["ann"].parts, found["ann"].address) == ("en-GB", 1, "paper:ann")
    assert found["ann"].at == held.starts_at
    assert {name: await shop.rows(name) for name in before} == before
    await act(shop, engine.start)
    await shop.advance(hours=1)
    assert await ended(shop) == {"sent": 2, "denied": 1, "skipped": 2}


async def test_a_check_shows_the_template_and_what_is_known_of_it(database_url: str, tmp_path: Path) -> None:
    async with office(database_url, tmp_path, templates=True) as shop:
        await shop.hub.write(fill)
        moved = {"name": "moved", "language": "en", "variables": {"1": "{{ customer.external_id }}"}}
        held = await made(shop, draft(**(ANN | {"channels": ["paper"], "messages": [{"template": moved}]})))

        async def look() -> tuple[str, str, str]:
            [one] = (await check.check(shop.hub.store, shop.hub.context, held, "on")).people
            return one.verdict, one.text, one.detail

        untold = "the provider has not told whether it has approved this template"
        assert await look() == ("allow", "[template moved (en): 1 ann]", untold)
        news = TemplateNews("moved", "en", "approved")
        await shop.hub.write(lambda c, context: approvals.learn(c, "paper", news, context.now))
        assert await look() == ("allow", "[template moved (en): 1 ann]", "")


async def test_a_check_goes_page_by_page(shop: Office) -> None:
    held = await made(shop, draft(audience={"segment": {"all": []}}))
    seen, after = [], 0
    more = True
    while more:
        page = await check.check(shop.hub.store, shop.hub.context, held, "on", after, 2)
        seen.append([look.external_id for look in page.people])
        after, more = page.people[-1].customer, page.more
    assert seen == [["ann", "bob"], ["cy", "di"], ["ed"]]


async def test_a_list_brings_its_own_values(shop: Office) -> None:
    campaign = draft(
        audience={"list": True},
        messages=[{"text": "{{ code }} for {{ city }}"}],
        variables={"code": {"type": "number", "required": True}, "city": {"fallback": "?"}},
    )
    await made(shop, campaign)
    rows = [
        {"customer": "ann", "code": "7", "city": "Linz"},
        {"customer": "paper:cy", "code": 8},
        {"customer": "nobody", "code": 9},
        {"customer": "ann", "code": 10},
        {"customer": "bob", "code": "x"},
        {"code": 1},
    ]
    added = await act(shop, lambda c, context, held: engine.add_people(c, context, held, rows))
    assert added == Added(3, 1, [(2, "no customer is known as 'nobody'"), (5, "customer: missing")])
    again = await act(shop, lambda c, context, held: engine.add_people(c, context, held, rows[:2]))
    assert again == Added(0, 2, [])
    await act(shop, engine.start)
    assert await ended(shop) == {"sent": 2, "skipped": 1}
    assert sorted(shop.letters.texts) == ["7 for Linz", "8 for Graz"]
    with pytest.raises(CampaignError, match="people are added before it starts"):
        await act(shop, lambda c, context, held: engine.add_people(c, context, held, rows))


def test_variants_share_those_who_are_not_held_out() -> None:
    campaign = draft(variants={"A": 30, "B": 10}, holdout=20)
    count = Counter(person.variant(campaign, number) for number in range(4000))
    assert count.keys() == {"A", "B", None}
    assert abs(count[None] - 800) < 120 and abs(count["A"] - 2400) < 150, count
    assert {person.variant(draft(), number) for number in range(10)} == {""}


async def test_a_check_holds_out_whom_the_send_holds_out(shop: Office) -> None:
    campaign = draft(audience={"segment": {"all": []}}, holdout=50, variants={"A": 1, "B": 1})
    checked = await made(shop, campaign)
    looks = (await check.check(shop.hub.store, shop.hub.context, checked, "on")).people
    told = {look.external_id: (look.verdict == "held_out", look.variant) for look in looks}
    await shop.hub.write(lambda c, _: engine.forget(c, checked))
    held = await started(shop, campaign)
    await ended(shop)
    rows = await shop.hub.store.read(lambda c: outcomes.people(c, held))
    assert {row.external_id: (row.state == "held_out", row.variant) for row in rows} == told


async def test_people_held_out_get_nothing(shop: Office) -> None:
    held = await started(shop, draft(audience={"segment": {"all": []}}, holdout=50))
    found = await ended(shop)
    out = [row.id for row in await shop.rows("customer") if person.share(held.name, row.id) < 50]
    assert found.get("held_out", 0) == len(out)
    assert sum(found.values()) == 5


async def test_a_paused_campaign_hands_nothing_over_until_it_is_resumed(shop: Office) -> None:
    await made(shop, draft(start="2026-03-02T10:00:00Z"))
    await act(shop, engine.start)
    await shop.advance(minutes=30)
    assert shop.letters.handed == []
    await act(shop, lambda c, _, held: engine.pause(c, held, "a mistake in the text"))
    await shop.advance(hours=2)
    assert shop.letters.handed == []
    assert (await now(shop)).reason == "a mistake in the text"
    await act(shop, engine.resume)
    assert await ended(shop) == {"sent": 2, "skipped": 2}


async def test_pausing_reaches_what_waits_in_the_lane(shop: Office) -> None:
    await shop.hub.write(
        lambda c, context: upsert(
            c, context, CustomerDraft(external_id="fay", tier="gold", identities=[IdentityDraft(address="paper:fay")])
        )
    )
    shop.letters.answers = [RateLimited("busy", after=60, scope="pair")] * 3
    await started(shop, draft())

    async def refused() -> bool:
        reasons = [row.reason for row in await shop.rows("delivery", kind="contact", state="queued")]
        return reasons == ["rate_limited: busy"] * 3

    await until(refused)
    await act(shop, lambda c, _, held: engine.pause(c, held, "stop"))
    await shop.advance(minutes=5)
    assert shop.letters.accepted == []
    await act(shop, engine.cancel)
    assert await tally(shop) == {"denied": 3, "skipped": 2}
    await shop.advance(days=1)
    assert shop.letters.accepted == []


async def test_what_waits_for_its_turn_is_put_back_when_the_provider_wants_to_hear_nothing(
    database_url: str, tmp_path: Path
) -> None:
    async with office(database_url, tmp_path, idempotency="key") as busy:
        people = [IdentityDraft(address=f"paper:{number}") for number in range(3)]
        for each in people:
            one = CustomerDraft(external_id=each.address, tier="gold", identities=[each])
            await busy.hub.write(lambda c, context, one=one: upsert(c, context, one))
        busy.letters.answers = [RateLimited("busy", after=0.3, scope="sender")] * 1000
        await started(busy, draft(rate=4))  # the second waits a quarter of a second, and has been started

        async def put_back() -> bool:
            busy.clock.now += timedelta(seconds=1)
            busy.hub.topics.publish("lane:paper")
            rows = await busy.rows("delivery", kind="contact")
            return any((row.reason or "").startswith("HELD: ") for row in rows)

        await until(put_back)
        busy.letters.answers = []

        async def all_sent() -> bool:
            busy.clock.now += timedelta(seconds=1)
            busy.hub.topics.publish("lane:paper")
            return (await now(busy)).state == "finished"

        await until(all_sent)
        assert Counter(busy.letters.texts) == Counter(f"Hello {each.address}" for each in people)
        assert {row.attempts for row in await busy.rows("delivery", kind="contact")} == {0}


async def test_what_is_in_flight_while_a_campaign_is_paused_is_not_tried_again(shop: Office) -> None:
    shop.letters.gate = asyncio.Event()
    shop.letters.answers = [RateLimited("busy", after=60, scope="pair")] * 2
    await started(shop, draft())

    async def handed() -> bool:
        return len(shop.letters.handed) == 2

    await until(handed)
    await act(shop, lambda c, _, held: engine.pause(c, held, "stop"))
    shop.letters.gate.set()

    async def back() -> bool:
        return len(await shop.rows("delivery", kind="contact", state="queued")) == 2

    await until(back)
    await shop.advance(days=2)  # longer than it is good for

    async def waits() -> bool:
        reasons = [str(row.reason) for row in await shop.rows("delivery", kind="contact", state="queued")]
        return len(reasons) == 2 and all(each.startswith("CAMPAIGN_PAUSED") for each in reasons)

    await until(waits)
    assert len(shop.letters.handed) == 2
    await act(shop, engine.resume)
    assert await ended(shop) == {"sent": 2, "skipped": 2}


async def test_pause_and_cancel_reach_every_message_of_a_person(shop: Office) -> None:
    """Ann entered again while her first message still waits: a pause holds both, and so does the end."""
    shop.letters.answers = [Transient("busy", after=3000)] * 8
    await started(shop, triggered(event="cart", again_after="30m"))

    async def tell() -> None:
        cart = EventDraft(customer="ann", name="cart")
        await shop.hub.write(lambda c, context: events.record(c, context, cart))

    async def waiting(*reasons: str | None) -> None:
        async def holds() -> bool:
            shop.hub.topics.publish("campaigns")
            rows = await shop.rows("delivery", kind="contact", state="queued")
            return [row.reason for row in rows] == list(reasons)

        await until(holds)

    await tell()
    await waiting("transient: busy")
    await shop.advance(minutes=31)
    await tell()
    await waiting("transient: busy", None)
    await act(shop, lambda c, _, held: engine.pause(c, held, "a mistake"))
    await waiting("CAMPAIGN_PAUSED: a mistake", "CAMPAIGN_PAUSED: a mistake")
    tried = len(shop.letters.handed)
    await shop.advance(hours=1)
    await act(shop, engine.cancel)
    assert [row.code for row in await shop.rows("delivery", kind="contact")] == ["CAMPAIGN_CANCELLED"] * 2
    assert len(shop.letters.handed) == tried


async def test_a_pause_takes_no_time_from_what_waits(shop: Office) -> None:
    shop.letters.answers = [Transient("busy", after=600)] * 2
    await started(shop, draft())

    async def refused() -> bool:
        return [row.reason for row in await shop.rows("delivery", kind="contact")] == ["transient: busy"] * 2

    await until(refused)
    await act(shop, lambda c, _, held: engine.pause(c, held, "until the day after tomorrow"))
    await shop.advance(days=2)
    await act(shop, engine.resume)
    await shop.advance(seconds=1)
    assert await ended(shop) == {"sent": 2, "skipped": 2}


async def test_what_is_in_flight_while_a_campaign_is_cancelled_is_not_tried_again(shop: Office) -> None:
    shop.letters.gate = asyncio.Event()
    shop.letters.answers = [RateLimited("busy", after=60, scope="pair")] * 2
    await started(shop, draft())

    async def handed() -> bool:
        return len(shop.letters.handed) == 2

    await until(handed)
    await act(shop, engine.cancel)
    shop.letters.gate.set()
    await shop.settled()
    await shop.advance(minutes=5)
    assert [row.code for row in await shop.rows("delivery", kind="contact")] == ["MSG_EXPIRED"] * 2
    assert len(shop.letters.handed) == 2


async def test_a_missed_start_waits_for_a_word(shop: Office) -> None:
    await made(shop, draft(start="2026-03-02T07:00:00Z"))
    await act(shop, engine.start)

    async def paused() -> bool:
        return (await now(shop)).state == "paused"

    await until(paused)
    assert "start was missed by 120 min" in str((await now(shop)).reason)
    await act(shop, engine.resume)
    assert await ended(shop) == {"sent": 2, "skipped": 2}


async def test_who_is_in_the_segment_when_the_start_comes_is_meant(shop: Office) -> None:
    await started(shop, draft(start="2026-03-02T10:00:00Z"))
    await started(shop, draft(name="Now"))  # made later, so both have been looked at when it is over

    async def over() -> bool:
        return (await now(shop, "Now")).state == "finished"

    def change(connection: sa.Connection, context: Any) -> None:
        upsert(connection, context, CustomerDraft(external_id="ann", tier="basic"))
        upsert(connection, context, CustomerDraft(external_id="cy", tier="gold"))

    await until(over)
    shop.letters.accepted.clear()
    await shop.hub.write(change)
    await shop.advance(hours=1)
    await ended(shop)
    assert sorted(shop.letters.texts) == ["Hello bob", "Hello cy"]


async def test_a_start_that_passes_while_nobody_looks_waits_for_a_word(shop: Office) -> None:
    held = await started(shop, draft(start="2026-03-02T10:00:00Z"))
    await started(shop, draft(name="Now"))

    async def over() -> bool:
        return (await now(shop, "Now")).state == "finished"

    await until(over)
    shop.letters.accepted.clear()
    await shop.advance(hours=5)

    async def paused() -> bool:
        return (await now(shop, held.name)).state == "paused"

    await until(paused)
    assert "start was missed by 240 min" in str((await now(shop)).reason)
    assert shop.letters.texts == []


async def test_local_time_is_each_readers_own(shop: Office) -> None:
    def move(connection: sa.Connection, context: Any) -> None:
        upsert(connection, context, CustomerDraft(external_id="ann", time_zone="Asia/Tokyo"))
        upsert(connection, context, CustomerDraft(external_id="bob", time_zone="America/New_York"))

    await shop.hub.write(move)
    await started(shop, draft(start="2026-03-02T19:00:00", local_time=True, expires_after="2d"))
    await shop.advance(minutes=30)  # 9:30 UTC, 18:30 in Tokyo
    assert shop.letters.texts == []
    await shop.advance(minutes=31)

    async def sent(count: int) -> bool:
        return len(shop.letters.texts) == count

    await until(lambda: sent(1))
    assert shop.letters.texts == ["Hello ann"]
    await shop.advance(hours=14)  # 0:01 UTC, 19:01 in New York
    await until(lambda: sent(2))


@pytest.mark.parametrize("early", [True, False])
async def test_local_time_is_each_readers_own_in_a_list_too(shop: Office, early: bool) -> None:
    tokyo = CustomerDraft(external_id="ann", time_zone="Asia/Tokyo")
    await shop.hub.write(lambda c, context: upsert(c, context, tokyo))
    await made(shop, draft(audience={"list": True}, start="2026-03-02T20:00:00", local_time=True))
    rows = [{"customer": "ann"}, {"customer": "bob"}]
    await act(shop, lambda c, context, held: engine.add_people(c, context, held, rows))
    names = {row.id: row.external_id for row in await shop.rows("customer")}
    if not early:
        await shop.advance(hours=5)  # 14:00 UTC: eleven in the evening in Tokyo
    await act(shop, engine.start)
    due = {names[row.customer_id]: row.due_at for row in await shop.rows("recipient")}
    bob = datetime(2026, 3, 2, 20, tzinfo=UTC)
    assert due == {"ann": bob - timedelta(hours=9) + timedelta(days=not early), "bob": bob}


async def test_local_time_is_told_by_country_and_number_and_the_next_one_to_come(shop: Office) -> None:
    def move(connection: sa.Connection, context: Any) -> None:
        phone = IdentityDraft(address="tel:+81312345678")
        upsert(connection, context, CustomerDraft(external_id="ann", country="SE"))
        upsert(connection, context, CustomerDraft(external_id="bob", identities=[phone]))
        upsert(connection, context, CustomerDraft(external_id="cy", country="US"))

    await shop.hub.write(move)
    campaign = draft(start="2026-03-02T09:00:00", local_time=True, audience={"segment": {"all": []}})
    held = await made(shop, campaign)
    names = {row.external_id: row.id for row in await shop.rows("customer")}

    def times(connection: sa.Connection) -> dict[str, str]:
        ids, at = list(names.values()), datetime(2026, 3, 2, 8, 10, tzinfo=UTC)
        due = record.due_of(connection, held, ids, at, campaign.start, at)
        return {name: due[number].isoformat() for name, number in names.items()}

    found = await shop.hub.store.read(times)
    assert found["ann"] == "2026-03-02T08:00:00+00:00", "ten minutes late is not too late"
    assert found["bob"] == "2026-03-03T00:00:00+00:00", "in Tokyo that hour has passed today"
    assert found["cy"] == "2026-03-02T19:00:00+00:00", "nobody in the United States gets it before nine"
    assert found["di"] == "2026-03-02T09:00:00+00:00"


async def test_a_ramp_lets_so_many_go_each_day(shop: Office) -> None:
    await started(shop, draft(audience={"segment": {"all": []}}, ramp=[1, 1], expires_after="5d"))

    async def sent(count: int) -> bool:
        return len(shop.letters.texts) == count

    await until(lambda: sent(1))
    await shop.advance(hours=23)
    assert len(shop.letters.texts) == 1
    await shop.advance(hours=2)
    await until(lambda: sent(2))
    await shop.advance(hours=24)
    assert await ended(shop) == {"sent": 3, "skipped": 2}


async def test_a_campaign_that_fails_pauses_itself(shop: Office) -> None:
    shop.letters.answers = [Rejected("no", code="1")] * 2
    campaign = draft(stop={"errors": 0.5, "after": 1}, audience={"segment": {"field": "tier", "is": "gold"}}, ramp=[2])
    await started(shop, campaign)

    async def paused() -> bool:
        return (await now(shop)).state == "paused"

    await until(paused)
    assert "2 of 2 messages failed" in str((await now(shop)).reason)
    assert [row.kind for row in await shop.rows("alert")] == ["campaign"]


async def test_what_a_resumed_campaign_did_before_does_not_pause_it_again(shop: Office) -> None:
    def more(connection: sa.Connection, context: Any) -> None:
        for name in ("fay", "gus"):
            address = IdentityDraft(address=f"paper:{name}")
            upsert(connection, context, CustomerDraft(external_id=name, tier="gold", identities=[address]))

    await shop.hub.write(more)
    shop.letters.answers = [Rejected("no", code="1")] * 2
    await started(shop, draft(stop={"errors": 0.4, "after": 1}, ramp=[2]))

    async def paused() -> bool:
        return (await now(shop)).state == "paused"

    await until(paused)
    await act(shop, engine.resume)
    await shop.advance(days=1)
    assert await ended(shop) == {"failed": 2, "sent": 2, "skipped": 2}
    held = await now(shop)
    assert await shop.hub.store.read(lambda c: worker.harm(c, held)) is None


async def test_what_came_too_late_is_no_error_of_the_campaign(database_url: str, tmp_path: Path) -> None:
    async with office(database_url, tmp_path, settings_={"outbound": "off"}) as shop:
        await shop.hub.write(fill)
        await started(shop, draft(stop={"errors": 0.5, "after": 1}))

        async def wait() -> bool:
            return len(await shop.rows("delivery", kind="contact", state="queued")) == 2

        await until(wait)
        await shop.advance(days=1)
        assert await ended(shop) == {"failed": 2, "skipped": 2}
        assert [row.code for row in await shop.rows("delivery", kind="contact")] == ["MSG_EXPIRED"] * 2
        held = await now(shop)
        assert await shop.hub.store.read(lambda c: worker.harm(c, held)) is None


async def test_a_campaign_that_people_complain_of_pauses_itself(shop: Office) -> None:
    stop = {"complaints": 0.4, "opt_outs": 1.0, "after": 2}
    campaign = draft(stop=stop, ramp=[2], audience={"segment": {"reach": "paper"}})
    await started(shop, campaign)

    async def sent() -> bool:
        return len(await shop.rows("delivery", state="sent")) == 2

    await until(sent)
    shop.clock.now += timedelta(seconds=1)

    def complain(connection: sa.Connection, context: Any) -> None:
        row = connection.execute(sa.select(delivery.c.id).where(delivery.c.state == "sent").limit(1)).one()
        failure = Failure(row.id, "complaint", "abuse", context.now, refused=True)
        paper = context.channels["paper"]
        take(connection, context, replace(paper, capabilities=replace(paper.capabilities, codes="smtp")), failure)

    await shop.hub.write(complain)

    async def paused() -> bool:
        return (await now(shop)).state == "paused"

    await until(paused)
    assert (await now(shop)).reason == "1 of 2 people complained; see why, then resume"


async def test_nobody_is_planned_twice_whatever_the_cursor_says(shop: Office) -> None:
    await started(shop, draft())
    await ended(shop)
    held = await now(shop)
    with pytest.raises(sa.exc.IntegrityError):
        await shop.hub.store.write(
            lambda c: c.execute(
                sa.text("INSERT INTO recipient (campaign_id, customer_id, state, due_at) "
                        "SELECT campaign_id, customer_id, 'planned', 0 FROM recipient WHERE campaign_id = :id"),
                {"id": held.id},
            )
        )  # fmt: skip
    assert len(shop.letters.accepted) == 2


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"channels": ["pigeon"]}, "no channel to customers is called 'pigeon'; there are: paper, fax"),
        ({"audience": {"segment": {"reach": "pigeon"}}}, "audience.segment: no channel"),
    ],
)
async def test_what_cannot_be_sent_is_refused_when_it_is_made(shop: Office, change: Any, complaint: str) -> None:
    with pytest.raises(CampaignError, match=complaint):
        await made(shop, draft(**change))


async def test_names_are_used_once_and_empty_audiences_are_refused(shop: Office) -> None:
    await made(shop, draft(audience={"list": True}))
    with pytest.raises(CampaignError, match="already"):
        await made(shop, draft())
    with pytest.raises(CampaignError, match="the list is empty"):
        await act(shop, engine.start)
    await made(shop, draft(name="Nobody", audience={"segment": {"field": "tier", "is": "iron"}}))
    nobody = await now(shop, "Nobody")
    with pytest.raises(CampaignError, match="nobody is in the segment"):
        await shop.hub.write(lambda c, context: engine.start(c, context, nobody))


TOML = """
name = "Spring"
channels = ["sms", "email"]
audience.segment = { all = [{ field = "tier", is = "gold" }, { not = { active = "90d" } }] }
[variables.first_name]
source = "customer.name"
fallback = "there"
[[messages]]
text = "Hi {{ first_name }}, 10 % off."
[[messages]]
channel = "email"
subject = "For you"
html = "<p>Hi {{ first_name }}</p>"
"""


def test_a_campaign_can_be_a_file() -> None:
    held = read_toml(TOML)
    assert held.message("email", "en", "") is held.messages[1]
    assert held.message("sms", None, "") is held.messages[0]


@pytest.mark.parametrize(
    ("before", "after", "complaint"),
    [
        ('name = "Spring"', "", "name: Field required"),
        ('name = "Spring"', "name = ", "not TOML"),
        ("10 % off", "{{ code }}", r"messages.0.text: code is used but not declared: add \[variables.code\]"),
        ("10 % off", "{{ customer.nonsense }}", "messages.0.text: customer.nonsense is nothing that is known"),
        (
            'source = "customer.name"',
            'source = "customer.nmae"',
            "variables.first_name: source: nothing is called 'customer.nmae'",
        ),
        ("10 % off", "{{ code", "messages.0.text: expected"),
        ('fallback = "there"', "", "give a fallback, or required = true"),
        ('tier", is', 'shoe", is', "audience.segment: no such field: 'shoe'"),
        ('channel = "email"', 'channel = "fax"', "'fax' is not among the channels"),
        ('channel = "email"', 'variant = "B"', "no variant is called 'B'"),
        ("[variables", 'start = "2026-12-01T09:00:00"\n[variables', "start: write a zone"),
        ("[variables", 'start = "2027"\n[variables', "start: write date and time, as in 2026-01-31T12:00:00Z"),
        ("[variables", "colour = 1\n[variables", "colour: Extra inputs"),
    ],
)
def test_mistakes_in_a_file_are_told_with_their_place(before: str, after: str, complaint: str) -> None:
    assert before in TOML
    with pytest.raises(CampaignError, match=complaint):
        read_toml(TOML.replace(before, after))


# --- steps, ways, triggers ---


async def sent(shop: Office, *texts: str) -> None:
    """Wait until exactly these have gone out by paper, in any order."""

    async def holds() -> bool:
        shop.hub.topics.publish("campaigns")
        return len(shop.letters.texts) >= len(texts)

    await until(holds)
    await shop.settled()
    assert sorted(shop.letters.texts) == sorted(texts)


FOLLOW = {
    "audience": {"segment": {"field": "tier", "is": "gold"}},
    "messages": [{"text": "one {{ customer.external_id }}"}],
    "follow_ups": [
        {"after": "2d", "messages": [{"text": "two {{ customer.external_id }}"}]},
        {"after": "3d", "messages": [{"text": "three {{ customer.external_id }}"}]},
    ],
    "goal": "purchase",
}


async def test_follow_ups_stop_when_the_customer_answers_or_the_goal_is_reached(shop: Office) -> None:
    held = await started(shop, draft(**FOLLOW))
    await sent(shop, "one ann", "one bob")
    await shop.write("interesting", sender="ann")
    await shop.advance(days=2, seconds=1)
    await sent(shop, "one ann", "one bob", "two bob")
    draft_ = EventDraft(customer="bob", name="purchase")
    await shop.hub.write(lambda c, context: events.record(c, context, draft_))
    await shop.advance(days=3, seconds=1)
    assert await ended(shop) == {"sent": 2, "skipped": 2}
    assert sorted(shop.letters.texts) == ["one ann", "one bob", "two bob"]
    reasons = {row.reason for row in await shop.rows("recipient", state="queued")}
    assert reasons == {"REPLIED: the customer has answered", "GOAL_REACHED: purchase"}
    assert await shop.hub.store.read(lambda c: outcomes.converted(c, held)) == {"": 1}


async def join(shop: Office, keep: str, drop: str) -> None:
    def work(connection: sa.Connection, context: Any) -> None:
        kept, dropped = (customers.find(connection, f"paper:{name}") for name in (keep, drop))
        assert kept is not None and dropped is not None
        identity.merge(connection, context, kept, dropped, "the same person")

    await shop.hub.write(work)


@pytest.mark.parametrize("how", ["after a quiet time", "on another channel", "as a customer that is merged later"])
async def test_an_answer_counts_wherever_and_as_whoever_it_is_given(both: Office, how: str) -> None:
    await both.write("an old question", sender="ann")
    await both.advance(days=4)
    held = await started(both, draft(**FOLLOW))
    await sent(both, "one ann", "one bob")
    await both.advance(hours=1)
    if how == "after a quiet time":
        await both.write("not interested", sender="ann")
    elif how == "on another channel":
        await both.write("not interested", sender="ann", channel="fax")
    else:
        await both.write("not interested", sender="annie")
        await join(both, "annie", "ann")
    assert await both.hub.store.read(lambda c: outcomes.replied(c, held)) == {"": 1}
    await both.advance(days=2, seconds=1)
    await sent(both, "one ann", "one bob", "two bob")


async def test_who_is_merged_meanwhile_gets_each_step_once(shop: Office) -> None:
    held = await started(shop, draft(**FOLLOW))
    await sent(shop, "one ann", "one bob")
    await join(shop, "cy", "ann")  # who is no recipient
    await shop.advance(days=2, seconds=1)
    await sent(shop, "one ann", "one bob", "two cy", "two bob")
    await join(shop, "cy", "bob")
    await shop.advance(days=3, seconds=1)
    assert await ended(shop) == {"sent": 2, "skipped": 2}
    assert sorted(shop.letters.texts) == sorted(["one ann", "one bob", "two cy", "two bob", "three cy"])
    reasons = {row.reason for row in await shop.rows("recipient", state="queued")}
    assert reasons == {None, "MERGED: one person with another recipient, cy"}
    await shop.hub.write(lambda c, context: events.record(c, context, EventDraft(customer="cy", name="purchase")))
    assert (await shop.hub.store.read(lambda c: outcomes.converted(c, held)))[""] > 0


async def test_what_those_merged_did_reaches_the_goal_of_both(shop: Office) -> None:
    await started(shop, draft(**FOLLOW))
    await sent(shop, "one ann", "one bob")
    await shop.hub.write(lambda c, context: events.record(c, context, EventDraft(customer="cy", name="purchase")))
    await join(shop, "ann", "cy")
    await shop.advance(days=2, seconds=1)
    await sent(shop, "one ann", "one bob", "two bob")


async def test_a_list_may_name_whom_somebody_is_merged_with(shop: Office) -> None:
    await made(shop, draft(audience={"list": True}, start="2026-03-02T12:00:00Z"))
    rows = [{"customer": "ann"}, {"customer": "bob"}, {"customer": "cy"}]
    await act(shop, lambda c, context, held: engine.add_people(c, context, held, rows))
    await act(shop, engine.start)
    await join(shop, "ann", "bob")
    await shop.advance(hours=3, minutes=1)
    assert await ended(shop) == {"sent": 2, "skipped": 1}
    assert sorted(shop.letters.texts) == ["Hello ann", "Hello cy"]


async def test_a_goal_that_was_reached_before_somebody_entered_again_does_not_end_that(shop: Office) -> None:
    steps = {"messages": FOLLOW["messages"], "follow_ups": FOLLOW["follow_ups"][:1], "goal": "purchase"}
    cart = {"trigger": {"event": "cart", "again_after": "7d"}}
    held = await started(shop, draft(audience=cart, expires_after="30d", **steps))

    async def tell(name: str) -> None:
        event = EventDraft(customer="ann", name=name)
        await shop.hub.write(lambda c, context: events.record(c, context, event))

    async def over() -> bool:
        shop.hub.topics.publish("campaigns")
        return [row.state for row in await shop.rows("recipient")] == ["queued"]

    await tell("cart")
    await sent(shop, "one ann")
    await tell("purchase")
    await shop.advance(days=2, seconds=1)
    await until(over)
    await shop.advance(days=30)
    await tell("cart")
    await sent(shop, "one ann", "one ann")
    assert await shop.hub.store.read(lambda c: outcomes.converted(c, held)) == {}
    await shop.advance(days=2, seconds=1)
    await sent(shop, "one ann", "one ann", "two ann")


async def test_what_people_did_before_they_were_written_to_is_no_conversion(shop: Office) -> None:
    audience = {"trigger": {"event": "cart"}}
    campaign = draft(audience=audience, goal="purchase", start="2026-03-02T12:00:00", local_time=True)
    held = await started(shop, campaign)
    await shop.advance(hours=4)  # at 13:00 until the next day at noon

    async def tell(who: str, name: str) -> None:
        event = EventDraft(customer=who, name=name)
        await shop.hub.write(lambda c, context: events.record(c, context, event))

    async def entered() -> bool:
        shop.hub.topics.publish("campaigns")
        return len(await shop.rows("recipient")) == 2

    await tell("ann", "cart")
    await tell("bob", "cart")
    await until(entered)
    await tell("ann", "purchase")
    await shop.advance(hours=24)
    await sent(shop, "Hello ann", "Hello bob")
    assert await shop.hub.store.read(lambda c: outcomes.converted(c, held)) == {}
    await tell("bob", "purchase")
    assert await shop.hub.store.read(lambda c: outcomes.converted(c, held)) == {"": 1}


async def test_the_time_to_the_next_step_begins_with_the_hand_off(shop: Office) -> None:
    ann = {"segment": {"field": "external_id", "is": "ann"}}
    shop.letters.answers = [Transient("busy", after=7200)] * 3
    steps = [{"after": "1h", "messages": [{"text": "two"}]}]
    await started(shop, draft(audience=ann, messages=[{"text": "one"}], follow_ups=steps))

    async def tried(count: int) -> bool:
        return len(shop.letters.handed) == count

    async def looked() -> bool:
        shop.hub.topics.publish("campaigns")
        [row] = await shop.rows("recipient")
        return bool(row.due_at > shop.clock.now)

    await until(lambda: tried(1))
    while len(shop.letters.handed) < 4:  # held up for more than an hour
        await shop.advance(minutes=30)
        await until(looked)
    assert shop.letters.texts == ["one"]
    assert shop.clock.now > (await now(shop)).created_at + timedelta(hours=1)
    await shop.advance(minutes=58)
    await until(looked)
    assert shop.letters.texts == ["one"]
    await shop.advance(minutes=3)
    assert await ended(shop) == {"sent": 1}
    assert shop.letters.texts == ["one", "two"]


async def test_follow_ups_go_on_to_the_end_for_who_stays_silent(shop: Office) -> None:
    await started(shop, draft(**FOLLOW))
    await sent(shop, "one ann", "one bob")
    await shop.advance(days=2, seconds=1)
    await sent(shop, "one ann", "one bob", "two ann", "two bob")
    await shop.advance(days=3, seconds=1)
    assert await ended(shop) == {"sent": 2, "skipped": 2}
    assert len(shop.letters.texts) == 6


@pytest.fixture
async def both(shop: Office) -> Office:
    """Ann has paper and fax."""
    fax = [IdentityDraft(address="fax:ann")]
    await shop.hub.write(lambda c, context: upsert(c, context, CustomerDraft(external_id="ann", identities=fax)))
    return shop


ANN: dict[str, Any] = {"audience": {"segment": {"field": "external_id", "is": "ann"}}, "channels": ["paper", "fax"]}


async def test_what_one_channel_refuses_the_next_one_gets(both: Office) -> None:
    both.letters.answers = [Rejected("no", code="1")]
    await started(both, draft(**ANN))

    async def failed() -> bool:
        return [row.state for row in await both.rows("delivery", channel="paper")] == ["failed"]

    await until(failed)
    await both.advance(seconds=31)
    assert await ended(both) == {"sent": 1}
    assert (both.letters.texts, both.faxes.texts) == ([], ["Hello ann"])


async def test_what_does_not_arrive_in_time_goes_out_another_way(both: Office) -> None:
    await started(both, draft(**ANN, fallback_after="1h"))
    await sent(both, "Hello ann")
    await both.advance(minutes=59)
    assert both.faxes.texts == []
    await both.advance(minutes=2)

    async def faxed() -> bool:
        both.hub.topics.publish("campaigns")
        return both.faxes.texts == ["Hello ann"]

    await until(faxed)
    assert await ended(both) == {"sent": 1}


async def test_the_time_to_arrive_begins_with_the_hand_off(both: Office) -> None:
    both.letters.gate = asyncio.Event()
    await started(both, draft(**ANN, fallback_after="1h"))

    async def handed() -> bool:
        both.hub.topics.publish("campaigns")
        return len(both.letters.handed) == 1

    await until(handed)
    await both.advance(hours=2)
    both.letters.gate.set()
    await sent(both, "Hello ann")
    await both.advance(minutes=59)

    async def looked() -> bool:
        both.hub.topics.publish("campaigns")
        [row] = await both.rows("recipient")
        return bool(row.due_at > both.clock.now or both.faxes.texts)

    await until(looked)
    assert both.faxes.texts == []
    await both.advance(minutes=2)
    assert await ended(both) == {"sent": 1}
    assert [out.valid_for for out in both.letters.handed + both.faxes.handed] == [3600, None]


async def test_who_has_answered_gets_no_second_way(both: Office) -> None:
    await started(both, draft(**ANN, fallback_after="1h"))
    await sent(both, "Hello ann")
    await both.write("thank you", sender="ann")
    await both.advance(hours=2)
    assert await ended(both) == {"sent": 1}
    assert both.faxes.texts == []


async def test_what_arrives_goes_out_no_second_way(both: Office) -> None:
    await started(both, draft(**ANN, fallback_after="1h"))
    await sent(both, "Hello ann")
    await both.status("paper-1", "delivered")
    await both.advance(hours=2)
    assert await ended(both) == {"delivered": 1}
    assert both.faxes.texts == []


async def test_a_no_is_not_gone_around_by_another_channel(both: Office) -> None:
    await both.write("STOP", sender="ann")
    await started(both, draft(**ANN, fallback_after="1h"))

    async def denied() -> bool:
        both.hub.topics.publish("campaigns")
        return [row.state for row in await both.rows("delivery", kind="contact")] == ["denied"]

    await until(denied)
    await both.advance(hours=2)
    assert await ended(both) == {"denied": 1}
    assert (both.letters.texts, both.faxes.texts) == ([], [])


def triggered(**trigger: Any) -> CampaignDraft:
    return draft(audience={"trigger": trigger}, expires_after="30d")


async def test_an_event_lets_people_in_once_or_again_after_a_while(shop: Office) -> None:
    def bought(who: str) -> EventDraft:
        return EventDraft(customer=who, name="purchase")

    async def tell(who: str) -> None:
        await shop.hub.write(lambda c, context: events.record(c, context, bought(who)))
        shop.hub.topics.publish("campaigns")

    await tell("cy")  # before the start: of no concern
    await started(shop, triggered(event="purchase", again_after="30d"))
    old = EventDraft(customer="di", name="purchase", at=shop.clock.now - timedelta(days=365))
    await shop.hub.write(lambda c, context: events.record(c, context, old))
    await tell("ann")
    await sent(shop, "Hello ann")
    await tell("ann")
    await tell("bob")
    await sent(shop, "Hello ann", "Hello bob")
    await shop.advance(days=31)
    await tell("ann")
    await sent(shop, "Hello ann", "Hello ann", "Hello bob")
    assert (await now(shop)).state == "running"
    assert len(await shop.rows("recipient")) == 2


async def test_new_customers_are_welcomed(shop: Office) -> None:
    await started(shop, triggered(created=True))
    await shop.write("hello", sender="new")
    await shop.hub.write(
        lambda c, context: upsert(
            c, context, CustomerDraft(external_id="fay", identities=[IdentityDraft(address="paper:fay")])
        )
    )
    await shop.advance(seconds=6)
    await sent(shop, "Hello fay")
    assert [row.reason for row in await shop.rows("recipient", state="skipped")] == [
        "MISSING_VALUE: customer.external_id has no value (line 1); give one, or write | default: …"
    ]


async def test_a_dead_address_is_gone_around_before_anything_is_sent(both: Office) -> None:
    def dead(connection: sa.Connection, context: Any) -> None:
        consent.record(
            connection, "paper:ann", "bounced", channel=None, source="provider", evidence={}, at=context.now,
            now=context.now,
        )  # fmt: skip

    await both.hub.write(dead)
    await started(both, draft(**ANN))

    async def denied() -> bool:
        return [row.state for row in await both.rows("delivery", channel="paper")] == ["denied"]

    await until(denied)
    await both.advance(seconds=31)
    assert await ended(both) == {"sent": 1}
    assert (both.letters.handed, both.faxes.texts) == ([], ["Hello ann"])


async def test_a_closed_window_is_gone_around_by_the_next_channel(database_url: str, tmp_path: Path) -> None:
    async with office(database_url, tmp_path, window=timedelta(hours=24)) as shop:
        ann = CustomerDraft(
            external_id="ann", identities=[IdentityDraft(address="paper:ann"), IdentityDraft(address="fax:ann")]
        )
        await shop.hub.write(lambda c, context: upsert(c, context, ann))
        await started(shop, draft(**ANN))

        async def denied() -> bool:
            return [row.state for row in await shop.rows("delivery", channel="paper")] == ["denied"]

        await until(denied)
        await shop.advance(seconds=31)
        assert await ended(shop) == {"sent": 1}
        assert (shop.letters.handed, shop.faxes.texts) == ([], ["Hello ann"])


async def test_birthdays_come_every_year(shop: Office) -> None:
    born = CustomerDraft(external_id="ann", attributes={"birthday": "1990-03-04"})
    await shop.hub.write(lambda c, context: upsert(c, context, born))
    await started(shop, triggered(date="birthday", again_after="300d"))
    await shop.advance(days=1)
    assert shop.letters.texts == []
    await shop.advance(days=1)
    await sent(shop, "Hello ann")
    await shop.advance(days=1)
    await shop.advance(days=363)
    assert shop.letters.texts == ["Hello ann"]
    await shop.advance(days=1)
    await sent(shop, "Hello ann", "Hello ann")


async def test_birthdays_in_local_time_are_on_the_day_wherever_that_is(shop: Office) -> None:
    zones = {"ann": "Pacific/Kiritimati", "bob": "Europe/Berlin", "cy": "Pacific/Pago_Pago"}

    def move(connection: sa.Connection, context: Any) -> None:
        for name, zone in zones.items():
            born = {"birthday": "1990-03-04"}
            upsert(connection, context, CustomerDraft(external_id=name, time_zone=zone, attributes=born))

    await shop.hub.write(move)
    birthday = {"trigger": {"date": "birthday", "again_after": "300d"}}
    await started(shop, draft(audience=birthday, start="2026-03-02T09:00:00", local_time=True))
    await shop.advance(days=1, hours=8)

    async def found() -> bool:
        shop.hub.topics.publish("campaigns")
        return len(await shop.rows("recipient")) == 3

    assert not await found()
    await shop.advance(hours=1, seconds=1)  # 18:00 of the 3rd; on Kiritimati the 4th has come
    await until(found)
    due = {row.customer_id: row.due_at for row in await shop.rows("recipient")}
    local = {row.external_id: due[row.id].astimezone(ZoneInfo(row.time_zone)) for row in await shop.rows("customer")
             if row.id in due}  # fmt: skip
    assert {name: f"{at:%d %H:%M}" for name, at in local.items()} == dict.fromkeys(zones, "04 09:00")
    await shop.advance(hours=1)
    await sent(shop, "Hello ann")
    await shop.advance(hours=13)
    await sent(shop, "Hello ann", "Hello bob")
    await shop.advance(hours=12)
    await sent(shop, "Hello ann", "Hello bob", "Hello cy")


async def test_who_comes_into_a_segment_is_found_in_the_next_round(shop: Office) -> None:
    audience = {"segment": {"field": "tier", "is": "iron"}, "trigger": {"every": "1d"}}
    await started(shop, draft(audience=audience))

    async def over() -> bool:
        return (await now(shop)).planned_at is not None

    await until(over)  # the first round finds nobody
    await shop.advance(hours=1)
    iron = CustomerDraft(external_id="cy", tier="iron")
    await shop.hub.write(lambda c, context: upsert(c, context, iron))
    await shop.advance(hours=22)
    assert shop.letters.texts == []
    await shop.advance(hours=2)
    await sent(shop, "Hello cy")
    await shop.advance(days=2)
    assert shop.letters.texts == ["Hello cy"]
