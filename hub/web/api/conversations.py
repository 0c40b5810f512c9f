"""``/conversations``: list them, change how they stand, write notes that stay inside."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Annotated, Any, Literal

import sqlalchemy as sa
from pydantic import AwareDatetime, BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints, model_validator
from sqlalchemy import Connection

from hub import continuation, conversations, customers, deliveries, identity, timeline
from hub.context import Context
from hub.contract import SendError
from hub.customers import Line, dated
from hub.model import Address, Author, AuthorKind, Content, ConversationState, Purpose, public_id
from hub.sending import MADE_BY
from hub.store.schema import conversation, message
from hub.store.schema import identity as identity_table
from hub.timeline import ConversationView, MessageView
from hub.web.api.once import once
from hub.web.api.paging import Page, PageQuery, page, plus
from hub.web.api.problem import FieldError, Problem, not_found
from hub.web.api.route import Answer, Call, Route

State = Literal["open", "pending", "snoozed", "resolved"]


_LONGEST_SNOOZE = timedelta(days=366)


class ConversationQuery(PageQuery):
    state: State | None = None
    assignee: Line | None = Field(None, description="Only what this agent was given.")
    unassigned: bool = Field(False, description="true: only what nobody was given.")
    customer: Annotated[Line, BeforeValidator(plus)] | None = Field(
        None, description="Public id, external id or address."
    )

    @model_validator(mode="after")
    def _makes_sense(self) -> ConversationQuery:
        if self.unassigned and self.assignee is not None:
            raise ValueError("assignee and unassigned exclude each other")
        return self


class ConversationPatch(BaseModel):
    """Only what is given changes."""

    model_config = ConfigDict(extra="forbid")

    state: State | None = Field(None, description="snoozed needs snoozed_until.")
    assignee: Annotated[Line, StringConstraints(max_length=80)] | None = Field(None, description="null: nobody.")
    snoozed_until: Annotated[AwareDatetime, BeforeValidator(dated)] | None = Field(
        None, description="With a zone: 2026-01-31T12:00:00Z."
    )

    @model_validator(mode="after")
    def _makes_sense(self) -> ConversationPatch:
        if not self.model_fields_set:
            raise ValueError("nothing to change: give state, assignee or snoozed_until")
        if "state" in self.model_fields_set and self.state is None:
            raise ValueError("state cannot be null")
        if (self.state == "snoozed") != (self.snoozed_until is not None):
            raise ValueError("state snoozed and snoozed_until go together")
        return self


class NoteDraft(BaseModel):
    """Words for colleagues. They are shown at the desk and never sent to a customer."""

    model_config = ConfigDict(extra="forbid")

    text: Annotated[str, StringConstraints(min_length=1, max_length=20_000)]
    author: Annotated[Line, StringConstraints(max_length=80)] | None = Field(None, description="Else the key's name.")


class NoteView(BaseModel):
    id: str
    conversation: str


class LinkDraft(BaseModel):
    """A link into another channel, to be given to the conversation's customer and to nobody else."""

    model_config = ConfigDict(extra="forbid")

    channel: Line = Field(description="Name of the channel where the conversation is to go on.")


class LinkView(BaseModel):
    """Whoever writes through ``url`` first, before ``expires_at``, is taken for the conversation's customer."""

    conversation: str
    channel: str
    url: str
    expires_at: datetime


class SeenDraft(BaseModel):
    """``typing``: also show that an answer is being written, for some 20 seconds or until it comes."""

    model_config = ConfigDict(extra="forbid")

    typing: bool = False


class SeenView(BaseModel):
    conversation: str
    channel: str
    address: str


async def listed(call: Call) -> Answer:
    query: ConversationQuery = call.query
    before = query.before("conversations")

    def work(connection: Connection) -> list[tuple[int, ConversationView]]:
        people = None
        if query.customer is not None:
            number = customers.find(connection, query.customer)
            people = identity.family(connection, number) if number is not None else []
        return timeline.conversations(
            connection,
            state=query.state,
            assignee=query.assignee,
            unassigned=query.unassigned,
            people=people,
            before=before,
            limit=query.limit + 1,
        )

    return Answer.of(page(Page[ConversationView], "conversations", await call.hub.store.read(work), query.limit))


async def one(call: Call) -> Answer:
    number = call.row("conversation")
    found = await call.hub.store.read(lambda connection: timeline.one_conversation(connection, number))
    if found is None:
        raise not_found("conversation", call.path["id"])
    return Answer.of(found)


async def messages(call: Call) -> Answer:
    query: PageQuery = call.query
    before, number = query.before("messages"), call.row("conversation")

    def work(connection: Connection) -> list[tuple[int, MessageView]]:
        if conversations.get(connection, number) is None:
            raise not_found("conversation", call.path["id"])
        return timeline.episode(connection, call.hub.links.make, number, before=before, limit=query.limit + 1)

    return Answer.of(page(Page[MessageView], "messages", await call.hub.store.read(work), query.limit))


async def change(call: Call) -> Answer:
    patch: ConversationPatch = call.body
    number = call.row("conversation")

    def work(connection: Connection, context: Context) -> ConversationView:
        episode = conversations.get(connection, number)
        if episode is None:
            raise not_found("conversation", call.path["id"])
        done: list[str] = []
        if patch.state is not None:
            done += _to_state(connection, context, episode, patch.state, patch.snoozed_until, call.caller.name)
        if "assignee" in patch.model_fields_set and conversations.assign(connection, number, patch.assignee):
            done.append(f"Assigned to {patch.assignee or 'nobody'} by {call.caller.name}.")
        if done:
            deliveries.notify_desk(connection, context, number, " ".join(done))
            deliveries.refresh_card(connection, context, number)
        view = timeline.one_conversation(connection, number)
        assert view is not None
        return view

    return Answer.of(await call.hub.write(work))


