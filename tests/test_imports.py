"""Customers of a batch come to the same as one by one, in a few statements."""

from __future__ import annotations

import json
import random
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from hub import customers, imports, tombstones
from hub.customers import CustomerDraft, IdentityDraft
from hub.store.schema import customer, identity, link
from tests.paper import Office, office

NAMES = [None, *(f"id{number}" for number in range(9))]
ADDRESSES = [f"paper:a{number}" for number in range(12)]
ERASED = "paper:a11"


@pytest.fixture
async def shop(database_url: str, tmp_path: Path) -> AsyncIterator[Office]:
    async with office(database_url, tmp_path) as running:
        yield running


class _Undo(Exception):
    def __init__(self, outcome: Any) -> None:
        self.outcome = outcome


def _draft(chance: random.Random) -> CustomerDraft:
    given: dict[str, Any] = {"external_id": chance.choice(NAMES)}
    for name, values in (("name", ["Ann", "Bo", None]), ("tier", ["gold", None]), ("locale", ["en", "sv"])):
        if chance.random() < 0.5:
            given[name] = chance.choice(values)
    if chance.random() < 0.5:
        given["attributes"] = {
            each: chance.choice([1, "x", None]) for each in chance.sample("pqr", chance.randint(0, 3))
        }
    given["identities"] = [
        IdentityDraft(address=each, proof=chance.choice(["claimed", "claimed", "verified"]))
        for each in chance.sample(ADDRESSES, chance.choice([0, 1, 1, 2]))
    ]
    return CustomerDraft(**given)


def _told(connection: sa.Connection, saved: list[imports.Saved]) -> Any:
    """Everything that is stored, with ranks in place of ids: those differ from run to run."""
    people = connection.execute(sa.select(customer).order_by(customer.c.id)).all()
    rank = {row.id: place for place, row in enumerate(people)}
    known = [
        (rank[row.id], row.external_id, row.name, row.tier, row.locale, json.loads(row.attributes),
         rank.get(row.merged_into))
        for row in people
    ]  # fmt: skip
    reached = sorted(
        (row.address, rank[row.customer_id], row.proof, row.name) for row in connection.execute(sa.select(identity))
    )
    joined = sorted(
        (row.kind, rank[row.from_customer], rank[row.to_customer]) for row in connection.execute(sa.select(link))
    )
    return known, reached, joined, [(rank[number], is_new, refused) for number, is_new, refused in saved]


@pytest.mark.parametrize("keep", [True, False])
async def test_a_batch_comes_to_the_same_as_one_by_one(shop: Office, keep: bool) -> None:
    chance = random.Random(7)
    for _ in range(25):
        before = [_draft(chance) for _ in range(6)]
        batch = [_draft(chance) for _ in range(chance.randint(1, 12))]

        def run(connection: sa.Connection, context: Any, *, at_once: bool) -> None:
            for each in before:  # noqa: B023 - it runs within this turn
                customers.upsert(connection, context, each)
            tombstones.bury(connection, context.secret, [ERASED], context.now)
            if at_once:
                saved = imports.upsert_many(connection, context, batch, keep=keep)  # noqa: B023 - in this round
            else:
                saved = [customers.upsert(connection, context, each, keep=keep) for each in batch]  # noqa: B023 - in this round
            raise _Undo(_told(connection, saved))

        outcomes = []
        for at_once in (False, True):
            with pytest.raises(_Undo) as undone:
                await shop.hub.write(lambda c, context: run(c, context, at_once=at_once))  # noqa: B023 - in this round
            outcomes.append(undone.value.outcome)
        assert outcomes[0] == outcomes[1], [each.model_dump(exclude_unset=True) for each in batch]


async def test_a_batch_of_hundreds_takes_a_handful_of_statements(shop: Office) -> None:
    drafts = [
        CustomerDraft(external_id=f"x{number}", name="Ann", attributes={"n": number},
                      identities=[IdentityDraft(address=f"paper:x{number}", proof="verified")])
        for number in range(400)
    ]  # fmt: skip
    seen: list[str] = []
    for is_new in (True, False):

        def work(connection: sa.Connection, context: Any) -> list[imports.Saved]:
            def note(*given: Any) -> None:
                seen.append(given[2])

            sa.event.listen(connection, "before_cursor_execute", note)
            try:
                return imports.upsert_many(connection, context, drafts)
            finally:
                sa.event.remove(connection, "before_cursor_execute", note)

        saved = await shop.hub.write(work)
        assert [each[1:] for each in saved] == [(is_new, [])] * len(drafts)
    assert 0 < len(seen) < 15, seen


async def test_people_of_a_list_are_found_by_any_of_their_names(shop: Office) -> None:
    def work(connection: sa.Connection, context: Any) -> None:
        draft = CustomerDraft(external_id="ann", identities=[IdentityDraft(address="tel:+447900900123")])
        number, _, _ = customers.upsert(connection, context, draft)
        public = customers.view(connection, number)
        assert public is not None
        names = [public.id, "ann", "tel:+44 7900 900123", "bob", "tel:nonsense", "cus_0000000000000"]
        alone = {name: found for name in names if (found := customers.find(connection, name)) is not None}
        assert customers.find_many(connection, names) == alone == dict.fromkeys(names[:3], number)

    await shop.hub.write(work)
