"""Putting messages on their way: rows of ``delivery``, to customers and to the desk."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection

from hub.context import Context, lane_topic
from hub.model import Author, AuthorKind, Content, Purpose, decode_content, encode, public_id
from hub.store.base import chunks
from hub.store.bulk import insert_many
from hub.store.schema import conversation, customer, delivery, desk_thread, message, pending, queued

PRIORITY: dict[Purpose, int] = {
    Purpose.reply: 10,
    Purpose.note: 10,
    Purpose.transactional: 20,
    Purpose.marketing: 30,
}
LOST = ("denied", "failed", "unknown")  # marks that say why
_AFTER_ALL = 90  # priority of the other marks: they would take the turns of what customers write
OURS = "hub"  # channel of what the hub itself says
PREVIEW = 140  # characters of the last message, as the desk's card shows it
HELD = "WINDOW_CLOSED"  # code of a queued delivery that waits until the customer writes
_MOMENT = timedelta(seconds=5)  # that an answer is put off without a mark
_PROMPT = timedelta(minutes=5)  # a confirmation later than that is presumed to be unwanted (47 CFR 64.1200(a)(12))
_DESK_PATIENCE = timedelta(days=7)  # the desk catches up after an outage, however long the weekend


def to_customer(
    connection: Connection,
    context: Context,
    *,
    message_id: int,
    conversation_id: int,
    channel: str,
    identity_id: int | None,
    purpose: Purpose,
    reaction: str | None = None,
    topic: str | None = None,
) -> int:
    """One message to one identity. Returns the delivery's id. ``reaction``: it is one, with that emoji. ``topic``: of
    advertising."""
    row = delivery_row(context, conversation_id, channel, "contact", purpose)
    row |= {"message_id": message_id, "identity_id": identity_id, "value": reaction, "topic": topic}
    row["expires_at"] = context.now + context.channels[channel].capabilities.retry_for
    insert_many(connection, delivery, [row])
    return int(row["id"])


def to_desk(connection: Connection, context: Context, posts: Sequence[tuple[int, int]]) -> None:
    """Show messages at the desk: (conversation, message) pairs, in order. Opens a thread where there is none."""
    if context.desk is None or not posts:
        return
    desk = context.desk.name
    threaded, carded = _threads(connection, desk, {conversation for conversation, _ in posts})
    begun = {conversation for conversation, _ in posts} - threaded - carded
    answered = _ours_before(connection, context, begun)
    rows: list[dict[str, Any]] = []
    for conversation_id, message_id in posts:
        if conversation_id not in threaded and conversation_id not in carded:
            rows.append(delivery_row(context, conversation_id, desk, "card", Purpose.note))
            carded.add(conversation_id)
            if conversation_id in answered:
                post = delivery_row(context, conversation_id, desk, "post", Purpose.note)
                rows.append(post | {"message_id": answered[conversation_id]})
        rows.append(delivery_row(context, conversation_id, desk, "post", Purpose.note) | {"message_id": message_id})
    # The card says how things stand, so one that waits already will do.
    uncarded = [each for each in dict.fromkeys(conversation for conversation, _ in posts) if each not in carded]
    rows += [delivery_row(context, conversation_id, desk, "card", Purpose.note) for conversation_id in uncarded]
    insert_many(connection, delivery, rows)


def to_thread(connection: Connection, context: Context, conversation_id: int, message_id: int) -> None:
    """``to_desk``, but only where the desk has a thread or is about to."""
    if _is_threaded(connection, context, conversation_id):
        to_desk(connection, context, [(conversation_id, message_id)])


def _ours_before(connection: Connection, context: Context, conversations: set[int]) -> dict[int, int]:
    """What an answer is an answer to, of a campaign or of somebody elsewhere. The desk has not seen it: few are ever
    answered."""
    elsewhere = [name for name, channel in context.channels.items() if channel.role == "contact"]
    unseen = sa.or_(
        message.c.author_kind == str(AuthorKind.campaign),
        sa.and_(message.c.channel.in_(elsewhere), message.c.inbound.is_(False)),
    )
    found: dict[int, int] = {}
    for some in chunks(conversations):
        query = sa.select(message.c.conversation_id, sa.func.max(message.c.id)).where(
            message.c.conversation_id.in_(some), unseen
        )
        found.update((row[0], row[1]) for row in connection.execute(query.group_by(message.c.conversation_id)))
    return found


def refresh_card(connection: Connection, context: Context, conversation_id: int) -> None:
    """The desk's card shall show the conversation's new state. Does nothing where the desk has no thread."""
    if context.desk is None:
        return
    threaded, carded = _threads(connection, context.desk.name, {conversation_id})
    if conversation_id in threaded and conversation_id not in carded:
        insert_many(
            connection, delivery, [delivery_row(context, conversation_id, context.desk.name, "card", Purpose.note)]
        )


def show_anew(connection: Connection, context: Context, message_id: int) -> bool:
    """The desk's posts of a message shall show what it says now: those that are out, or are going out just now.

    False if there are none.
    """
    if context.desk is None:
        return False
    rows = [
        delivery_row(context, conversation_id, context.desk.name, "post", Purpose.note)
        | {"message_id": message_id, "target": str(number)}
        for number, conversation_id, _ in _shown(connection, context.desk.name, message_id)
    ]
    insert_many(connection, delivery, rows)
    return bool(rows)


def show_file(connection: Connection, context: Context, message_id: int, position: int) -> None:
    """A message's file is here: the desk shows it with the message's post, or in one of its own if that is out."""
    if context.desk is None:
        return
    desk = context.desk.name
    post = delivery.c.message_id == message_id, delivery.c.kind == "post", delivery.c.channel == desk
    # One that has been read for its turn already is read again, and one that is going out shows as such.
    waiting = sa.update(delivery).where(*post, delivery.c.state == "queued", delivery.c.value.is_(None))
    connection.execute(waiting.values(due_at=context.now))
    rows = [
        delivery_row(context, conversation_id, desk, "post", Purpose.note)
        | {"message_id": message_id, "value": str(position)}
        for _, conversation_id, file in _shown(connection, desk, message_id)
        if file is None
    ]
    insert_many(connection, delivery, rows)


def is_shown(connection: Connection, context: Context, message_id: int) -> bool:
    """Whether the desk has posts of a message, or they are going out just now."""
    return context.desk is not None and bool(_shown(connection, context.desk.name, message_id))


def _shown(connection: Connection, desk: str, message_id: int) -> Sequence[Any]:
    posts = sa.select(delivery.c.id, delivery.c.conversation_id, delivery.c.value).where(
        delivery.c.message_id == message_id,
        delivery.c.kind == "post",
        delivery.c.channel == desk,
        delivery.c.state.not_in(("queued", "cancelled")),
        delivery.c.target.is_(None),
    )
    return connection.execute(posts.order_by(delivery.c.id)).all()


def notify_desk(
    connection: Connection, context: Context, conversation_id: int, text: str, about: int | None = None
) -> int:
    """A line of the hub's own in the conversation's desk thread. Never reaches a customer. Returns the message.

    ``about``: a message that is shown above it.
    """
    message_id = add_message(
        connection,
        context,
        conversation_id=conversation_id,
        identity_id=None,
        channel=OURS,
        author=Author(AuthorKind.automation, "omnihub"),
        purpose=Purpose.note,
        content=Content(text),
        reply_to=public_id("message", about) if about is not None else None,
    )
    to_desk(connection, context, [(conversation_id, message_id)])
    return message_id


def tell_thread(
    connection: Connection, context: Context, conversation_id: int, text: str, about: int | None = None
) -> None:
    """``notify_desk``, but only where the desk has a thread or is about to."""
    if _is_threaded(connection, context, conversation_id):
        notify_desk(connection, context, conversation_id, text, about)


def still_due(connection: Connection, context: Context, was: datetime) -> int:
    """The clock was set back from ``was``: what was due by then is due now. Returns how many."""
    due = pending(delivery), delivery.c.due_at > context.now, delivery.c.due_at <= was
    context.news |= {lane_topic(name) for name in context.channels}
    return int(connection.execute(sa.update(delivery).where(*due).values(due_at=context.now)).rowcount)


def add_message(
    connection: Connection,
    context: Context,
    *,
    conversation_id: int,
    identity_id: int | None,
    channel: str,
    author: Author,
    purpose: Purpose,
    content: Content,
    external_id: str | None = None,
    reply_to: str | None = None,
    automatic: bool = False,
) -> int:
    """A message that did not come from a customer. Returns its id."""
    row = message_row(context, conversation_id, identity_id, channel, author, purpose, content)
    row |= {"external_id": external_id, "reply_to": reply_to, "automatic": automatic}
    insert_many(connection, message, [row])
    return int(row["id"])


def message_row(
    context: Context,
    conversation_id: int,
    identity_id: int | None,
    channel: str,
    author: Author,
    purpose: Purpose,
    content: Content,
) -> dict[str, Any]:
    return {
        "id": context.ids(),
        "conversation_id": conversation_id,
        "identity_id": identity_id,
        "channel": channel,
        "inbound": False,
        "author_kind": str(author.kind),
        "author_name": author.name,
        "author_id": author.id,
        "purpose": str(purpose),
        "content": encode(content),
        "external_id": None,
        "reply_to": None,
        "automatic": author.kind is not AuthorKind.agent,
        "provider_at": context.now,
        "recorded_at": context.now,
    }


def mark(connection: Connection, context: Context, changes: Iterable[tuple[int, str, str | None]]) -> None:
    """Show new delivery states on the agents' own posts: (message, state, reason) triples.

    A customer whose answer did not go out still waits.
    """
    wanted = {message_id: (state, reason) for message_id, state, reason in changes}
    _not_answered(connection, context, [each for each, (state, _) in wanted.items() if state in ("denied", "failed")])
    if context.desk is None:
        return
    rows = []
    for some in chunks(wanted):
        query = sa.select(message.c.id, message.c.conversation_id, message.c.external_id).where(
            message.c.id.in_(some), message.c.channel == context.desk.name, message.c.external_id.is_not(None)
        )
        for message_id, conversation_id, external_id in connection.execute(query):
            state, reason = wanted[message_id]
            row = delivery_row(context, conversation_id, context.desk.name, "mark", Purpose.note)
            row |= {"priority": PRIORITY[Purpose.note] if state in LOST else _AFTER_ALL}
            rows.append(row | {"message_id": message_id, "target": external_id, "value": state, "reason": reason})
    _drop_marks(connection, context.desk.name, [row["message_id"] for row in rows])
    insert_many(connection, delivery, rows)
    _tell_reactions(connection, context, wanted)


def _drop_marks(connection: Connection, desk: str, messages: Sequence[int]) -> None:
    """Of marks that wait for their turn only the last one counts."""
    for some in chunks(messages):
        waiting = sa.update(delivery).where(
            delivery.c.message_id.in_(some), delivery.c.channel == desk, delivery.c.kind == "mark", queued(delivery)
        )
        connection.execute(waiting.values(state="cancelled", reason="a later mark has taken its place"))


def mark_waiting(connection: Connection, context: Context, waiting: Mapping[int, datetime]) -> None:
    """Agents' answers that are put off (message and until when) are marked once, if it is for longer than a moment."""
    late = [each for each, until in waiting.items() if until > context.now + _MOMENT]
    for some in chunks(late):
        marked = sa.select(delivery.c.message_id).where(
            delivery.c.message_id.in_(some), delivery.c.kind == "mark", delivery.c.value == "queued"
        )
        known = set(connection.execute(marked).scalars())
        mark(connection, context, [(each, "queued", None) for each in some if each not in known])


