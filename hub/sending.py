"""Taking a message that a script, a program or a command wants to send: one transaction, then it is on its way."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated, Literal
from urllib.parse import urlsplit

import sqlalchemy as sa
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, model_validator
from sqlalchemy import Connection

from hub import advertising, conversations, customers, deliveries, desk, identity, media
from hub.channels import Channel
from hub.context import Context
from hub.customers import Line
from hub.model import (
    Address,
    Attachment,
    Author,
    AuthorKind,
    Button,
    Content,
    Location,
    Party,
    Proof,
    Purpose,
    Template,
)
from hub.store.schema import conversation, customer
from hub.store.schema import identity as identity_table

MADE_BY = "api"  # the channel of messages that were written through the API


class Unsendable(ValueError):
    """What cannot be sent as asked. ``field``: which part of the draft is at fault."""

    def __init__(self, field: str, detail: str) -> None:
        super().__init__(detail)
        self.field = field
        self.detail = detail


def _public_https(value: str) -> str:
    parts = urlsplit(value)
    if parts.scheme != "https" or not parts.hostname or parts.username or re.search(r"\s", value):
        raise ValueError("not a file's address: it looks like https://example.com/invoice.pdf")
    return value


class FileDraft(BaseModel):
    """A file at a public address; it is fetched once and sent from there."""

    model_config = ConfigDict(extra="forbid")

    url: Annotated[str, StringConstraints(max_length=2048), AfterValidator(_public_https)]
    name: Line | None = None
    mime: Annotated[str, StringConstraints(pattern=r"^[\w.+-]{1,60}/[\w.+-]{1,60}$")] | None = None
    kind: Literal["image", "audio", "video", "file"] = "file"


class ButtonDraft(BaseModel):
    model_config = ConfigDict(extra="forbid")

    id: Annotated[Line, StringConstraints(max_length=200)]
    title: Annotated[Line, StringConstraints(max_length=80)]


class LocationDraft(BaseModel):
    model_config = ConfigDict(extra="forbid")

    latitude: float = Field(ge=-90, le=90)
    longitude: float = Field(ge=-180, le=180)
    name: Line | None = None
    address: Line | None = None


class TemplateDraft(BaseModel):
    """A template that the channel's provider has approved, with its variables."""

    model_config = ConfigDict(extra="forbid")

    name: Annotated[Line, StringConstraints(max_length=512)]
    language: Annotated[str, StringConstraints(pattern=r"^[A-Za-z]{2,3}([_-][A-Za-z0-9]{2,8})*$")]
    variables: dict[Line, Annotated[str, StringConstraints(max_length=4096)]] = Field(
        default_factory=dict, max_length=50, description="By name, or by number from 1 where the template has numbers."
    )


class AuthorDraft(BaseModel):
    model_config = ConfigDict(extra="forbid")

    kind: Literal["agent", "automation", "campaign"] = "automation"
    name: Annotated[Line, StringConstraints(max_length=80)] | None = None
    id: Line | None = None


