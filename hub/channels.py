"""A configured account, as the core sees it: its name and what it can do. Never which provider it is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Literal

from hub.contract import AnyAdapter, Capabilities
from hub.model import Medium


def _no_link(token: str) -> str | None:
    return None


@dataclass(frozen=True, slots=True)
class Channel:
    name: str  # "sms_uk"
    adapter: str  # folder name
    medium: Medium
    scheme: str
    role: Literal["contact", "desk"]
    capabilities: Capabilities
    reaches: tuple[str, ...] = ()  # further schemes
    entry_link: Callable[[str], str | None] = _no_link  # as the adapter's

    @property
    def schemes(self) -> tuple[str, ...]:
        """Of all addresses it can write to, its own first."""
        return (self.scheme, *self.reaches)

    @classmethod
    def of(cls, adapter_name: str, adapter: AnyAdapter) -> Channel:
        can, settle = adapter.capabilities, adapter.config.settle
        if settle is not None:
            can = replace(can, settle=timedelta(seconds=settle))
        return cls(
            adapter.name, adapter_name, adapter.medium, adapter.scheme, adapter.role, can, adapter.reaches,
            adapter.entry_link,
        )


Channels = Mapping[str, Channel]
