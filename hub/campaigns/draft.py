"""A campaign as its author writes it: the same for the API, the client and a TOML file."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints, ValidationError, model_validator

from hub import segments
from hub.customers import Line, dated
from hub.segments import Filter, SegmentError, Span
from hub.sending import ButtonDraft, FileDraft
from hub.templates import Template, TemplateError, parse

Name = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,59}$")]
Language = Annotated[str, StringConstraints(pattern=r"^[a-z]{2,3}(-[A-Za-z0-9]{2,8})*$")]
Text = Annotated[str, StringConstraints(max_length=200_000)]


class CampaignError(ValueError):
    """A campaign that cannot be used as written. ``problems``: one line each, with the key."""

    def __init__(self, *problems: str) -> None:
        super().__init__("; ".join(problems))
        self.problems = problems


def _filter(value: object) -> object:
    try:
        return segments.parse(value)
    except SegmentError as error:
        raise ValueError(str(error)) from None


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Trigger(_Strict):
    """People enter one by one, until the campaign is cancelled. One of the first four."""

    event: Line | None = Field(None, description="When they do this: an event that the hub is told of.")
    created: bool = Field(False, description="When they become customers.")
    date: Line | None = Field(
        None, description="On the day of the year that this attribute holds: 1990-04-01 or 04-01, as in birthday."
    )
    every: Span | None = Field(None, description="When they are found in the segment; it is looked at this often.")
    again_after: Span | None = Field(
        None, description="Who entered at least so long ago may enter again; unset: everybody enters once."
    )

    @model_validator(mode="after")
    def _one(self) -> Trigger:
        if sum((self.event is not None, self.created, self.date is not None, self.every is not None)) != 1:
            raise ValueError("give one of: event, created = true, date, every")
        if self.every is not None and self.every < timedelta(minutes=1):
            raise ValueError("every: at least a minute")
        return self


class Audience(_Strict):
    """Who is meant: a segment's filter, or ``list``: people that are handed over with the campaign.

    ``trigger``: they enter as something happens, if the segment (where there is one) has them.
    """

    segment: Annotated[Filter, BeforeValidator(_filter)] | None = None
    list: bool = False
    trigger: Trigger | None = None

    @model_validator(mode="after")
    def _one(self) -> Audience:
        if self.trigger is not None:
            if self.list:
                raise ValueError("a trigger takes no list")
            if self.trigger.every is not None and self.segment is None:
                raise ValueError("trigger.every needs a segment to look at")
        elif (self.segment is not None) == self.list:
            raise ValueError("give a segment, or list = true and hand over a list of people, or a trigger")
        return self


KNOWN = ("id", "name", "external_id", "locale", "country", "tier", "attributes")  # of a customer, for texts
_KNOWN = ", ".join(f"customer.{name}" for name in KNOWN) + ".NAME"


class Variable(_Strict):
    """A value that texts use. ``source``: where it comes from, by default the column or attribute of its name."""

    type: Literal["text", "number", "date"] = "text"
    source: Line | None = None
    fallback: str | float | None = Field(None, description="Said where the value is missing.")
    required: bool = Field(False, description="Whoever has no value gets no message.")

    @model_validator(mode="after")
    def _decided(self) -> Variable:
        if self.source and self.source.removeprefix("customer.").partition(".")[0] not in (*KNOWN, "list"):
            raise ValueError(f"source: nothing is called {self.source!r}: there are {_KNOWN}, list.COLUMN")
        if self.required == (self.fallback is not None):
            raise ValueError("give a fallback, or required = true, so that a missing value is decided beforehand")
        return self


class TemplateUse(_Strict):
    """A provider's approved template; its variables are texts with variables of ours."""

    name: Line
    language: Line = "en"
    variables: dict[Line, Text] = {}


class MessageDraft(_Strict):
    """What is said. ``channel``, ``language`` and ``variant`` say to whom; the one that names most of them wins."""

    channel: Line | None = None
    language: Language | None = None
    variant: Line | None = None
    text: Text = ""
    subject: Text | None = None
    html: Text | None = None
    template: TemplateUse | None = None
    attachments: list[FileDraft] = Field([], max_length=10)
    buttons: list[ButtonDraft] = Field([], max_length=20)

    @model_validator(mode="after")
    def _says_something(self) -> MessageDraft:
        if not (self.text.strip() or self.html or self.template or self.attachments):
            raise ValueError("nothing to send: give text, html, template or attachments")
        return self

    def sources(self) -> Iterator[tuple[str, str, bool]]:
        """(key, template source, whether it is HTML) of everything with variables in it."""
        for key in ("text", "subject", "html"):
            source = getattr(self, key)
            if source:
                yield key, source, key == "html"
        if self.template:
            for name, source in self.template.variables.items():
                yield f"template.variables.{name}", source, False


class FollowUp(_Strict):
    """What is said next, to who has neither answered nor reached the goal.

    ``after``: how long after the hand-off of the message before.
    """

    after: Span
    messages: list[MessageDraft] = Field(min_length=1, max_length=100)


class Stop(_Strict):
    """When the campaign pauses itself: shares of what has been tried, once ``after`` have been."""

    errors: float = Field(0.2, gt=0, le=1)
    opt_outs: float = Field(0.05, gt=0, le=1)
    complaints: float = Field(0.02, gt=0, le=1)
    after: int = Field(50, ge=1)


