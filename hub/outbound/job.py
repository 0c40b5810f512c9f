"""A delivery while a lane works on it."""

from __future__ import annotations

import asyncio
import math
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from hub.contract import Card, Mark, Receipt
from hub.model import Address, Author, Content, Medium, Purpose
from hub.policy.rates import Bucket


@dataclass(slots=True)
class Job:
    """Everything a send needs, loaded in the transaction that claimed it."""

    id: int  # of the delivery
    kind: str  # "contact", "post", "card", "mark"
    channel: str
    conversation_id: int
    message_id: int | None
    purpose: Purpose
    part: int  # the next one to send
    attempts: int
    expires_at: datetime
    started_at: datetime
    due_at: datetime | None = None  # as it was read, which was at ``started_at`` until the hand-off starts
    priority: int = 0  # lower goes first
    decision: dict[str, Any] | None = None  # row that explains why it may go, of what goes to customers
    looked: float = -math.inf  # when the recipient's consent was looked at last, by the monotonic clock
    rates: dict[str, Bucket] = field(default_factory=dict)  # beyond the sender's: of its campaign, mailbox provider
    turn: float = 0.0  # when it may be handed off, by the monotonic clock
    slot: float | None = None  # when it really is, if nothing holds it up
    known: bool = False  # of a part in doubt: the provider has it after all
    identity_id: int | None = None
    topic: str | None = None  # of advertising
    unsubscribe: str | None = None  # page that ends advertising
    valid_for: int | None = None  # seconds from the hand-off after which it should not be delivered any more
    late: bool = False  # a person's answer after the window has closed
    epoch: int | None = None  # of the recipient's consent when it was decided
    to: Address | None = None
    content: Content = field(default_factory=Content)
    author: Author | None = None
    origin: Medium | None = None
    automatic: bool = False
    files: list[tuple[str, str | None]] = field(default_factory=list)  # of each attachment: sha256, or what went wrong
    lost: str | None = None  # what became of a file of a customer's message that could not be had
    reaction: str | None = None  # an emoji on the message that ``reply_to`` names, "" to take it back: nothing else
    file: int | None = None  # position of the file that a post at the desk shows, which came after the message's own
    replaces: list[str] | None = None  # external ids of posts at the desk that shall say this now
    reply_to: str | None = None
    quoted: str | None = None  # a line of what a post at the desk answers or is about
    answers: str | None = None  # external id of the customer's message that an agent's answer shows to have been read
    references: list[str] = field(default_factory=list)
    thread: str | None = None
    card: Card | None = None
    mark: Mark | None = None


class Held(Exception):
    """What waited for its turn is not handed off after all, and waits in the queue again. The text says why."""


class ConsentChanged(Exception):
    """Somebody said something about messages between the decision and the hand-off: decide again."""


@dataclass(slots=True)
class Outcome:
    """What came of it. ``error`` None: all parts are out (or ``partial``: more follow)."""

    job: Job
    receipts: list[tuple[int, Receipt]]
    finished_at: datetime
    error: BaseException | None = None
    partial: bool = False
    settled: asyncio.Event = field(default_factory=asyncio.Event)  # it has been written
