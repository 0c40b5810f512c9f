"""Who a visitor is: our own token for a browser nobody knows, the website's signature for its users.

A visitor id is never taken from the browser: it is inside a token that we or the website signed.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import hashlib
import hmac
import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta

import msgspec
import phonenumbers
from email_validator import EmailNotValidError, validate_email
from itsdangerous import BadSignature, TimestampSigner

from hub.contract import Host
from hub.model import Party, Proof

RESUMABLE = timedelta(days=365)  # counted from the last visit: every hello renews the token
LONGEST_TOKEN = timedelta(hours=24)
LEEWAY = timedelta(seconds=60)  # clocks of the website and of the hub differ
TOKEN_SIZE = 4096  # characters


class Refused(Exception):
    """The connection ends with this WebSocket close code; ``reason`` fits a close frame (123 bytes)."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Visitor:
    """``id``: ``a-…`` for an anonymous browser, ``u-…`` for a user of the website, stable across browsers."""

    id: str
    name: str | None = None
    email: str | None = None
    phone: str | None = None  # E.164

    @property
    def known(self) -> bool:
        return self.id.startswith("u-")

    @property
    def sender(self) -> Party:
        return Party("webchat", self.id, self.name, Proof.verified if self.known else Proof.provider)

    @property
    def also(self) -> list[Party]:
        found = [("tel", self.phone), ("mailto", self.email)]
        return [Party(scheme, value, self.name, Proof.verified) for scheme, value in found if value]


class _Claims(msgspec.Struct):
    sub: str | int
    aud: str
    exp: int
    jti: str
    name: str | None = None
    email: str | None = None
    phone: str | None = None


class _Header(msgspec.Struct):
    alg: str


class _Signer(TimestampSigner):
    """Signs with the host's clock instead of the system's."""

    def __init__(self, channel: str, host: Host, use: str) -> None:
        super().__init__(host.secret, salt=f"webchat/{channel}/{use}", digest_method=hashlib.sha256)
        self._host = host

    def get_timestamp(self) -> int:
        return int(self._host.now().timestamp())


class Visitors:
    """Tells visitors apart for one channel."""

    def __init__(self, channel: str, host: Host, identity_secret: bytes | None) -> None:
        self._channel = channel
        self._host = host
        self._identity_secret = identity_secret
        self._signer = _Signer(channel, host, "session")
        self._uploads = _Signer(channel, host, "upload")

    def who(self, *, session: str | None, token: str | None) -> Visitor:
        """The website's word counts most, then our own token; without either a new visitor. Raises: Refused."""
        if token is not None:
            return self._signed(token)
        if session is not None:
            return self._resumed(session)
        return Visitor("a-" + secrets.token_hex(16))

    def before_login(self, visitor: Visitor, session: str | None) -> str | None:
        """The id of the anonymous visitor that this signed one was until now; None if there was none."""
        if not visitor.known or session is None:
            return None
        with contextlib.suppress(Refused):
            return self._resumed(session).id
        return None

    def session(self, visitor: Visitor) -> str | None:
        """A fresh resume token. None for a signed visitor: who logs out of the website leaves no way back in."""
        return None if visitor.known else self._signer.sign(visitor.id).decode()

    def ticket(self, visitor: Visitor) -> str:
        """What lets files of this visitor in, for a day."""
        return self._uploads.sign(msgspec.json.encode(visitor)).decode()

    def redeem(self, ticket: str) -> Visitor:
        """Raises: Refused."""
        try:
            if len(ticket) > TOKEN_SIZE:
                raise BadSignature("too long")
            found = self._uploads.unsign(ticket, max_age=int(LONGEST_TOKEN.total_seconds()))
        except BadSignature:
            raise Refused(4401, "this ticket is not valid any more: connect again") from None
        return msgspec.json.decode(found, type=Visitor)

    def _resumed(self, session: str) -> Visitor:
        try:
            if len(session) > TOKEN_SIZE:
                raise BadSignature("too long")
            visitor = self._signer.unsign(session, max_age=int(RESUMABLE.total_seconds())).decode()
        except BadSignature:  # also: too old
            raise Refused(4401, "this session is not valid: say hello without one") from None
        return Visitor(visitor)

    def _signed(self, token: str) -> Visitor:
        if self._identity_secret is None:
            raise Refused(4403, "this channel has no identity_secret: it cannot check signed visitors")
        claims = _read_jwt(token, self._identity_secret)
        _check(claims, self._channel, self._host.now())
        user = f"webchat/{self._channel}/user/{claims.sub}"
        digest = hmac.digest(self._host.secret, user.encode(), "sha256").hex()
        return Visitor(f"u-{digest[:40]}", _name(claims.name), _email(claims.email), _phone(claims.phone))


def _read_jwt(token: str, secret: bytes) -> _Claims:
    """The claims of a JSON Web Token (RFC 7519) signed with HS256, the only algorithm taken."""
    forged = Refused(4401, "the visitor token is not valid: sign it with this channel's identity_secret")
    signed, _, signature = token.rpartition(".")
    header, _, payload = signed.partition(".")
    try:
        if len(token) > TOKEN_SIZE:
            raise forged
        expected = hmac.digest(secret, signed.encode(), "sha256")
        if not hmac.compare_digest(expected, _unpack(signature)):
            raise forged
        if msgspec.json.decode(_unpack(header), type=_Header).alg != "HS256":
            raise forged
        return msgspec.json.decode(_unpack(payload), type=_Claims)
    except (binascii.Error, ValueError, RecursionError):  # ValueError: also msgspec's errors and bad UTF-8
        raise forged from None


def _unpack(part: str) -> bytes:
    return base64.b64decode(part.encode("ascii") + b"=" * (-len(part) % 4), altchars=b"-_", validate=True)


def _check(claims: _Claims, channel: str, now: datetime) -> None:
    if claims.aud != channel:
        raise Refused(4403, "the visitor token is for another channel: aud must be this channel's name")
    if not str(claims.sub) or len(str(claims.sub)) > 200 or not claims.jti:
        raise Refused(4401, "the visitor token needs sub (1 to 200 characters) and jti (a random nonce)")
    left = claims.exp - now.timestamp()
    if left <= 0:
        raise Refused(4401, "the visitor token has expired: render the page again")
    if left > (LONGEST_TOKEN + LEEWAY).total_seconds():
        raise Refused(4401, "the visitor token lives too long: exp may be 24 hours ahead at most")


def _name(name: str | None) -> str | None:
    clean = "".join(letter for letter in name or "" if letter.isprintable()).strip()
    return clean[:100] or None


def _email(email: str | None) -> str | None:
    """Normalised, or None if it is no address: a typo in an optional claim must not lock the visitor out."""
    with contextlib.suppress(EmailNotValidError):
        return validate_email(email or "", check_deliverability=False).normalized.lower()
    return None


def _phone(phone: str | None) -> str | None:
    """E.164, or None: without its country a number belongs to somebody else abroad."""
    if not phone or not phone.startswith("+"):
        return None
    with contextlib.suppress(phonenumbers.NumberParseException):
        number = phonenumbers.parse(phone)
        if phonenumbers.is_valid_number(number):
            return phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)
    return None
