"""What agents do at the desk: reply, note, resolve, assign. The desk's provider is an adapter like any other."""

from __future__ import annotations

import re
import shlex
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import partial
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
from hub.store.schema import conversation, delivery, message, parked_reply, pending, receipt
from hub.store.schema import identity as identity_table

COMMANDS = "!note TEXT, !resolve, !reopen, !assign [NAME], !snooze 2h, !via CHANNEL TEXT, !continue CHANNEL [TEXT], "
COMMANDS += "!template NAME [LANG] [key=value …]"
NAMELESS = "Support"  # how customers see an agent whose name the desk does not tell (yet); never a raw user id
_NAME = 80  # characters of an assignee
_COMMAND = re.compile(r"!(\w+)\s*(.*)", re.DOTALL)
# What may stand before the first word without being one: quotes and lists, formatting, letters that show nothing.
_AHEAD = re.compile(
    r"""(?:[\s*_~`>•◦▪‣·–—"'“”‘’„«»\u115f\u1160\u2800-]|(?:\d{1,3}|[a-z]|[ivxl]{1,5})[.)]\s)*""", re.IGNORECASE
)
_NOTE = re.compile(r"(?:^|(?<=[\s*_~`>•]))!note\b", re.IGNORECASE)
_SPAN = re.compile(r"(\d{1,4})\s*([mhd])")
_UNIT = {"m": timedelta(minutes=1), "h": timedelta(hours=1), "d": timedelta(days=1)}
_STRANGER = timedelta(days=1)  # a post of ours whose id is not known by then never will be
_ANOTHER = "another conversation of this customer is unresolved, and there can be only one. Go on in that one."
_encoder = msgspec.json.Encoder()
_message_decoder = msgspec.json.Decoder(MessageReceived)
_action_decoder = msgspec.json.Decoder(ActionTaken)


@dataclass(frozen=True, slots=True)
class Said:
    """What an agent's text asks for. Only ``verb`` "reply", "via", "continue" and "template" ever reach a customer.

    ``channel``: as it was called, and the name of the one to use once it is known. ``way``: the identity, then.
    """

    verb: str  # "reply", "note", "resolve", "reopen", "assign", "snooze", "via", "continue", "template", "unknown"
    text: str
    channel: str | None = None
    template: Template | None = None
    way: int | None = None


def parse(text: str) -> Said:
    """Anything that begins with an exclamation mark stays inside unless it is a proper ``!via``, ``!continue`` or
    ``!template``; so does what looks like it, and anything in which ``!note`` stands."""
    said = _command(text)
    if said.verb in ("reply", "via", "continue"):
        words = _plain(said.text)
        note = _NOTE.search(words)
        if note or words.startswith("!"):
            return Said("note" if note and note.start() == 0 else "unknown", text)
    return said


def _command(text: str) -> Said:
    match = _COMMAND.fullmatch(text.strip())
    if match is None:
        return Said("reply", text)
    verb, rest = match[1].lower(), match[2].strip()
    if verb in ("via", "continue"):
        channel, *words = rest.split(maxsplit=1) or [""]
        return Said(verb, "".join(words), channel) if channel else Said("unknown", text)
    if verb == "template":
        found = _template(rest)
        return Said("template", rest, template=found) if found else Said("unknown", text)
    if verb in ("note", "resolve", "reopen", "assign", "snooze"):
        return Said(verb, rest)
    return Said("unknown", text)


def _plain(text: str) -> str:
    """From the first letter on that is read as one: wide letters as plain ones, without formatting before it and
    without what nobody sees."""
    wide = unicodedata.normalize("NFKC", text)
    seen = "".join(each for each in wide if each.isspace() or unicodedata.category(each)[0] not in "CM")
    return _AHEAD.sub("", seen, count=1)


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
    said = _understood(connection, context, episode, happening.text, bool(happening.attachments))
    write = partial(_write, connection, context, channel, episode, happening, message_id, inbox_id)
    if said.verb in ("reply", "via"):
        write(said.way, Purpose.reply, Content(said.text, attachments=happening.attachments, template=said.template))
        _send(connection, context, episode, message_id, said)
        return
    write(None, Purpose.note, Content(said.text, attachments=happening.attachments))
    if said.verb != "note":
        value = _named(said.text, happening.mentions) if said.verb == "assign" else said.text
        _act(connection, context, episode, said.verb, value or None, happening.sender)


