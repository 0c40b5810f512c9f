"""Somebody has a new address: what is known of them goes on there, and nothing more goes to the old one."""

from __future__ import annotations

from dataclasses import replace

import sqlalchemy as sa
from sqlalchemy import Connection

from hub import consent, identity
from hub.context import Context
from hub.contract import MessageReceived
from hub.model import Proof
from hub.store.schema import conversation, delivery, message, queued


def follow(connection: Connection, context: Context, told: MessageReceived) -> str | None:
    """Make the sender's addresses those of whoever had the former ones, which are nobody's from here on.

    Returns what the desk should be told; None if nobody is known by the former ones.
    """
    former = [str(each) for each in told.former]
    known = identity.find(connection, former)
    if not known:
        return None
    # One move is told several times, in other words: some of them may have been left before.
    first = min(known.values(), key=lambda each: (each.proof is Proof.claimed, former.index(each.address)))
    person, reason = identity.owner(connection, first), f"{told.sender.address} is in place of {first.address}"
    there = [told.sender, *told.also]
    for party in there:
        named = replace(party, name=party.name or first.name)
        person = identity.attach(connection, context, person, named, reason)
    left = [each for each in identity.find(connection, former).values() if each.customer_id == person]
    now = identity.find(connection, [str(each.address) for each in there])
    for each in left:
        heirs = [now[str(party.address)] for party in there if each.address.startswith(f"{party.scheme}:")]
        _leave(connection, context, each, heirs[0] if heirs else None, reason)
    if not left:
        return None
    gone = " and ".join(each.address for each in left)
    return f"They are at {told.sender.address} now. Nothing more goes to {gone}: that may be somebody else by now."


def _leave(
    connection: Connection, context: Context, old: identity.Known, heir: identity.Known | None, reason: str
) -> None:
    """``heir``: the address in its place."""
    number = None if heir is None else heir.id
    family = identity.family(connection, old.customer_id)
    theirs = conversation.c.customer_id.in_(family), conversation.c.reply_identity == old.id
    connection.execute(sa.update(conversation).where(*theirs).values(reply_identity=number))
    waiting = queued(delivery), delivery.c.kind == "contact", delivery.c.identity_id == old.id
    if heir is not None:
        said = sa.select(delivery.c.message_id).where(*waiting)
        connection.execute(sa.update(message).where(message.c.id.in_(said)).values(identity_id=number))
        # A microsecond tells lanes that have read these rows ahead.
        later = sa.type_coerce(delivery.c.due_at, sa.BigInteger) + 1
        connection.execute(sa.update(delivery).where(*waiting).values(identity_id=number, due_at=later))
    consent.move(connection, old.address, None if heir is None else heir.address, context.now)
    identity.release(connection, context, old, reason)
