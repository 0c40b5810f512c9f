"""May this message go out now? One pure function, asked immediately before hand-off."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Literal

from hub.model import Purpose

VERSION = "1"  # of the rules below; stored with each decision

Verdict = Literal["allow", "defer", "needs_template", "fallback", "block"]


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known about one message at the moment of the decision."""

    purpose: Purpose
    expires_at: datetime
    address: str | None  # None: the customer is not reachable on this channel
    suppressions: tuple[tuple[str, datetime], ...] = ()  # (reason, since) of this address
    opted_in: bool = False  # the person asked for marketing on this address
    outbound: Literal["on", "off"] = "on"
    window: timedelta | None = None  # free text only this long after the customer's last message
    last_inbound: datetime | None = None
    template: bool = False


@dataclass(frozen=True, slots=True)
class Check:
    """One rule and what it saw, for the explanation."""

    name: str
    ok: bool
    detail: str


@dataclass(frozen=True, slots=True)
class Decision:
    verdict: Verdict
    reason: str  # "ALLOWED" or the code of the first check that failed
    checks: list[Check] = field(default_factory=list)
    not_before: datetime | None = None
    version: str = VERSION

    @property
    def all_reasons(self) -> list[str]:
        return [check.name for check in self.checks if not check.ok]


_VERDICTS: dict[str, Verdict] = {
    "TENANT_PAUSED": "defer",
    "MSG_EXPIRED": "block",
    "ADDRESS_INVALID": "fallback",
    "CONSENT_REVOKED": "block",
    "SUPP_HARD_BOUNCE": "fallback",
    "CONSENT_MISSING": "block",
    "WINDOW_CLOSED": "needs_template",
}
_PAUSE = timedelta(seconds=30)  # how soon a paused hub asks again


def decide(facts: Facts, now: datetime) -> Decision:
    """Pure. Every check is made and kept; the first that fails gives verdict and reason."""
    checks = [
        Check("MSG_EXPIRED", now < facts.expires_at, f"good until {facts.expires_at.isoformat()}"),
        Check("TENANT_PAUSED", facts.outbound == "on", f"outbound is {facts.outbound}"),
        Check("ADDRESS_INVALID", facts.address is not None, facts.address or "no address on this channel"),
        _suppressed(facts, "opt_out", "CONSENT_REVOKED", "opted out"),
        _suppressed(facts, "bounced", "SUPP_HARD_BOUNCE", "known to be dead"),
        _consent(facts),
        _window(facts, now),
    ]
    failed = next((check for check in checks if not check.ok), None)
    if failed is None:
        return Decision("allow", "ALLOWED", checks)
    verdict = _VERDICTS[failed.name]
    return Decision(verdict, failed.name, checks, now + _PAUSE if verdict == "defer" else None)


def _suppressed(facts: Facts, reason: str, code: str, words: str) -> Check:
    for held, since in facts.suppressions:
        if held == reason:
            return Check(code, False, f"{words} since {since.isoformat()}")
    return Check(code, True, f"not {words}")


def _consent(facts: Facts) -> Check:
    if facts.purpose is not Purpose.marketing:
        return Check("CONSENT_MISSING", True, f"{facts.purpose} needs no opt-in")
    return Check("CONSENT_MISSING", facts.opted_in, "opted in" if facts.opted_in else "marketing without an opt-in")


def _window(facts: Facts, now: datetime) -> Check:
    if facts.window is None:
        return Check("WINDOW_CLOSED", True, "the channel has no window")
    if facts.template:
        return Check("WINDOW_CLOSED", True, "a template needs no window")
    is_open = facts.last_inbound is not None and now < facts.last_inbound + facts.window
    seen = facts.last_inbound.isoformat() if facts.last_inbound else "never"
    return Check("WINDOW_CLOSED", is_open, f"last message of the customer: {seen}, window {facts.window}")