def _named(text: str, mentions: Sequence[str]) -> str:
    """Who is meant: the one that is mentioned, whatever else is said to them, or else all of the text."""
    called = [name for name in mentions if text.startswith(f"@{name}")]
    return called[0] if called else text.removeprefix("@")


def _understood(
    connection: Connection, context: Context, episode: conversations.Episode, text: str, has_files: bool
) -> Said:
    """What is to be done, with all that it takes: "reply" and "via" with ``channel`` and ``way``, a "note" where the
    desk was told why nothing goes out, or what ``_act`` knows."""
    said, wrong = parse(text), None
    match said.verb:
        case "unknown":
            wrong = f"Not a command I know, so it was kept as a note and nothing was sent. Commands: {COMMANDS}."
        case "continue":
            said, wrong = _link(context, episode, said)
        case "template" if said.template is not None:
            said, wrong = _approved(connection, context, episode, said.template)
    if wrong is None and said.verb in ("reply", "via"):
        said, wrong = _addressed(connection, context, episode, said, has_files)
    if wrong is None:
        return said
    deliveries.notify_desk(connection, context, episode.id, wrong)
    return Said("note", text)


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


def joined(connection: Connection, context: Context, channel: Channel, threads: Sequence[str]) -> set[tuple[str, str]]:
    """Give what agents did in these threads its effect, now that it is known whose they are.

    Returns channel and external id of what they wrote: ``amendments`` may wait for it.
    """
    written = set()
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
            if row.message_id is None:
                handle(connection, context, channel, _action_decoder.decode(row.event), None, row.inbox_id)
                continue
            said = _message_decoder.decode(row.event)
            handle(connection, context, channel, said, row.message_id, row.inbox_id)
            written.add((channel.name, said.external_id))
    return written


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


def _addressed(
    connection: Connection, context: Context, episode: conversations.Episode, said: Said, has_files: bool
) -> tuple[Said, str | None]:
    """With channel and identity, and why it cannot be sent."""
    if not (said.text.strip() or said.template or has_files):
        return said, "Not sent: there are no words and no files in it. Write what the customer shall read."
    target = context.channels.get(episode.reply_channel or "")
    if said.verb == "via" and (target := _channel(context, said.channel)) is None:
        return said, _uncalled(context, said)
    way = reach(connection, context, episode, target.name) if target else None
    if target is None or way is None:
        by = target.name if target else episode.reply_channel or "any channel"
        return said, f"Not sent: this customer cannot be reached by {by}. Channels: {', '.join(_contact(context))}."
    return replace(said, channel=target.name, way=way), None


def _contact(context: Context) -> dict[str, Channel]:
    return {name: each for name, each in context.channels.items() if each.role == "contact"}


def _channel(context: Context, called: str | None) -> Channel | None:
    """The channel to customers of this name, or else the only one of this medium, whatever the case."""
    called = (called or "").lower()
    there = _contact(context).values()
    named = [each for each in there if each.name.lower() == called] or [each for each in there if each.medium == called]
    return named[0] if len(named) == 1 else None


def _uncalled(context: Context, said: Said) -> str:
    known = ", ".join(_contact(context))
    return f"Not sent: no channel, or several, are called {said.channel!r}. Channels: {known}."


def _send(
    connection: Connection, context: Context, episode: conversations.Episode, message_id: int, said: Said
) -> None:
    """``said``: as it was understood."""
    assert said.channel is not None
    if said.verb == "via":
        _take_back_held(connection, context, episode, said.channel)
    deliveries.to_customer(
        connection,
        context,
        message_id=message_id,
        conversation_id=episode.id,
        channel=said.channel,
        identity_id=said.way,
        purpose=Purpose.reply,
    )
    answered(connection, context, episode, f"[template {said.template.name}]" if said.template else said.text)


