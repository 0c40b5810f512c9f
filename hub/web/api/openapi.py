"""The API's description, OpenAPI 3.1, made from the routes and the models that serve them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from http import HTTPStatus
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import JsonSchemaMode, JsonSchemaValue, models_json_schema

from hub import __version__
from hub.web.api.problem import ProblemView
from hub.web.api.route import Route

_Schemas = dict[tuple[type[BaseModel], JsonSchemaMode], JsonSchemaValue]
_REFERENCE = "#/components/schemas/{model}"
_PROBLEM = "application/problem+json"
_MEANINGS = {
    400: "The request cannot be read.",
    401: "No API key, or a wrong one.",
    403: "The API key may not do this.",
    404: "There is nothing of this name.",
    409: "It does not fit how things stand.",
    413: "The body is too large.",
    415: "The body is not plain JSON.",
    422: "The body can be read, but not be accepted: each field at fault is named.",
    429: "Too much at once: wait as long as Retry-After says.",
    503: "Nothing was stored: send it again later.",
}
_ABOUT = (
    "One conversation per customer. Errors are RFC 9457 problem details that say what to do. Lists give `items` and "
    "`next`, the cursor of the following page. A request that is sent again with the same `Idempotency-Key` "
    "(kept for 7 days) has no second effect and gets the first answer again."
)
_KEY = {
    "name": "Idempotency-Key",
    "in": "header",
    "description": "Any text that you use for this request alone, such as a UUID.",
    "schema": {"type": "string", "minLength": 1, "maxLength": 200, "pattern": "^[ -~]+$"},
}


def document(routes: Sequence[Route]) -> dict[str, Any]:
    schemas, definitions = _schemas(routes)
    paths: dict[str, Any] = {}
    for route in routes:
        paths.setdefault(f"/api/v1{route.path}", {})[route.method.lower()] = _operation(route, schemas)
    paths["/openapi.json"] = {"get": _self()}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "omnihub", "version": __version__, "description": _ABOUT,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "security": [{"key": []}],
        "paths": paths,
        "components": {
            "schemas": definitions,
            "securitySchemes": {
                "key": {"type": "http", "scheme": "bearer", "description": "An API key: hub_<id>_<secret>."}
            },
        },
    }


def _schemas(routes: Sequence[Route]) -> tuple[_Schemas, dict[str, Any]]:
    wanted: dict[tuple[type[BaseModel], JsonSchemaMode], None] = {(ProblemView, "serialization"): None}
    for route in routes:
        wanted[route.answer, "serialization"] = None
        if route.body:
            wanted[route.body, "validation"] = None
    found, whole = models_json_schema(list(wanted), ref_template=_REFERENCE)
    return {(model, mode): found[model, mode] for model, mode in wanted}, whole["$defs"]


def _operation(route: Route, schemas: _Schemas) -> dict[str, Any]:
    answer: dict[str, Any] = {"content": {"application/json": {"schema": schemas[route.answer, "serialization"]}}}
    if {201, 202} & set(route.statuses):
        answer["headers"] = {"Location": {"schema": {"type": "string"}, "description": "Path of what was made."}}
    responses: dict[str, Any] = {
        str(status): {"description": HTTPStatus(status).phrase, **answer} for status in route.statuses
    }
    problem = {"content": {_PROBLEM: {"schema": schemas[ProblemView, "serialization"]}}}
    for status in _problems(route):
        responses[str(status)] = {"description": _MEANINGS[status], **problem}
    responses["default"] = {"description": "Whatever else went wrong.", **problem}
    operation: dict[str, Any] = {
        "operationId": f"{route.handler.__module__.rpartition('.')[2]}_{route.handler.__name__}",
        "tags": [route.path.split("/")[1]],
        "summary": route.summary,
        "description": f"Scope of the API key: {route.scope}.",
        "parameters": _parameters(route),
        "responses": responses,
    }
    if route.body:
        schema = schemas[route.body, "validation"]
        operation["requestBody"] = {"required": True, "content": {"application/json": {"schema": schema}}}
    return operation


def _problems(route: Route) -> list[int]:
    found = {400, 401, 403, 429, 503}
    if "{" in route.path:
        found.add(404)
    if route.body:
        found |= {413, 415, 422}
    if route.method != "GET" and "{" in route.path:
        found.add(409)
    return sorted(found)


def _parameters(route: Route) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
        for name in re.findall(r"{(\w+)}", route.path)
    ]
    schema = route.query.model_json_schema()
    for name, each in schema.get("properties", {}).items():
        about = {"description": each.pop("description")} if "description" in each else {}
        found.append({"name": name, "in": "query", "required": False, "schema": each, **about})
    if route.key != "none":
        found.append({**_KEY, "required": route.key == "required"})
    return found


def _self() -> dict[str, Any]:
    return {
        "operationId": "openapi",
        "tags": ["openapi"],
        "summary": "This description",
        "security": [],
        "responses": {
            "200": {"description": "OpenAPI 3.1", "content": {"application/json": {"schema": {"type": "object"}}}}
        },
    }