class CampaignDraft(_Strict):
    name: Annotated[Line, StringConstraints(max_length=120)]
    purpose: Literal["marketing", "transactional"] = "marketing"
    topic: Line | None = Field(None, description="One of the setting `topics`: who refused it gets nothing of it.")
    audience: Audience
    channels: list[Line] = Field(min_length=1, max_length=20, description="The first that reaches a person is used.")
    choose: Literal["in_order", "last_active", "preferred", "cheapest"] = Field(
        "in_order",
        description="last_active: the channel the person used last, preferred: their attribute preferred_channel; "
        "the others follow in order. cheapest: by what this person's message costs there, as the hub's prices say.",
    )
    messages: list[MessageDraft] = Field(min_length=1, max_length=100)
    follow_ups: list[FollowUp] = Field([], max_length=20)
    goal: Line | None = Field(None, description="The event that the campaign is for; follow-ups stop when it happens.")
    fallback_after: Span | None = Field(
        None, description="Not delivered by then: the next channel is tried. Unset: only what cannot be sent moves on."
    )
    variables: dict[Name, Variable] = {}
    variants: dict[Line, float] = Field(
        {}, max_length=20, description="Shares of those who are not held out, as A = 50, B = 50 or A = 9, B = 1."
    )
    holdout: float = Field(0, ge=0, lt=100, description="Percent of the audience that gets nothing, to compare with.")
    start: Annotated[datetime, BeforeValidator(dated)] | None = Field(
        None, description="At once if unset. With local_time its zone is each reader's own."
    )
    local_time: bool = False
    expires_after: Span = timedelta(days=1)
    rate: float | None = Field(None, gt=0, description="People per second, at most.")
    ramp: list[int] = Field([], max_length=60, description="People per day, at most: the first day, the second …")
    stop: Stop = Stop()

    @model_validator(mode="after")
    def _consistent(self) -> CampaignDraft:
        if self.start is not None and (self.start.tzinfo is None) != self.local_time:
            raise ValueError("start: write a zone (2026-12-01T09:00:00Z), or none and local_time = true")
        if self.topic is not None and self.purpose != "marketing":
            raise ValueError(f"topic: a {self.purpose} message has none, only advertising has")
        if self.local_time and self.start is None:
            raise ValueError("local_time needs a start")
        if self.variants and not all(0 < each <= 1e6 for each in self.variants.values()):
            raise ValueError("variants: shares are above 0, as A = 50, B = 50")
        for each in (*self.messages, *(said for step in self.follow_ups for said in step.messages)):
            if each.variant is not None and each.variant not in self.variants:
                raise ValueError(f"messages: no variant is called {each.variant!r}")
            if each.channel is not None and each.channel not in self.channels:
                raise ValueError(f"messages: {each.channel!r} is not among the channels")
        return self

    def steps(self) -> list[list[MessageDraft]]:
        """The messages of each step, the first one's included."""
        return [self.messages, *(each.messages for each in self.follow_ups)]

    def message(self, channel: str, language: str | None, variant: str, step: int = 0) -> MessageDraft | None:
        """What is said to such a person; None if nothing was written for them."""
        tongue = _subtags(language)
        best: tuple[tuple[bool, bool, int], MessageDraft] | None = None
        for each in self.steps()[step]:
            wanted = _subtags(each.language)
            fits = (
                each.variant in (None, variant)
                and each.channel in (None, channel)
                and tongue[: len(wanted)] == wanted
            )
            weight = each.variant is not None, each.channel is not None, len(wanted)
            if fits and (best is None or weight > best[0]):
                best = weight, each
        return best[1] if best else None


def _subtags(language: str | None) -> list[str]:
    """``pt_BR`` → pt, br: ``fi`` is no part of ``fil``, and ``pt`` is one of ``pt-BR``."""
    return language.lower().replace("_", "-").split("-") if language else []


def read(values: Any) -> CampaignDraft:
    """A campaign from JSON or TOML values, its texts checked. Raises: CampaignError."""
    try:
        draft = CampaignDraft.model_validate(values)
    except ValidationError as error:
        raise CampaignError(*(_problem(each) for each in error.errors(include_url=False))) from None
    problems = list(wrong_texts(draft))
    if problems:
        raise CampaignError(*problems)
    return draft


def read_toml(text: str) -> CampaignDraft:
    """Raises: CampaignError."""
    try:
        values = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise CampaignError(f"not TOML: {error}") from None
    return read(values)


def _problem(error: Any) -> str:
    key = ".".join(str(part) for part in error["loc"])
    words = str(error["msg"]).removeprefix("Value error, ")
    return f"{key}: {words}" if key else words


def wrong_texts(draft: CampaignDraft) -> Iterator[str]:
    """What is wrong with each text, with its key."""
    for step, messages in enumerate(draft.steps()):
        where = f"follow_ups.{step - 1}.messages" if step else "messages"
        for place, each in enumerate(messages):
            for key, source, html in each.sources():
                try:
                    template = parse(source, html=html)
                except TemplateError as error:
                    yield f"{where}.{place}.{key}: {error}"
                    continue
                yield from (f"{where}.{place}.{key}: {words}" for words in _undeclared(template, draft))


def _undeclared(template: Template, draft: CampaignDraft) -> Iterator[str]:
    """``customer.…`` is always there; everything else must say what happens where it is missing."""
    for path in sorted(template.variables):
        root, _, rest = path.partition(".")
        root = root.partition("[")[0]
        if root == "customer":
            if rest and rest.partition(".")[0].partition("[")[0] not in KNOWN:
                yield f"{path} is nothing that is known of customers: there are {_KNOWN}"
        elif root not in draft.variables:
            known = ", ".join(draft.variables) or "none"
            yield f"{root} is used but not declared: add [variables.{root}] with a fallback (declared: {known})"
