"""Templates of WhatsApp and Messenger: which variable goes where.

Variables of the body have names, or are "1", "2", … where the template numbers them. Others say where they stand:
``header`` (or ``header.name``) in the header's text, ``button.0`` at the end of the first button's URL, ``copy.0`` the
code that the button copies, ``flow.0`` the token of the flow it opens. A file becomes the header, and buttons give the
quick replies their payloads, in their order.
Source: https://developers.facebook.com/documentation/business-messaging/whatsapp/templates/overview
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from hub.contract import Rejected
from hub.model import Button, Template

_PLACE = re.compile(r"(button|copy|flow)\.([0-9])|(header)(?:\.(\w+))?")
_NAME = re.compile(r"[a-z][a-z0-9_]*")


def body(template: Template, header: dict[str, Any] | None, replies: Sequence[Button]) -> dict[str, Any]:
    """``header``: a file as the header, ``{"image": {…}}``. Raises: Rejected.

    Source for Messenger: https://developers.facebook.com/docs/messenger-platform/send-messages/utility-messages
    """
    placed = {name: value for name, value in template.variables.items() if _PLACE.fullmatch(name)}
    plain = {name: value for name, value in template.variables.items() if name not in placed}
    components = [*_header(placed, header)]
    if parameters := _body(plain):
        components.append({"type": "body", "parameters": parameters})
    components += [*_buttons(placed), *_replies(replies)]
    made: dict[str, Any] = {"name": template.name, "language": {"code": template.language}}
    return made | ({"components": components} if components else {})


def _header(placed: dict[str, str], file: dict[str, Any] | None) -> list[dict[str, Any]]:
    if file is not None:
        [kind] = file
        if kind not in ("image", "video", "document"):
            raise Rejected(f"a template's header shows no file of kind {kind}", code="header")
        return [{"type": "header", "parameters": [{"type": kind, **file}]}]
    names = [name for name in placed if name.startswith("header")]
    parameters = [_text(placed[name], name.partition(".")[2]) for name in names]
    return [{"type": "header", "parameters": parameters}] if parameters else []


def _body(plain: dict[str, str]) -> list[dict[str, Any]]:
    """In the order of their numbers, or by their names. Raises: Rejected."""
    if not any(name.isdecimal() for name in plain):
        if wrong := [name for name in plain if not _NAME.fullmatch(name)]:
            raise Rejected(f"not the name of a variable: {wrong[0]!r}", code="variables")
        return [_text(value, name) for name, value in plain.items()]
    wanted = [str(place) for place in range(1, len(plain) + 1)]
    if sorted(plain) != sorted(wanted):
        raise Rejected(f"numbered variables are 1 to {len(plain)} without gaps, not {', '.join(plain)}",
                       code="variables")
    return [_text(plain[name]) for name in wanted]


def _buttons(placed: dict[str, str]) -> list[dict[str, Any]]:
    kinds = {"button": "url", "copy": "copy_code", "flow": "flow"}
    made = []
    for name, value in placed.items():
        kind, _, index = name.partition(".")
        if kind in kinds:
            match kind:
                case "button":
                    parameter: dict[str, Any] = _text(value)
                case "copy":
                    parameter = {"type": "coupon_code", "coupon_code": value}
                case _:
                    parameter = {"type": "action", "action": {"flow_token": value}}
            made.append({"type": "button", "sub_type": kinds[kind], "index": index, "parameters": [parameter]})
    return made


def _replies(replies: Sequence[Button]) -> list[dict[str, Any]]:
    return [
        {"type": "button", "sub_type": "quick_reply", "index": str(place),
         "parameters": [{"type": "payload", "payload": reply.id}]}
        for place, reply in enumerate(replies)
    ]


def _text(value: str, name: str = "") -> dict[str, Any]:
    """Meta refuses an empty variable, and line breaks, tabs and runs of blanks in one. Raises: Rejected."""
    words = " ".join(value.split())
    if not words:
        raise Rejected(f"a variable of the template is empty{f': {name}' if name else ''}", code="variables")
    return {"type": "text", **({"parameter_name": name} if name else {}), "text": words}
