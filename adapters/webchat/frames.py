"""What a widget may say, and what of it goes into the hub's inbox. Everything else is refused by the decoder."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from hub import model

TEXT_LIMIT = 4000  # characters: our own, so that a message is still one screen of a phone

ClientId = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9_-]{8,64}$")]
EntryId = Annotated[str, msgspec.Meta(pattern=r"^[0-9]{1,20}$")]  # text, since JavaScript's numbers end at 2^53


class Choice(msgspec.Struct):
    id: Annotated[str, msgspec.Meta(min_length=1, max_length=256)]
    title: Annotated[str, msgspec.Meta(min_length=1, max_length=256)]


class Hello(msgspec.Struct, tag_field="type", tag="hello"):
    """The first frame. ``session``: our resume token; ``token``: the website's; ``after``: the last entry known."""

    session: str | None = None
    token: str | None = None
    after: EntryId = "0"


class Message(msgspec.Struct, tag_field="type", tag="message"):
    """``id`` is made by the widget and stays the same however often it sends the message."""

    id: ClientId
    text: str = ""
    selection: Choice | None = None


class Got(msgspec.Struct, tag_field="type", tag="got"):
    """All entries up to this one have arrived."""

    upto: EntryId


class Seen(msgspec.Struct, tag_field="type", tag="seen"):
    """All entries up to this one have been looked at. ``id``: of the entry, or its external id."""

    id: str


class Typing(msgspec.Struct, tag_field="type", tag="typing"):
    pass


class Status(msgspec.Struct, tag_field="type", tag="status"):
    """Inbox only: ``ids`` are external ids of messages that this visitor was shown."""

    state: Literal["delivered", "read"]
    ids: list[str]


class Login(msgspec.Struct, tag_field="type", tag="login"):
    """Inbox only: the visitor, who is signed, was this anonymous one until now."""

    former: str


Frame = Hello | Message | Got | Seen | Typing
Kept = Message | Status | Typing | Login

read_frame = msgspec.json.Decoder(Frame).decode
read_kept = msgspec.json.Decoder(Kept).decode
write = msgspec.json.Encoder().encode


def clean(text: str) -> str:
    return model.clean(text).strip()
