"""What agents do at the desk: reply, note, resolve, assign. The desk's provider is an adapter like any other."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

import msgspec
import sqlalchemy as sa
from sqlalchemy import Connection

from hub import approvals, continuation, conversations, deliveries, identity, media
from hub.channels import Channel
from hub.context import Context
from hub.contract import ActionTaken, Event, MessageDeleted, MessageEdited, MessageReceived, Reacted
from hub.model import (
    Author,
    AuthorKind,
    Content,
    ConversationState,
    Party,
    Proof,
    Purpose,
    Template,
    decode_content,
    encode,
)
from hub.store.base import chunks
from hub.store.bulk import insert_many
from hub.store.schema import conversation, delivery, message, parked_reply, receipt
from hub.store.schema import identity as identity_table

COMMANDS = "!note TEXT, !resolve, !reopen, !assign [NAME], !snooze 2h, !via CHANNEL TEXT, !continue CHANNEL [TEXT], "
COMMANDS += "!template NAME [LANG] [key=value …]"
NAMELESS = "Support"  # how customers see an agent whose name the desk does not tell (yet); never a raw user id
_COMMAND = re.compile(r"!(\w+)\s*(.*)", re.DOTALL)
_SPAN = re.compile(r"(\d{1,4})\s*([mhd])")
_UNIT = {"m": timedelta(minutes=1), "h": timedelta(hours=1), "d": timedelta(days=1)}
_STRANGER = timedelta(days=1)  # a post of ours whose id is not known by then never will be
_encoder = msgspec.json.Encoder()
_message_decoder = msgspec.json.Decoder(MessageReceived)
_action_decoder = msgspec.json.Decoder(ActionTaken)


@dataclass(frozen=True, slots=True)
class Said:
    """What an agent's text asks for. Only ``verb`` "reply", "via", "continue" and "template" ever reach a customer."""

    verb: str  # "reply", "note", "resolve", "reopen", "assign", "snooze", "via", "continue", "template", "unknown"
    text: str
    channel: str | None = None
    template: Template | None = None


def parse(text: str) -> Said:
    """Anything that begins with an exclamation mark stays inside unless it is a proper ``!via``, ``!continue`` or
    ``!template``."""
    match = _COMMAND.fullmatch(text.strip())
    if match is None:
        return Said("unknown", text) if text.lstrip().startswith("!") else Said("reply", text)
    verb, rest = match[1].lower(), match[2].strip()
    if verb == "via":
        channel, _, words = rest.partition(" ")
        return Said("via", words.strip(), channel) if words.strip() else Said("unknown", text)
    if verb == "continue":
        channel, _, words = rest.partition(" ")
        return Said("continue", words.strip(), channel) if channel else Said("unknown", text)
    if verb == "template":
        found = _template(rest)
        return Said("template", rest, template=found) if found else Said("unknown", text)
    if verb in ("note", "resolve", "reopen", "assign", "snooze"):
        return Said(verb, rest)
    return Said("unknown", text)


def _template(text: str) -> Template | None:
    """``order_update en_GB name="Ann Smith"``. The language may be missing: "" then."""
    try:
        name, *rest = shlex.split(text)
    except ValueError:  # nothing, or a quotation mark without its like
        return None
    language = rest.pop(0) if rest and "=" not in rest[0] else ""
    if any("=" not in each for each in rest) or "=" in name:
        return None
    return Template(name, language, dict(each.split("=", 1) for each in rest))


