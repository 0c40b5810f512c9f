"""What a channel is to the hub: the adapter, what goes in, what comes out, how it fails.

An adapter translates between one provider's wire format and these values. It stores nothing and decides
nothing: no consent, no retry, no thread. Whatever differs between channels is data in ``Capabilities``.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import Any, ClassVar, Generic, Literal, Protocol, TypeVar, runtime_checkable
from zoneinfo import ZoneInfo

from aiohttp import web
from pydantic import BaseModel, ConfigDict, Field, field_validator

from hub.model import (
    Address,
    Attachment,
    Author,
    Button,
    Location,
    Medium,
    Party,
    Purpose,
    Selection,
    Template,
    clean,
)

# --- in ---


@dataclass(slots=True)
class Request:
    """One raw delivery from a provider: a webhook, or what a pulling source saw (a mail, a socket frame).

    ``url`` is the public one, query included (some providers sign it). Header names are lower case.
    """

    method: str
    url: str
    headers: Mapping[str, str]
    body: bytes
    received_at: datetime


@dataclass(frozen=True, slots=True)
class Verified:
    """The answer to a request. ``accept``: keep it (the answer is sent after the commit). Otherwise nothing is
    stored and the answer goes out at once: 401/403 for a bad signature, 200 with a body for a handshake."""

    accept: bool
    status: int = 200
    body: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class MessageReceived:
    """Somebody wrote. ``external_id`` is the provider's id of the message, unique within the channel."""

    external_id: str
    sender: Party
    at: datetime
    text: str = ""
    also: list[Party] = field(default_factory=list)  # further addresses of the same person, each with its proof
    # Addresses that they had until now and have no more; the sender's and those of ``also`` stand in their place.
    # It may have no content then: it tells of the move alone.
    former: list[Address] = field(default_factory=list)
    subject: str | None = None
    html: str | None = None
    full_text: str | None = None  # the whole mail, where ``text`` is only its new part
    attachments: list[Attachment] = field(default_factory=list)
    location: Location | None = None
    selection: Selection | None = None
    reply_to: str | None = None  # external id of the message it answers
    references: list[str] = field(default_factory=list)  # external ids of its ancestors, oldest first
    # Contact channels: our own conversation reference, proven by a token we signed and sent to this sender.
    # Desk channels: the external id of the thread's root post.
    thread: str | None = None
    # Written by a machine (auto-reply, list, bounce), or news without a word or a press of theirs: shown, opens no
    # window, and is never answered by a machine.
    automatic: bool = False
    forwarded: bool = False  # somebody else's words, passed on: they say nothing of what the sender wants
    unsupported: str | None = None  # the provider's name of a kind we cannot show
    avatar: str | None = None
    entry: str | None = None  # what the link into this channel carried (ref, start), where the provider tells it apart
    # The provider's name of an album: messages with files that share it, of one sender, become one message.
    album: str | None = None
    mentions: list[str] = field(default_factory=list)  # names of people that stand in the text after an @, in order
    type: Literal["message"] = "message"


PassingError = Literal["transient", "rate_limited", "channel_down"]


@dataclass(slots=True)
class StatusChanged:
    """A receipt for a part we sent. ``key`` is our own reference, where the provider echoes it.

    ``bad_address`` says the address is dead for good; ``opted_out`` that the person refused messages, and ``covers``
    which. ``error``: as what the failure would be treated, had it been the answer to the send, where that is not final.
    ``to`` makes it a watermark: the parts sent to this address before that one are in the same state. With
    ``until`` they are those handed off by then, and ``external_id`` names no part.
    """

    external_id: str
    state: Literal["queued", "sent", "delivered", "read", "failed"]
    at: datetime
    code: str | None = None
    detail: str | None = None
    key: str | None = None
    bad_address: bool = False
    opted_out: bool = False
    covers: Literal["all", "marketing"] = "all"
    error: PassingError | None = None
    to: Address | None = None
    until: datetime | None = None
    type: Literal["status"] = "status"