class Draft(BaseModel):
    """A message to one customer."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {"customer": "tel:+447700900123", "text": "Your parcel is on its way.", "purpose": "transactional"}
            ]
        },
    )

    customer: Line = Field(description="Public id, external id, or an address such as tel:+447700900123.")
    text: str = Field("", max_length=100_000)
    subject: Line | None = None
    html: str | None = Field(None, max_length=500_000)
    attachments: list[FileDraft] = Field([], max_length=10)
    buttons: list[ButtonDraft] = Field([], max_length=20)
    location: LocationDraft | None = Field(None, description="A place; a line of text where the channel shows none.")
    template: TemplateDraft | None = Field(None, description="Goes out in place of text where the channel has them.")
    channel: Line | None = Field(None, description="Name of a channel; else the customer's last-used one.")
    purpose: Literal["reply", "transactional", "marketing"] = Field(
        "marketing", description="What it is for. Marketing needs an opt-in; what nobody says otherwise of is that."
    )
    topic: Line | None = Field(None, description="Of advertising: one of the setting `topics`.")
    author: AuthorDraft | None = Field(None, description="Else an automation with the API key's name.")

    @model_validator(mode="after")
    def _says_something(self) -> Draft:
        if not (self.text.strip() or self.html or self.attachments or self.location or self.template):
            raise ValueError("nothing to send: give text, html, attachments, a location or a template")
        if self.topic is not None and self.purpose != "marketing":
            raise ValueError(f"a {self.purpose} message has no topic: only advertising has")
        return self

    def content(self) -> Content:
        files = [Attachment(each.kind, each.url, None, each.mime, each.name) for each in self.attachments]
        buttons = [Button(each.id, each.title) for each in self.buttons]
        place = Location(**self.location.model_dump()) if self.location else None
        template = Template(**self.template.model_dump()) if self.template else None
        return Content(self.text, self.subject, self.html, files, place, buttons, template=template)


@dataclass(frozen=True, slots=True)
class Accepted:
    """Rows of an accepted message."""

    customer: int
    conversation: int
    message: int
    delivery: int
    channel: Channel
    address: str


def beside_template(channel: Channel, files: int, buttons: int) -> tuple[str, str] | None:
    """Which part of a message does not go beside a template there, and why."""
    can = channel.capabilities
    if can.templates and files > can.template_files:
        most = "only one goes" if can.template_files else "none goes"
        return "attachments", f"{most} beside a template by {channel.name}: send files in a message of their own"
    if can.templates and buttons and not can.template_buttons:
        return "buttons", f"by {channel.name} a template's buttons are in the template itself: leave them out"
    return None


def accept(connection: Connection, context: Context, draft: Draft, sender: str) -> Accepted:
    """Store the message and put it on its way. ``sender``: the author's name where the draft has none.

    Raises: Unsendable.
    """
    purpose = Purpose(draft.purpose)
    if (problem := advertising.unknown_topic(context, draft.topic)) is not None:
        raise Unsendable("topic", problem)
    person, addressed = _person(connection, context, draft.customer)
    episodes = conversations.Episodes(connection, context, [person])
    episode = _episode(connection, context, episodes, person)
    channel, way = _way(connection, context, episode, addressed, draft.channel)
    if draft.template and (wrong := beside_template(channel, len(draft.attachments), len(draft.buttons))) is not None:
        raise Unsendable(*wrong)
    if episode.reply_channel is None:
        episode.reply_channel, episode.reply_identity = channel.name, way
    if episode.is_new:
        # Nobody waits for us in a conversation that we begin; a campaign's counts only once it is answered.
        episode.state = "resolved" if purpose is Purpose.marketing else "pending"
        episode.resolved_at = context.now if purpose is Purpose.marketing else None
    episode.last_at = context.now
    episodes.preview(episode, draft.text)
    episodes.save()
    author = _author(draft, sender)
    content = draft.content()
    if purpose is Purpose.marketing:
        locale, address = _recipient(connection, way)
        advertising.say_how_to_end(content, context, channel, address, [locale] if locale else [])
    message_id = deliveries.add_message(
        connection,
        context,
        conversation_id=episode.id,
        identity_id=way,
        channel=MADE_BY,
        author=author,
        purpose=purpose,
        content=content,
        automatic=author.kind is not AuthorKind.agent,
    )
    if content.attachments:
        media.expect(connection, context, channel.name, None, [(message_id, content.attachments)])
    delivery_id = deliveries.to_customer(
        connection,
        context,
        message_id=message_id,
        conversation_id=episode.id,
        channel=channel.name,
        identity_id=way,
        purpose=purpose,
        topic=draft.topic,
    )
    if purpose is not Purpose.marketing and author.kind is not AuthorKind.campaign:
        deliveries.to_desk(connection, context, [(episode.id, message_id)])
    if purpose is Purpose.reply:
        desk.answered(connection, context, episode, draft.text)
    return Accepted(person, episode.id, message_id, delivery_id, channel, _address(connection, way))


def _author(draft: Draft, sender: str) -> Author:
    asked = draft.author or AuthorDraft()
    return Author(AuthorKind(asked.kind), asked.name or sender, asked.id)


def _person(connection: Connection, context: Context, who: str) -> tuple[int, identity.Known | None]:
    """The customer, and their identity if an address was given. An address nobody has makes a customer."""
    contact = [each for each in context.channels.values() if each.role == "contact"]
    schemes = {scheme for each in contact for scheme in each.schemes}
    if who.partition(":")[0] in schemes:
        try:
            address = customers.parse_address(who)
        except ValueError as error:
            raise Unsendable("customer", str(error)) from None
        known = identity.find(connection, [str(address)]).get(str(address)) or _stranger(connection, context, address)
        return known.customer_id, known
    person = customers.find(connection, who)
    if person is None:
        reached = ", ".join(sorted(schemes)) or "none: no channel is configured"
        raise Unsendable(
            "customer",
            f"no customer is known as {who!r}; an address would do as well (schemes that are reached: {reached})",
        )
    return person, None


def _stranger(connection: Connection, context: Context, address: Address) -> identity.Known:
    """A customer of whom only an address is known. That it is theirs is our claim until they write."""
    person = identity.new_customer(context, None)
    row = identity.new_identity(context, person["id"], Party(address.scheme, address.value, proof=Proof.claimed))
    identity.insert(connection, [person], [row])
    return identity.Known(row["id"], str(address), person["id"], Proof.claimed, None)


def _episode(
    connection: Connection, context: Context, episodes: conversations.Episodes, person: int
) -> conversations.Episode:
    """The unresolved conversation, however quiet it has been; else the one a new message would belong to."""
    query = sa.select(conversation.c.id).where(
        conversation.c.customer_id.in_(identity.family(connection, person)), conversation.c.state != "resolved"
    )
    current = connection.execute(query).scalars().first()
    held = conversations.get(connection, current) if current is not None else None
    return held or episodes.for_message(person)


def _way(
    connection: Connection,
    context: Context,
    episode: conversations.Episode,
    addressed: identity.Known | None,
    wanted: str | None,
) -> tuple[Channel, int]:
    """Channel and identity to use."""
    contact = {name: each for name, each in context.channels.items() if each.role == "contact"}
    if wanted is not None and wanted not in contact:
        raise Unsendable("channel", f"no channel to customers is called {wanted!r}; there are: {', '.join(contact)}")
    usual = [wanted] if wanted else [name for name in (episode.reply_channel,) if name in contact]
    names = usual if wanted else [*usual, *contact]
    for name in names:
        if addressed is None:
            way = desk.reach(connection, context, episode, name, further=False)
        else:
            way = addressed.id if addressed.address.startswith(contact[name].scheme + ":") else None
        if way is not None:
            return contact[name], way
    for name in names:
        way = desk.reach(connection, context, episode, name)
        if way is None and addressed is not None and addressed.address.partition(":")[0] in contact[name].reaches:
            way = addressed.id
        if way is not None:
            return contact[name], way
    if wanted is not None:
        schemes = " or ".join(f"{scheme}:" for scheme in contact[wanted].schemes)
        raise Unsendable("channel", f"{wanted} reaches addresses of the scheme {schemes}, and this customer has none")
    raise Unsendable("customer", "this customer has no address that a configured channel reaches")


def _recipient(connection: Connection, identity_id: int) -> tuple[str | None, str]:
    """Locale and address."""
    query = sa.select(customer.c.locale, identity_table.c.address).join(
        customer, customer.c.id == identity_table.c.customer_id
    )
    row = connection.execute(query.where(identity_table.c.id == identity_id)).one()
    return row.locale, row.address


def _address(connection: Connection, identity_id: int) -> str:
    query = sa.select(identity_table.c.address).where(identity_table.c.id == identity_id)
    return str(connection.execute(query).scalar_one())