def handle(
    connection: Connection,
    context: Context,
    channel: Channel,
    happening: Event,
    message_id: int | None,
    inbox_id: int,
) -> None:
    """Give an event from the desk its effect."""
    if not isinstance(happening, MessageReceived | ActionTaken) or happening.thread is None:
        return
    conversation_id = _whose(connection, channel, happening.thread)
    if conversation_id is None:
        _park(connection, context, channel, happening, message_id, inbox_id)
        return
    episode = conversations.get(connection, conversation_id)
    assert episode is not None
    conversations.hold(connection, [episode.customer_id])
    if isinstance(happening, ActionTaken):
        _act(connection, context, episode, happening.action, happening.value, happening.sender)
        return
    assert message_id is not None
    said = parse(happening.text)
    if said.verb == "continue":
        link = _link(connection, context, episode, said)
        said = Said("note", happening.text) if link is None else link
    if said.verb == "template" and said.template is not None:
        template, wrong = _approved(connection, context, episode, said.template)
        said = Said("note", happening.text) if wrong else Said("reply", "", template=template)
        if wrong:
            deliveries.notify_desk(connection, context, episode.id, f"Not sent: {wrong}")
    if said.verb in ("reply", "via"):
        _reply(connection, context, channel, episode, happening, said, message_id, inbox_id)
        return
    _write(connection, context, channel, episode, happening, message_id, None, Purpose.note, said.text, inbox_id)
    if said.verb == "unknown":
        hint = f"Not a command I know, so it was kept as a note and nothing was sent. Commands: {COMMANDS}."
        deliveries.notify_desk(connection, context, episode.id, hint)
    elif said.verb != "note":
        _act(connection, context, episode, said.verb, said.text or None, happening.sender)


def _whose(connection: Connection, channel: Channel, thread: str) -> int | None:
    """The conversation whose card, or other post, that is: also of a thread that another one has followed."""
    posted = (
        sa.select(delivery.c.conversation_id)
        .join(receipt, receipt.c.delivery_id == delivery.c.id)
        .where(receipt.c.channel == channel.name, receipt.c.external_id == thread)
    )
    return connection.execute(posted).scalar_one_or_none()


def _park(
    connection: Connection,
    context: Context,
    channel: Channel,
    happening: MessageReceived | ActionTaken,
    message_id: int | None,
    inbox_id: int,
) -> None:
    """Keep it for ``joined``: an agent may answer before the hub has learnt the id of its own post."""
    connection.execute(
        sa.insert(parked_reply).values(
            channel=channel.name,
            thread=happening.thread,
            event=_encoder.encode(happening).decode(),
            message_id=message_id,
            inbox_id=inbox_id,
            at=context.now,
        )
    )


def joined(connection: Connection, context: Context, channel: Channel, threads: Sequence[str]) -> None:
    """Give what agents did in these threads its effect, now that it is known whose they are."""
    for some in chunks(threads):
        query = (
            sa.select(parked_reply)
            .where(parked_reply.c.channel == channel.name, parked_reply.c.thread.in_(some))
            .order_by(parked_reply.c.id)
        )
        rows = connection.execute(query).all()
        if not rows:
            continue
        connection.execute(sa.delete(parked_reply).where(parked_reply.c.id.in_([row.id for row in rows])))
        for row in rows:
            decoder = _action_decoder if row.message_id is None else _message_decoder
            handle(connection, context, channel, decoder.decode(row.event), row.message_id, row.inbox_id)


def rejoin(connection: Connection, context: Context, channel: Channel) -> None:
    """Give what was parked while its thread was being written elsewhere its effect; drop what is in nobody's."""
    joined(connection, context, channel, list(connection.execute(_known_threads(channel).distinct()).scalars()))
    connection.execute(sa.delete(parked_reply).where(_nobodys(context)))


def rejoins(connection: Connection, context: Context, channel: Channel) -> bool:
    """Whether ``rejoin`` has anything to do."""
    old = sa.select(parked_reply.c.id).where(_nobodys(context))
    return any(connection.execute(query.limit(1)).first() is not None for query in (_known_threads(channel), old))


def _known_threads(channel: Channel) -> sa.Select[str]:
    return (
        sa.select(parked_reply.c.thread)
        .join(
            receipt,
            sa.and_(receipt.c.channel == parked_reply.c.channel, receipt.c.external_id == parked_reply.c.thread),
        )
        .where(parked_reply.c.channel == channel.name)
    )


def _nobodys(context: Context) -> sa.ColumnElement[bool]:
    return parked_reply.c.at < context.now - _STRANGER


