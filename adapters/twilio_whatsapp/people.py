"""Addresses at WhatsApp, as Twilio writes them: ``whatsapp:+4915112345678``, or ``whatsapp:DE.1234`` for the id of
somebody who keeps their number to themselves. Payloads without the prefix have been seen."""

from __future__ import annotations

import re
from collections.abc import Mapping

from adapters.twilio.statuses import clean
from hub.contract import BadAddress
from hub.model import Address, Party

SCHEME = "whatsapp"
_PREFIX = "whatsapp:"
_USER_ID = re.compile(r"[A-Z]{2}\.(?:ENT\.)?[A-Za-z0-9]{1,128}")
_NUMBER = re.compile(r"\+?([0-9]{5,15})")


def parties(form: Mapping[str, str]) -> list[Party]:
    """All addresses of who wrote: the user id, which lasts longer, before the number. [] if there is none."""
    told = [clean(form.get(name, "")).removeprefix(_PREFIX) for name in ("ExternalUserId", "From", "WaId")]
    user_id = next((each for each in told if _USER_ID.fullmatch(each)), "")
    number = next((found[1] for each in told if (found := _NUMBER.fullmatch(each))), "")
    name = clean(form.get("ProfileName", "")) or None
    known = [Party(SCHEME, each, name) for each in (user_id or number,) if each]
    return [*known, Party("tel", f"+{number}", name)] if number else known


def recipient(to: Address) -> str:
    """Raises: BadAddress."""
    if to.scheme == SCHEME and _USER_ID.fullmatch(to.value):
        return _PREFIX + to.value
    number = _NUMBER.fullmatch(to.value) if to.scheme in (SCHEME, "tel") else None
    if number is None:
        raise BadAddress(f"not an address at WhatsApp: {to.scheme}")
    return f"{_PREFIX}+{number[1]}"