@dataclass(slots=True)
class ConsentChanged:
    """The provider itself tells of an opt-out or opt-in (it may have answered the person already).

    ``covers``: all messages, or only marketing. Who blocks an account, and who lifts that or follows it, has said
    nothing about messages: "blocked" and "unblocked" are about what the provider lets through.
    """

    external_id: str
    sender: Party
    change: Literal["opt_out", "opt_in", "blocked", "unblocked"]
    at: datetime
    covers: Literal["all", "marketing"] = "all"
    type: Literal["consent"] = "consent"


@dataclass(slots=True)
class MessageEdited:
    """Its text and its files as they are now, changed or not."""

    external_id: str
    sender: Party
    at: datetime
    text: str = ""
    attachments: list[Attachment] = field(default_factory=list)
    type: Literal["edit"] = "edit"


@dataclass(slots=True)
class MessageDeleted:
    external_id: str
    sender: Party
    at: datetime
    type: Literal["delete"] = "delete"


@dataclass(slots=True)
class Reacted:
    """``external_id``: the message reacted to. ``emoji`` as a character; ``removed`` when taken back. ``event_id``: the
    provider's own of this news, if it has one; the same reaction may be given twice within a second."""

    external_id: str
    sender: Party
    at: datetime
    emoji: str = ""
    removed: bool = False
    event_id: str = ""
    type: Literal["reaction"] = "reaction"


@dataclass(slots=True)
class ActionTaken:
    """A control was used: a button on a desk card ("resolve", "assign", …) or a form. "show": the card, where the desk
    is now.

    ``external_id`` is unique for this press; ``thread`` the root post it belongs to.
    """

    external_id: str
    sender: Party
    at: datetime
    action: str
    value: str | None = None
    thread: str | None = None
    type: Literal["action"] = "action"


@dataclass(slots=True)
class Typing:
    sender: Party
    at: datetime
    type: Literal["typing"] = "typing"


@dataclass(slots=True)
class TemplateNews:
    """``status``: "approved", "paused", or the provider's word for no, in lower case. None: as it was."""

    name: str
    language: str
    status: str | None = None
    category: str | None = None  # in lower case


@dataclass(slots=True)
class AccountChanged:
    """The provider tells of our account there: a template approved, a number's quality, a limit, a restriction.

    ``external_id`` is unique for this piece of news, ``what`` it is about ("template order_update (en_US)"), ``state``
    the provider's own word for how it is now.
    """

    external_id: str
    at: datetime
    what: str
    state: str
    detail: str | None = None
    template: TemplateNews | None = None  # if it is about one
    holds: bool | None = None  # True: the sender's advertising shall wait; False: no longer on this account
    people: int | None = None  # so many may the account write to unasked in 24 hours from now on
    type: Literal["account"] = "account"


ELSEWHERE = "Colleague elsewhere"  # what somebody is called who wrote from our account, but not through the hub


@dataclass(slots=True)
class MessageEchoed:
    """Somebody wrote to a customer from this account, but not through the hub: in the provider's own app, or with
    another program. Shown in the thread as ours, never sent."""

    external_id: str
    to: Party
    at: datetime
    text: str = ""
    also: list[Party] = field(default_factory=list)  # further addresses of the customer
    subject: str | None = None
    attachments: list[Attachment] = field(default_factory=list)
    location: Location | None = None
    reply_to: str | None = None
    unsupported: str | None = None
    type: Literal["echo"] = "echo"


Event = (
    MessageReceived | StatusChanged | ConsentChanged | MessageEdited | MessageDeleted | Reacted | ActionTaken | Typing
    | AccountChanged | MessageEchoed
)
Emit = Callable[[Request], Awaitable[None]]  # returns when the request is durable in the inbox


class Unparseable(ValueError):
    """An authentic request that ``receive`` cannot translate: kept, alerted, replayable.

    ``events``: what it says beside what cannot be read; they have their effect.
    """

    def __init__(self, detail: str, events: Sequence[Event] = ()) -> None:
        super().__init__(detail)
        self.events = list(events)


# --- out ---


@dataclass(slots=True)
class Card:
    """A conversation in short, as the desk shows it at the top of its thread."""

    conversation: str  # public id
    customer: str
    state: str
    channels: list[str]  # "sms +447700900123 ✓", most recently used first
    assignee: str | None = None
    preview: str = ""
    waiting_since: datetime | None = None
    unverified: bool = False
    before: str | None = None  # external id of the root post of the thread that this one goes on from


