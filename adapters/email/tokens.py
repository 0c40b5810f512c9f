"""What we sign: the token in a reply address, and our own Message-IDs."""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from datetime import datetime, timedelta

from hub.model import is_public_id

_EPOCH = 719_163  # date(1970, 1, 1).toordinal()
_CONVERSATION, _DAY, _MAC = 13, 4, 26  # letters
_PLAIN_KEY = re.compile(r"[a-z0-9][a-z0-9_.-]{0,80}")
_ID = re.compile(r"([a-z0-9][a-z0-9_.-]{0,90})\.([a-z2-7]{16})@[A-Za-z0-9.-]{1,253}")
_MOST = 20  # ids looked at in one bounce


class Tokens:
    """``secret``: the channel's own, so a token of another channel is worth nothing here."""

    def __init__(self, secret: bytes, life: timedelta) -> None:
        self._secret = secret
        self._life = life

    def issue(self, thread: str, recipient: str, now: datetime) -> str:
        """43 lower-case letters and digits (some servers fold case, and a local part has 64): conversation, last day
        of validity, MAC. It is good for mail from ``recipient`` only."""
        name = thread.removeprefix("con_")
        day = f"{(now + self._life).toordinal() - _EPOCH:04x}"
        return name + day + self._reply_mac(name, day, recipient)

    def read(self, token: str, sender: str, now: datetime) -> str | None:
        """The public conversation id; None if the token is bent, expired or was issued to somebody else."""
        if len(token) != _CONVERSATION + _DAY + _MAC or not token.isascii():
            return None
        token = token.lower()
        name, day, mac = token[:13], token[13:17], token[17:]
        if not hmac.compare_digest(mac, self._reply_mac(name, day, sender)):
            return None
        if int(day, 16) + _EPOCH < now.toordinal() or not is_public_id("conversation", f"con_{name}"):
            return None
        return f"con_{name}"

    def message_id(self, key: str, domain: str) -> str:
        """Without brackets. The same for every attempt, and nobody else can make one: ``<key>.<mac>@<domain>``."""
        if not _PLAIN_KEY.fullmatch(key):
            key = "x" + hashlib.sha256(key.encode("utf-8", "replace")).hexdigest()[:24]
        return f"{key}.{self._id_mac(key)}@{domain}"

    def key(self, message_id: str) -> str | None:
        """Our reference in a Message-ID of ours; None for those of others."""
        found = _ID.fullmatch(message_id)
        if found is None or not hmac.compare_digest(found[2], self._id_mac(found[1])):
            return None
        return found[1]

    def first(self, text: str) -> tuple[str, str] | None:
        """Message-ID and key of the first of our ids in a text."""
        for number, found in enumerate(_ID.finditer(text)):
            if number == _MOST:
                break
            if (key := self.key(found[0])) is not None:
                return found[0], key
        return None

    def _reply_mac(self, name: str, day: str, address: str) -> str:
        return self._mac(f"reply\0{name}\0{day}\0{address}", 16)

    def _id_mac(self, key: str) -> str:
        return self._mac(f"message-id\0{key}", 10)

    def _mac(self, text: str, size: int) -> str:
        digest = hmac.new(self._secret, text.encode("utf-8", "replace"), hashlib.sha256).digest()
        return base64.b32encode(digest[:size]).decode().lower().rstrip("=")
