"""Webhooks about our own account: templates, the number's quality and name, limits, restrictions.

Source: https://developers.facebook.com/documentation/business-messaging/whatsapp/webhooks/overview
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from adapters.graph.answers import words
from hub.contract import AccountChanged, TemplateNews
from hub.model import clean
from hub.shape import part, text

# Fields of a subscription, and which parts of their value say how things are now. None: named by what it is about.
_TEMPLATES = {
    "message_template_status_update": ("event",),
    "message_template_quality_update": ("new_quality_score",),
    "message_template_components_update": (),
    "template_category_update": ("new_category", "correct_category"),
}
_USABLE = {"reinstated": "approved", "flagged": "approved", "unpaused": "approved"}  # flagged: it may be paused soon
_NUMBERS = {
    "phone_number_quality_update": ("event",),
    "phone_number_name_update": ("decision",),
}
_ACCOUNT = {
    "account_update": ("event",),
    "account_review_update": ("decision",),
    "account_alerts": ("alert_status", "alert_severity"),
    "business_capability_update": (),
    "business_status_update": ("event",),
    "security": ("event",),
}
FIELDS = {*_TEMPLATES, *_NUMBERS, *_ACCOUNT}
_BANS = {"DISABLE": True, "SCHEDULE_FOR_DISABLE": True, "ACCOUNT_RESTRICTION": True, "REINSTATE": False}
_NAMES = ("message_template_id", "message_template_name", "message_template_language", "display_phone_number",
          "message_template_category")
_LIMITS = ("max_daily_conversations_per_business", "max_daily_conversation_per_phone", "current_limit")
_UNLIMITED = 1_000_000_000
_DETAIL = 300  # characters


def event(field: str, value: Mapping[str, Any], at: datetime, number: str | None) -> AccountChanged:
    """What a change of one of ``FIELDS`` says. ``number``: ours, if it is known."""
    if field in _TEMPLATES:
        language = text(value, "message_template_language")
        name = f"template {text(value, 'message_template_name') or text(value, 'message_template_id') or '?'}"
        what, keys = name + (f" ({language})" if language else ""), _TEMPLATES[field]
    elif field in _NUMBERS:
        what, keys = f"number {text(value, 'display_phone_number') or '?'}", _NUMBERS[field]
    else:
        what, keys = f"account: {field}", _ACCOUNT[field]
    states = (text(value, key) for key in keys)
    state = next((each for each in states if each), "changed")
    detail = _detail(value, (*keys, *_NAMES)) or None
    holds = _holds(field, value, state, number)
    template, people = _template(field, value), _people(value)
    return AccountChanged(_id(field, value, at), at, what, state, detail, template, holds, people)


def _holds(field: str, value: Mapping[str, Any], state: str, number: str | None) -> bool | None:
    """Low quality of our number, or a restricted account: advertising makes it worse."""
    if field == "phone_number_quality_update":
        ours = bool(number) and _digits(text(value, "display_phone_number")) == _digits(number or "")
        return {"FLAGGED": True, "UNFLAGGED": False}.get(state) if ours else None
    if field == "account_update":
        said = part(value, "ban_info").get("waba_ban_state")
        ban = said[-1] if isinstance(said, list) and said else said
        return _BANS.get(ban if isinstance(ban, str) else state)
    return None


def _people(value: Mapping[str, Any]) -> int | None:
    """The portfolio's messaging limit: ``TIER_2K``, or a number."""
    told = next((value[key] for key in _LIMITS if value.get(key)), "")
    said = str(told).removeprefix("TIER_")
    if said == "UNLIMITED":
        return _UNLIMITED
    count = said.removesuffix("K")
    return int(count) * (1000 if said != count else 1) if count.isdecimal() else None


def _digits(number: str) -> str:
    return "".join(letter for letter in number if letter.isdecimal())


def _template(field: str, value: Mapping[str, Any]) -> TemplateNews | None:
    name, language = text(value, "message_template_name"), text(value, "message_template_language")
    if field not in _TEMPLATES or not name or not language:
        return None
    said = text(value, "event").lower() if field == "message_template_status_update" else ""
    category = text(value, "message_template_category") or text(value, "new_category")
    return TemplateNews(name, language, _USABLE.get(said, said) or None, category.lower() or None)


def failure(error: Mapping[str, Any], at: datetime) -> AccountChanged:
    """An error that belongs to no message."""
    code = text(error, "code") or "?"
    return AccountChanged(_id("error", error, at), at, "account: error", code, words(error) or None)


def _detail(value: Mapping[str, Any], keys: tuple[str, ...]) -> str:
    """The rest of it: ``reason: INVALID_FORMAT, current_limit: TIER_1K``."""
    shown = [f"{key}: {found}" for key in value if key not in keys and (found := text(value, key))]
    shown += [f"{key}: {found}" for key in ("ban_info", "restriction_info", "disable_info", "other_info")
              if (found := clean(json.dumps(part(value, key), sort_keys=True))) != "{}"]
    return ", ".join(" ".join(each.split()) for each in shown)[:_DETAIL]


def _id(field: str, value: Mapping[str, Any], at: datetime) -> str:
    """Meta gives none; the same news has the same time and words."""
    said = json.dumps([field, value, at.isoformat()], sort_keys=True).encode()
    return f"{field}:{hashlib.blake2b(said, digest_size=12).hexdigest()}"
