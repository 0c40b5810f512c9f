"""Refusals as RFC 9457 problem details: what is wrong and what to do about it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from aiohttp import web
from pydantic import BaseModel, Field, ValidationError

from hub.settings import nearest

_TOLD = 50  # mistakes of one request


class FieldError(BaseModel):
    field: str = Field(description="Where in the body or the query, with dots: attachments.0.url.")
    detail: str


class ProblemView(BaseModel):
    """RFC 9457."""

    type: str = Field(description="``urn:omnihub:problem:`` and the code.")
    title: str = Field(description="The code in words.")
    status: int
    code: str = Field(description="What is wrong, for programs; it does not change.")
    detail: str = Field(description="What is wrong and what to do, for people.")
    errors: list[FieldError] = []


class Problem(Exception):
    """Raised by whoever cannot do what was asked."""

    def __init__(
        self,
        status: int,
        code: str,
        detail: str,
        errors: Sequence[FieldError] = (),
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.code = code
        self.detail = detail
        self.errors = list(errors)
        self.headers = dict(headers or {})

    def response(self) -> web.Response:
        view = ProblemView(
            type=f"urn:omnihub:problem:{self.code}",
            title=self.code.replace("_", " ").capitalize(),
            status=self.status,
            code=self.code,
            detail=self.detail,
            errors=self.errors,
        )
        headers = {**PLAIN, **self.headers}
        text = view.model_dump_json()
        return web.Response(status=self.status, text=text, headers=headers, content_type="application/problem+json")


PLAIN = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}


def not_found(what: str, name: str) -> Problem:
    return Problem(404, "not_found", f"no {what} is known as {name!r}; check the id, or list what there is")


def invalid(error: ValidationError, model: type[BaseModel], status: int, code: str, what: str) -> Problem:
    """What a model refused, the first fields by their names; values are not repeated."""
    errors = []
    for each in error.errors(include_url=False, include_context=False, include_input=False)[:_TOLD]:
        field = ".".join(map(str, each["loc"]))
        detail = each["msg"].removeprefix("Value error, ")
        if each["type"] == "extra_forbidden":
            known = model.model_fields if len(each["loc"]) == 1 else {}
            detail = f"there is no such field{nearest(field, known)}; /openapi.json lists all"
        errors.append(FieldError(field=field, detail=detail))
    left = error.error_count() - len(errors)
    more = f", and {left} more" if left else ""
    names = ", ".join(dict.fromkeys(each.field for each in errors if each.field))
    if names:
        return Problem(status, code, f"mend these parts of the {what} and send it again: {names}{more}", errors)
    wrong = "; ".join(each.detail for each in errors)
    return Problem(status, code, f"mend the {what} and send it again: {wrong}{more}", errors)