def _reply(
    connection: Connection,
    context: Context,
    channel: Channel,
    episode: conversations.Episode,
    happening: MessageReceived,
    said: Said,
    message_id: int,
    inbox_id: int,
) -> None:
    target = said.channel or episode.reply_channel
    way = reach(connection, context, episode, target)
    if target is None or way is None:
        words = f"Not sent: this customer cannot be reached by {target or 'any channel'}."
        _write(connection, context, channel, episode, happening, message_id, None, Purpose.note, said.text, inbox_id)
        known = ", ".join(name for name, each in context.channels.items() if each.role == "contact")
        deliveries.notify_desk(connection, context, episode.id, f"{words} Channels: {known}.")
        return
    _write(
        connection, context, channel, episode, happening, message_id, way, Purpose.reply, said.text, inbox_id,
        said.template,
    )  # fmt: skip
    deliveries.to_customer(
        connection,
        context,
        message_id=message_id,
        conversation_id=episode.id,
        channel=target,
        identity_id=way,
        purpose=Purpose.reply,
    )
    answered(connection, context, episode, f"[template {said.template.name}]" if said.template else said.text)


def _approved(
    connection: Connection, context: Context, episode: conversations.Episode, wanted: Template
) -> tuple[Template, str | None]:
    """The template with its language, and why it cannot be sent."""
    channel = context.channels.get(episode.reply_channel or "")
    if channel is None or not channel.capabilities.templates:
        return wanted, f"{episode.reply_channel or 'this customer'} takes no templates; write the text itself."
    if wanted.language:
        return wanted, None
    known = approvals.states(connection, channel.name, {wanted.name})
    languages = sorted(language for _, language in known)
    if len(languages) == 1:
        return replace(wanted, language=languages[0]), None
    there = f" (there are {', '.join(languages)})" if languages else ""
    return wanted, f"say in which language, as in !template {wanted.name} en_GB{there}."


def _link(connection: Connection, context: Context, episode: conversations.Episode, said: Said) -> Said | None:
    """What goes to the customer, on the channel they use, so that they continue on another one; None: the desk was
    told why that cannot be."""
    there = {name: each for name, each in context.channels.items() if each.role == "contact"}
    wanted = [each for each in there.values() if said.channel in (each.name, each.medium)]
    target = there.get(said.channel or "") or (wanted[0] if len(wanted) == 1 else None)
    if target is None:
        words = f"Not sent: no channel, or several, are called {said.channel!r}. Channels: {', '.join(there)}."
    elif (link := continuation.link(context, episode.id, target)) is None:
        words = f"Not sent: there is no link into {target.name}; the page of its adapter says which setting it needs."
    else:
        return Said("reply", f"{said.text or f'Continue by {target.medium}:'} {link.url}")
    deliveries.notify_desk(connection, context, episode.id, words)
    return None


def answered(connection: Connection, context: Context, episode: conversations.Episode, text: str) -> None:
    """We wrote last: the conversation waits for the customer."""
    number = episode.id
    if episode.state == "resolved":
        # Another one may be the current one by now: in that the customer waits no more.
        number = deliveries.unresolved(connection, number) or number
    connection.execute(
        sa.update(conversation)
        .where(conversation.c.id == number)
        .values(
            state="pending", waiting_since=None, resolved_at=None, last_at=context.now,
            preview=text[: deliveries.PREVIEW],
        )
    )
    deliveries.refresh_card(connection, context, number)


def reach(
    connection: Connection,
    context: Context,
    episode: conversations.Episode,
    channel: str | None,
    *,
    further: bool = True,
) -> int | None:
    """The customer's identity for this channel: the one they last used, else their latest proven one, else what the
    business itself holds for theirs.

    ``further``: one of another scheme that the channel reaches will do, where there is none of its own.
    """
    if channel is None or channel not in context.channels or context.channels[channel].role != "contact":
        return None
    if episode.reply_channel == channel and episode.reply_identity is not None:
        return episode.reply_identity
    people = identity.family(connection, episode.customer_id)
    known = context.channels[channel]
    for scheme in known.schemes if further else (known.scheme,):
        query = (
            sa.select(identity_table.c.id)
            .where(
                identity_table.c.customer_id.in_(people),
                identity_table.c.address.startswith(scheme + ":", autoescape=True),
            )
            .order_by(identity_table.c.proof == str(Proof.claimed), identity_table.c.id.desc())
        )
        way: int | None = connection.execute(query).scalars().first()
        if way is not None:
            return way
    return None


