"""``/consent`` and ``/suppressions``: what people allowed and refused, and where nothing may be sent."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Annotated, Any, Literal

import sqlalchemy as sa
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, model_validator
from sqlalchemy import Connection

from hub import confirmations, consent
from hub.confirmations import Wish
from hub.consent import Change
from hub.context import Context
from hub.customers import Line, checked_address, parse_address
from hub.model import public_id
from hub.policy.address import spellings
from hub.policy.ledger import ANY
from hub.sending import Unsendable
from hub.store.schema import consent_event, suppression
from hub.web.api.once import once
from hub.web.api.paging import Page, PageQuery, page
from hub.web.api.problem import FieldError, Problem, not_found
from hub.web.api.route import Answer, Call, Route

_SHOWN = 100  # entries of one address's ledger


class ConsentDraft(BaseModel):
    """An entry for the ledger of one address. It counts from now on, for messages that wait already too."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"examples": [{"address": "tel:+447700900123", "change": "opt_out"}]},
    )

    address: Annotated[Line, AfterValidator(checked_address)]
    change: Change = Field(
        description="opt_out: nothing is sent there. opt_in: marketing is allowed; lifts an opt_out that was not the "
        "person's own. bounced: the address is dead. lifted: it is alive again. Nothing is recorded of "
        "whoever was erased: opt_in and lifted are refused, the others hold as it is."
    )
    evidence: Annotated[str, StringConstraints(max_length=4000)] = Field(
        "", description="How you know: form and wording, call, ticket. Needed for opt_in and lifted."
    )

    @model_validator(mode="after")
    def _is_backed(self) -> ConsentDraft:
        if self.change in ("opt_in", "lifted") and not self.evidence.strip():
            raise ValueError(f"{self.change} needs evidence: say how you know")
        return self


class ConsentEntry(BaseModel):
    change: str
    source: str = Field(description="keyword and provider: the person's own word; api; agent.")
    channel: str | None = None
    evidence: dict[str, Any]
    at: datetime


class Suppressed(BaseModel):
    reason: str = Field(description="opt_out, bounced, or erased: only they themselves come back.")
    since: datetime


class ConsentView(BaseModel):
    """How things stand with one address."""

    address: str
    suppressed: list[Suppressed] = Field(description="Why nothing is sent there; empty: it may be written to.")
    marketing: bool = Field(description="Whether there is an opt-in to marketing.")
    refused_in_person: bool = Field(description="The person said no themselves: only they can take it back.")
    entries: list[ConsentEntry] = Field(description=f"The ledger, newest first, {_SHOWN} entries at most.")


