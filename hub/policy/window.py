"""Channel windows and templates: what may be said how long after the customer's last message."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from hub.model import readable
from hub.policy.pack import ChannelRules, Policy
from hub.policy.verdict import Verdict

LATE = "OK_HUMAN_AGENT"


@dataclass(frozen=True, slots=True)
class TemplateState:
    """``status``: "approved", "paused", or any word of the provider for "no". ``category``: None is unknown."""

    status: str = "approved"
    category: str | None = None


@dataclass(frozen=True, slots=True)
class Approach:
    """How somebody is to be addressed. ``last_inbound``: by the provider's clock."""

    purpose: str
    last_inbound: datetime | None = None
    actor: Literal["human", "bot"] = "bot"
    template: TemplateState | None = None
    tag: str | None = None
    session_open: bool = False


def check(how: Approach, rules: ChannelRules, now: datetime, policy: Policy, guard: timedelta = timedelta()) -> Verdict:
    if how.tag is not None and _ended(how.tag, now, policy):
        return Verdict("block", "TAG_DEPRECATED", detail=f"the provider refuses {how.tag}")
    if rules.session and not how.session_open:
        return Verdict("fallback", "SESSION_CLOSED", detail="the visitor's session is closed")
    if rules.free_h is None:
        return Verdict(detail="the channel has no window")
    seen = min(how.last_inbound, now) if how.last_inbound is not None else None  # a provider's clock may be ahead
    inside = _within(seen, rules.free_h, now, guard)
    if how.template is not None and (inside or how.purpose in rules.template_for):
        found = _templated(how.template, how.purpose, rules)
        return Verdict(detail=_since(seen, rules.free_h)) if inside and found.ok else found
    if inside:
        return Verdict(detail=_since(seen, rules.free_h))
    return _closed(how, rules, seen, now, guard)


def unasked(purpose: str, last_inbound: datetime | None, rules: ChannelRules, now: datetime) -> bool:
    """Whether we begin: outside of the window, or where there is none with anything but an answer."""
    if rules.free_h is None:
        return purpose != "reply"
    seen = min(last_inbound, now) if last_inbound is not None else None
    return not _within(seen, rules.free_h, now, timedelta())


def _ended(tag: str, now: datetime, policy: Policy) -> bool:
    ended = policy.meta_deprecated_from
    return tag in policy.meta_deprecated_tags and (ended is None or now >= ended)


def _within(seen: datetime | None, hours: float, now: datetime, guard: timedelta) -> bool:
    return seen is not None and now + guard < seen + timedelta(hours=hours)


def _since(seen: datetime | None, hours: float) -> str:
    return f"last message of the customer: {readable(seen) if seen else 'never'}, window {hours:g} h"


def _templated(template: TemplateState, purpose: str, rules: ChannelRules) -> Verdict:
    if template.status not in ("approved", "paused"):
        return Verdict("block", "TEMPLATE_NOT_APPROVED", detail=f"the template is {template.status}")
    allowed = rules.templates.get(purpose, ())
    if template.category is not None and template.category not in allowed:
        detail = f"a {template.category} template cannot carry a {purpose} message"
        return Verdict("block", "TEMPLATE_CATEGORY_MISMATCH", detail=detail)
    if template.status == "paused":
        return Verdict("defer", "TEMPLATE_PAUSED", detail="the provider has paused the template")
    return Verdict("allow", "OK_TEMPLATE", detail="a template needs no window")


def _closed(how: Approach, rules: ChannelRules, seen: datetime | None, now: datetime, guard: timedelta) -> Verdict:
    detail = _since(seen, rules.free_h or 0)
    if how.purpose == "reply" and rules.human_agent_h and _within(seen, rules.human_agent_h, now, guard):
        if how.actor == "human":
            return Verdict("allow", LATE, detail=_since(seen, rules.human_agent_h))
        return Verdict("fallback", "HUMAN_AGENT_REQUIRED", detail=f"{detail}; only a person may answer now")
    if rules.template_for and rules.human_agent_h is None:
        return Verdict("needs_template", "WINDOW_CLOSED", detail=detail)
    return Verdict("fallback", "WINDOW_CLOSED", detail=detail)