def _write(
    connection: Connection,
    context: Context,
    channel: Channel,
    episode: conversations.Episode,
    happening: MessageReceived,
    message_id: int,
    identity_id: int | None,
    purpose: Purpose,
    text: str,
    inbox_id: int,
    template: Template | None = None,
) -> None:
    """Store what an agent wrote at the desk."""
    sender = happening.sender
    row: dict[str, Any] = {
        "id": message_id,
        "conversation_id": episode.id,
        "identity_id": identity_id,
        "channel": channel.name,
        "inbound": False,
        "author_kind": str(AuthorKind.agent),
        "author_name": sender.name or NAMELESS,
        "author_id": str(sender.address),
        "purpose": str(purpose),
        "content": encode(Content(text, attachments=happening.attachments, template=template)),
        "external_id": happening.external_id,
        "reply_to": None,
        "proof": None,
        "automatic": False,
        "provider_at": happening.at,
        "recorded_at": context.now,
    }
    insert_many(connection, message, [row])
    media.expect(connection, context, channel.name, inbox_id, [(message_id, happening.attachments)])
    if purpose is Purpose.note:
        deliveries.mark(connection, context, [(message_id, "inside", None)])


def _act(
    connection: Connection,
    context: Context,
    episode: conversations.Episode,
    action: str,
    value: str | None,
    by: Party,
) -> None:
    who = by.name or by.value
    done: str | None = None
    match action:
        case "resolve":
            if conversations.set_state(connection, context, episode.id, ConversationState.resolved):
                done = f"{who} resolved the conversation."
        case "reopen":
            if conversations.set_state(connection, context, episode.id, ConversationState.open):
                done = f"{who} reopened the conversation."
        case "assign":
            agent = who if value in (None, "", "me") else value
            if conversations.assign(connection, episode.id, agent):
                done = f"Assigned to {agent}."
        case "show":  # as it is now, and where the desk is now
            deliveries.refresh_card(connection, context, episode.id)
        case "snooze":
            done = _snooze(connection, context, episode, value or "1d", who)
        case _ if action.startswith("via:"):
            done = _switch(connection, context, episode, action.removeprefix("via:"))
    if done:
        deliveries.notify_desk(connection, context, episode.id, done)
        deliveries.refresh_card(connection, context, episode.id)


def _snooze(
    connection: Connection, context: Context, episode: conversations.Episode, span: str, who: str
) -> str:
    match = _SPAN.fullmatch(span.strip())
    if match is None:
        return f"Not snoozed: {span!r} is no time (30m, 2h, 3d)."
    until = context.now + int(match[1]) * _UNIT[match[2]]
    if not conversations.set_state(connection, context, episode.id, ConversationState.snoozed):
        return "Not snoozed: it is snoozed already, or another conversation of this customer is open."
    connection.execute(
        sa.update(conversation).where(conversation.c.id == episode.id).values(snoozed_until=until)
    )
    return f"{who} snoozed the conversation until {until:%Y-%m-%d %H:%M} UTC."


def _switch(connection: Connection, context: Context, episode: conversations.Episode, channel: str) -> str:
    way = reach(connection, context, episode, channel)
    if way is None:
        return f"This customer cannot be reached by {channel}."
    connection.execute(
        sa.update(conversation)
        .where(conversation.c.id == episode.id)
        .values(reply_channel=channel, reply_identity=way)
    )
    return f"Answers go out by {channel} from now on."


def snoozed(connection: Connection, context: Context) -> Sequence[int]:
    """Conversations whose snooze is over."""
    # In words, as the index has it: with a bound value the database would read all conversations.
    state = conversation.c.state == sa.literal_column("'snoozed'")
    query = sa.select(conversation.c.id).where(state, conversation.c.snoozed_until <= context.now)
    return connection.execute(query).scalars().all()


def wake_snoozed(connection: Connection, context: Context) -> int:
    """Reopen conversations whose snooze is over. Returns how many."""
    due = snoozed(connection, context)
    for conversation_id in due:
        conversations.set_state(connection, context, conversation_id, ConversationState.open)
        deliveries.notify_desk(connection, context, conversation_id, "Snooze is over.")
        deliveries.refresh_card(connection, context, conversation_id)
    return len(due)


