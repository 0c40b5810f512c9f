"""`hub consent show` tells what is, or was, decided."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from datetime import datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from hub import consent, customers, erasure, identity, sending
from hub.customers import CustomerDraft, IdentityDraft
from hub.policy.ledger import Event, Scope
from hub.web.ledger import ShowQuery, show
from tests.paper import Office, office

ANN, BOB = "paper:ann", "paper:bob"


@pytest.fixture
async def desk(database_url: str, tmp_path: Path) -> AsyncIterator[Office]:
    async with office(database_url, tmp_path) as running:
        await running.write("hello", sender="ann")
        await running.write("hello", sender="bob")
        yield running


async def shown(desk: Office, at: datetime | None = None) -> dict[str, str]:
    """By purpose, what becomes of a message to Ann."""
    call: Any = SimpleNamespace(hub=desk.hub, path={"who": ANN}, query=ShowQuery(at=at))
    found = json.loads((await show(call)).body)["standing"]  # type: ignore[arg-type]  # there is a body
    return {each["purpose"]: each["reason"] for each in found if each["address"] == ANN}


async def decided(desk: Office, purpose: Any = "marketing") -> str:
    draft = sending.Draft(customer=ANN, text="Sale!", purpose=purpose)
    await desk.hub.write(lambda connection, context: sending.accept(connection, context, draft, "me"))
    await desk.settled()
    return (await desk.rows("delivery", kind="contact"))[-1].code or "OK"


async def add(desk: Office, entry: Event) -> None:
    await desk.hub.write(
        lambda connection, context: consent.append(
            connection, entry, change="opt_out", channel=None, source="page", now=context.now
        )
    )


def grant(desk: Office) -> Event:
    return Event("grant", desk.clock.now, ANN, scope=Scope("paper", "marketing"), basis="express")


async def number(desk: Office, address: str) -> int:
    found = await desk.hub.store.read(lambda connection: customers.find(connection, address))
    assert found is not None
    return found


async def test_the_country_of_the_profile_counts(desk: Office) -> None:
    await add(desk, grant(desk))
    assert (await shown(desk))["marketing"] == await decided(desk) == "OK"
    ann = CustomerDraft(external_id="7", country="DE", identities=[IdentityDraft(address=ANN, proof="verified")])
    await desk.hub.write(lambda connection, context: customers.upsert(connection, context, ann))
    assert (await shown(desk))["marketing"] == await decided(desk) == "CONSENT_INSUFFICIENT"


async def test_so_does_an_erasure(desk: Office) -> None:
    ann = await number(desk, ANN)
    await desk.hub.write(lambda connection, context: erasure.erase(connection, context, ann))
    assert set((await shown(desk)).values()) == {"SUPP_ERASED"}
    await desk.write("hello again", sender="ann")
    assert (await shown(desk))["reply"] == await decided(desk, "reply") == "OK"
    assert (await shown(desk))["marketing"] == await decided(desk) == "SUPP_ERASED"


async def test_before_a_merge_the_other_ones_no_did_not_count(desk: Office) -> None:
    await add(desk, grant(desk))
    ann, bob = await number(desk, ANN), await number(desk, BOB)
    await add(desk, Event("object", desk.clock.now, consent.person(bob), scope=Scope(purpose="marketing")))
    moments = [desk.clock.now]

    async def later(work: Any) -> None:
        await desk.advance(minutes=5)
        await desk.hub.write(work)
        await desk.advance(minutes=5)
        moments.append(desk.clock.now)

    await later(lambda connection, context: identity.merge(connection, context, ann, bob, "the same"))
    assert (await shown(desk))["marketing"] == await decided(desk) == "CONSENT_REVOKED"
    await later(lambda connection, context: identity.unmerge(connection, context, bob))
    assert (await shown(desk))["marketing"] == await decided(desk) == "OK"
    assert [(await shown(desk, at))["marketing"] for at in moments] == ["OK", "CONSENT_REVOKED", "OK"]


async def test_nor_did_it_for_an_address_that_had_not_come_over(desk: Office) -> None:
    """The one that is asked about is of whom was merged away."""
    ann, bob = await number(desk, ANN), await number(desk, BOB)
    await add(desk, grant(desk))
    await add(desk, Event("object", desk.clock.now, consent.person(bob), scope=Scope(purpose="marketing")))
    before = desk.clock.now
    await desk.advance(minutes=5)
    await desk.hub.write(lambda connection, context: identity.merge(connection, context, bob, ann, "the same"))
    await desk.advance(minutes=5)
    assert (await shown(desk))["marketing"] == "CONSENT_REVOKED"
    assert (await shown(desk, before))["marketing"] == "OK"