@dataclass(slots=True)
class Mark:
    """The delivery state of an agent's message, to be shown on that message at the desk."""

    target: str  # external id of the agent's post
    state: Literal["inside", "queued", "sent", "delivered", "read", "failed", "denied", "unknown"]  # inside: a note
    reason: str | None = None  # for failed, denied and unknown: what happened and what can be done


@dataclass(slots=True)
class Outgoing:
    """One provider call to make: a rendered part that fits the channel.

    ``key`` is the same on every attempt of this part and different for any other (``<delivery>.<part>``).
    """

    key: str
    to: Address
    text: str = ""
    subject: str | None = None
    html: str | None = None
    attachments: list[Attachment] = field(default_factory=list)
    buttons: list[Button] = field(default_factory=list)
    location: Location | None = None
    template: Template | None = None
    reply_to: str | None = None  # external id of the message this answers
    reaction: str | None = None  # an emoji on the message ``reply_to`` names, in place of content; "" takes it back
    references: list[str] = field(default_factory=list)  # ids in this thread with this address, oldest first
    thread: str | None = None  # contact: public conversation id; desk: external id of the root post
    author: Author | None = None
    origin: Medium | None = None  # desk: the channel the customer used
    purpose: Purpose = Purpose.reply
    callback_url: str | None = None  # where a status may be reported; carries ``key``
    edits: str | None = None  # external id of the post this replaces
    card: Card | None = None
    mark: Mark | None = None
    quoted: str | None = None  # desk: a line of the message that this answers or is about, to be shown above it
    automatic: bool = False  # written by a machine: say so in the headers
    late: bool = False  # a person's answer after the window has closed, which the policy of the channel still allows
    valid_for: int | None = None  # seconds after which a provider that can be told should not deliver it any more
    unsubscribe: str | None = None  # advertising: page that ends it, also by a bare POST (RFC 8058); where headers go


@dataclass(frozen=True, slots=True)
class Receipt:
    """The provider took the part and named it. ``state`` is "sent" unless the provider only queued it.

    Of what the provider wrote, here and in a ``SendError``, is kept what a database takes.
    """

    external_id: str
    state: Literal["queued", "sent", "delivered"] = "sent"
    detail: Mapping[str, str] = field(default_factory=dict)  # segments, price: shown by `hub why`
    free: bool = False  # costs nothing of a month's messages
    also: tuple[Party, ...] = ()  # further addresses by which the provider knows the recipient
    pieces: Sequence[str] = ()  # ids of what else it made of the part, where it tells of each by itself

    def __post_init__(self) -> None:
        object.__setattr__(self, "external_id", clean(self.external_id))
        object.__setattr__(self, "pieces", tuple(map(clean, self.pieces)))
        if self.detail:
            object.__setattr__(self, "detail", {name: clean(value) for name, value in self.detail.items()})

    @property
    def ids(self) -> tuple[str, ...]:
        return (self.external_id, *self.pieces)


class SendError(Exception):
    """The provider did not take the message. ``code`` and the text are the provider's own words."""

    def __init__(self, detail: str, *, code: str | None = None) -> None:
        super().__init__(clean(detail))
        self.detail = clean(detail)
        self.code = None if code is None else clean(code)

    @property
    def kind(self) -> str:
        """The class name in snake_case: ``rate_limited``."""
        name = type(self).__name__
        return "".join("_" + letter.lower() if letter.isupper() else letter for letter in name).lstrip("_")


LONGEST_PAUSE = 86_400.0  # seconds; a provider that asks for more is asked again after a day


def _pause(after: float | None) -> float | None:
    """What a provider asks for; None where that is no time."""
    return min(after, LONGEST_PAUSE) if after is not None and after >= 0 else None


class Transient(SendError):
    """Certainly not accepted, may work later. ``after``: seconds the provider asks for, at most ``LONGEST_PAUSE``."""

    def __init__(self, detail: str, *, code: str | None = None, after: float | None = None) -> None:
        super().__init__(detail, code=code)
        self.after = _pause(after)


class RateLimited(SendError):
    """Too fast. Burns no attempt. ``after`` as in ``Transient``; ``scope``: what must slow down."""

    def __init__(
        self,
        detail: str,
        *,
        code: str | None = None,
        after: float | None = None,
        scope: Literal["account", "sender", "pair", "domain"] = "sender",
    ) -> None:
        super().__init__(detail, code=code)
        self.after = _pause(after)
        self.scope = scope


