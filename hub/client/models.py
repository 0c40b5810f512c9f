"""What the hub answers, as far as scripts need it. Fields that a newer hub adds are kept as they come."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from pydantic import BaseModel, ConfigDict, Field


class _Known(BaseModel):
    model_config = ConfigDict(extra="allow", frozen=True)


class Identity(_Known):
    address: str
    proof: str
    suppressed: list[str] = []


class Customer(_Known):
    id: str
    external_id: str | None = None
    name: str | None = None
    locale: str | None = None
    time_zone: str | None = None
    country: str | None = None
    tier: str | None = None
    attributes: dict[str, Any] = {}
    identities: list[Identity] = []
    created_at: datetime


class Sent(_Known):
    """A message that the hub has stored; what becomes of it is ``Client.message(id)``."""

    id: str
    customer: str
    channel: str
    address: str
    state: str


class Message(_Known):
    id: str
    at: datetime
    direction: str = Field(description="in, out or note.")
    channel: str
    text: str = ""
    subject: str | None = None
    reply_to: str | None = Field(None, description="The message that it answers.")
    state: str
    reason: str | None = None


class RowProblem(_Known):
    """``row``: its line in a file, else its place, from 1."""

    row: int
    detail: str


class Imported(_Known):
    """So far. ``problems``: rows that were refused, or saved without one of their addresses."""

    created: int = 0
    updated: int = 0
    refused: int = 0
    problems: list[RowProblem] = []

    @property
    def rows(self) -> int:
        return self.created + self.updated + self.refused


class Campaign(_Known):
    id: str
    name: str
    state: str = Field(description="draft, running, paused, finished or cancelled.")
    reason: str | None = None
    purpose: str
    channels: list[str]
    planned: bool
    starts_at: datetime | None = None
    created_at: datetime
    finished_at: datetime | None = None

    @property
    def over(self) -> bool:
        return self.state in ("finished", "cancelled")


class Added(_Known):
    added: int = 0
    repeated: int = 0
    problems: list[RowProblem] = []


class Outlook(_Known):
    """What would happen to one person. ``verdict``: allow, defer, needs_template, fallback, block, skip, held_out."""

    customer: str
    external_id: str | None = None
    name: str | None = None
    variant: str = ""
    verdict: str
    reason: str
    detail: str = ""
    channel: str | None = None
    address: str | None = None
    text: str = ""
    subject: str | None = None
    parts: int = 0
    cost: float | None = Field(None, description="Estimated by the hub's prices; None if no price says.")
    currency: str | None = None
    at: datetime | None = None

    @property
    def goes(self) -> bool:
        return self.verdict in ("allow", "defer")


class Person(_Known):
    """One person's outcome."""

    customer: str
    external_id: str | None = None
    name: str | None = None
    variant: str = ""
    state: str
    reason: str | None = None
    channel: str | None = None
    address: str | None = None
    message: str | None = None


class Result(_Known):
    """Of one variant, or of who is held out. ``events``: how many people did what after coming by a link."""

    people: int
    sent: int = 0
    replied: int = 0
    opted_out: int = 0
    converted: int = 0
    events: dict[str, int] = {}


class Stats(_Known):
    """How many people are where; ``people`` is the sum of ``states``."""

    campaign: Campaign
    people: int
    states: dict[str, int]
    variants: dict[str, dict[str, int]] = {}
    results: dict[str, Result] = {}
    reasons: dict[str, int] = {}
    replied: int = 0
    opted_out: int = 0
    converted: int = 0

    def count(self, *states: str) -> int:
        return sum(self.states.get(each, 0) for each in states)

    @property
    def sent(self) -> int:
        return self.count("sent", "delivered", "read")

    @property
    def failed(self) -> int:
        return self.count("failed", "unknown")

    @property
    def denied(self) -> int:
        return self.count("denied", "cancelled")

    @property
    def skipped(self) -> int:
        return self.count("skipped")

    @property
    def held_out(self) -> int:
        return self.count("held_out")

    @property
    def deferred(self) -> int:
        return self.count("deferred")

    @property
    def left(self) -> int:
        """Of whom the outcome is open."""
        return self.people - self.sent - self.failed - self.denied - self.skipped - self.held_out

    def __str__(self) -> str:
        names = ("sent", "deferred", "denied", "skipped", "held_out", "failed")
        counts = {name.replace("_", " "): getattr(self, name) for name in names} | {"left": self.left - self.deferred}
        found = ", ".join(f"{count} {name}" for name, count in counts.items() if count)
        return f"{self.campaign.name}: {found or 'nobody'}, of {self.people}"


class Segment(_Known):
    name: str
    filter: dict[str, Any]
    saved_at: datetime


class Counted(_Known):
    customers: int
    reach: dict[str, int]
