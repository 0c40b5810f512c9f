"""Segments on both databases: who is found by which filter."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from hub import consent, customers, identity, segments
from hub.campaigns import engine
from hub.campaigns.draft import read
from hub.customers import CustomerDraft, IdentityDraft, upsert
from hub.segments import SegmentError
from hub.store.bulk import insert_many
from hub.store.schema import customer, customer_event
from tests.paper import Office, office

PEOPLE: dict[str, dict[str, Any]] = {
    "ann": {
        "tier": "gold",
        "country": "AT",
        "attributes": {"city": "Wien", "spent": 120.5, "vip": True, "tags": ["a"]},
    },
    "bob": {"tier": "gold", "country": "DE", "attributes": {"city": "Wiener Neustadt", "spent": 9, "vip": False}},
    "cy": {"tier": "basic", "country": "AT", "attributes": {"spent": "much", "tags": ["a", "b"], 'odd "name': "x"}},
    "di": {"attributes": {"joined": "2026-01-15", "city": None}},
}


@pytest.fixture
async def shop(database_url: str, tmp_path: Path) -> AsyncIterator[Office]:
    """Four customers; di has a fax, the others paper; ann bought twice, bob long ago."""
    async with office(database_url, tmp_path) as running:

        def fill(connection: sa.Connection, context: Any) -> None:
            for name, each in PEOPLE.items():
                addresses = [IdentityDraft(address=f"{'fax' if name == 'di' else 'paper'}:{name}")]
                draft = CustomerDraft(external_id=name, name=name.title(), identities=addresses, **each)
                number, *_ = upsert(connection, context, draft)
                days = {"ann": (1, 40), "bob": (400,)}.get(name, ())
                rows = [
                    {"customer_id": number, "name": "purchase", "at": context.now - timedelta(days=each)}
                    for each in days
                ]
                insert_many(connection, customer_event, rows)

        await running.hub.write(fill)
        yield running


async def found(shop: Office, value: Any, **more: Any) -> set[str]:
    filter_ = segments.parse(value)
    assert segments.parse(json.loads(json.dumps(segments.plain(filter_)))) == filter_

    def work(connection: sa.Connection) -> tuple[list[int], int, dict[int, str]]:
        context = shop.hub.context()
        names = {row.id: row.external_id for row in connection.execute(sa.select(customer))}
        people = segments.people(connection, context, filter_, **more)
        return people, segments.count(connection, context, filter_), names

    people, number, names = await shop.hub.store.read(work)
    assert people == sorted(people)
    if not more:
        assert number == len(people)
    return {names[each] for each in people}


@pytest.mark.parametrize(
    ("value", "names"),
    [
        ({"all": []}, "ann bob cy di"),
        ({"field": "tier", "is": "gold"}, "ann bob"),
        ({"not": {"field": "tier", "is": "gold"}}, "cy di"),
        ({"field": "tier", "exists": False}, "di"),
        ({"field": "country", "in": ["AT", "CH"]}, "ann cy"),
        ({"field": "name", "contains": "N"}, "ann"),
        ({"field": "attributes.city", "contains": "wien"}, "ann bob"),
        ({"field": "attributes.city", "is": "Wien"}, "ann"),
        ({"field": "attributes.city", "contains": "%"}, ""),
        ({"field": "attributes.joined", "ends": "-01-15"}, "di"),
        ({"field": "attributes.vip", "is": True}, "ann"),
        ({"field": "attributes.vip", "is": False}, "bob"),
        ({"field": "attributes.spent", "at_least": 9}, "ann bob"),
        ({"field": "attributes.spent", "at_least": 9.5, "at_most": 200}, "ann"),
        ({"field": "attributes.spent", "is": 9}, "bob"),
        ({"field": "attributes.joined", "at_least": "2026-01-01", "at_most": "2026-01-31"}, "di"),
        ({"field": 'attributes.odd "name', "is": "x"}, "cy"),
        ({"field": "attributes.x' OR 1=1 --", "is": "x"}, ""),
        ({"field": "created_at", "at_least": "2020-01-01T00:00:00Z"}, "ann bob cy di"),
        ({"tag": "a"}, "ann cy"),
        ({"tag": "b"}, "cy"),
        ({"reach": "paper"}, "ann bob cy"),
        ({"reach": "fax"}, "di"),
        ({"event": "purchase"}, "ann bob"),
        ({"event": "purchase", "within": "30d"}, "ann"),
        ({"event": "purchase", "at_least": 2}, "ann"),
        ({"event": "purchase", "at_most": 1}, "bob cy di"),
        ({"event": "purchase", "within": "60d", "at_most": 0}, "bob cy di"),
        ({"active": "30d"}, ""),
        ({"any": [{"tag": "b"}, {"all": [{"tag": "a"}, {"field": "tier", "is": "gold"}]}]}, "ann cy"),
    ],
    ids=json.dumps,
)
async def test_who_is_found(shop: Office, value: Any, names: str) -> None:
    assert await found(shop, value) == set(names.split())


async def test_who_wrote_lately_is_active(shop: Office) -> None:
    await shop.write("hello", sender="ann")
    assert await found(shop, {"active": "1h"}) == {"ann"}
    await shop.advance(hours=2)
    assert await found(shop, {"active": "1h"}) == set()
    assert await found(shop, {"not": {"active": "1h"}}) == {"ann", "bob", "cy", "di"}


async def test_what_the_merged_did_counts_for_whom_they_are_one_with(shop: Office) -> None:
    def join(connection: sa.Connection, context: Any) -> None:
        bob, cy = (customers.find(connection, f"paper:{name}") for name in ("bob", "cy"))
        assert bob is not None and cy is not None
        identity.merge(connection, context, cy, bob, "the same person")

    await shop.hub.write(join)
    assert await found(shop, {"event": "purchase"}) == {"ann", "cy"}
    assert await found(shop, {"event": "purchase", "at_most": 0}) == {"di"}
    assert await found(shop, {"event": "purchase", "at_most": 1}) == {"cy", "di"}


async def test_pages_go_on_where_the_last_one_ended(shop: Office) -> None:
    assert len(await found(shop, {"all": []}, limit=3)) == 3
    first = (await shop.rows("customer"))[0]
    assert await found(shop, {"all": []}, after=first.id) == {"bob", "cy", "di"}


async def test_saved_segments_are_put_in_their_place_and_contain_no_circle(shop: Office) -> None:
    async def save(name: str, value: Any) -> None:
        await shop.hub.write(lambda c, context: segments.save(c, context, name, segments.parse(value)))

    await save("gold", {"field": "tier", "is": "gold"})
    await save("gold in Austria", {"all": [{"segment": "gold"}, {"field": "country", "is": "AT"}]})
    assert await found(shop, {"segment": "gold in Austria"}) == {"ann"}
    await save("gold", {"field": "tier", "is": "basic"})
    assert await found(shop, {"segment": "gold in Austria"}) == {"cy"}
    with pytest.raises(SegmentError, match="contains itself"):
        await save("gold", {"not": {"segment": "gold in Austria"}})
    with pytest.raises(SegmentError, match="no segment is called 'silver'"):
        await found(shop, {"segment": "silver"})
    assert set(await shop.hub.store.read(segments.saved)) == {"gold", "gold in Austria"}
    assert await shop.hub.write(lambda c, _: segments.remove(c, "gold in Austria"))
    assert not await shop.hub.write(lambda c, _: segments.remove(c, "gold in Austria"))


async def test_what_is_in_use_is_not_deleted(shop: Office) -> None:
    def save(connection: sa.Connection, context: Any) -> None:
        segments.save(connection, context, "gold", segments.parse({"field": "tier", "is": "gold"}))
        segments.save(connection, context, "old gold", segments.parse({"not": {"segment": "gold"}}))
        values = {"name": "Spring", "audience": {"segment": {"all": [{"segment": "gold"}]}}, "channels": ["paper"]}
        engine.create(connection, context, read(values | {"messages": [{"text": "x"}]}))

    await shop.hub.write(save)
    with pytest.raises(SegmentError, match="'gold' is used by segment 'old gold', campaign 'Spring'; end or change"):
        await shop.hub.write(lambda c, _: segments.remove(c, "gold"))

    def end(connection: sa.Connection, context: Any) -> None:
        made = engine.get(connection, "Spring")
        assert made is not None
        engine.cancel(connection, context, made)
        assert segments.remove(connection, "old gold")
        assert segments.remove(connection, "gold")

    await shop.hub.write(end)


@pytest.mark.parametrize(
    ("value", "complaint"),
    [
        ({}, "exactly one of these keys"),
        ({"tag": "a", "reach": "paper"}, "exactly one of these keys"),
        ({"field": "shoe", "is": 1}, "no such field: 'shoe'"),
        ({"field": "tier"}, "give one of: is, in"),
        ({"field": "tier", "is": "a", "in": ["b"]}, "give one of: is, in"),
        ({"active": "soon"}, "not a duration"),
        ({"event": "purchase", "at_least": 3, "at_most": 2}, "at_most is below at_least"),
        ({"tag": "a", "colour": 1}, "Extra inputs"),
        ([], "valid dictionary"),
        ({"any": []}, "at least 1 item"),
    ],
    ids=json.dumps,
)
def test_mistakes_in_a_filter_are_told(value: Any, complaint: str) -> None:
    with pytest.raises(SegmentError, match=complaint):
        segments.parse(value)


def test_a_filter_has_an_end() -> None:
    nested: Any = {"tag": "a"}
    for _ in range(12):
        nested = {"not": nested}
    for value in (nested, {"all": [{"any": [{"tag": "a"}] * 15}] * 15}):
        with pytest.raises(SegmentError, match="too large"):
            segments.parse(value)


async def test_what_is_nested_as_deep_as_may_be_can_be_asked(shop: Office) -> None:
    """Databases have limits of their own; these are reached before."""

    async def keep(name: str, value: Any) -> None:
        filter_ = segments.parse(value)
        await shop.hub.write(lambda connection, context: segments.save(connection, context, name, filter_))

    await keep("half", nots(9, {"tag": "a"}))
    assert await found(shop, nots(9, {"segment": "half"})) == {"ann", "cy"}
    await keep("most", nots(9, {"segment": "half"}))
    assert await found(shop, nots(1, {"segment": "most"})) == {"bob", "di"}
    with pytest.raises(SegmentError, match="too large with the segments that are in it"):
        await keep("more", nots(2, {"segment": "most"}))
    assert await found(shop, {"all": [{"tag": "a"}] * 199}) == {"ann", "cy"}


def nots(times: int, value: Any) -> Any:
    return {"not": nots(times - 1, value)} if times else value


async def test_segments_within_segments_have_an_end(shop: Office) -> None:
    """Each holds the one before many times, so that the last one would be endless."""

    def keep(connection: sa.Connection, context: Any) -> None:
        segments.save(connection, context, "s0", segments.parse({"any": [{"tag": str(n)} for n in range(19)]}))
        segments.save(connection, context, "s1", segments.parse({"any": [{"segment": "s0"}] * 9}))
        segments.save(connection, context, "s2", segments.parse({"any": [{"segment": "s1"}] * 2}))

    with pytest.raises(SegmentError, match="too large with the segments that are in it"):
        await shop.hub.write(keep)


async def test_a_filter_that_was_not_parsed_has_an_end_too(shop: Office) -> None:
    """As the API hands it over."""
    wide = segments.Any_(any=[segments.Any_(any=[segments.Tagged(tag=str(n)) for n in range(100)])] * 3)
    for work in (segments.count, lambda *given: segments.save(*given[:2], "wide", given[2])):
        with pytest.raises(SegmentError, match="too large: at most 200 conditions"):
            await shop.hub.write(lambda connection, context, work=work: work(connection, context, wide))


async def test_unknown_channels_and_instants_are_told(shop: Office) -> None:
    with pytest.raises(SegmentError, match="no channel to customers is called 'board'; there are: paper, fax"):
        await found(shop, {"reach": "board"})
    with pytest.raises(SegmentError, match="is no instant"):
        await found(shop, {"field": "created_at", "at_least": "yesterday"})


async def test_a_query_that_takes_too_long_is_given_up(shop: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    def many(connection: sa.Connection, context: Any) -> None:
        rows = [{"id": context.ids(), "created_at": context.now, "attributes": '{"a": "1"}'} for _ in range(3000)]
        insert_many(connection, customer, rows)

    await shop.hub.write(many)
    monkeypatch.setattr(segments, "_SECONDS", 0.001)
    monkeypatch.setattr(segments, "_SQLITE_STEPS", 1)
    with pytest.raises(SegmentError, match="takes more than"):
        await found(shop, {"all": [{"not": {"field": "attributes.a", "contains": "x"}}] * 50})
    assert await shop.hub.store.read(lambda connection: connection.execute(sa.text("SELECT 1")).scalar_one()) == 1


async def test_what_was_said_last_on_consent(shop: Office) -> None:
    def say(connection: sa.Connection, context: Any) -> None:
        known = {"channel": None, "source": "api", "evidence": {}, "at": context.now, "now": context.now}
        consent.record(connection, "paper:ann", "opt_out", **known)
        consent.record(connection, "paper:ann", "opt_in", covers="marketing", **known)
        consent.record(connection, "paper:bob", "opt_in", **known)
        consent.record(connection, "paper:bob", "opt_out", **known)

    await shop.hub.write(say)
    assert await found(shop, {"consent": "opt_in"}) == {"ann"}
    assert await found(shop, {"consent": "opt_out"}) == {"bob"}
    assert await found(shop, {"consent": "none"}) == {"cy", "di"}
    assert await found(shop, {"consent": "opt_in", "on": "fax"}) == set()
    assert await found(shop, {"all": [{"consent": "none", "on": "paper"}, {"field": "tier", "exists": True}]}) == {"cy"}
    assert await found(shop, {"not": {"consent": "opt_in", "on": "paper"}}) == {"bob", "cy", "di"}
    with pytest.raises(SegmentError, match="no channel to customers is called 'pigeon'"):
        await found(shop, {"consent": "opt_in", "on": "pigeon"})
    with pytest.raises(SegmentError):
        segments.parse({"consent": "maybe"})