class Ambiguous(SendError):
    """Perhaps accepted: the answer was lost. Settled by the adapter's idempotency class, never blindly resent.

    ``settles`` False: not even that can settle it, so it is unknown at once.
    """

    def __init__(self, detail: str, *, code: str | None = None, settles: bool = True) -> None:
        super().__init__(detail, code=code)
        self.settles = settles


class WindowClosed(SendError):
    """Free text is not possible now; a template may be."""


class Rejected(SendError):
    """This message, never."""


class BadAddress(SendError):
    """This address, never. Of a desk: this thread is not there any more, so the conversation begins a new one."""


class OptedOut(SendError):
    """The provider says this person refused messages from us. ``covers``: all of them, or only marketing."""

    def __init__(
        self, detail: str, *, code: str | None = None, covers: Literal["all", "marketing"] = "all"
    ) -> None:
        super().__init__(detail, code=code)
        self.covers = covers


class ChannelDown(SendError):
    """Our account or configuration is wrong: hold the channel, alert, burn no attempts."""


# What a ``StatusChanged`` says of errors that pass.
PASSING: Mapping[type[SendError] | None, PassingError] = {
    Transient: "transient", RateLimited: "rate_limited", ChannelDown: "channel_down",
}  # fmt: skip


# --- the adapter ---


def entry_words(token: str) -> str:
    """A first message that carries a token, for links that can only prepare a text."""
    return f"Hi! ({token})"


@dataclass(frozen=True, slots=True, kw_only=True)
class Capabilities:
    """What a channel can do. The core applies it; nobody asks which provider it is."""

    text_limit: int  # characters in one part; longer text is split (or refused where ``splits`` is False)
    text_unit: Literal["utf-16", "utf-8"] = "utf-16"  # what limits of text count: UTF-16 code units, or UTF-8 bytes
    splits: bool = True
    sms_segments: bool = False  # text is billed in GSM-7/UCS-2 segments
    html: bool = False
    subject: bool = False
    # How files go out. "either": whichever there is, "both": bytes and address where we have both; "none": as a link
    # in the text.
    media: Literal["none", "url", "bytes", "either", "both"] = "none"
    media_max: int = 0  # files in one part
    media_size: int = 0  # bytes of one file; a larger one becomes a link
    # Characters of text beside a file, and the kinds that take any; more text goes before the file, in a part of its
    # own, and so do buttons after it. None: all may share a part.
    captions: int | None = None
    captioned: frozenset[str] = frozenset({"image", "audio", "video", "file", "sticker", "contact"})
    buttons: int = 0  # native buttons in one part; more, or 0: a numbered list in the text
    button_title: int | None = None  # characters of a native button; a longer title makes all a numbered list
    buttons_text: int | None = None  # characters above native buttons; longer text begins before. None: ``text_limit``
    location: bool = False  # a place goes out as one, in a part of its own; else as a line
    templates: bool = False  # a template goes out as its name and variables, in one part
    template_files: Literal[0, 1] = 0  # files beside a template, as its header
    template_buttons: bool = False  # buttons beside a template: its quick replies take their ids
    delivered: bool = False  # the provider reports delivery
    read: bool = False  # the provider reports reading
    inbound: bool = True
    edits: bool = False
    deletes: bool = False
    reactions: bool = False
    answers: frozenset[str] = frozenset()  # words in small letters that its provider answers itself, each alone
    seen: bool = False  # `seen` shows customers that what they wrote was read
    window: timedelta | None = None  # free text only this long after the customer's last message
    # What settles a send whose answer was lost: "key": the same key may be sent again; "query": `lookup` finds it;
    # "echo": a later status with our key proves it; "none": nothing, it stays unknown.
    idempotency: Literal["key", "query", "echo", "none"]
    # The provider may accept this long after a lost answer; a status with our key will have come by then, or never.
    settle: timedelta = timedelta(seconds=60)
    concurrency: int = 16  # calls in flight
    rate: float | None = None  # parts per second of one sender, by default
    pair: tuple[float, float] | None = None  # seconds from one part to the next to one recipient, and how many at once
    webhook: int = 0  # bytes of the largest webhook its provider sends, where the hub's own limit may be too small
    shed: int | None = 503  # status that makes the provider try again under load; None: never refuse
    retry_for: timedelta = timedelta(hours=24)  # give up a message after this long
    codes: str | None = None  # table of config/policy/feedback.toml that says what its codes of failures do