def _take_back_held(
    connection: Connection, context: Context, episode: conversations.Episode, instead: str
) -> None:
    """What is held until the customer writes on another channel must not arrive beside what is sent instead of it."""
    reason = f"taken back, because an answer goes by {instead} instead; write it anew if it shall go out as well"
    held = (
        sa.update(delivery)
        .where(
            delivery.c.conversation_id == episode.id,
            delivery.c.channel.in_([name for name in _contact(context) if name != instead]),
            pending(delivery),
            deliveries.is_held(delivery),
        )
        .values(state="cancelled", reason=reason)
        .returning(delivery.c.message_id)
    )
    taken = connection.execute(held).scalars().all()
    deliveries.mark(connection, context, [(number, "denied", reason) for number in taken])


def _approved(
    connection: Connection, context: Context, episode: conversations.Episode, wanted: Template
) -> tuple[Said, str | None]:
    """The template with its language, and why it cannot be sent."""
    said = Said("reply", "", template=wanted)
    channel = context.channels.get(episode.reply_channel or "")
    if channel is None or not channel.capabilities.templates:
        who = episode.reply_channel or "this customer"
        return said, f"Not sent: {who} takes no templates; write the text itself."
    if wanted.language:
        return said, None
    known = approvals.states(connection, channel.name, {wanted.name})
    languages = sorted(language for _, language in known)
    if len(languages) == 1:
        return replace(said, template=replace(wanted, language=languages[0])), None
    there = f" (there are {', '.join(languages)})" if languages else ""
    return said, f"Not sent: say in which language, as in !template {wanted.name} en_GB{there}."


def _link(context: Context, episode: conversations.Episode, said: Said) -> tuple[Said, str | None]:
    """What goes to the customer, on the channel they use, so that they continue on another one; and why that cannot
    be."""
    target = _channel(context, said.channel)
    if target is None:
        return said, _uncalled(context, said)
    link = continuation.link(context, episode.id, target)
    if link is None:
        needs = "the page of its adapter says which setting it needs"
        return said, f"Not sent: there is no link into {target.name}; {needs}."
    return Said("reply", f"{said.text or f'Continue by {target.medium}:'} {link.url}"), None


def answered(connection: Connection, context: Context, episode: conversations.Episode, text: str) -> None:
    """We wrote last: the conversation waits for the customer, or still for its time if it is snoozed."""
    if episode.state == "resolved":
        # Another one may be the current one by now: in that the customer waits no more.
        current = deliveries.unresolved(connection, episode.id)
        episode = (conversations.get(connection, current) if current is not None else None) or episode
    connection.execute(
        sa.update(conversation)
        .where(conversation.c.id == episode.id)
        .values(
            state="snoozed" if episode.state == "snoozed" else "pending", waiting_since=None, resolved_at=None,
            last_at=context.now, preview=text[: deliveries.PREVIEW],
        )
    )
    deliveries.refresh_card(connection, context, episode.id)


