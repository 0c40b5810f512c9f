"""Pieces of content that Twilio has to keep before they can be sent: choices, and templates that Meta approved.

Source: https://www.twilio.com/docs/content
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from hub.contract import Rejected
from hub.model import Button, Template

QUICK_REPLIES = 3  # more become a list, which people open first
ROWS = 10
TITLE = 20  # characters of a quick reply; 24 of a row
_SID = re.compile(r"HX[0-9A-Za-z]+")
_OPEN = "…"  # on the button that opens a list, in any language


def choices(buttons: Sequence[Button]) -> dict[str, Any]:
    """Content with these choices below a text, which is its variable 1. The same choices have the same name."""
    if len(buttons) <= QUICK_REPLIES:
        actions = [{"type": "QUICK_REPLY", "title": each.title, "id": each.id} for each in buttons]
        kind, content = "twilio/quick-reply", {"body": "{{1}}", "actions": actions}
    else:
        items = [{"item": each.title, "id": each.id} for each in buttons]
        kind, content = "twilio/list-picker", {"body": "{{1}}", "button": _OPEN, "items": items}
    name = hashlib.sha256(json.dumps([kind, content]).encode()).hexdigest()[:24]
    return {"friendly_name": f"choices_{name}", "language": "en", "variables": {"1": "text"}, "types": {kind: content}}


def template(wanted: Template, known: Mapping[str, str]) -> dict[str, str]:
    """The fields that send it. ``known``: content SIDs by ``name/language``, or by name. Raises: Rejected."""
    sid = wanted.name if _SID.fullmatch(wanted.name) else (
        known.get(f"{wanted.name}/{wanted.language}") or known.get(wanted.name)
    )
    if sid is None:
        raise Rejected(f"no content SID for template {wanted.name!r} ({wanted.language}): add it to the channel's "
                       "setting templates", code="template")
    return fields(sid, wanted.variables)


def fields(sid: str, variables: Mapping[str, str]) -> dict[str, str]:
    """WhatsApp takes no line breaks, tabs or runs of blanks in the variable of an approved template, but in others."""
    return {"ContentSid": sid, **({"ContentVariables": json.dumps(variables)} if variables else {})}
