"""Many customers at once: what ``customers.upsert`` does for one, for a batch in a few statements."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection

from hub import customers, identity, tombstones
from hub.context import Context
from hub.customers import CustomerDraft
from hub.identity import Known
from hub.model import Address, Party, Proof
from hub.store.base import chunks
from hub.store.bulk import update_many
from hub.store.schema import customer

Saved = tuple[int, bool, list[str]]  # as of customers.upsert
_PLAIN = ("name", "locale", "time_zone", "country", "tier")


@dataclass(slots=True)
class _Facts:
    """What is known of those whom the drafts speak of."""

    customers: dict[str, Any]  # by external id: the row that stands for them
    identities: dict[str, Known]  # by address
    buried: set[str]


@dataclass(slots=True)
class _Rows:
    """What is to be written."""

    customers: list[dict[str, Any]] = field(default_factory=list)
    identities: list[dict[str, Any]] = field(default_factory=list)
    changes: list[dict[str, Any]] = field(default_factory=list)


def upsert_many(
    connection: Connection, context: Context, drafts: Sequence[CustomerDraft], *, keep: bool = False
) -> list[Saved]:
    """Each draft's customer, in their order, as if they came one by one.

    What may join customers, or speaks of somebody that another draft of the batch speaks of, does come one by one.
    """
    alone = _alone(drafts)
    done: list[Saved] = []
    while len(done) < len(drafts):
        rest = drafts[len(done) :]
        facts = _facts(connection, context, rest)
        rows = _Rows()
        for place, draft in enumerate(rest, len(done)):
            if place not in alone or _may_join(draft, facts):
                break
            done.append(_one(context, draft, facts, rows, keep))
        _write(connection, rows)
        if len(done) < len(drafts):
            done.append(customers.upsert(connection, context, drafts[len(done)], keep=keep))
    return done


def _alone(drafts: Sequence[CustomerDraft]) -> set[int]:
    """Places of drafts that share neither id nor address with another one."""
    names = [_names(draft) for draft in drafts]
    count = Counter(name for some in names for name in some)
    return {place for place, some in enumerate(names) if all(count[name] == 1 for name in some)}


def _names(draft: CustomerDraft) -> list[str]:
    addresses = [f"address {each.address}" for each in draft.identities]
    return addresses if draft.external_id is None else [*addresses, f"id {draft.external_id}"]


def _facts(connection: Connection, context: Context, drafts: Sequence[CustomerDraft]) -> _Facts:
    addresses = [each.address for draft in drafts for each in draft.identities]
    return _Facts(
        _by_external_id(connection, [draft.external_id for draft in drafts if draft.external_id is not None]),
        identity.find(connection, addresses),
        set(tombstones.buried(connection, context.secret, addresses)),
    )


def _by_external_id(connection: Connection, names: Iterable[str]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for some in chunks(names):
        # In the order of their ids, so that two imports at the same time do not wait for each other.
        query = sa.select(customer).where(customer.c.external_id.in_(some)).order_by(customer.c.id)
        for row in connection.execute(query.with_for_update()):
            found[row.external_id] = row if row.merged_into is None else row.merged_into
    stand = {each for each in found.values() if isinstance(each, int)}
    for numbers in chunks(stand):
        query = sa.select(customer).where(customer.c.id.in_(numbers)).order_by(customer.c.id)
        rows = {row.id: row for row in connection.execute(query.with_for_update())}
        found |= {name: rows[number] for name, number in found.items() if isinstance(number, int) and number in rows}
    return found


def _may_join(draft: CustomerDraft, facts: _Facts) -> bool:
    """Whether a proven address says more than the draft alone: it may be of a customer that is known already."""
    known = facts.customers.get(draft.external_id or "")
    for each in draft.identities:
        found = facts.identities.get(each.address)
        if found is None or each.proof == Proof.claimed:
            continue
        if known is None or found.customer_id != known.id or found.proof is Proof.claimed:
            return True
    return False


def _one(context: Context, draft: CustomerDraft, facts: _Facts, rows: _Rows, keep: bool) -> Saved:
    known = facts.customers.get(draft.external_id or "")
    if known is None:
        number = context.ids()
        new: dict[str, Any] = {"id": number, "external_id": draft.external_id, "created_at": context.now}
        new |= {name: getattr(draft, name) for name in _PLAIN}
        rows.customers.append(new | {"attributes": _attributes(draft, {}, keep)})
    else:
        number = known.id
        given = {name for name in _PLAIN if name in draft.model_fields_set}
        change = {name: getattr(draft if name in given else known, name) for name in _PLAIN}
        before = json.loads(known.attributes)
        attributes = known.attributes if draft.attributes is None else _attributes(draft, before, keep)
        rows.changes.append({"id": number, **change, "attributes": attributes})
    refused = []
    for each in draft.identities:
        owner = facts.identities.get(each.address)
        if each.address in facts.buried or (owner is not None and owner.customer_id != number):
            refused.append(each.address)
        elif owner is None:
            address = Address.parse(each.address)
            party = Party(address.scheme, address.value, each.name or draft.name, Proof(each.proof))
            rows.identities.append(identity.new_identity(context, number, party))
    return number, known is None, refused


def _attributes(draft: CustomerDraft, before: dict[str, Any], keep: bool) -> str:
    said = (before if keep else {}) | (draft.attributes or {})
    kept = {name: value for name, value in said.items() if value is not None or not keep}
    return json.dumps(kept, ensure_ascii=False)


def _write(connection: Connection, rows: _Rows) -> None:
    identity.insert(connection, rows.customers, rows.identities)
    update_many(connection, customer, "id", rows.changes)
