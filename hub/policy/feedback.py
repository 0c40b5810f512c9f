"""What a provider's answer means, by the policy's table."""

from __future__ import annotations

import re

from hub.policy.pack import Effect, Policy

# An answer nobody knows is looked at by a person; it is never a reason to try again blindly.
UNKNOWN = Effect(effect="unknown", scope="message", retry="never")


def effect_of(provider: str, code: str, policy: Policy) -> Effect:
    table = policy.feedback.get(provider, {})
    if code in table:
        return table[code]
    for pattern, effect in table.items():
        if pattern.startswith("re:") and re.search(pattern.removeprefix("re:"), code):
            return effect
    return UNKNOWN
