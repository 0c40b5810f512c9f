"""What Meta refuses at once, and what it refuses later, in a status."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from adapters.graph.records import Template
from adapters.whatsapp_cloud.records import ERRORS, User

Refusal = tuple[int, str]  # code and details
WINDOW = timedelta(hours=24)
PAIR_PAUSE = 6.0  # seconds between two messages to one person
PAIR_BURST = 45  # that many may go at once (from memory)
_HEADERS = ("IMAGE", "VIDEO", "DOCUMENT")
_MEDIA = ("image", "video", "audio", "document", "sticker")


def objection(body: Mapping[str, Any], templates: Mapping[tuple[str, str], Template]) -> Refusal | None:
    """What is wrong with a message, whoever it goes to."""
    if body.get("messaging_product") != "whatsapp":
        return 100, "(#100) The parameter messaging_product is required."
    if not body.get("to") and not body.get("recipient"):
        return 100, "(#100) The parameter to is required."
    kind = body.get("type", "text")
    said = body.get(kind)
    if kind == "contacts":
        return None if isinstance(said, list) and said else (131008, "Parameter 'contacts' is mandatory")
    if not isinstance(said, dict):
        return 131008, f"Parameter '{kind}' is mandatory for type '{kind}'"
    if kind in _MEDIA:
        return _media(kind, said)
    match kind:
        case "text":
            return _length(said.get("body"), 4096, "text['body']")
        case "interactive":
            return _interactive(said)
        case "template":
            return _template(said, templates)
        case "location":
            known = all(isinstance(said.get(name), int | float) for name in ("latitude", "longitude"))
            return None if known else (131009, "Location latitude and longitude must be valid numbers.")
        case "reaction":
            return None if said.get("message_id") else (131008, "Parameter 'message_id' is mandatory")
    return 100, f"(#100) Param type must be one of {{...}} - got \"{kind}\"."


def _length(text: Any, most: int, name: str) -> Refusal | None:
    if not isinstance(text, str) or not text:
        return 131008, f"The parameter {name} is required."
    return (100, f"Param {name} must be at most {most} characters long.") if len(text) > most else None


def _media(kind: str, said: Mapping[str, Any]) -> Refusal | None:
    link = said.get("link", "")
    if not said.get("id") and not str(link).startswith(("http://", "https://")):
        return 131009, f"Param {kind}['link'] is not a valid URL."
    if "caption" in said and kind in ("audio", "sticker"):
        return 100, f"(#100) Unexpected key \"caption\" on param \"{kind}\"."
    return _length(said["caption"], 1024, f"{kind}['caption']") if "caption" in said else None


def _interactive(said: Mapping[str, Any]) -> Refusal | None:
    if wrong := _length(said.get("body", {}).get("text"), 1024, "interactive['body']['text']"):
        return wrong
    action = said.get("action", {})
    if said.get("type") == "button":
        found = [each["reply"] for each in action.get("buttons", [])]
        most, longest, what = 3, 20, "Button"
    else:
        found = [row for section in action.get("sections", []) for row in section.get("rows", [])]
        most, longest, what = 10, 24, "Row"
        if wrong := _length(action.get("button"), 20, "interactive['action']['button']"):
            return wrong
    if not 1 <= len(found) <= most:
        return 131009, f"Invalid {what.lower()}s count. Min allowed {what.lower()}s: 1, Max allowed: {most}"
    if any(not 1 <= len(each.get("title", "")) <= longest for each in found):
        return 131009, f"{what} title length invalid. Min length: 1, Max length: {longest}"
    if any(len(each.get("description", "")) > 72 for each in found):
        return 131009, "Row description length invalid. Max length: 72"
    return (131009, f"{what} ids must be unique") if len({each.get("id") for each in found}) < len(found) else None


def _template(said: Mapping[str, Any], templates: Mapping[tuple[str, str], Template]) -> Refusal | None:
    name, language = said.get("name", ""), said.get("language", {}).get("code", "")
    found = templates.get((name, language))
    if found is None or found.status in ("PENDING", "REJECTED"):
        return 132001, f"template name ({name}) does not exist in {language}"
    if found.status == "PAUSED":
        return 132015, f"Template {name} is paused due to low quality."
    if found.status == "DISABLED":
        return 132016, f"Template {name} is disabled due to low quality."
    return _variables(said.get("components", []), found)


def _variables(components: list[Mapping[str, Any]], template: Template) -> Refusal | None:
    given = {each["type"]: each.get("parameters", []) for each in components if each["type"] != "button"}
    body, names = given.get("body", []), template.variables()
    if len(body) != len(names):
        return 132000, f"body: number of localizable_params ({len(body)}) does not match the expected number of " \
                       f"params ({len(names)})"
    if any(not each.get("text") for each in body):
        return 131008, "Parameter 'text' is mandatory for type 'text'"
    named = not all(name.isdecimal() for name in names)
    if named and {each.get("parameter_name") for each in body} != set(names):
        return 100, "Invalid parameter name"
    header = given.get("header", [])
    if template.header in _HEADERS and [each.get("type") for each in header] != [template.header.lower()]:
        return 132012, f"header: Format mismatch, expected {template.header}, received " \
                       f"{header[0].get('type', '?').upper() if header else 'UNKNOWN'}"
    return None


def pair(user: User, now: datetime) -> Refusal | None:
    """One message in six seconds to one person, after a burst."""
    passed = (now - user.tokens_at).total_seconds() if user.tokens_at else 0.0
    user.tokens, user.tokens_at = max(0.0, user.tokens - passed / PAIR_PAUSE), now
    if user.tokens + 1 > PAIR_BURST:
        return 131056, ERRORS[131056][2]
    user.tokens += 1
    return None


def hold(
    user: User,
    body: Mapping[str, Any],
    templates: Mapping[tuple[str, str], Template],
    marketing_limit: int,
    now: datetime,
) -> int | None:
    """The code of what keeps a message from a person: the window, their stop to marketing, too much of it."""
    if body["type"] != "template":
        is_open = user.last_wrote is not None and now < user.last_wrote + WINDOW
        return None if is_open else 131047
    template = templates[body["template"]["name"], body["template"]["language"]["code"]]
    if template.category != "MARKETING":
        return None
    if user.stopped_marketing:
        return 131050
    user.marketing = [at for at in user.marketing if at > now - WINDOW]
    if len(user.marketing) >= marketing_limit:
        return 131049
    user.marketing.append(now)
    return None