# `Field(json_schema_extra=MADE_HERE)`: a secret that no provider gives out. `hub channel add` makes one and shows it.
MADE_HERE: dict[str, Any] = {"made_here": True}
# … =RARE)`: a setting that few need. `hub channel add` asks for it only with --all.
RARE: dict[str, Any] = {"rare": True}


class ChannelConfig(BaseModel):
    """Settings every channel has. Adapters extend it; unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    base_url: str | None = Field(None, description="Where the provider's API is; set it to use a simulator.")
    rate: float | None = Field(None, gt=0, description="Parts per second of this sender; overrides the default.")
    shares: str | None = Field(None, description="A word; channels with the same one share `shared_rate`.")
    shared_rate: float | None = Field(None, gt=0, description="Parts per second of all channels with this `shares`.")
    settle: float | None = Field(
        None, ge=0, description="Seconds after a lost answer until the provider is asked, or no longer waited for."
    )
    people_per_day: int | None = Field(
        None, ge=0, description="People it may write to unasked in any 24 h; all channels with this `shares` together."
    )
    messages_per_month: int | None = Field(
        None, ge=0, description="Messages of a calendar month that are paid for; with this `shares` together."
    )
    warm_up: date | None = Field(
        None, description="Day on which a new sender starts; its advertising grows day by day from then on."
    )
    warm_up_first: int | None = Field(None, ge=1, description="Messages of the first day, instead of the policy's.")
    warm_up_to: int | None = Field(None, ge=1, description="Messages a day once it is warm, instead of the policy's.")
    zone: str = Field("UTC", description="Time zone in which its months and days begin: Asia/Tokyo.")

    @field_validator("zone")
    @classmethod
    def _known_zone(cls, value: str) -> str:
        try:
            return ZoneInfo(value).key
        except (KeyError, OSError, ValueError):
            raise ValueError(f"unknown time zone {value!r}: write a name such as Europe/Paris") from None


@dataclass(frozen=True, slots=True)
class Health:
    ok: bool
    detail: str


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    headers: Mapping[str, str]  # names in lower case
    body: bytes


LARGEST_ANSWER = 8 << 20  # bytes; the longest of pages that a provider lists things on have one or two million


class Http(Protocol):
    """HTTP to the provider's API (an address from our own configuration)."""

    async def request(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        body: bytes = b"",
        timeout: float = 15.0,
        largest: int = LARGEST_ANSWER,
    ) -> Answer:
        """One exchange, no retry, no redirect. ``largest``: bytes of the answer's body, unpacked.

        Raises: Transient if nothing can have reached the provider (DNS, refused, TLS);
        Ambiguous if the answer was lost (timeout, reset), or is larger.
        """


@dataclass(frozen=True, slots=True)
class Entry:
    """A line of what one address and the hub said to each other on one channel."""

    id: int  # grows with time
    inbound: bool
    author: str
    text: str
    at: datetime
    attachments: list[Attachment]
    buttons: list[Button]
    external_id: str | None
    state: str


class Host(Protocol):
    """What the hub lends to an adapter."""

    http: Http
    public_url: str  # https://hub.example.com, no slash at the end
    secret: bytes  # this channel's own key for tokens it signs

    def now(self) -> datetime: ...

    async def emit(self, request: Request) -> None:
        """Make a request durable in the inbox, as if it had come by webhook and been verified."""

    async def history(self, address: Address, *, after: int = 0, limit: int = 100) -> list[Entry]:
        """What this channel and this address said to each other, oldest first, ``id > after``. No notes."""

    def publish(self, topic: str) -> None:
        """Wake whoever waits for ``topic``, in any process."""

    async def wait(self, topic: str, timeout: float) -> bool:
        """True when ``topic`` was published since the last wait in this task, False after ``timeout`` seconds."""

    async def cursor(self, name: str) -> str | None:
        """A durable bookmark of a pulling source, as last saved."""

    async def save_cursor(self, name: str, value: str) -> None: ...

    def pulled(self, error: SendError | None = None) -> None:
        """What came of asking a source for news, each time: people hear of it where it goes on failing."""


