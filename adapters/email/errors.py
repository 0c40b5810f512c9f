"""What a mail server's refusal means for us (RFC 5321, RFC 3463)."""

from __future__ import annotations

import re
from typing import Literal

from adapters.email.address import one_line
from adapters.email.bounce import DEAD_CODE, DEAD_WORDS
from hub.contract import Ambiguous, BadAddress, ChannelDown, RateLimited, Rejected, SendError, Transient

Stage = Literal["connect", "login", "mail", "rcpt", "data", "content", ""]  # "": not known

_ENHANCED = re.compile(r"^\W*([45]\.\d{1,3}\.\d{1,3})\b")
_TOO_FAST = re.compile(r"rate|too (?:many|fast)|throttl|quota|limit", re.IGNORECASE)
_DAILY = 3600.0  # seconds; nobody tells when the day of a daily cap ends
_GREYLISTED = 300.0  # seconds that most greylists ask for
# Ours to mend: password, permission to send as this address, TLS.
_ACCOUNT = {"5.1.7", "5.1.8", "5.7.3", "5.7.8", "5.7.9", "5.7.11", "5.7.14", "5.7.30", "5.7.57", "5.7.60"}
_LOGIN = {530, 534, 535, 538}


def refusal(code: int, text: str, stage: Stage = "") -> SendError:
    """By enhanced status, else by reply code and by when it came."""
    words = one_line(text)[:400]
    found = _ENHANCED.match(words)
    enhanced = found[1] if found else None
    name = enhanced or str(code)
    detail = f"{words or 'no reason given'} (SMTP {code})"
    if 400 <= code < 500:
        return _temporary(code, enhanced, words, detail, name, stage)
    if enhanced == "5.4.5":
        return RateLimited(detail, code=name, after=_DAILY, scope="account")
    if code >= 500:
        kind = _permanent(code, enhanced, words, stage)
        return kind(_advised(code, enhanced, stage, detail), code=name)
    unclear = Ambiguous if stage in ("content", "") else Transient
    return unclear(f"an answer that means nothing: {detail}", code=name)


def _temporary(code: int, enhanced: str | None, words: str, detail: str, name: str, stage: Stage) -> SendError:
    if "greylist" in words.lower() or "graylist" in words.lower():
        return Transient(detail, code=name, after=_GREYLISTED)
    if enhanced == "4.2.2" or code == 454:  # mailbox full; login or TLS not available now
        return Transient(detail, code=name)
    throttled = (enhanced or "").startswith("4.7.") or enhanced == "4.5.3" or _TOO_FAST.search(words)
    if code == 421 or (code in (450, 451, 452) and throttled):
        # Once a recipient is named, Gmail's 421 4.7.28 and Yahoo's 421 4.7.0 are about mail to them.
        theirs = stage in ("rcpt", "data", "content") and (enhanced or "").startswith("4.7.")
        ours = code == 421 and not theirs
        scope: Literal["account", "domain"] = "account" if ours else "domain"
        return RateLimited(detail, code=name, scope=scope)
    return Transient(detail, code=name)


def _permanent(code: int, enhanced: str | None, words: str, stage: Stage) -> type[SendError]:
    if code in _LOGIN or enhanced in _ACCOUNT or stage in ("connect", "login"):
        return ChannelDown
    if code == 552 or enhanced in ("5.2.2", "5.2.3", "5.3.4"):  # mailbox full, or too large
        return Rejected
    if stage == "mail":
        return ChannelDown
    if enhanced and DEAD_CODE.match(enhanced):
        return BadAddress
    if enhanced is None and stage in ("rcpt", "") and code in (550, 551, 553) and DEAD_WORDS.search(words):
        return BadAddress
    return Rejected


def _advised(code: int, enhanced: str | None, stage: Stage, detail: str) -> str:
    if enhanced == "5.7.30":
        return f"{detail}; this server takes no passwords: log in by OAuth 2, see oauth_token_url"
    if code in _LOGIN or enhanced in ("5.7.8", "5.7.9", "5.7.57") or stage == "login":
        return f"{detail}; check user and password, and that the account may use SMTP"
    if stage == "mail" or enhanced in ("5.1.7", "5.1.8", "5.7.60"):
        return f"{detail}; check that the account may send as this address"
    return detail
