"""Webhooks of a Meta app: their signature, and the handshake that registers them.

Source: https://developers.facebook.com/docs/graph-api/webhooks/getting-started
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Sequence
from typing import Annotated
from urllib.parse import parse_qs, urlsplit

from pydantic import AfterValidator, SecretStr

from hub.contract import Request, Verified

_PLAIN = {"content-type": "text/plain; charset=utf-8", "x-content-type-options": "nosniff"}
_TAKEN = Verified(True)
_REFUSED = Verified(False, 403, "signature does not match: check app_secret, of the app that calls\n", _PLAIN)
_NO_HANDSHAKE = Verified(False, 403, "verify_token does not match the one that was entered at Meta\n", _PLAIN)
_CHALLENGE = 200  # characters


def _usable(secret: SecretStr) -> SecretStr:
    value = secret.get_secret_value()
    if not value or not value.isascii() or not value.isprintable() or " " in value:
        raise ValueError("empty, or with blanks or other characters that no secret of Meta's has")
    return secret


Secret = Annotated[SecretStr, AfterValidator(_usable)]


def plain(*secrets: SecretStr | None) -> list[str]:
    """Those that are set, as text."""
    return [secret.get_secret_value() for secret in secrets if secret is not None]


def digest(secret: str, content: bytes) -> str:
    return hmac.new(secret.encode(), content, hashlib.sha256).hexdigest()


def verify(request: Request, app_secrets: Sequence[str], verify_token: SecretStr | None) -> Verified:
    """X-Hub-Signature-256 of a POST, by any of the secrets; a GET is the handshake when the webhook is registered."""
    if request.method == "GET":
        return _handshake(request, verify_token)
    told = request.headers.get("x-hub-signature-256", "").encode("utf-8", "replace")
    signatures = [b"sha256=" + digest(secret, request.body).encode() for secret in app_secrets]
    # All are compared, whichever matches: the time taken tells nothing.
    matches = [hmac.compare_digest(signature, told) for signature in signatures]
    return _TAKEN if any(matches) else _REFUSED


def _handshake(request: Request, verify_token: SecretStr | None) -> Verified:
    query = parse_qs(urlsplit(request.url).query)
    said = {name: values[0] for name, values in query.items()}
    token, challenge = said.get("hub.verify_token", ""), said.get("hub.challenge", "")
    wanted = verify_token.get_secret_value() if verify_token else ""
    known = bool(wanted) and hmac.compare_digest(token.encode("utf-8", "replace"), wanted.encode())
    if not known or said.get("hub.mode") != "subscribe" or not 0 < len(challenge) <= _CHALLENGE:
        return _NO_HANDSHAKE
    return Verified(False, 200, challenge, _PLAIN)