def _to_state(
    connection: Connection,
    context: Context,
    episode: conversations.Episode,
    state: State,
    until: datetime | None,
    who: str,
) -> list[str]:
    """What was done, for the desk."""
    if until is not None and not context.now < until <= context.now + _LONGEST_SNOOZE:
        detail = f"is not within the next {_LONGEST_SNOOZE.days} days"
        errors = [FieldError(field="snoozed_until", detail=detail)]
        raise Problem(422, "invalid_body", f"snoozed_until {detail}; give another moment", errors)
    changed = conversations.set_state(connection, context, episode.id, ConversationState(state))
    if not changed and episode.state != state:
        detail = "another conversation of this customer is unresolved, and there can be only one; change that one"
        raise Problem(409, "another_unresolved", detail)
    if changed or until is not None:
        values = {"snoozed_until": until}
        connection.execute(sa.update(conversation).where(conversation.c.id == episode.id).values(values))
    if until is not None:
        return [f"{who} snoozed the conversation until {until:%Y-%m-%d %H:%M %Z}."]
    return [f"{who} set the conversation to {state}."] if changed else []


async def note(call: Call) -> Answer:
    draft: NoteDraft = call.body
    number = call.row("conversation")

    def work(connection: Connection, context: Context) -> Answer:
        if conversations.get(connection, number) is None:
            raise not_found("conversation", call.path["id"])
        kind = AuthorKind.agent if draft.author else AuthorKind.automation
        message_id = deliveries.add_message(
            connection,
            context,
            conversation_id=number,
            identity_id=None,
            channel=MADE_BY,
            author=Author(kind, draft.author or call.caller.name),
            purpose=Purpose.note,
            content=Content(draft.text),
        )
        deliveries.to_desk(connection, context, [(number, message_id)])
        view = NoteView(id=public_id("message", message_id), conversation=public_id("conversation", number))
        return Answer.of(view, 201, f"/api/v1/messages/{view.id}")

    return await once(call, work)


async def link(call: Call) -> Answer:
    draft: LinkDraft = call.body
    number = call.row("conversation")

    def work(connection: Connection, context: Context) -> LinkView:
        if conversations.get(connection, number) is None:
            raise not_found("conversation", call.path["id"])
        there = {name: each for name, each in context.channels.items() if each.role == "contact"}
        if draft.channel not in there:
            raise _no_link(f"no channel to customers is called {draft.channel!r}; there are: {', '.join(there)}")
        made = continuation.link(context, number, there[draft.channel])
        if made is None:
            raise _no_link(f"there is no link into {draft.channel}; its adapter's page says which setting it needs")
        return LinkView(
            conversation=public_id("conversation", number), channel=draft.channel, url=made.url,
            expires_at=made.expires_at,
        )

    return Answer.of(await call.hub.write(work))


async def seen(call: Call) -> Answer:
    """An answer that goes out shows it by itself; this is for those who take their time."""
    draft: SeenDraft = call.body
    number = call.row("conversation")
    last = await call.hub.store.read(lambda connection: _last_heard(connection, number))
    if last is None:
        raise not_found("conversation with a message of a customer", call.path["id"])
    adapter = call.hub.adapters.get(last.channel)
    if adapter is None or not adapter.capabilities.seen:
        raise Problem(409, "not_shown", f"{last.channel} has no way to show that a message was read")
    if call.hub.copied or call.hub.settings.outbound == "off":
        raise Problem(409, "not_shown", "nothing is handed to providers now; hub doctor says why")
    try:
        await adapter.seen(Address.parse(last.address), last.external_id, typing=draft.typing)
    except SendError as error:
        raise Problem(502, "not_shown", f"{last.channel}: {error.detail}") from None
    view = SeenView(conversation=public_id("conversation", number), channel=last.channel, address=last.address)
    return Answer.of(view)


def _last_heard(connection: Connection, number: int) -> Any:
    """The row with channel, external_id and address of the customer's last message; None if there is none."""
    said = message.c.inbound.is_(True) & message.c.external_id.is_not(None)
    query = (
        sa.select(message.c.channel, message.c.external_id, identity_table.c.address)
        .join(identity_table, identity_table.c.id == message.c.identity_id)
        .where(message.c.conversation_id == number, said)
        .order_by(message.c.id.desc())
        .limit(1)
    )
    return connection.execute(query).one_or_none()


def _no_link(detail: str) -> Problem:
    return Problem(422, "invalid_body", detail, [FieldError(field="channel", detail=detail)])


ROUTES = (
    Route(
        "GET", "/conversations", listed, "Conversations, newest first", "read", Page[ConversationView],
        query=ConversationQuery,
    ),
    Route("GET", "/conversations/{id}", one, "One conversation", "read", ConversationView),
    Route(
        "GET", "/conversations/{id}/messages", messages, "The messages of one conversation, newest first", "read",
        Page[MessageView], query=PageQuery,
    ),
    Route(
        "PATCH", "/conversations/{id}", change, "Change a conversation's state or assignee", "send", ConversationView,
        body=ConversationPatch,
    ),
    Route(
        "POST", "/conversations/{id}/notes", note, "Write a note; it never reaches the customer", "send", NoteView,
        body=NoteDraft, statuses=(201,), key="optional",
    ),
    Route(
        "POST", "/conversations/{id}/seen", seen, "Show the customer that it was read, and that somebody types", "send",
        SeenView, body=SeenDraft,
    ),
    Route(
        "POST", "/conversations/{id}/links", link, "Make a link that continues it on another channel", "send",
        LinkView, body=LinkDraft,
    ),
)
