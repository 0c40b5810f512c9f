"""``/keys``: make, list and revoke API keys."""

from __future__ import annotations

import structlog
from pydantic import BaseModel, Field
from sqlalchemy import Connection

from hub import keys
from hub.context import Context
from hub.keys import Key, KeyDraft
from hub.web.api.problem import not_found
from hub.web.api.route import Answer, Call, Route

log = structlog.get_logger(__name__)


class KeyList(BaseModel):
    items: list[Key]


class NewKey(BaseModel):
    key: Key
    token: str = Field(description="Shown this once; only a hash of it is kept.")


async def listed(call: Call) -> Answer:
    return Answer.of(KeyList(items=await call.hub.store.read(keys.listed)))


async def make(call: Call) -> Answer:
    draft: KeyDraft = call.body

    def work(connection: Connection, context: Context) -> NewKey:
        key, token = keys.create(connection, context.now, draft.name, draft.scopes)
        return NewKey(key=key, token=token)

    made = await call.hub.write(work)
    log.info("an API key was made", key=made.key.id, scopes=made.key.scopes, by=call.caller.id)
    return Answer.of(made, 201, f"/api/v1/keys/{made.key.id}")


async def revoke(call: Call) -> Answer:
    def work(connection: Connection, context: Context) -> Key | None:
        return keys.revoke(connection, context.now, call.path["id"])

    key = await call.hub.write(work)
    if key is None:
        raise not_found("API key", call.path["id"])
    log.info("an API key was revoked", key=key.id, by=call.caller.id)
    return Answer.of(key)


ROUTES = (
    Route("GET", "/keys", listed, "All API keys, without their secrets", "admin", KeyList),
    Route("POST", "/keys", make, "Make an API key", "admin", NewKey, body=KeyDraft, statuses=(201,)),
    Route("DELETE", "/keys/{id}", revoke, "Revoke an API key, from now on", "admin", Key),
)