@runtime_checkable
class Relay(Protocol):
    """What a host may lend besides, where a channel speaks something else than HTTP: its calls go here in place of
    out, so that ``hub adapter send`` can show them and play answers back."""

    async def relay(self, method: str, url: str, headers: Mapping[str, str], body: bytes) -> Answer:
        """Raises: Ambiguous if the answer was lost."""


C = TypeVar("C", bound=ChannelConfig)


class Adapter(ABC, Generic[C]):
    """One configured account of one provider. Stateless but for connections; built once per process."""

    medium: ClassVar[Medium]
    scheme: ClassVar[str]  # of the addresses people write from, which it reaches: "tel", "mailto", "webchat" …
    reaches: ClassVar[tuple[str, ...]] = ()  # further schemes it can write to, where it knows none of its own
    role: ClassVar[Literal["contact", "desk"]] = "contact"
    # One webhook may carry events of several channels of this adapter (an app with many numbers): each of them that
    # verifies a request is asked for its own events in it, whichever of them was called.
    shared: ClassVar[bool] = False
    answerable: bool = True  # False: its sender cannot be written to, as it is a name
    taken: ClassVar[Verified] = Verified(True)  # the answer to a request that is kept
    capabilities: ClassVar[Capabilities]
    Config: ClassVar[type[ChannelConfig]]

    def __init__(self, name: str, config: C, host: Host) -> None:
        self.name = name
        self.config = config
        self.host = host

    @abstractmethod
    def verify(self, request: Request) -> Verified:
        """Check the signature on the raw bytes; answer handshakes. No parsing beyond that, no I/O."""

    @abstractmethod
    def receive(self, request: Request) -> list[Event]:
        """Translate a verified request into events, in order; [] for kinds of no interest. No I/O.

        Raises: Unparseable.
        """

    @abstractmethod
    async def send(self, out: Outgoing) -> Receipt:
        """Make one provider call. Raises: SendError, nothing else."""

    async def run(self, emit: Emit) -> None:
        """Pull (IMAP IDLE, Socket Mode, long polling) until cancelled. Advance a cursor only after ``emit`` returns.

        Raises: what it likes: it is started again, and people hear of it as if it had been told to ``host.pulled``.
        """

    async def fetch(self, attachment: Attachment, request: Request | None) -> AsyncIterator[bytes] | None:
        """The bytes of an inbound file; ``request`` is the raw delivery it came with. None: get ``url`` as it is.

        Called by a worker, never inside a webhook.
        """
        return None

    async def lookup(self, out: Outgoing, since: datetime) -> list[Receipt]:
        """Parts like ``out`` that the provider took since then, oldest first (idempotency class "query")."""
        return []

    async def seen(self, to: Address, external_id: str, *, typing: bool = False) -> None:
        """Show somebody that this message of theirs was read (capability "seen"); ``typing``: and is being answered.

        Raises: SendError.
        """

    def own_address(self) -> Address | None:
        """Where messages go that name nobody, as alerts do. None: this channel leads to whoever has an address."""
        return None

    async def name_of(self, address: Address) -> str | None:
        """What somebody who wrote is called, where what they send does not say so; None: the provider tells nothing.

        Called by a worker, once for each address. Raises: SendError.
        """
        return None

    def entry_link(self, token: str) -> str | None:
        """A link that opens this channel with ``token`` (up to 64 of A-Z, a-z, 0-9, _ and -) in the first message: as
        its ``entry``, or in ``entry_words``. None: there is no such link, or a setting for it is missing."""
        return None

    async def check(self) -> Health:
        """One cheap read call, for `hub doctor`."""
        return Health(True, "nothing to check")

    def routes(self) -> list[web.RouteDef]:
        """Extra pages and sockets of this channel, mounted under ``/channels/<name>``."""
        return []

    async def hang_up(self) -> None:
        """End the sockets of ``routes``: the hub is stopping, and waits for them."""

    async def close(self) -> None:
        """Release connections."""


AnyAdapter = Adapter[Any]