def _tell_reactions(connection: Connection, context: Context, wanted: Mapping[int, tuple[str, str | None]]) -> None:
    """An agent's emoji has no post that could be marked: only where it did not get through there is a word."""
    if context.desk is None:
        return
    lost = [each for each, (state, _) in wanted.items() if state in LOST]
    for some in chunks(lost):
        query = sa.select(message.c.id, message.c.conversation_id, message.c.content).where(
            message.c.id.in_(some), message.c.channel == context.desk.name, message.c.external_id.is_(None)
        )
        for row in connection.execute(query).all():
            words = f"The customer was not shown {decode_content(row.content).text}: {wanted[row.id][1]}"
            notify_desk(connection, context, row.conversation_id, words)


def answer(
    connection: Connection, context: Context, conversation_id: int, channel: str, identity_id: int, text: str
) -> None:
    """The hub's own answer to STOP or HELP: soon or not at all, and whatever the customer has refused."""
    message_id = add_message(
        connection,
        context,
        conversation_id=conversation_id,
        identity_id=identity_id,
        channel=OURS,
        author=Author(AuthorKind.automation, "omnihub"),
        purpose=Purpose.reply,
        content=Content(text),
        automatic=True,
    )
    to = {"channel": channel, "identity_id": identity_id, "purpose": Purpose.reply}
    number = to_customer(connection, context, message_id=message_id, conversation_id=conversation_id, **to)  # type: ignore[arg-type]  # values of mixed types, by name
    soon = sa.update(delivery).where(delivery.c.id == number)
    connection.execute(soon.values(expires_at=context.now + _PROMPT))
    to_desk(connection, context, [(conversation_id, message_id)])


