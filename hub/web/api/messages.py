"""``/messages``: send one, and ask what became of it."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, Field
from sqlalchemy import Connection

from hub import sending, timeline
from hub.context import Context
from hub.model import is_public_id, public_id
from hub.sending import Draft, Unsendable
from hub.timeline import MessageDetail
from hub.web.api.once import once
from hub.web.api.problem import FieldError, Problem, not_found
from hub.web.api.route import Answer, Call, Route


class SendView(BaseModel):
    """A message that is stored and on its way. What becomes of it: GET /api/v1/messages/{id}."""

    id: str
    delivery: str
    customer: str
    conversation: str
    channel: str
    address: str
    state: Literal["queued"] = Field("queued", description="The policy decides immediately before the hand-off.")


async def send(call: Call) -> Answer:
    draft: Draft = call.body
    if call.hub.overloaded:
        detail = "the hub has more to do than it can; send it again later, with the same Idempotency-Key"
        raise Problem(429, "overloaded", detail, headers={"Retry-After": "10"})

    def work(connection: Connection, context: Context) -> Answer:
        try:
            accepted = sending.accept(connection, context, draft, call.caller.name)
        except Unsendable as error:
            detail = f"this cannot be sent: {error.detail}"
            raise Problem(422, "unsendable", detail, [FieldError(field=error.field, detail=error.detail)]) from None
        message_id = public_id("message", accepted.message)
        view = SendView(
            id=message_id,
            delivery=public_id("delivery", accepted.delivery),
            customer=public_id("customer", accepted.customer),
            conversation=public_id("conversation", accepted.conversation),
            channel=accepted.channel.name,
            address=accepted.address,
        )
        return Answer.of(view, 202, f"/api/v1/messages/{message_id}")

    return await once(call, work)


async def explain(call: Call) -> Answer:
    by_delivery = is_public_id("delivery", call.path["id"])
    number = call.row("delivery" if by_delivery else "message")

    def work(connection: Connection) -> MessageDetail | None:
        message_id = timeline.message_of(connection, number) if by_delivery else number
        return timeline.explain(connection, call.hub.links.make, message_id) if message_id is not None else None

    found = await call.hub.store.read(work)
    if found is None:
        raise not_found("message", call.path["id"])
    return Answer.of(found)


ROUTES = (
    Route(
        "POST", "/messages", send, "Send a message to one customer", "send", SendView,
        body=Draft, statuses=(202,), key="required",
    ),
    Route(
        "GET", "/messages/{id}", explain, "One message and everything that happened to it (id: msg_… or del_…)",
        "read", MessageDetail,
    ),
)
