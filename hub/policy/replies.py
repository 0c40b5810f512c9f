"""Which message of somebody's is answered by the hub itself."""

from __future__ import annotations

from dataclasses import dataclass

_PROMPT = 300.0  # seconds; a confirmation within them is presumed to be wanted (47 CFR 64.1200(a)(12))


@dataclass(frozen=True, slots=True)
class AutoReply:
    send: bool
    reason: str


def auto_reply(
    kind: str,
    delay_s: float = 0.0,
    *,
    already_confirmed: bool = False,
    provider_replied: bool = False,
    marketing_content: bool = False,
) -> AutoReply:
    """One plain confirmation of an opt-out, soon or not at all; HELP always, also to who opted out."""
    if kind == "help":
        return AutoReply(not provider_replied, "PROVIDER_REPLIED" if provider_replied else "HELP")
    if kind != "opt_out":
        return AutoReply(False, "NO_AUTO_REPLY")
    if provider_replied:
        return AutoReply(False, "PROVIDER_REPLIED")
    if already_confirmed:
        return AutoReply(False, "ALREADY_CONFIRMED")
    if marketing_content:
        return AutoReply(False, "CONFIRMATION_HAS_MARKETING")
    if delay_s > _PROMPT:
        return AutoReply(False, "CONFIRMATION_TOO_LATE")
    return AutoReply(True, "OPT_OUT_CONFIRMATION")
