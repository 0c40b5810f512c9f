"""In which order checks count, and what may go out another way instead."""

from __future__ import annotations

from collections.abc import Mapping

from hub.policy.pack import Policy
from hub.policy.verdict import OK, Verdict, Word

# Irrevocable, then what other content would mend, then time, then what is scarce: nothing scarce is spent, and
# nothing parked, for a message that cannot go anyway.
_STAGES: tuple[tuple[str, ...], ...] = (
    ("MSG_DUPLICATE", "MSG_EXPIRED"),
    ("TENANT_PAUSED", "CAMPAIGN_PAUSED", "SENDER_HELD", "SENDER_DISABLED"),
    ("ADDRESS_INVALID", "NUMBER_REASSIGNED"),
    ("SUPP_",),
    ("CONSENT_",),
    ("OPT_OUT_REVIEW_HOLD",),
    (
        "WINDOW_CLOSED", "TEMPLATE_", "TAG_DEPRECATED", "HUMAN_AGENT_REQUIRED", "SESSION_CLOSED",
        "PROVIDER_COUNTRY_RESTRICTED", "PROVIDER_RECIPIENT_LIMIT",
    ),
    ("EMAIL_", "SMS_NO_OPTOUT_TEXT"),
    ("QUIET_HOURS", "NO_SEND_DAY", "MSG_EXPIRES_BEFORE_WINDOW", "NO_SEND_WINDOW"),
    ("CAP_",),
    ("QUOTA_", "WARMUP_DAY"),
    ("BREAKER_", "SENDER_QUALITY_RED"),
    ("RATE_", "BACKOFF_PROVIDER"),
    ("CONSENT_CHANGED",),
)  # fmt: skip
_MARKETING_ONLY = (8, 9, 11)  # time, caps and breakers: replies and receipts pass
_FLAGS: Mapping[str, tuple[str, Word]] = {
    "duplicate": ("MSG_DUPLICATE", "block"),
    "expired": ("MSG_EXPIRED", "block"),
    "tenant_paused": ("TENANT_PAUSED", "defer"),
    "campaign_paused": ("CAMPAIGN_PAUSED", "defer"),
    "sender_held": ("SENDER_HELD", "defer"),
    "sender_disabled": ("SENDER_DISABLED", "fallback"),
    "address_invalid": ("ADDRESS_INVALID", "fallback"),
    "reassigned": ("NUMBER_REASSIGNED", "block"),
    "number_reassigned": ("NUMBER_REASSIGNED", "block"),
    "erased": ("SUPP_ERASED", "block"),
    "consent_changed": ("CONSENT_CHANGED", "defer"),
    "epoch_changed": ("CONSENT_CHANGED", "defer"),
}


def stage(reason: str) -> int:
    """Place of a reason code among the checks; unknown ones come before anything scarce."""
    if reason == "CONSENT_CHANGED":
        return len(_STAGES) - 1
    for place, codes in enumerate(_STAGES):
        if any(reason == code or (code.endswith("_") and reason.startswith(code)) for code in codes):
            return place
    return 7


def flag(name: str) -> Verdict | None:
    """The verdict behind a plain fact ("duplicate", "tenant_paused")."""
    if name not in _FLAGS:
        return None
    reason, word = _FLAGS[name]
    return Verdict(word, reason)


def counts(verdict: Verdict, purpose: str) -> bool:
    """Whether a failed check concerns a message of this purpose."""
    return not verdict.ok and (purpose == "marketing" or stage(verdict.reason) not in _MARKETING_ONLY)


def first(verdicts: list[Verdict], purpose: str, fallback_available: bool, policy: Policy) -> Verdict:
    """The failed check that is acted on, as what the queue does with it. Of equals, what no other channel mends."""
    failed = [each for each in verdicts if not each.ok and counts(each, purpose)]
    if not failed:
        return OK
    chosen = min(failed, key=lambda each: (stage(each.reason), each.reason in policy.fallback_reasons))
    return act(chosen, fallback_available, policy)


def act(verdict: Verdict, fallback_available: bool, policy: Policy) -> Verdict:
    """Another channel only for reasons on the closed list: never around a no, a cap or the night."""
    may = verdict.reason in policy.fallback_reasons and fallback_available
    if verdict.word not in ("fallback", "block") and not may:
        return verdict
    return Verdict("fallback" if may else "block", verdict.reason, None, verdict.detail, verdict.notes)
