"""What a person's message costs, as the hub's prices say."""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal

from sqlalchemy import Connection

from hub import approvals
from hub.channels import Channel
from hub.context import Context
from hub.model import Content, Template
from hub.policy.window import TemplateState
from hub.render import TooLong, render, segments


class Costs:
    """``templates``: those that may be used, by channel, since their category says what they cost."""

    def __init__(self, connection: Connection, context: Context, templates: Iterable[tuple[str, Template]]) -> None:
        self._context = context
        self._states: dict[str, dict[tuple[str, str], TemplateState]] = {}
        if context.prices.categories:
            names: dict[str, set[str]] = {}
            for channel, each in templates:
                names.setdefault(channel, set()).add(each.name)
            self._states = {channel: approvals.states(connection, channel, some) for channel, some in names.items()}

    def of(self, channel: str, address: str, content: Content) -> tuple[int, Decimal | None]:
        """How many parts (of SMS: segments), and what they cost together; None: no price says. Raises: TooLong."""
        known = self._context.channels[channel]
        parts = count(content, known)
        price = self._context.prices.of(channel, known.medium, address, self._category(channel, content.template))
        return parts, None if price is None else parts * price

    def _category(self, channel: str, template: Template | None) -> str | None:
        if template is None:
            return None
        state = self._states.get(channel, {}).get((template.name, template.language))
        return state.category if state else None


def count(content: Content, channel: Channel) -> int:
    """Provider calls, of SMS segments. Raises: TooLong."""
    parts = render(content, channel.capabilities)
    return sum(segments(part.text).count if channel.capabilities.sms_segments else 1 for part in parts)


__all__ = ["Costs", "TooLong", "count"]
