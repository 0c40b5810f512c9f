"""Campaigns, segments and events over HTTP, as a script uses them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.paper import until
from tests.rest import Api, api

DRAFT: dict[str, Any] = {
    "name": "Spring",
    "purpose": "transactional",
    "audience": {"segment": {"field": "tier", "is": "gold"}},
    "channels": ["paper"],
    "messages": [{"text": "Hi {{ first }}, {{ customer.external_id }}"}],
    "variables": {"first": {"source": "customer.name", "fallback": "there"}},
}


@pytest.fixture
async def shop(database_url: str, tmp_path: Path) -> AsyncIterator[Api]:
    async with api(database_url, tmp_path) as client:
        for name, tier in (("ann", "gold"), ("bob", "gold"), ("cy", "basic")):
            draft = {"external_id": name, "tier": tier, "identities": [{"address": f"paper:{name}"}]}
            assert (await client.post("/customers", draft | ({"name": "Ann"} if name == "ann" else {}))).status == 201
        yield client


async def _ended(shop: Api, name: str = "Spring") -> dict[str, Any]:
    async def finished() -> bool:
        shop.office.hub.topics.publish("campaigns")
        return (await shop.get(f"/campaigns/{name}")).json["state"] == "finished"

    await until(finished)
    found: dict[str, Any] = (await shop.get(f"/campaigns/{name}/stats")).json
    return found


async def test_made_checked_started_and_accounted_for(shop: Api) -> None:
    made = await shop.post("/campaigns", DRAFT)
    assert (made.status, made.json["state"]) == (201, "draft")
    outlook = (await shop.get("/campaigns/Spring/check?limit=1")).json
    assert [(each["external_id"], each["verdict"], each["text"]) for each in outlook["items"]] == [
        ("ann", "allow", "Hi Ann, ann")
    ]
    following = (await shop.get(f"/campaigns/Spring/check?cursor={outlook['next']}")).json
    assert [each["text"] for each in following["items"]] == ["Hi there, bob"]
    assert following["next"] is None
    assert shop.office.letters.handed == []
    assert (await shop.post("/campaigns/Spring/start")).json["state"] == "running"
    stats = await _ended(shop)
    assert (stats["people"], stats["states"], stats["reasons"]) == (2, {"sent": 2}, {})
    people = (await shop.get(f"/campaigns/{made.json['id']}/people")).json["items"]
    assert [(each["external_id"], each["state"], each["address"]) for each in people] == [
        ("ann", "sent", "paper:ann"),
        ("bob", "sent", "paper:bob"),
    ]
    why = await shop.get(f"/messages/{people[0]['message']}")
    assert why.json["author"] == {"kind": "campaign", "name": "Spring"}
    assert [each["name"] for each in (await shop.get("/campaigns")).json["items"]] == ["Spring"]


async def test_a_list_is_handed_over_in_pieces(shop: Api) -> None:
    draft = DRAFT | {"audience": {"list": True}, "variables": {"first": {"required": True}}}
    assert (await shop.post("/campaigns", draft)).status == 201
    rows = [{"customer": "ann", "first": "A"}, {"customer": "cy"}, {"customer": "eve", "first": "E"}]
    added = (await shop.post("/campaigns/Spring/people", {"rows": rows})).json
    assert added == {"added": 2, "repeated": 0, "problems": [{"row": 2, "detail": "no customer is known as 'eve'"}]}
    await shop.post("/campaigns/Spring/start")
    stats = await _ended(shop)
    assert (stats["states"], stats["reasons"]) == ({"sent": 1, "skipped": 1}, {"MISSING_VALUE": 1})


async def test_paused_resumed_and_cancelled(shop: Api) -> None:
    await shop.post("/campaigns", DRAFT | {"start": "2026-03-02T10:00:00Z"})
    assert (await shop.post("/campaigns/Spring/pause", {})).problem == (409, "campaign_refused")
    await shop.post("/campaigns/Spring/start")
    paused = (await shop.post("/campaigns/Spring/pause", {"reason": "a typo"})).json
    assert (paused["state"], paused["reason"]) == ("paused", "a typo")
    assert (await shop.post("/campaigns/Spring/resume")).json["state"] == "running"
    assert (await shop.post("/campaigns/Spring/cancel")).json["state"] == "cancelled"
    assert (await shop.post("/campaigns/Spring/cancel")).problem == (409, "campaign_refused")
    await shop.office.advance(hours=2)
    assert shop.office.letters.handed == []


@pytest.mark.parametrize(
    ("change", "field", "detail"),
    [
        ({"messages": [{"text": "{{ code }}"}]}, "messages.0.text", "code is used but not declared"),
        ({"messages": [{"text": "{{ first"}]}, "messages.0.text", "expected"),
        ({"channels": ["pigeon"]}, "channels", "no channel to customers is called 'pigeon'"),
        ({"audience": {"segment": {"reach": "pigeon"}}}, "audience.segment", "no channel to customers"),
    ],
)
async def test_a_draft_that_cannot_work_is_refused_by_field(
    shop: Api, change: dict[str, Any], field: str, detail: str
) -> None:
    reply = await shop.post("/campaigns", DRAFT | change)
    assert reply.problem == (422, "campaign_refused")
    [error] = reply.json["errors"]
    assert error["field"] == field
    assert detail in error["detail"]


async def test_unknown_campaigns_and_repeated_names(shop: Api) -> None:
    assert (await shop.get("/campaigns/Winter")).problem == (404, "not_found")
    first = await shop.post("/campaigns", DRAFT, key="once")
    assert (await shop.post("/campaigns", DRAFT, key="once")).json == first.json
    assert (await shop.post("/campaigns", DRAFT)).problem == (422, "campaign_refused")


async def test_segments_are_saved_counted_used_and_forgotten(shop: Api) -> None:
    gold = {"name": "gold", "filter": {"field": "tier", "is": "gold"}}
    assert (await shop.post("/segments", gold)).json["filter"] == gold["filter"]
    counted = (await shop.post("/segments/count", {"filter": {"not": {"segment": "gold"}}})).json
    assert counted == {"customers": 1, "reach": {"fax": 0, "paper": 1}}
    assert [each["name"] for each in (await shop.get("/segments")).json["items"]] == ["gold"]
    assert (await shop.post("/segments/count", {"filter": {"segment": "x"}})).problem == (422, "filter_refused")
    assert (await shop.post("/campaigns", DRAFT | {"audience": {"segment": {"segment": "gold"}}})).status == 201
    assert (await shop.ask("DELETE", "/segments/gold")).problem == (409, "segment_in_use")
    assert (await shop.ask("DELETE", f"/campaigns/{DRAFT['name']}")).status == 200
    assert (await shop.ask("DELETE", "/segments/gold")).status == 200
    assert (await shop.ask("DELETE", "/segments/gold")).problem == (404, "not_found")


async def test_events_are_told_once(shop: Api) -> None:
    bought = {"customer": "ann", "name": "purchase", "external_id": "order-7", "properties": {"total": 12.5}}
    assert (await shop.post("/events", bought)).json["recorded"] is True
    assert (await shop.post("/events", bought)).json["recorded"] is False
    counted = (await shop.post("/segments/count", {"filter": {"event": "purchase"}})).json
    assert counted["customers"] == 1
    for other in ({"name": "refund"}, {"customer": "bob"}):
        assert (await shop.post("/events", bought | other)).problem == (409, "event_taken")
    for at in ("2020", 2020, "1600000000.5"):
        assert (await shop.post("/events", bought | {"external_id": "9", "at": at})).problem == (422, "invalid_body")
    dated = bought | {"external_id": "9", "at": "2026-01-31T12:00:00Z"}
    assert (await shop.post("/events", dated)).json["recorded"] is True
    unknown = await shop.post("/events", bought | {"customer": "eve", "external_id": "8"})
    assert unknown.problem == (422, "unknown_customer")
