"""Episodes of a customer's timeline: at most one unresolved, reopened by a new message, begun anew after quiet."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from datetime import datetime
from operator import attrgetter, itemgetter
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection

from hub import deliveries
from hub.context import Context
from hub.deliveries import OURS, PREVIEW
from hub.model import ConversationState, Purpose, public_id
from hub.store.base import Overtaken
from hub.store.bulk import fetch, insert_many, select_many, update_many
from hub.store.schema import conversation, customer, delivery, identity, message, micros


@dataclass(slots=True)
class Episode:
    """A conversation row while a batch works on it; ``save`` writes what changed."""

    id: int
    customer_id: int
    state: str
    last_at: datetime
    opened_at: datetime
    waiting_since: datetime | None = None
    resolved_at: datetime | None = None
    reply_channel: str | None = None
    reply_identity: int | None = None
    assignee: str | None = None
    preview: str = ""
    is_new: bool = field(default=False, compare=False)
    was: str = field(default="", compare=False)  # the state that is stored

    def __post_init__(self) -> None:
        self.was = self.state


_NAMES = (
    "id",
    "customer_id",
    "state",
    "last_at",
    "opened_at",
    "waiting_since",
    "resolved_at",
    "reply_channel",
    "reply_identity",
    "assignee",
    "preview",
)
_COLUMNS = [conversation.c[name] for name in _NAMES]
_HELD = "SELECT id FROM customer WHERE id = ANY(?::bigint[]) FOR KEY SHARE"
_NOT_OVER = "state <> 'resolved' OR last_at >= ?"
_FIRST = ("open", "snoozed", "pending")  # which of two unresolved conversations goes on
_SAVED = ("last_at", "waiting_since", "reply_channel", "reply_identity", "preview")
_SAVED_WITH_STATE = ("state", "resolved_at", *_SAVED)


class Episodes:
    """The conversations of the customers in one batch."""

    def __init__(self, connection: Connection, context: Context, customers: Iterable[int]) -> None:
        self._connection = connection
        self._context = context
        self._latest: dict[int, Episode] = {}
        self._touched: dict[int, Episode] = {}
        self._over: dict[int, int] = {}  # resolved for being quiet: which one goes on
        self._person = {each: each for each in customers}  # who it is now, by all that were merged into them
        merged = select_many(connection, customer, ("id", "merged_into"), "merged_into", self._person)
        self._person |= {row[0]: row[1] for row in merged}
        hold(connection, self._person)
        recent = micros(context.now - context.new_after)
        rows = select_many(connection, conversation, _NAMES, "customer_id", self._person, _NOT_OVER, recent)
        for row in sorted(rows, key=itemgetter(0)):
            episode = Episode(*row)
            person = self._person[episode.customer_id]
            held = self._latest.get(person)
            if held is None or held.state == "resolved":
                self._latest[person] = episode

    def for_message(self, customer_id: int, hint: int | None = None) -> Episode:
        """Where the customer's new message belongs: the unresolved one, a recent one reopened, or a new one.

        ``hint``: a conversation whose reply token the customer used; it is reopened however old it is.
        """
        episode = self._latest.get(customer_id)
        quiet = episode is not None and episode.last_at < self._context.now - self._context.new_after
        if episode is None or quiet or (hint is not None and episode.id != hint and episode.state == "resolved"):
            hinted, before = self._hinted(customer_id, hint), episode
            if hinted is not None:
                episode = hinted
            elif episode is None or quiet:
                episode = self._open(customer_id)
            if before is not None and before.state != "resolved" and episode is not None and episode.id != before.id:
                self._resolve(before)
                self._over[before.id] = episode.id
        self._latest[customer_id] = episode
        return episode

    def for_ours(self, customer_id: int) -> Episode:
        """Where a message of ours belongs: the latest conversation, however quiet; a new one if there is none."""
        episode = self._latest.get(customer_id)
        if episode is None:
            episode = self._latest[customer_id] = self._open(customer_id)
        return episode

    def customer_wrote(self, episode: Episode, text: str, channel: str, identity_id: int, at: datetime) -> None:
        now = self._context.now
        if episode.state == "resolved":
            episode.resolved_at = None
        if episode.state != "open" or episode.waiting_since is None:
            episode.waiting_since = episode.waiting_since or at
        episode.state = "open"
        episode.last_at = now
        episode.reply_channel, episode.reply_identity = channel, identity_id
        self.preview(episode, text)

    def preview(self, episode: Episode, text: str) -> None:
        episode.preview = text[:PREVIEW]
        self.touch(episode)

    def touch(self, episode: Episode) -> None:
        self._touched[episode.id] = episode

    def save(self) -> None:
        """Write new and changed conversations, resolved ones first (one unresolved per customer is an index)."""
        episodes = list(self._touched.values())
        known = [episode for episode in episodes if not episode.is_new]
        # SQLite writes the indexes that ask for the state even if it stays; on PostgreSQL others may change it now.
        careful = self._connection.dialect.name != "sqlite"
        changed = [each for each in known if careful or each.state != each.was]
        same = [each for each in known if not careful and each.state == each.was]
        for over in (True, False):  # rows of one statement change in any order
            some = [each for each in changed if (each.state == "resolved") is over]
            update_many(self._connection, conversation, "id", _columns(some, ("id", *_SAVED_WITH_STATE)))
        update_many(self._connection, conversation, "id", _columns(same, ("id", *_SAVED)))
        new = [episode for episode in episodes if episode.is_new]
        insert_many(self._connection, conversation, _columns(new, _NAMES))
        for episode in episodes:
            episode.is_new = False
            episode.was = episode.state
        self._touched.clear()
        for before, now in self._over.items():
            words = f"After a long quiet this goes on in a new conversation ({public_id('conversation', now)})."
            deliveries.tell_thread(self._connection, self._context, before, words)
        self._over.clear()

    def _open(self, customer_id: int) -> Episode:
        now = self._context.now
        episode = Episode(self._context.ids(), customer_id, "open", now, now, is_new=True)
        self.touch(episode)
        return episode

    def _resolve(self, episode: Episode) -> None:
        episode.state, episode.resolved_at, episode.waiting_since = "resolved", self._context.now, None
        self.touch(episode)

    def _hinted(self, customer_id: int, hint: int | None) -> Episode | None:
        if hint is None:
            return None
        found = get(self._connection, hint)
        return found if found is not None and self._person.get(found.customer_id) == customer_id else None


def hold(connection: Connection, customers: Collection[int]) -> None:
    """Nobody erases them before this transaction is over: what it writes would be of nobody, and stay.

    Raises: Overtaken if one was erased since they were read.
    """
    if connection.dialect.name == "sqlite" or not customers:  # one writer
        return
    if len(fetch(connection, _HELD, list(customers))) < len(customers):
        raise Overtaken("a customer was erased meanwhile")


def get(connection: Connection, conversation_id: int) -> Episode | None:
    row = connection.execute(sa.select(*_COLUMNS).where(conversation.c.id == conversation_id)).first()
    return Episode(*row) if row else None


def set_state(connection: Connection, context: Context, conversation_id: int, state: ConversationState) -> bool:
    """False if it is so already, or if another conversation of the customer is unresolved (that one goes on)."""
    episode = get(connection, conversation_id)
    if episode is None or episode.state == state:
        return False
    if episode.state == "resolved" and _unresolved(connection, episode.customer_id):
        return False
    values: dict[str, Any] = {"state": str(state)}
    values["resolved_at"] = context.now if state is ConversationState.resolved else None
    if state is ConversationState.open:
        values["waiting_since"] = episode.waiting_since or unanswered_since(connection, conversation_id)
    elif state is not ConversationState.snoozed:
        values["waiting_since"] = None
    connection.execute(sa.update(conversation).where(conversation.c.id == conversation_id).values(values))
    return True


def assign(connection: Connection, conversation_id: int, agent: str | None) -> bool:
    changed = connection.execute(
        sa.update(conversation)
        .where(conversation.c.id == conversation_id, conversation.c.assignee.is_distinct_from(agent))
        .values(assignee=agent)
    )
    return bool(changed.rowcount)


@dataclass(slots=True)
class Joined:
    """Unresolved conversations of what proved to be one person, as they were: which goes on, and which do not.

    ``asked``: by id of those, the customer's last message, which nobody has answered.
    """

    stays: Episode
    ended: list[Episode]
    asked: dict[int, int]


def join(connection: Connection, context: Context, people: Collection[int], keep: int) -> Joined | None:
    """One unresolved conversation for customers who are one person: that which waits for us, or else ``keep``'s.

    None if there are not several. Undone by ``part``.
    """
    unresolved = conversation.c.customer_id.in_(people), conversation.c.state != "resolved"
    found = [Episode(*row) for row in connection.execute(sa.select(*_COLUMNS).where(*unresolved))]
    if len(found) < 2:
        return None
    stays, *ended = sorted(found, key=lambda each: (_FIRST.index(each.state), each.customer_id != keep, each.id))
    over = sa.update(conversation).where(conversation.c.id.in_([each.id for each in ended]))
    connection.execute(over.values(state="resolved", resolved_at=context.now, waiting_since=None))
    values = {
        "waiting_since": min((each.waiting_since for each in found if each.waiting_since), default=None),
        "assignee": next((each.assignee for each in (stays, *ended) if each.assignee), None),
    }
    connection.execute(sa.update(conversation).where(conversation.c.id == stays.id).values(values))
    waited = [each.id for each in ended if each.waiting_since is not None]
    asked = (
        sa.select(message.c.conversation_id, sa.func.max(message.c.id))
        .where(message.c.conversation_id.in_(waited), message.c.inbound.is_(True), message.c.automatic.is_(False))
        .group_by(message.c.conversation_id)
    )
    return Joined(stays, ended, {row[0]: row[1] for row in connection.execute(asked)})


def part(connection: Connection, context: Context, people: Collection[int], joined: Collection[datetime]) -> list[int]:
    """Undo what ``join`` did at these moments, for one of the two persons: ``people`` are all that are them now.

    Returns their conversations that are others than before.
    """
    ended = sa.select(conversation.c.id, conversation.c.snoozed_until).where(
        conversation.c.customer_id.in_(people),
        conversation.c.state == "resolved",
        conversation.c.resolved_at.in_(joined),
    )
    changed = []
    for number, snoozed_until in connection.execute(ended.order_by(conversation.c.id)).all():
        state = ConversationState.pending
        if unanswered_since(connection, number) is not None:
            state = ConversationState.open
        elif snoozed_until is not None and snoozed_until > context.now:
            state = ConversationState.snoozed
        if set_state(connection, context, number, state):
            changed.append(number)
    return sorted({*changed, *_to_their_own(connection, people)})


def _to_their_own(connection: Connection, people: Collection[int]) -> list[int]:
    """Answers in these people's conversations go to an address of theirs, not to one that was theirs for a while."""
    strange = (
        sa.select(conversation.c.id)
        .join(identity, identity.c.id == conversation.c.reply_identity)
        .where(conversation.c.customer_id.in_(people), identity.c.customer_id.not_in(people))
    )
    numbers = list(connection.execute(strange.order_by(conversation.c.id)).scalars())
    for number in numbers:
        wrote = (
            sa.select(message.c.channel, message.c.identity_id)
            .join(identity, identity.c.id == message.c.identity_id)
            .where(
                message.c.conversation_id == number,
                message.c.inbound.is_(True),
                message.c.automatic.is_(False),
                identity.c.customer_id.in_(people),
            )
        )
        last = connection.execute(wrote.order_by(message.c.id.desc()).limit(1)).first()
        channel, way = last or (None, None)
        its = sa.update(conversation).where(conversation.c.id == number)
        connection.execute(its.values(reply_channel=channel, reply_identity=way))
    return numbers


