"""API keys: a public id, a secret of which only a hash is kept, and what it may do."""

from __future__ import annotations

import hashlib
import hmac
import json
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Literal, get_args

import sqlalchemy as sa
from pydantic import BaseModel, ConfigDict, Field, StringConstraints
from sqlalchemy import Connection

from hub.store.schema import api_key

Scope = Literal["read", "send", "admin"]
SCOPES: tuple[Scope, ...] = get_args(Scope)

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
_ID_LENGTH = 12  # 60 bits: public, only to tell keys apart
_LOCAL = "local"
_ONE_LINE = r"^[^\x00-\x1f\x7f-\x9f\u2028\u2029]+$"


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks. ``id`` names the owner of idempotency keys."""

    id: str
    name: str
    scopes: frozenset[str]

    def may(self, scope: Scope) -> bool:
        return scope in self.scopes or "admin" in self.scopes


class KeyDraft(BaseModel):
    """An API key to make."""

    model_config = ConfigDict(extra="forbid")

    name: Annotated[str, StringConstraints(min_length=1, max_length=80, pattern=_ONE_LINE)] = Field(
        description="Who uses it; what it sends is signed with this name."
    )
    scopes: Annotated[list[Scope], Field(min_length=1)] = Field(
        description="read: see everything; send: write to customers; admin: everything, keys included."
    )


class Key(BaseModel):
    """An API key without its secret."""

    model_config = ConfigDict(frozen=True)

    id: str = Field(description="Public part of the key.")
    name: str
    scopes: list[Scope]
    created_at: datetime
    revoked_at: datetime | None = None


def create(connection: Connection, now: datetime, name: str, scopes: Sequence[Scope]) -> tuple[Key, str]:
    """A new key and the token to hand out; the token cannot be had again."""
    key_id = "".join(secrets.choice(_ALPHABET) for _ in range(_ID_LENGTH))
    secret = secrets.token_urlsafe(32)
    wanted = [scope for scope in SCOPES if scope in scopes]
    connection.execute(
        sa.insert(api_key).values(
            id=key_id, name=name, hash=_hash(secret), scopes=json.dumps(wanted), created_at=now
        )
    )
    return Key(id=key_id, name=name, scopes=wanted, created_at=now), f"hub_{key_id}_{secret}"


def listed(connection: Connection) -> list[Key]:
    """All keys, oldest first, revoked ones too."""
    query = sa.select(api_key).order_by(api_key.c.created_at, api_key.c.id)
    return [_key(row) for row in connection.execute(query)]


def revoke(connection: Connection, now: datetime, key_id: str) -> Key | None:
    """The key, revoked from now on (or before); None if there is no such key."""
    connection.execute(
        sa.update(api_key).where(api_key.c.id == key_id, api_key.c.revoked_at.is_(None)).values(revoked_at=now)
    )
    row = connection.execute(sa.select(api_key).where(api_key.c.id == key_id)).first()
    return _key(row) if row else None


def identify(connection: Connection, token: str) -> Caller | None:
    """Whose token it is; None for a wrong, unknown or revoked one."""
    key_id, secret = _parts(token)
    row = connection.execute(sa.select(api_key).where(api_key.c.id == key_id)).first()
    known = bytes(row.hash) if row else _NO_HASH
    if not hmac.compare_digest(_hash(secret), known) or row is None or row.revoked_at is not None:
        return None
    return Caller(key_id, row.name, frozenset(json.loads(row.scopes)))


def local_token(master: bytes) -> str:
    """The token of commands on this machine: who can read the hub's secret key may do everything."""
    return f"hub_{_LOCAL}_{hmac.new(master, b'cli', hashlib.sha256).hexdigest()}"


LOCAL_CALLER = Caller(_LOCAL, "operator", frozenset({"admin"}))


def same(one: str, other: str) -> bool:
    """In constant time, also for what is no ASCII."""
    return hmac.compare_digest(one.encode("utf-8", "replace"), other.encode("utf-8", "replace"))


def _parts(token: str) -> tuple[str, str]:
    prefix, _, rest = token.partition("_")
    key_id, _, secret = rest.partition("_")
    usable = prefix == "hub" and len(key_id) == _ID_LENGTH and key_id.isascii() and key_id.isalnum()
    return (key_id, secret) if usable else ("", "")


def _hash(secret: str) -> bytes:
    return hashlib.sha256(secret.encode("utf-8", "replace")).digest()


_NO_HASH = bytes(32)


def _key(row: sa.Row[tuple[object, ...]]) -> Key:
    values = row._mapping
    return Key(
        id=values["id"],
        name=values["name"],
        scopes=json.loads(values["scopes"]),
        created_at=values["created_at"],
        revoked_at=values["revoked_at"],
    )
