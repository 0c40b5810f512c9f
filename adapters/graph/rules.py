"""What Meta refuses of a message at once."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any

from adapters.graph.records import Person, Template

Refusal = tuple[int, int | None, str | None]  # code, subcode and words
_WINDOW = timedelta(hours=24)
_LATE = timedelta(days=7)  # for people, with the tag HUMAN_AGENT
_TYPES = ("RESPONSE", "UPDATE", "MESSAGE_TAG", "UTILITY")
_KINDS = ("image", "audio", "video", "file")


def content(
    message: Mapping[str, Any], fits: Callable[[str], bool], templates: Mapping[tuple[str, str], Template]
) -> Refusal | None:
    text, file, template = message.get("text"), message.get("attachment"), message.get("template")
    if not text and not file and not template:
        return 100, 2018034, None
    if bool(text) + bool(file) + bool(template) > 1:
        return 100, None, "(#100) Only one of the text, attachment and template fields can be specified"
    if text and not fits(text):
        return 100, None, "(#100) Length of param message[text] is too long"
    if len(message.get("metadata", "")) > 1000:
        return 100, None, "(#100) Length of param message[metadata] must be less than or equal to 1000"
    if template:
        return _template(template, templates)
    if file:
        url = file.get("payload", {}).get("url", "")
        known = file.get("type") in _KINDS and str(url).startswith(("http://", "https://"))
        return None if known else (100, 2018047, None)
    offered = message.get("quick_replies", [])
    if len(offered) > 13 or any(not 1 <= len(each.get("title", "")) <= 20 for each in offered):
        return 100, None, "(#100) Invalid quick_replies"
    return None


def _template(said: Mapping[str, Any], templates: Mapping[tuple[str, str], Template]) -> Refusal | None:
    """Of kind utility, approved, and with all its variables."""
    found = templates.get((said.get("name", ""), said.get("language", {}).get("code", "")))
    if found is None or found.status != "APPROVED":
        return 100, None, "(#100) Message template not found, or not approved"
    given = [each for part in said.get("components", []) if part["type"] == "body" for each in part["parameters"]]
    fits = len(given) == len(found.variables()) and all(each.get("text") for each in given)
    return None if fits else (100, None, "(#100) Parameters do not match those of the message template")


def kind(body: Mapping[str, Any], *, human_agent: bool) -> Refusal | None:
    """``human_agent``: the app was granted that permission."""
    named, tag = body.get("messaging_type", "RESPONSE"), body.get("tag")
    fits = {"MESSAGE_TAG": tag is not None, "UTILITY": "template" in body.get("message", {})}
    if named not in _TYPES or any((named == each) is not wanted for each, wanted in fits.items()):
        return 100, None, "(#100) Invalid messaging_type and tag"
    if tag is not None and tag != "HUMAN_AGENT":  # the others ended on 27 April 2026
        return 100, None, "(#100) Invalid tag: it is no longer supported"
    return (10, None, None) if tag is not None and not human_agent else None


def is_open(person: Person, body: Mapping[str, Any], now: datetime) -> bool:
    """Whether they have written of late, or Meta has approved what is said."""
    if body.get("messaging_type") == "UTILITY":
        return True
    span = _LATE if body.get("tag") else _WINDOW
    return person.last_wrote is not None and now < person.last_wrote + span
