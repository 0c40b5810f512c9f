"""Who wrote: a business-scoped user id, a phone number, or both.

A person with a user name may keep their number to themselves; then only the id is known. The id belongs to our
business portfolio, and a new phone number brings a new one.
Source: https://developers.facebook.com/documentation/business-messaging/whatsapp/business-scoped-user-ids
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from hub.model import Party
from hub.shape import part, parts, text

SCHEME = "whatsapp"
USER_ID = re.compile(r"[A-Z]{2}\.(?:ENT\.)?[A-Za-z0-9]{1,128}")
NUMBER = re.compile(r"[0-9]{5,15}")  # as WhatsApp writes it: international, without +


Contacts = Mapping[str, dict[str, Any]]


def contacts(value: dict[str, Any]) -> Contacts:
    """A webhook's contacts, where the names are, by number and by user id; the only one also by nothing at all."""
    found = parts(value, "contacts")
    named = {text(contact, name): contact for contact in found for name in ("wa_id", "user_id")}
    # A message with neither number nor id can only be of the one person that is named.
    return named | {"": found[0] if len(found) == 1 else {}}


def person(known: Contacts, phone: str, user_id: str) -> list[Party]:
    """All addresses of somebody named so in a webhook, the one to answer first; empty if there is none.

    ``phone`` may hold the user id as well.
    """
    if USER_ID.fullmatch(phone):
        user_id, phone = user_id or phone, ""
    contact = known.get(user_id or phone) or known.get(phone or user_id) or {}
    if not phone and NUMBER.fullmatch(wa_id := text(contact, "wa_id")):
        phone = wa_id
    user_id = user_id or text(contact, "user_id")
    profile = part(contact, "profile")
    return addresses(user_id, phone, text(profile, "name") or text(profile, "username") or None)


def addresses(user_id: str, phone: str, name: str | None = None) -> list[Party]:
    """The user id, which lasts longer, before the number."""
    known = [Party(SCHEME, each, name) for each in (user_id or phone,) if each]
    if NUMBER.fullmatch(phone):
        known.append(Party("tel", f"+{phone}", name))
    return known