def reach(
    connection: Connection,
    context: Context,
    episode: conversations.Episode,
    channel: str | None,
    *,
    further: bool = True,
) -> int | None:
    """The customer's identity for this channel: the one they last wrote from there, else their latest proven one, else
    what the business itself holds for theirs.

    ``further``: one of another scheme that the channel reaches will do, where there is none of its own.
    """
    if channel is None or channel not in context.channels or context.channels[channel].role != "contact":
        return None
    if episode.reply_channel == channel and episode.reply_identity is not None:
        return episode.reply_identity
    people = identity.family(connection, episode.customer_id)
    known = context.channels[channel]
    theirs = sa.select(conversation.c.id).where(conversation.c.customer_id.in_(people))
    wrote = (
        sa.select(sa.func.max(message.c.id))
        .where(
            message.c.conversation_id.in_(theirs),
            message.c.identity_id == identity_table.c.id,
            message.c.channel == channel,
            message.c.inbound.is_(True),
            message.c.automatic.is_(False),
        )
        .scalar_subquery()
    )
    for scheme in known.schemes if further else (known.scheme,):
        query = (
            sa.select(identity_table.c.id)
            .where(
                identity_table.c.customer_id.in_(people),
                identity_table.c.address.startswith(scheme + ":", autoescape=True),
            )
            .order_by(
                sa.func.coalesce(wrote, 0).desc(),
                identity_table.c.proof == str(Proof.claimed),
                identity_table.c.id.desc(),
            )
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
    inbox_id: int,
    identity_id: int | None,
    purpose: Purpose,
    content: Content,
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
        "content": encode(content),
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
            elif episode.state != "open":
                done = f"Not reopened: {_ANOTHER}"
        case "assign":
            agent = who if value in (None, "", "me") else value
            if len(agent) > _NAME or "\n" in agent:
                done = "Not assigned: that is no name. Write !assign and the name, and nothing else."
            elif conversations.assign(connection, episode.id, agent):
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
    changed = conversations.set_state(connection, context, episode.id, ConversationState.snoozed)
    if not changed and episode.state != "snoozed":
        return f"Not snoozed: {_ANOTHER}"
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
    """An agent edits or deletes what they wrote. In time if the answer still waits; else the desk is told what has
    become of it."""
    row = connection.execute(
        sa.select(message.c.conversation_id, message.c.author_kind, message.c.purpose, message.c.content).where(
            message.c.id == message_id
        )
    ).first()
    if row is None or row.author_kind != AuthorKind.agent:
        return
    who = happening.sender.name or NAMELESS
    words: str | None
    if row.purpose == Purpose.note:
        words = _of_note(happening, who)
    elif not _waits(connection, message_id):
        words = _too_late(connection, message_id, decode_content(row.content), happening, who)
    elif isinstance(happening, MessageDeleted):
        _take_back(connection, context, message_id, row.conversation_id, who)
        words = f"{who} took a message back before it was sent."
    else:
        words = _change(connection, context, message_id, row.conversation_id, decode_content(row.content), happening)
    if words is not None:
        deliveries.notify_desk(connection, context, row.conversation_id, words)


def _of_note(happening: MessageEdited | MessageDeleted, who: str) -> str | None:
    if isinstance(happening, MessageDeleted) or parse(happening.text).verb == "note":
        return None
    return f"{who} changed a note: it stays inside and does nothing. Write it anew to send it."


def _too_late(
    connection: Connection, message_id: int, content: Content, happening: MessageEdited | MessageDeleted, who: str
) -> str | None:
    """What to say of an answer that does not wait any more."""
    last = connection.execute(
        sa.select(delivery.c.channel, delivery.c.state)
        .where(delivery.c.message_id == message_id, delivery.c.kind == "contact")
        .order_by(delivery.c.id.desc())
        .limit(1)
    ).one()
    edited = isinstance(happening, MessageEdited)
    if isinstance(happening, MessageEdited):
        said = parse(happening.text)
        same = said.text == content.text and not _fewer_files(content, happening)
        if said.verb in ("reply", "via") and same and said.channel in (None, last.channel):
            return None  # only its formatting is another
    match last.state:
        case "failed" | "denied" | "cancelled":
            if edited:
                return f"{who} changed a message that the customer did not get. Write it anew to send it."
            return f"{who} took back a message that the customer did not get."
        case "sending" | "indoubt" | "unknown":
            verb = "changed" if edited else "took back"
            return f"{who} {verb} a message that is perhaps out already: the customer may have it as it was."
    if edited:
        return f"{who} changed a message that is out already: the customer still has its first version."
    return f"{who} took back a message that is out already: the customer still has it."


def _fewer_files(content: Content, edited: MessageEdited) -> bool:
    left = {each.ref for each in edited.attachments}
    return any(each.ref not in left for each in content.attachments)


def _change(
    connection: Connection,
    context: Context,
    message_id: int,
    conversation_id: int,
    content: Content,
    edited: MessageEdited,
) -> str | None:
    """Do with an answer that still waits what its new text asks for. Returns what to say of it."""
    who = edited.sender.name or NAMELESS
    episode = conversations.get(connection, conversation_id)
    assert episode is not None
    if _fewer_files(content, edited):
        _take_back(connection, context, message_id, conversation_id, who)
        return f"{who} took a file out of a message that waited, so it was not sent. Write it anew."
    said = _understood(connection, context, episode, edited.text, bool(content.attachments))
    of_it = message.c.id == message_id
    if said.verb not in ("reply", "via"):
        _take_back(connection, context, message_id, conversation_id, who)
        note = encode(Content(said.text, attachments=content.attachments))
        values = {"purpose": str(Purpose.note), "content": note, "identity_id": None}
        connection.execute(sa.update(message).where(of_it).values(values))
        deliveries.mark(connection, context, [(message_id, "inside", None)])
        ignored = "" if said.verb == "note" else " A command has no effect there: write it anew."
        return f"{who} took a message back before it was sent.{ignored}"
    there = sa.select(delivery.c.channel, delivery.c.identity_id).where(_waiting(message_id))
    channel, way = connection.execute(there).one()
    anew = encode(replace(content, text=said.text, template=said.template))
    if (channel, way, content.template) == (said.channel, said.way, said.template):
        if content.text != said.text:
            # For lanes that have read it ahead: a microsecond shows, and delays nobody.
            later = sa.type_coerce(delivery.c.due_at, sa.BigInteger) + 1
            connection.execute(sa.update(delivery).where(_waiting(message_id)).values(due_at=later))
            connection.execute(sa.update(message).where(of_it).values(content=anew))
        return None
    _withdraw(connection, message_id, f"changed by {who}")
    connection.execute(sa.update(message).where(of_it).values(content=anew, identity_id=said.way))
    _send(connection, context, episode, message_id, said)
    if channel == said.channel:
        return None
    return f"{who} changed a message before it was sent: it goes by {said.channel}."


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
    begun = sa.exists().where(receipt.c.delivery_id == delivery.c.id, receipt.c.part >= 0)
    return sa.and_(
        delivery.c.message_id == message_id, delivery.c.kind == "contact", delivery.c.state == "queued", ~begun
    )


def _waits(connection: Connection, message_id: int) -> bool:
    """Whether it can still be changed; where it can, it stays so until this has committed."""
    found = sa.select(delivery.c.id).where(_waiting(message_id)).with_for_update()
    return connection.execute(found).first() is not None


def _take_back(connection: Connection, context: Context, message_id: int, conversation_id: int, who: str) -> None:
    """Who is not answered by anything else waits on."""
    _withdraw(connection, message_id, f"taken back by {who}")
    episode = conversations.get(connection, conversation_id)
    if episode is None or episode.state != "pending" or not conversations.unanswered_since(connection, episode.id):
        return
    conversations.set_state(connection, context, episode.id, ConversationState.open)
    deliveries.refresh_card(connection, context, episode.id)


def _withdraw(connection: Connection, message_id: int, reason: str) -> None:
    connection.execute(sa.update(delivery).where(_waiting(message_id)).values(state="cancelled", reason=reason))


def show_amendment(
    connection: Connection,
    context: Context,
    message_id: int,
    happening: MessageEdited | MessageDeleted | Reacted,
    *,
    other_file: bool = False,
) -> int | None:
    """Tell the desk that the customer changed, took back or reacted to a message. ``other_file``: an edit brought one.
    Returns the note."""
    place = sa.select(message.c.conversation_id).where(message.c.id == message_id)
    conversation_id = connection.execute(place).scalar_one_or_none()
    if conversation_id is None:
        return None
    address = str(happening.sender.address)
    who = identity.called(happening.sender, identity.find(connection, [address]).get(address))
    match happening:
        case MessageEdited() if other_file:
            words = f"{who} edited a message. It now has this file" + (
                f" and reads:\n{happening.text}" if happening.text else "."
            )
        case MessageEdited():
            now = f"reads:\n{happening.text}" if happening.text else "has no text."
            words = f"{who} edited a message. It now {now}"
        case MessageDeleted():
            words = f"{who} deleted a message."
        case Reacted():
            verb = "took back" if happening.removed else "reacted with"
            words = f"{who} {verb} {happening.emoji or 'a reaction'}"
    about = None if isinstance(happening, MessageDeleted) else message_id
    return deliveries.notify_desk(connection, context, conversation_id, words, about)