class RequestDraft(BaseModel):
    """Somebody wants advertising, as you were told: they are asked to confirm that, and get none before they have."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {"address": "mailto:ann@example.com", "source": "website", "evidence": "“Send me offers”, form v3"}
            ]
        },
    )

    address: Annotated[Line, AfterValidator(checked_address)]
    source: Line = Field(description="Where it was said: website, shop, call, paper form.")
    evidence: Annotated[str, StringConstraints(min_length=1, max_length=4000, strip_whitespace=True)] = Field(
        description="The wording that was shown, and where it is kept."
    )
    channel: Line | None = Field(None, description="Name of the channel; else the first that reaches the address.")
    topic: Line = Field(ANY, description="Only this topic.")


class RequestView(BaseModel):
    address: str
    channel: str
    state: Literal["asked", "already"] = Field(description="already: it was allowed, and nobody was asked.")
    expires_at: datetime | None = Field(None, description="When a confirmation comes too late.")
    message: str | None = Field(None, description="What was sent to ask for it.")


class SuppressionQuery(PageQuery):
    reason: Literal["opt_out", "bounced"] | None = None


class SuppressionView(BaseModel):
    address: str
    reason: str
    since: datetime


async def listed(call: Call) -> Answer:
    query: SuppressionQuery = call.query
    before = query.before("suppressions")
    wanted = sa.select(suppression)
    if query.reason is not None:
        wanted = wanted.where(suppression.c.reason == query.reason)
    if before is not None:
        wanted = wanted.where(suppression.c.event_id < before)
    wanted = wanted.order_by(suppression.c.event_id.desc()).limit(query.limit + 1)

    def work(connection: Connection) -> list[tuple[int, SuppressionView]]:
        return [
            (row.event_id, SuppressionView(address=row.address, reason=row.reason, since=row.since))
            for row in connection.execute(wanted)
        ]

    return Answer.of(page(Page[SuppressionView], "suppressions", await call.hub.store.read(work), query.limit))


async def one(call: Call) -> Answer:
    try:
        address = str(parse_address(call.path["address"]))
    except ValueError:
        raise not_found("address", call.path["address"]) from None
    return Answer.of(await call.hub.store.read(lambda connection: _view(connection, call.hub.context(), address)))


async def record(call: Call) -> Answer:
    draft: ConsentDraft = call.body

    def work(connection: Connection, context: Context) -> Answer:
        if draft.change in ("opt_in", "lifted"):
            try:
                confirmations.not_erased(connection, context, draft.address)
            except confirmations.Refused as error:
                raise Problem(409, "erased", f"{error.code}: {error.detail}") from None
        elif consent.kept_out(connection, context.secret, draft.address) is not None:
            return Answer.of(_view(connection, context, draft.address))
        if draft.change == "opt_in" and consent.refused_in_person(connection, draft.address):
            detail = "this person opted out themselves; only they can take it back, by writing START for instance"
            raise Problem(409, "refused_in_person", detail)
        consent.record(
            connection,
            draft.address,
            draft.change,
            channel=None,
            source="api",
            evidence={"by": call.caller.name, "says": draft.evidence},
            at=context.now,
            now=context.now,
        )
        return Answer.of(_view(connection, context, draft.address))

    return await once(call, work)


async def ask(call: Call) -> Answer:
    draft: RequestDraft = call.body
    evidence = {"says": draft.evidence}
    wish = Wish(draft.address, draft.source, draft.channel, draft.topic, evidence, "api", call.caller.name)

    def work(connection: Connection, context: Context) -> Answer:
        try:
            asked = confirmations.ask(connection, context, call.hub.confirmations, wish)
        except confirmations.Refused as error:
            raise Problem(409, "not_asked", f"{error.code}: {error.detail}") from None
        except Unsendable as error:
            detail = f"nobody can be asked: {error.detail}"
            raise Problem(422, "unsendable", detail, [FieldError(field=error.field, detail=error.detail)]) from None
        view = RequestView(
            address=asked.address,
            channel=asked.channel,
            state="already" if asked.already else "asked",
            expires_at=asked.expires_at,
            message=None if asked.message is None else public_id("message", asked.message),
        )
        return Answer.of(view) if asked.already else Answer.of(view, 202, f"/api/v1/messages/{view.message}")

    return await once(call, work)


def _view(connection: Connection, context: Context, address: str) -> ConsentView:
    held = consent.suppressions(connection, [address]).get(address, ())
    if (erased := consent.kept_out(connection, context.secret, address)) is not None:
        held = (*held, ("erased", erased))
    ledger = sa.select(consent_event).where(consent_event.c.address.in_(spellings(address)))
    return ConsentView(
        address=address,
        suppressed=[Suppressed(reason=reason, since=since) for reason, since in held],
        marketing=address in consent.opted_in(connection, [address]),
        refused_in_person=consent.refused_in_person(connection, address),
        entries=[
            ConsentEntry(
                change=row.change,
                source=row.source,
                channel=row.channel,
                evidence=json.loads(row.evidence),
                at=row.recorded_at,
            )
            for row in connection.execute(ledger.order_by(consent_event.c.id.desc()).limit(_SHOWN))
        ],
    )


ROUTES = (
    Route(
        "GET", "/suppressions", listed, "Addresses that nothing is sent to, newest first", "read",
        Page[SuppressionView], query=SuppressionQuery,
    ),
    Route("GET", "/consent/{address}", one, "What somebody at an address (URL-encoded) allowed and refused", "read",
          ConsentView),
    Route(
        "POST", "/consent", record, "Record that somebody opted in or out, or that an address is dead or alive",
        "send", ConsentView, body=ConsentDraft, key="optional",
    ),
    Route(
        "POST", "/consent/requests", ask, "Ask somebody to confirm that they want advertising (double opt-in)",
        "send", RequestView, body=RequestDraft, statuses=(200, 202), key="optional",
    ),
)
