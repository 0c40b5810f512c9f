"""A refusal in words for the person who wrote the message: what is in the way, and what to do next."""

from __future__ import annotations

from collections.abc import Mapping

_NEXT: Mapping[str, str] = {
    "MSG_EXPIRED": "Write again if it still matters.",
    "SENDER_DISABLED": "Use another channel.",
    "ADDRESS_INVALID": "Use another channel.",
    "NUMBER_REASSIGNED": "Ask them for their new number.",
    "SUPP_ERASED": "They must write to us first.",
    "SUPP_LEGAL": "Ask whoever put the block there.",
    "SUPP_COMPLAINT": "They must write to us first.",
    "SUPP_PROVIDER_OPTOUT": "They must write START first.",
    "SUPP_MANUAL": "A colleague put the block there; lift it with: hub consent grant",
    "SUPP_HARD_BOUNCE": "Check the address, or use another channel.",
    "SUPP_SOFT_BOUNCE": "Use another channel, or wait until it ends.",
    "SUPP_BLOCKED_BY_USER": "They must write to us first, or use another channel.",
    "CONSENT_REVOKED_ALL": "They must write START first.",
    "CONSENT_REVOKED": "They must allow it again first, by START or on their preference page.",
    "CONSENT_MISSING": "Ask for their permission first. If it is no marketing, say so: purpose transactional or reply.",
    "CONSENT_PENDING": "They must confirm it first.",
    "CONSENT_EXPIRED": "Ask for their permission again.",
    "CONSENT_INSUFFICIENT": "Ask for a permission that suffices there.",
    "CONSENT_SCOPE_MISMATCH": "Ask for a permission for this channel and purpose.",
    "WINDOW_CLOSED": "Wait until they write, or use another channel.",
    "HUMAN_AGENT_REQUIRED": "Answer as a person.",
    "SESSION_CLOSED": "Use another channel.",
    "TEMPLATE_NOT_APPROVED": "Use an approved template.",
    "TEMPLATE_CATEGORY_MISMATCH": "Use a template made for this purpose.",
    "TAG_DEPRECATED": "Leave the tag out.",
    "PROVIDER_COUNTRY_RESTRICTED": "Use another channel.",
    "EMAIL_NO_HTTPS_UNSUB": "Set public_url to the https address of the hub.",
    "EMAIL_NO_POSTAL_ADDRESS": "Set postal_address in the settings, and send it again.",
    "NO_SEND_WINDOW": "Set their time zone or country.",
    "MSG_EXPIRES_BEFORE_WINDOW": "Send it again with more time.",
    "QUOTA_MONTHLY": "Use another channel, or wait for the next month.",
}


def told(reason: str, detail: str) -> str:
    """``they opted out of everything on 2026-11-26 04:00 UTC (CONSENT_REVOKED_ALL). They must write START first.``"""
    return f"{detail} ({reason}). {_NEXT.get(reason, '')}".rstrip()
