"""A route as data, and what its handler is given. The same table serves requests and describes them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict

from hub.keys import Caller, Scope
from hub.model import Kind, private_id
from hub.web.api.problem import not_found

if TYPE_CHECKING:
    from hub.app import Hub


class NoQuery(BaseModel):
    model_config = ConfigDict(extra="forbid")


@dataclass(frozen=True, slots=True)
class Answer:
    """``body``: JSON text. ``location``: path of what was made."""

    body: str
    status: int = 200
    location: str | None = None

    @classmethod
    def of(cls, value: BaseModel, status: int = 200, location: str | None = None) -> Answer:
        return cls(value.model_dump_json(), status, location)


@dataclass(frozen=True, slots=True)
class Call:
    """One request, checked. ``body`` and ``query`` are of the route's models.

    ``fingerprint``: of method, path and body. ``key``: the Idempotency-Key.
    """

    hub: Hub
    caller: Caller
    path: Mapping[str, str]
    query: Any
    body: Any
    fingerprint: bytes
    key: str | None

    def row(self, kind: Kind) -> int:
        """The row that ``{id}`` in the path names. Raises: Problem 404."""
        try:
            return private_id(kind, self.path["id"])
        except ValueError:
            raise not_found(kind, self.path["id"]) from None


Handler = Callable[[Call], Awaitable[Answer]]


@dataclass(frozen=True, slots=True)
class Route:
    """``path`` begins below ``/api/v1``. ``statuses``: those that ``answer`` comes with.

    ``key``: whether an Idempotency-Key is needed, possible, or of no meaning.
    """

    method: Literal["GET", "POST", "PATCH", "DELETE"]
    path: str
    handler: Handler
    summary: str
    scope: Scope
    answer: type[BaseModel]
    body: type[BaseModel] | None = None
    query: type[BaseModel] = NoQuery
    statuses: tuple[int, ...] = (200,)
    key: Literal["required", "optional", "none"] = "none"
