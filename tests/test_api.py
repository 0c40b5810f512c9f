"""The API as a whole: who may ask, what a request must look like, how a refusal reads, what a key stands for."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.rest import Api, api

SENDABLE = {"customer": "paper:ann", "text": "Your parcel is on its way."}


@pytest.fixture
async def rest(database_url: str, tmp_path: Path) -> AsyncIterator[Api]:
    async with api(database_url, tmp_path) as client:
        yield client


async def test_a_message_is_taken_sent_and_explained(rest: Api) -> None:
    reply = await rest.send(**SENDABLE)
    assert reply.status == 202
    assert reply.headers["location"] == f"/api/v1/messages/{reply.json['id']}"
    assert rest.office.letters.texts == ["Your parcel is on its way."]
    found = await rest.ask("GET", reply.headers["location"], root="")
    assert found.json["state"] == "sent"
    [delivery] = [each for each in found.json["deliveries"] if each["kind"] == "contact"]
    assert (delivery["id"], delivery["channel"]) == (reply.json["delivery"], "paper")
    assert [each["verdict"] for each in delivery["decisions"]] == ["allow"]
    assert [each["outcome"] for each in delivery["attempts"]] == ["sent"]
    assert [each["external_id"] for each in delivery["receipts"]] == ["paper-1"]
    by_delivery = await rest.get(f"/messages/{reply.json['delivery']}")
    assert by_delivery.json == found.json


# --- one key, one effect ---


async def test_25_requests_at_once_with_one_key_are_one_message(rest: Api) -> None:
    replies = await asyncio.gather(*(rest.post("/messages", SENDABLE, key="same") for _ in range(25)))
    await rest.office.settled()
    assert {reply.status for reply in replies} == {202}
    assert len({reply.text for reply in replies}) == 1
    assert len({reply.headers["location"] for reply in replies}) == 1
    assert len(await rest.office.rows("message")) == 1
    assert rest.office.letters.texts == [SENDABLE["text"]]


async def test_25_requests_at_once_with_their_own_keys_to_a_stranger_are_25_messages_to_one_customer(
    rest: Api,
) -> None:
    replies = await asyncio.gather(*(rest.post("/messages", SENDABLE, key=f"key-{n}") for n in range(25)))
    await rest.office.settled()
    assert [reply.status for reply in replies] == [202] * 25
    assert len(rest.office.letters.accepted) == 25
    assert len(await rest.office.rows("customer")) == 1
    assert len(await rest.office.rows("conversation")) == 1
