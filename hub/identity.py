"""Who wrote: addresses belong to customers. Proven addresses join; claimed ones never do. Every join can be undone."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection

from hub import conversations, deliveries
from hub.context import Context
from hub.model import Address, Party, Proof, public_id
from hub.store.bulk import insert_many, select_many
from hub.store.schema import conversation, customer, identity, link

_SAME = "This customer is the same person as another one"
_KNOWN = ("id", "address", "customer_id", "proof", "name")
_PROOFS = {str(each): each for each in Proof}  # to call an enumeration takes ten times as long
READABLE = ("tel", "mailto")  # schemes of addresses that people know by heart


@dataclass(slots=True)
class Known:
    """An identity row."""

    id: int
    address: str
    customer_id: int
    proof: Proof
    name: str | None


def nickname(scheme: str, value: str) -> str:
    """What to call a customer who has no name: a number or mail address, else ``Customer 9f2c``."""
    return value if scheme in READABLE else f"Customer {value[-4:]}"


def called(party: Party, known: Known | None) -> str:
    """Their name, as they or we have it, or what stands in for one."""
    return party.name or (known.name if known else None) or nickname(party.scheme, party.value)


def find(connection: Connection, addresses: Iterable[str]) -> dict[str, Known]:
    rows = select_many(connection, identity, _KNOWN, "address", addresses)
    return {row[1]: Known(row[0], row[1], row[2], _PROOFS[row[3]], row[4]) for row in rows}


def new_customer(context: Context, name: str | None) -> dict[str, Any]:
    """The row of a customer about whom nothing is known but a name."""
    return {"id": context.ids(), "name": name, "created_at": context.now, "attributes": "{}"}


def new_identity(context: Context, customer_id: int, party: Party) -> dict[str, Any]:
    return {
        "id": context.ids(),
        "address": str(party.address),
        "customer_id": customer_id,
        "proof": str(party.proof),
        "name": party.name,
        "created_at": context.now,
    }


def insert(connection: Connection, customers: list[dict[str, Any]], identities: list[dict[str, Any]]) -> None:
    insert_many(connection, customer, customers)
    insert_many(connection, identity, identities)


def attach(connection: Connection, context: Context, customer_id: int, party: Party, reason: str) -> int:
    """Make ``party``'s address one of the customer's. Returns the customer it belongs to afterwards.

    A proven address that is somebody else's proven address joins the two customers (the older one stays), and so does
    one of somebody whom we have written to and who has proven nothing yet: this is who was meant. Any other claimed
    address moves to whoever proves it. A claim changes nothing that exists.
    """
    address = str(party.address)
    known = find(connection, [address]).get(address)
    if known is None:
        connection.execute(sa.insert(identity).values(**new_identity(context, customer_id, party)))
        return customer_id
    if party.proof is Proof.claimed:
        return customer_id
    strengthen(connection, known, party)
    if known.customer_id == customer_id:
        return customer_id
    if known.proof is Proof.claimed and not _is_awaited(connection, known):
        _move(connection, context, known.id, known.customer_id, customer_id, "join", reason)
        return customer_id
    keep, drop = sorted((known.customer_id, customer_id))
    merge(connection, context, keep, drop, reason)
    return keep


def _is_awaited(connection: Connection, known: Known) -> bool:
    """Whether its customer is somebody whom we have written to, and who has proven no other address."""
    others = sa.exists().where(
        identity.c.customer_id == known.customer_id, identity.c.id != known.id, identity.c.proof != str(Proof.claimed)
    )
    query = sa.select(conversation.c.id).where(conversation.c.customer_id == known.customer_id, ~others).limit(1)
    return connection.execute(query).first() is not None


def adopt(connection: Connection, context: Context, identity_id: int, party: Party) -> None:
    """A provider has told that whom we wrote to there is known to it by this address."""
    query = sa.select(identity.c.address, identity.c.customer_id, identity.c.proof).where(identity.c.id == identity_id)
    row = connection.execute(query).first()
    if row is None:  # erased meanwhile
        return
    reason = f"{party.address} is how {row.address} is known to its provider"
    known = find(connection, [str(party.address)]).get(str(party.address))
    if known is None or known.proof is Proof.claimed:
        # It is theirs as surely as the one that we wrote to.
        attach(connection, context, row.customer_id, replace(party, proof=_PROOFS[row.proof]), reason)
    else:
        dialled = Address.parse(row.address)
        attach(connection, context, known.customer_id, Party(dialled.scheme, dialled.value), reason)


def strengthen(connection: Connection, known: Known, party: Party) -> None:
    """A claimed address that is now proven is proven from here on."""
    if known.proof is Proof.claimed and party.proof is not Proof.claimed:
        connection.execute(sa.update(identity).where(identity.c.id == known.id).values(proof=str(party.proof)))


def merge(connection: Connection, context: Context, keep: int, drop: int, reason: str) -> None:
    """Join two customers: identities move, messages stay. Undone by ``unmerge``."""
    if keep == drop:
        return
    # What either refused counts at the addresses of both from here on: what is about to be sent there asks again.
    theirs = identity.c.customer_id == keep
    connection.execute(sa.update(identity).where(theirs).values(consent_epoch=identity.c.consent_epoch + 1))
    for row in connection.execute(sa.select(identity.c.id).where(identity.c.customer_id == drop)).all():
        _move(connection, context, row[0], drop, keep, "merge", reason)
    connection.execute(sa.update(customer).where(customer.c.merged_into == drop).values(merged_into=keep))
    connection.execute(sa.update(customer).where(customer.c.id == drop).values(merged_into=keep))
    _tell_joined(connection, context, conversations.join(connection, context, family(connection, keep), keep), reason)


def _tell_joined(
    connection: Connection, context: Context, joined: conversations.Joined | None, reason: str
) -> None:
    if joined is None:
        return
    stays = joined.stays
    name = public_id("conversation", stays.id)
    for each in joined.ended:
        words = f"{_SAME} ({reason}). Resolved, because their conversation {name} goes on: what they write is there."
        deliveries.tell_thread(connection, context, each.id, words)
        ended = public_id("conversation", each.id)
        words = f"{_SAME} ({reason}). Their conversation {ended} was resolved, and this one goes on."
        asked = joined.asked.get(each.id)
        if asked is not None:
            words += " They wait for an answer to what they wrote there."
        deliveries.tell_thread(connection, context, stays.id, words, asked)


def release(connection: Connection, context: Context, known: Known, reason: str) -> None:
    """The address is its owner's no more, and nobody's: whoever writes from it next is somebody new."""
    nobody = new_customer(context, None)
    insert(connection, [nobody], [])
    _move(connection, context, known.id, known.customer_id, nobody["id"], "release", reason)
    unknown = {"proof": str(Proof.claimed), "name": None}
    connection.execute(sa.update(identity).where(identity.c.id == known.id).values(unknown))


def owner(connection: Connection, known: Known) -> int:
    """Whose the address is; of one that was released and has not been heard from since, whose it was."""
    if known.proof is not Proof.claimed:
        return known.customer_id
    left = sa.select(sa.func.coalesce(customer.c.merged_into, customer.c.id)).select_from(link).join(
        customer, customer.c.id == link.c.from_customer
    )
    here = link.c.identity_id == known.id, link.c.kind == "release", link.c.to_customer == known.customer_id
    former = connection.execute(left.where(*here)).scalar_one_or_none()
    return known.customer_id if former is None else int(former)


def nobodys(connection: Connection, people: Iterable[int]) -> list[int]:
    """Customers who stand for addresses that these people have left and nobody has written from since."""
    query = sa.select(link.c.to_customer).join(identity, identity.c.id == link.c.identity_id)
    released = link.c.kind == "release", link.c.from_customer.in_(people)
    unheard = identity.c.customer_id == link.c.to_customer, identity.c.proof == str(Proof.claimed)
    return list(connection.execute(query.where(*released, *unheard)).scalars())


def unmerge(connection: Connection, context: Context, drop: int) -> int:
    """Give a merged customer its identities back. Returns how many. Raises LookupError if it was not merged."""
    rows = connection.execute(
        sa.select(link.c.id, link.c.identity_id, link.c.at).where(
            link.c.from_customer == drop, link.c.kind == "merge", link.c.undone_at.is_(None)
        )
    ).all()
    merged = connection.execute(sa.select(customer.c.merged_into).where(customer.c.id == drop)).scalar_one_or_none()
    if merged is None:
        raise LookupError("this customer is not merged into another one")
    released = sa.select(link.c.identity_id).where(link.c.kind == "release", link.c.identity_id.is_not(None))
    for link_id, identity_id, _ in rows:
        connection.execute(
            sa.update(identity)
            .where(identity.c.id == identity_id, identity.c.id.not_in(released))
            .values(customer_id=drop, consent_epoch=identity.c.consent_epoch + 1)
        )
        connection.execute(sa.update(link).where(link.c.id == link_id).values(undone_at=context.now))
    connection.execute(sa.update(customer).where(customer.c.id == drop).values(merged_into=None))
    for person, other in ((drop, merged), (merged, drop)):
        people = family(connection, person)
        for number in conversations.part(connection, context, people, {row.at for row in rows}):
            words = f"This customer is parted again from {public_id('customer', other)}: answers go to this one alone."
            deliveries.tell_thread(connection, context, number, words)
    return len(rows)


def _move(
    connection: Connection, context: Context, identity_id: int, source: int, target: int, kind: str, reason: str
) -> None:
    # What the person it goes to refused counts for it from here on: a message about to be sent there asks again.
    connection.execute(
        sa.update(identity)
        .where(identity.c.id == identity_id)
        .values(customer_id=target, consent_epoch=identity.c.consent_epoch + 1)
    )
    connection.execute(
        sa.insert(link).values(
            at=context.now, kind=kind, identity_id=identity_id, from_customer=source, to_customer=target, reason=reason
        )
    )


def family(connection: Connection, customer_id: int) -> list[int]:
    """The customer and all that were merged into it: whose conversations are one timeline."""
    canonical = (
        connection.execute(
            sa.select(sa.func.coalesce(customer.c.merged_into, customer.c.id)).where(customer.c.id == customer_id)
        ).scalar_one_or_none()
        or customer_id
    )
    rows = connection.execute(
        sa.select(customer.c.id).where(sa.or_(customer.c.id == canonical, customer.c.merged_into == canonical))
    )
    return [row[0] for row in rows]


def family_at(connection: Connection, known: Known, when: datetime) -> list[int]:
    """Whose the address was at ``when``, with all that had been merged into them by then."""
    moves = connection.execute(sa.select(link).where(link.c.identity_id == known.id)).all()
    owners = [(row.at, row.from_customer, row.to_customer) for row in moves]
    owners += [(row.undone_at, row.to_customer, row.from_customer) for row in moves if row.undone_at is not None]
    owner = min(owners)[1] if owners else known.customer_id
    for at, _, to in sorted(owners):
        if at <= when:
            owner = to
    found, last = [owner], [owner]
    while last:
        last = [each for each in _merged_at(connection, last, when) if each not in found]
        found += last
    return found


def _merged_at(connection: Connection, people: list[int], when: datetime) -> list[int]:
    """Of whom had no address when they were merged, it is not known since when."""
    linked = link.c.kind == "merge", link.c.to_customer.in_(people), link.c.at <= when
    together = sa.or_(link.c.undone_at.is_(None), link.c.undone_at > when)
    journaled = sa.exists().where(link.c.kind == "merge", link.c.from_customer == customer.c.id)
    silent = sa.select(customer.c.id).where(customer.c.merged_into.in_(people), ~journaled)
    query = sa.select(link.c.from_customer).where(*linked, together).union(silent)
    return list(connection.execute(query).scalars())
