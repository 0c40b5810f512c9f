"""Did Vonage send this? ``sig`` signs all other fields.

Source: https://developer.vonage.com/en/getting-started/concepts/signing-messages
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Literal

Method = Literal["md5hash", "md5", "sha1", "sha256", "sha512"]

# What was not taken is sent again for a day, perhaps as it was signed first. Who repeats a webhook changes nothing:
# its message is known by its id.
AGE = timedelta(hours=25)
AHEAD = timedelta(minutes=5)
_SEPARATORS = str.maketrans("&=", "__")


def sign(secret: str, method: Method, fields: Mapping[str, str]) -> str:
    """In hex: the plain MD5 of the text and the secret ("md5hash", what accounts begin with), or an HMAC."""
    text = "".join(f"&{name}={fields[name].translate(_SEPARATORS)}" for name in sorted(fields) if name != "sig")
    if method == "md5hash":
        return hashlib.md5((text + secret).encode()).hexdigest()  # noqa: S324 - as Vonage signs
    return hmac.new(secret.encode(), text.encode(), method).hexdigest()


def valid(secret: str, method: Method, fields: Mapping[str, str], now: datetime) -> bool:
    """Whether the signature is right, and not too old."""
    if any("&" in name or "=" in name for name in fields):
        return False  # a name with a separator could swallow other fields
    given = fields.get("sig", "").lower().encode()
    return hmac.compare_digest(given, sign(secret, method, fields).encode()) and _is_fresh(fields, now)


def _is_fresh(fields: Mapping[str, str], now: datetime) -> bool:
    stamp = fields.get("timestamp", "")
    if not (stamp.isascii() and stamp.isdigit() and len(stamp) <= 12):
        return False
    age = now.timestamp() - int(stamp)
    return -AHEAD.total_seconds() <= age <= AGE.total_seconds()
