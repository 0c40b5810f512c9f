"""The description of the API is true: complete, valid, and what answers look like."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator

from hub.web.api import ROUTES
from hub.web.api.openapi import document
from tests.rest import Api, api, operation

ELSEWHERE = ("campaigns", "segments", "events")  # used by tests of their own


@pytest.fixture
async def rest(sqlite_url: str, tmp_path: Path) -> AsyncIterator[Api]:
    async with api(sqlite_url, tmp_path) as client:
        yield client


async def test_it_is_served_without_a_key_and_is_valid(rest: Api) -> None:
    reply = await rest.get("/openapi.json", root="", token=None)
    assert (reply.status, reply.json["openapi"]) == (200, "3.1.0")
    assert list(OpenAPIV31SpecValidator(reply.json).iter_errors()) == []


async def test_it_lists_what_is_mounted_and_nothing_else(rest: Api) -> None:
    described = {
        (method.upper(), path)
        for path, operations in document(ROUTES)["paths"].items()
        for method in operations
    }
    runner = rest.office.hub._runner
    assert runner is not None
    mounted = {
        (route.method, route.resource.canonical)
        for route in runner.app.router.routes()
        if route.resource is not None and re.match(r"/(api/|openapi\.json)", route.resource.canonical)
    }
    assert mounted - {("HEAD", path) for _, path in described} == described


def test_every_operation_has_a_name_of_its_own() -> None:
    names = [each["operationId"] for path in document(ROUTES)["paths"].values() for each in path.values()]
    assert len(names) == len(set(names))


async def test_every_operation_can_be_used_and_answers_as_described(rest: Api) -> None:
    """What the answers look like is checked by the client, here and in all other tests."""
    await _use_everything(rest)
    used = {operation(method, f"/api/v1{path}") for method, path, _ in rest.calls}
    wanted = {(route.method, f"/api/v1{route.path}") for route in ROUTES if route.path.split("/")[1] not in ELSEWHERE}
    assert used == wanted


async def _use_everything(rest: Api) -> None:
    office = rest.office
    assert await office.post("paper", body=b"not json") == 200
    await office.write("hello", name="Ann")
    await rest.post("/customers", {"external_id": "7", "identities": [{"address": "fax:7", "proof": "verified"}]})
    await rest.post("/customers/batch", {"customers": [{"external_id": "7"}, {"external_id": "70"}]})
    await office.write("both", sender="8", channel="fax", also={"paper:ann": "verified"})
    sent = await rest.send(customer="paper:ann", text="hi", buttons=[{"id": "y", "title": "Yes"}])
    await rest.get(f"/messages/{sent.json['id']}")
    await rest.get("/messages/msg_0000000000000")
    people = (await rest.get("/customers?limit=1")).json
    assert people["next"]
    ann = (await rest.get("/customers/paper:ann")).json
    await rest.get(f"/customers/{ann['id']}/messages")
    [merged] = ann["merged"]
    await rest.post(f"/customers/{merged}/unmerge")
    conversation = f"/conversations/{sent.json['conversation']}"
    await rest.get("/conversations?state=pending")
    await rest.get(conversation)
    await rest.ask("PATCH", conversation, {"assignee": "Zoe", "state": "resolved"})
    await rest.post(f"{conversation}/notes", {"text": "regular"})
    await rest.post(f"{conversation}/links", {"channel": "fax"})
    await rest.post(f"{conversation}/seen", {"typing": True})
    await rest.get(f"{conversation}/messages?limit=1")
    await rest.post("/consent", {"address": "fax:9", "change": "opt_out"})
    await rest.get("/consent/fax:9")
    await rest.post("/consent/requests", {"address": "fax:10", "source": "shop", "evidence": "card 12"})
    await rest.get("/suppressions?limit=1")
    await rest.ask("DELETE", "/customers/7")
    key = (await rest.post("/keys", {"name": "other", "scopes": ["read"]})).json["key"]["id"]
    await rest.get("/keys")
    await rest.ask("DELETE", f"/keys/{key}")
    [kept] = (await rest.get("/quarantine")).json["items"]
    await rest.post("/replay", {"inbox_ids": [kept["inbox_id"], 999]})
    await rest.get("/alerts")
    await rest.get("/channels")
    await rest.post("/messages", {"text": 1}, key="wrong")