def _unresolved(connection: Connection, customer_id: int) -> bool:
    """Whether the person has one, under the name of any of the customers that were merged."""
    stands_for = sa.select(sa.func.coalesce(customer.c.merged_into, customer.c.id))
    person = connection.execute(stands_for.where(customer.c.id == customer_id)).scalar_one()
    query = (
        sa.select(conversation.c.id)
        .join(customer, customer.c.id == conversation.c.customer_id)
        .where(
            sa.or_(customer.c.id == person, customer.c.merged_into == person), conversation.c.state != "resolved"
        )
    )
    return connection.execute(query).first() is not None


def unanswered_since(connection: Connection, conversation_id: int) -> datetime | None:
    """Since when the customer waits for an answer, as their messages and ours tell."""
    lost = delivery.c.state.in_(("denied", "failed", "cancelled"))
    ours = sa.select(sa.func.max(message.c.id)).where(
        message.c.conversation_id == conversation_id,
        message.c.inbound.is_(False),
        message.c.purpose == str(Purpose.reply),
        message.c.channel != OURS,
        sa.exists().where(delivery.c.message_id == message.c.id, delivery.c.kind == "contact", ~lost),
    )
    theirs = sa.select(message.c.recorded_at).where(
        message.c.conversation_id == conversation_id,
        message.c.inbound.is_(True),
        message.c.automatic.is_(False),
        message.c.id > sa.func.coalesce(ours.scalar_subquery(), 0),
    )
    return connection.execute(theirs.order_by(message.c.id).limit(1)).scalar_one_or_none()


def _columns(episodes: Iterable[Episode], names: tuple[str, ...]) -> list[dict[str, Any]]:
    values = attrgetter(*names)
    return [dict(zip(names, values(episode), strict=True)) for episode in episodes]