def release(connection: Connection, context: Context, wrote: Iterable[tuple[str, int, int]]) -> None:
    """Answers held for a closed window go out, now that the customer wrote: (channel, customer, identity)."""
    by_channel: defaultdict[str, list[tuple[int, int]]] = defaultdict(list)
    for channel, customer_id, identity_id in wrote:
        if context.channels[channel].capabilities.window is not None:
            by_channel[channel].append((customer_id, identity_id))
    for channel, people in by_channel.items():
        for some in chunks(people):
            persons = {each for each, _ in some}
            family = sa.select(customer.c.id).where(
                sa.or_(customer.c.id.in_(persons), customer.c.merged_into.in_(persons))
            )
            theirs = sa.select(conversation.c.id).where(conversation.c.customer_id.in_(family))
            held = sa.update(delivery).where(
                delivery.c.channel == channel,
                delivery.c.conversation_id.in_(theirs),
                delivery.c.identity_id.in_({each for _, each in some}),
                pending(delivery),
                is_held(delivery),
            )
            if connection.execute(held.values(due_at=context.now, reason=None, code=None)).rowcount:
                context.news.add(lane_topic(channel))


def is_held(table: sa.FromClause) -> sa.ColumnElement[bool]:
    """Deliveries that wait until the customer writes; ``table`` is ``delivery`` or an alias of it."""
    # Never NULL, which is neither true nor false, where it is negated.
    return sa.and_(table.c.state == "queued", sa.func.coalesce(table.c.code, "") == HELD)


