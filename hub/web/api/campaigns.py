"""``/campaigns``: made, given people, checked, started, paused, ended, and what came of them."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import Connection

from hub.campaigns import check, engine, outcomes
from hub.campaigns.draft import CampaignDraft, CampaignError
from hub.campaigns.record import Campaign
from hub.context import Context
from hub.customers import Line
from hub.model import public_id
from hub.segments import SegmentError
from hub.web.api.once import once
from hub.web.api.paging import Page, PageQuery, cursor, page
from hub.web.api.problem import FieldError, Problem, not_found
from hub.web.api.route import Answer, Call, Route

_COUNTED = ("sent", "delivered", "read")


class CampaignView(BaseModel):
    id: str
    name: str
    state: str = Field(description="draft, running, paused, finished or cancelled.")
    reason: str | None = Field(None, description="Why it is paused.")
    purpose: str
    channels: list[str]
    planned: bool = Field(description="Whether everybody of the audience has been looked at.")
    starts_at: datetime | None = None
    created_at: datetime
    finished_at: datetime | None = None

    @classmethod
    def of(cls, made: Campaign) -> CampaignView:
        return cls(
            id=public_id("campaign", made.id),
            name=made.name,
            state=made.state,
            reason=made.reason,
            purpose=made.draft.purpose,
            channels=made.draft.channels,
            planned=made.planned_at is not None,
            starts_at=made.starts_at,
            created_at=made.created_at,
            finished_at=made.finished_at,
        )


class ResultView(BaseModel):
    """Of one part of the audience."""

    people: int
    sent: int
    replied: int
    opted_out: int
    converted: int
    events: dict[str, int] = Field({}, description="How many people did what after coming by a link of the campaign.")


class StatsView(BaseModel):
    """``people`` is the sum of ``states``, and of all variants' states."""

    campaign: CampaignView
    people: int
    states: dict[str, int] = Field(
        description="planned, held_out, skipped, or the state of the message: queued, deferred (queued, and there is a "
        "reason to wait), sending, sent, delivered, read, failed, denied, unknown."
    )
    variants: dict[str, dict[str, int]] = Field(description='The same by variant; "" has none.')
    results: dict[str, ResultView] = Field(
        {}, description="What came of it, by variant; `held_out` got nothing, to compare with."
    )
    reasons: dict[str, int] = Field(description="Why people got nothing, or nothing yet.")
    replied: int
    opted_out: int
    converted: int = Field(0, description="How many of those did what the campaign's goal is.")


class PersonView(BaseModel):
    customer: str
    external_id: str | None = None
    name: str | None = None
    variant: str = ""
    state: str
    reason: str | None = None
    channel: str | None = None
    address: str | None = None
    message: str | None = None


class OutlookView(BaseModel):
    """What would happen to one person if the campaign were sent now."""

    customer: str
    external_id: str | None = None
    name: str | None = None
    variant: str = ""
    verdict: str = Field(description="allow, defer, needs_template, fallback, block, skip or held_out.")
    reason: str
    detail: str = ""
    channel: str | None = None
    address: str | None = None
    text: str = ""
    subject: str | None = None
    parts: int = Field(0, description="Provider calls; for SMS its segments.")
    cost: float | None = Field(None, description="What they cost by the hub's prices; null if no price says.")
    currency: str | None = Field(None, description="Of the cost.")
    at: datetime | None = Field(None, description="When it would go out, if it may; quotas are counted over all pages.")


