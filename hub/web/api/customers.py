"""``/customers``: known by public id, external id or address; their timeline; parting what was joined."""

from __future__ import annotations

import asyncio
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field
from sqlalchemy import Connection

from hub import consent, customers, erasure, identity, imports, timeline
from hub.context import Context
from hub.customers import CustomerDraft, CustomerView, Line, Saved, checked_address
from hub.model import public_id
from hub.timeline import MessageView
from hub.web.api.once import once
from hub.web.api.paging import Page, PageQuery, page, plus
from hub.web.api.problem import Problem, not_found
from hub.web.api.route import Answer, Call, Route


class CustomerQuery(PageQuery):
    address: Annotated[Line, BeforeValidator(plus), AfterValidator(checked_address)] | None = Field(
        None, description="Only whom this address belongs to, such as tel:+447700900123."
    )
    external_id: Line | None = Field(None, description="Only who has this id in your own system.")


class BatchDraft(BaseModel):
    """Customers to make or update, in this order. One that cannot be read refuses the whole batch, by its place."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"customers": [{"external_id": "1042", "name": "Ann"}]}]}
    )

    customers: list[CustomerDraft] = Field(min_length=1, max_length=500)
    attributes: Literal["merge", "replace"] = Field(
        "merge", description="merge: attributes that are not given stay, null removes one."
    )


class BatchItem(BaseModel):
    id: str
    external_id: str | None = None
    created: bool
    not_attached: list[str] = Field(
        description="Claimed addresses that belong to somebody else and stay there, and erased ones."
    )


class BatchView(BaseModel):
    items: list[BatchItem] = Field(description="One for each customer, in the order given.")


class ErasedView(BaseModel):
    id: str
    addresses: int = Field(description="How many addresses are kept out from now on.")
    files: int = Field(description="How many files were removed.")


async def listed(call: Call) -> Answer:
    query: CustomerQuery = call.query
    before = query.before("customers")

    def work(connection: Connection) -> list[tuple[int, CustomerView]]:
        numbers = customers.page(connection, before=before, limit=query.limit + 1, among=_named(connection, query))
        return list(zip(numbers, customers.views(connection, numbers), strict=True))

    return Answer.of(page(Page[CustomerView], "customers", await call.hub.store.read(work), query.limit))


def _named(connection: Connection, query: CustomerQuery) -> list[int] | None:
    """Who has the names that were asked for; None: nobody in particular was asked for."""
    found = set()
    if query.address is not None:
        found.add(customers.by_address(connection, query.address))
    if query.external_id is not None:
        found.add(customers.by_external_id(connection, query.external_id))
    if not found:
        return None
    return [number for number in found if number is not None] if len(found) == 1 else []


async def save(call: Call) -> Answer:
    draft: CustomerDraft = call.body

    def work(connection: Connection, context: Context) -> Answer:
        number, is_new, refused = customers.upsert(connection, context, draft)
        [view] = customers.views(connection, [number])
        saved = Saved(customer=view, not_attached=refused)
        return Answer.of(saved, 201 if is_new else 200, f"/api/v1/customers/{view.id}")

    return await once(call, work)


async def batch(call: Call) -> Answer:
    draft: BatchDraft = call.body
    keep = draft.attributes == "merge"

    def work(connection: Connection, context: Context) -> Answer:
        saved = imports.upsert_many(connection, context, draft.customers, keep=keep)
        items = [
            BatchItem(
                id=public_id("customer", number), external_id=each.external_id, created=is_new, not_attached=refused
            )
            for each, (number, is_new, refused) in zip(draft.customers, saved, strict=True)
        ]
        return Answer.of(BatchView(items=items))

    return await once(call, work)


async def one(call: Call) -> Answer:
    who = call.path["who"]

    def work(connection: Connection) -> CustomerView | None:
        number = customers.find(connection, who)
        return customers.view(connection, number) if number is not None else None

    found = await call.hub.store.read(work)
    if found is None:
        raise not_found("customer", who)
    return Answer.of(found)


async def messages(call: Call) -> Answer:
    query: PageQuery = call.query
    before, who = query.before("messages"), call.path["who"]

    def work(connection: Connection) -> list[tuple[int, MessageView]]:
        number = customers.find(connection, who)
        if number is None:
            raise not_found("customer", who)
        return timeline.timeline(connection, call.hub.links.make, number, before=before, limit=query.limit + 1)

    return Answer.of(page(Page[MessageView], "messages", await call.hub.store.read(work), query.limit))


async def erase(call: Call) -> Answer:
    who = call.path["who"]

    def work(connection: Connection, context: Context) -> tuple[ErasedView, list[str]]:
        number = customers.find(connection, who)
        if number is None:
            raise not_found("customer", who)
        addresses, files = erasure.erase(connection, context, number)
        view = ErasedView(id=public_id("customer", number), addresses=len(addresses), files=len(files))
        return view, files

    view, files = await call.hub.write(work)
    for each in files:
        await asyncio.to_thread(call.hub.shelf.path(each).unlink, missing_ok=True)
    return Answer.of(view)


async def unmerge(call: Call) -> Answer:
    who = call.path["who"]
    number = customers.row_id(who)

    def work(connection: Connection, context: Context) -> CustomerView:
        known = customers.view(connection, number) if number is not None else None
        if number is None or known is None:
            raise not_found("customer", who)
        kept = customers.canonical(connection, number)
        if kept is not None and kept != number:
            consent.part(connection, kept, number, context.now)
        try:
            identity.unmerge(connection, context, number)
        except LookupError:
            detail = "this customer is not merged into another one; name one of those that another lists as merged"
            raise Problem(409, "not_merged", detail) from None
        [view] = customers.views(connection, [number])
        assert view.id == public_id("customer", number)
        return view

    return Answer.of(await call.hub.write(work))


ROUTES = (
    Route(
        "GET", "/customers", listed, "Customers, newest first", "read", Page[CustomerView], query=CustomerQuery,
    ),
    Route(
        "POST", "/customers", save, "Make a customer, or update the one with this external_id", "send", Saved,
        body=CustomerDraft, statuses=(200, 201), key="optional",
    ),
    Route(
        "POST", "/customers/batch", batch, "Make or update up to 500 customers at once", "send", BatchView,
        body=BatchDraft, key="optional",
    ),
    Route(
        "GET", "/customers/{who}", one, "One customer (who: public id, external id or address, URL-encoded)",
        "read", CustomerView,
    ),
    Route(
        "DELETE", "/customers/{who}", erase, "Erase a person; a keyed hash keeps their addresses out", "admin",
        ErasedView,
    ),
    Route(
        "GET", "/customers/{who}/messages", messages, "The customer's timeline on all channels, newest first",
        "read", Page[MessageView], query=PageQuery,
    ),
    Route(
        "POST", "/customers/{who}/unmerge", unmerge, "Part a customer from the one it was merged into (who: public id)",
        "admin", CustomerView,
    ),
)