def _not_answered(connection: Connection, context: Context, lost: Sequence[int]) -> None:
    """Open the conversations again in which these answers were to end the wait: also what was resolved since, if
    nothing has been said after them."""
    for some in chunks(lost):
        query = (
            sa.select(message.c.id, message.c.conversation_id, conversation.c.state)
            .join(conversation, conversation.c.id == message.c.conversation_id)
            .where(message.c.id.in_(some), message.c.purpose == str(Purpose.reply))
            .where(conversation.c.state.in_(("pending", "resolved")))
        )
        for row in connection.execute(query.order_by(message.c.id.desc())).all():
            number = row.conversation_id
            if row.state == "resolved":
                number = unresolved(connection, number) or number
                said = sa.select(message.c.id).where(
                    message.c.conversation_id.in_({number, row.conversation_id}),
                    message.c.id > row.id,
                    message.c.purpose != str(Purpose.note),
                )
                if connection.execute(said.limit(1)).first() is not None:
                    continue
            _wait_again(connection, context, number)


def _wait_again(connection: Connection, context: Context, conversation_id: int) -> None:
    theirs = (
        sa.select(message.c.recorded_at, message.c.content)
        .where(message.c.conversation_id == conversation_id, message.c.inbound.is_(True))
        .order_by(message.c.id.desc())
        .limit(1)
    )
    last = connection.execute(theirs).first()
    if last is None:
        return
    values = {"state": "open", "resolved_at": None, "waiting_since": last.recorded_at}
    values["preview"] = decode_content(last.content).text[:PREVIEW]
    over = conversation.c.id == conversation_id, conversation.c.state.in_(("pending", "resolved"))
    if connection.execute(sa.update(conversation).where(*over).values(values)).rowcount:
        refresh_card(connection, context, conversation_id)


def unresolved(connection: Connection, conversation_id: int) -> int | None:
    """The unresolved conversation of the same person, under the name of any of the customers that were merged."""
    stands_for = sa.func.coalesce(customer.c.merged_into, customer.c.id)
    whose = sa.select(stands_for).join(conversation, conversation.c.customer_id == customer.c.id)
    person = connection.execute(whose.where(conversation.c.id == conversation_id)).scalar_one()
    people = sa.select(customer.c.id).where(sa.or_(customer.c.id == person, customer.c.merged_into == person))
    theirs = conversation.c.customer_id.in_(people), conversation.c.state != "resolved"
    return connection.execute(sa.select(conversation.c.id).where(*theirs).limit(1)).scalar_one_or_none()


def _is_threaded(connection: Connection, context: Context, conversation_id: int) -> bool:
    return context.desk is not None and any(_threads(connection, context.desk.name, {conversation_id}))


def _threads(connection: Connection, desk: str, conversations: set[int]) -> tuple[set[int], set[int]]:
    """Which have a thread at the desk, and which have a card waiting to be sent."""
    threaded: set[int] = set()
    carded: set[int] = set()
    for some in chunks(conversations):
        threads = sa.select(desk_thread.c.conversation_id).where(
            desk_thread.c.channel == desk, desk_thread.c.conversation_id.in_(some)
        )
        threaded |= {row[0] for row in connection.execute(threads)}
        cards = sa.select(delivery.c.conversation_id).where(
            delivery.c.channel == desk,
            delivery.c.conversation_id.in_(some),
            delivery.c.state == "queued",
            pending(delivery),
            delivery.c.kind == "card",
        )
        # A card that a lane is taking at this moment shows what was before us: wait, and it counts no more.
        carded |= {row[0] for row in connection.execute(cards.with_for_update())}
    return threaded, carded


def delivery_row(
    context: Context, conversation_id: int, channel: str, kind: str, purpose: Purpose
) -> dict[str, Any]:
    context.news.add(lane_topic(channel))
    return {
        "id": context.ids(),
        "message_id": None,
        "conversation_id": conversation_id,
        "channel": channel,
        "kind": kind,
        "identity_id": None,
        "purpose": str(purpose),
        "priority": PRIORITY[purpose],
        "state": "queued",
        "due_at": context.now,
        "expires_at": context.now + _DESK_PATIENCE,
        "created_at": context.now,
        "target": None,
        "value": None,
        "reason": None,
    }