def amend(
    connection: Connection, context: Context, message_id: int, happening: MessageEdited | MessageDeleted
) -> None:
    """An agent edits or deletes what they wrote. In time if the answer still waits; else the desk is told that it
    is out as it was."""
    row = connection.execute(
        sa.select(message.c.conversation_id, message.c.author_kind, message.c.purpose, message.c.content).where(
            message.c.id == message_id
        )
    ).first()
    if row is None or row.author_kind != AuthorKind.agent or row.purpose == Purpose.note:
        return
    who = happening.sender.name or NAMELESS
    said = parse(happening.text) if isinstance(happening, MessageEdited) else None
    if said is not None and said.verb in ("reply", "via"):
        content = decode_content(row.content)
        if content.text == said.text:
            return
        if not _replaced(connection, message_id, encode(replace(content, text=said.text))):
            words = f"{who} changed a message that is out already: the customer still has its first version."
            deliveries.notify_desk(connection, context, row.conversation_id, words)
        return
    withdrawn = _withdrawn(connection, message_id, f"taken back by {who}")
    words = f"{who} took a message back before it was sent." if withdrawn else (
        f"{who} took back a message that is out already: the customer still has it."
    )
    deliveries.notify_desk(connection, context, row.conversation_id, words)


def react(connection: Connection, context: Context, here: Channel, message_id: int, reacted: Reacted) -> None:
    """An agent's emoji on a customer's message goes to the customer, if settings and their app take such."""
    if not context.reactions:
        return
    row = connection.execute(sa.select(message).where(message.c.id == message_id)).first()
    channel = context.channels.get(row.channel) if row is not None and row.inbound else None
    if row is None or channel is None or not channel.capabilities.reactions or row.external_id is None:
        return
    if not reacted.emoji or reacted.emoji.startswith(":"):  # made up by the workspace
        return
    text = f"{reacted.emoji} taken back" if reacted.removed else reacted.emoji
    number = deliveries.add_message(
        connection,
        context,
        conversation_id=row.conversation_id,
        identity_id=row.identity_id,
        channel=here.name,
        author=Author(AuthorKind.agent, reacted.sender.name or NAMELESS, str(reacted.sender.address)),
        purpose=Purpose.reply,
        content=Content(text),
        reply_to=row.external_id,
    )
    deliveries.to_customer(
        connection,
        context,
        message_id=number,
        conversation_id=row.conversation_id,
        channel=channel.name,
        identity_id=row.identity_id,
        purpose=Purpose.reply,
        reaction="" if reacted.removed else reacted.emoji,
    )


def _waiting(message_id: int) -> sa.ColumnElement[bool]:
    """No part of it has been handed over."""
    begun = sa.exists().where(receipt.c.delivery_id == delivery.c.id)
    return sa.and_(
        delivery.c.message_id == message_id, delivery.c.kind == "contact", delivery.c.state == "queued", ~begun
    )


def _withdrawn(connection: Connection, message_id: int, reason: str) -> bool:
    change = sa.update(delivery).where(_waiting(message_id)).values(state="cancelled", reason=reason)
    return connection.execute(change).rowcount > 0


def _replaced(connection: Connection, message_id: int, content: Any) -> bool:
    # Changing the rows keeps lanes from claiming them before the new text is committed, and tells those that have read
    # them ahead: a microsecond shows, and delays nobody.
    later = sa.type_coerce(delivery.c.due_at, sa.BigInteger) + 1
    held = connection.execute(sa.update(delivery).where(_waiting(message_id)).values(due_at=later)).rowcount
    if held:
        connection.execute(sa.update(message).where(message.c.id == message_id).values(content=content))
    return held > 0


def show_amendment(
    connection: Connection, context: Context, message_id: int, happening: MessageEdited | MessageDeleted | Reacted
) -> None:
    """Tell the desk that the customer changed, took back or reacted to a message."""
    row = connection.execute(
        sa.select(message.c.conversation_id, message.c.author_name).where(message.c.id == message_id)
    ).first()
    if row is None:
        return
    who = happening.sender.name or happening.sender.value
    match happening:
        case MessageEdited():
            words = f"{who} edited a message. It now reads:\n{happening.text}"
        case MessageDeleted():
            words = f"{who} deleted a message."
        case Reacted():
            verb = "took back" if happening.removed else "reacted with"
            words = f"{who} {verb} {happening.emoji}"
    deliveries.notify_desk(connection, context, row.conversation_id, words)