class PeopleDraft(BaseModel):
    """Rows of a list. ``customer`` in each names the person; the other keys are values for the texts."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"rows": [{"customer": "1042", "code": "SPRING-7"}]}]}
    )

    rows: list[dict[Line, str | int | float | bool | None]] = Field(min_length=1, max_length=1000)


class RowProblem(BaseModel):
    row: int = Field(description="Place in ``rows``, from 0.")
    detail: str


class AddedView(BaseModel):
    added: int
    repeated: int = Field(description="People who are in the campaign already; they get one message.")
    problems: list[RowProblem]


class PauseDraft(BaseModel):
    model_config = ConfigDict(extra="forbid")

    reason: Line = "paused by hand"


class CampaignQuery(PageQuery):
    pass


def _refused(error: CampaignError) -> Problem:
    errors = []
    for words in error.problems:
        key, _, detail = words.partition(": ")
        errors.append(FieldError(field=key if detail else "", detail=detail or key))
    status = 409 if errors[0].field == "state" else 422
    return Problem(status, "campaign_refused", "; ".join(error.problems), errors)


def _find(connection: Connection, who: str) -> Campaign:
    made = engine.get(connection, who)
    if made is None:
        raise not_found("campaign", who)
    return made


async def create(call: Call) -> Answer:
    draft: CampaignDraft = call.body

    def work(connection: Connection, context: Context) -> Answer:
        try:
            made = engine.create(connection, context, draft)
        except CampaignError as error:
            raise _refused(error) from None
        view = CampaignView.of(made)
        return Answer.of(view, 201, f"/api/v1/campaigns/{view.id}")

    return await once(call, work)


async def listed(call: Call) -> Answer:
    query: CampaignQuery = call.query
    before = query.before("campaigns")

    def work(connection: Connection) -> list[tuple[int, CampaignView]]:
        made = engine.listed(connection, before=before, limit=query.limit + 1)
        return [(each.id, CampaignView.of(each)) for each in made]

    return Answer.of(page(Page[CampaignView], "campaigns", await call.hub.store.read(work), query.limit))


async def one(call: Call) -> Answer:
    return Answer.of(CampaignView.of(await call.hub.store.read(lambda c: _find(c, call.path["who"]))))


async def add(call: Call) -> Answer:
    draft: PeopleDraft = call.body

    def work(connection: Connection, context: Context) -> Answer:
        try:
            found = engine.add_people(connection, context, _find(connection, call.path["who"]), draft.rows)
        except CampaignError as error:
            raise _refused(error) from None
        problems = [RowProblem(row=place, detail=detail) for place, detail in found.problems]
        return Answer.of(AddedView(added=found.added, repeated=found.repeated, problems=problems))

    return await once(call, work)


async def _act(call: Call, act: Callable[[Connection, Context, Campaign], None]) -> Answer:
    def work(connection: Connection, context: Context) -> Answer:
        made = _find(connection, call.path["who"])
        try:
            act(connection, context, made)
        except CampaignError as error:
            raise _refused(error) from None
        return Answer.of(CampaignView.of(engine.get(connection, public_id("campaign", made.id)) or made))

    return await once(call, work)


async def start(call: Call) -> Answer:
    return await _act(call, engine.start)


async def pause(call: Call) -> Answer:
    draft: PauseDraft = call.body
    return await _act(call, lambda connection, _, made: engine.pause(connection, made, draft.reason))


async def resume(call: Call) -> Answer:
    return await _act(call, engine.resume)


async def cancel(call: Call) -> Answer:
    return await _act(call, engine.cancel)


async def forget(call: Call) -> Answer:
    return await _act(call, lambda connection, _, made: engine.forget(connection, made))


async def stats(call: Call) -> Answer:
    who = call.path["who"]
    return Answer.of(await call.hub.store.read(lambda connection: _stats(connection, _find(connection, who))))


def _stats(connection: Connection, made: Campaign) -> StatsView:
    variants = outcomes.stats(connection, made)
    states: dict[str, int] = {}
    for found in variants.values():
        for state, people in found.items():
            states[state] = states.get(state, 0) + people
    results = _results(connection, made, variants)
    written_to = [each for part, each in results.items() if part != outcomes.HELD_OUT]
    return StatsView(
        campaign=CampaignView.of(made),
        people=sum(states.values()),
        states=states,
        variants=variants,
        results=results,
        reasons=outcomes.reasons(connection, made),
        replied=sum(each.replied for each in written_to),
        opted_out=sum(each.opted_out for each in written_to),
        converted=sum(each.converted for each in written_to),
    )


def _results(connection: Connection, made: Campaign, variants: dict[str, dict[str, int]]) -> dict[str, ResultView]:
    people: dict[str, int] = {}
    sent: dict[str, int] = {}
    for variant, states in variants.items():
        for state, count in states.items():
            part = outcomes.HELD_OUT if state == outcomes.HELD_OUT else variant
            people[part] = people.get(part, 0) + count
            sent[part] = sent.get(part, 0) + (count if state in _COUNTED else 0)
    replied, opted_out = outcomes.replied(connection, made), outcomes.opted_out(connection, made)
    converted, came = outcomes.converted(connection, made), outcomes.came(connection, made)
    return {
        part: ResultView(
            people=people[part],
            sent=sent[part],
            replied=replied.get(part, 0),
            opted_out=opted_out.get(part, 0),
            converted=converted.get(part, 0),
            events=came.get(part, {}),
        )
        for part in sorted(people)
    }


async def people(call: Call) -> Answer:
    query: CampaignQuery = call.query
    after = query.before("people") or 0

    def work(connection: Connection) -> list[tuple[int, PersonView]]:
        rows = outcomes.people(connection, _find(connection, call.path["who"]), after=after, limit=query.limit + 1)
        return [(row.customer_id, _person(row)) for row in rows]

    return Answer.of(page(Page[PersonView], "people", await call.hub.store.read(work), query.limit))


def _person(row: Any) -> PersonView:
    return PersonView(
        customer=public_id("customer", row.customer_id),
        external_id=row.external_id,
        name=row.name,
        variant=row.variant,
        state=row.state,
        reason=row.reason,
        channel=row.channel,
        address=row.address,
        message=public_id("message", row.message_id) if row.message_id is not None else None,
    )


async def outlook(call: Call) -> Answer:
    query: CampaignQuery = call.query
    hub = call.hub
    made = await hub.store.read(lambda connection: _find(connection, call.path["who"]))
    if made.state != "draft":
        raise Problem(409, "campaign_refused", f"the campaign is {made.state}; its outcomes are under …/people")
    try:
        found = await check.check(
            hub.store, hub.context, made, hub.settings.outbound, query.before("check") or 0, query.limit,
            query.carried("check"),
        )  # fmt: skip
    except SegmentError as error:
        raise Problem(422, "campaign_refused", f"audience.segment: {error}") from None
    currency = hub.settings.prices.currency
    views = [_outlook(each, currency) for each in found.people]
    following = cursor("check", found.people[-1].customer, found.ahead) if found.more else None
    return Answer.of(Page[OutlookView](items=views, next=following))


def _outlook(each: check.Outlook, currency: str) -> OutlookView:
    names = OutlookView.model_fields.keys() - {"customer", "cost", "currency"}
    cost = None if each.cost is None else float(each.cost)
    return OutlookView(
        customer=public_id("customer", each.customer),
        cost=cost,
        currency=None if cost is None else currency,
        **{name: getattr(each, name) for name in names},
    )


ROUTES = (
    Route("POST", "/campaigns", create, "Make a campaign; it sends nothing until it is started", "send", CampaignView,
          body=CampaignDraft, statuses=(201,), key="optional"),
    Route("GET", "/campaigns", listed, "Campaigns, newest first", "read", Page[CampaignView], query=CampaignQuery),
    Route("GET", "/campaigns/{who}", one, "One campaign (who: id or name)", "read", CampaignView),
    Route("POST", "/campaigns/{who}/people", add, "Put people of a list into a campaign", "send", AddedView,
          body=PeopleDraft, key="optional"),
    Route("GET", "/campaigns/{who}/people", people, "Each person's outcome", "read", Page[PersonView],
          query=CampaignQuery),
    Route("GET", "/campaigns/{who}/check", outlook, "What would happen to each person if it were sent now", "read",
          Page[OutlookView], query=CampaignQuery),
    Route("GET", "/campaigns/{who}/stats", stats, "How many people are where", "read", StatsView),
    Route("POST", "/campaigns/{who}/start", start, "Send it, at its start", "send", CampaignView,
          key="optional"),
    Route("POST", "/campaigns/{who}/pause", pause, "Hand nothing more over", "send", CampaignView, body=PauseDraft,
          key="optional"),
    Route("DELETE", "/campaigns/{who}", forget, "Forget a draft: its name is free again", "send", CampaignView),
    Route("POST", "/campaigns/{who}/resume", resume, "Go on", "send", CampaignView,
          key="optional"),
    Route("POST", "/campaigns/{who}/cancel", cancel, "End it for good; what is out is out", "send", CampaignView,
          key="optional"),
)
