"""A configured account, as the core sees it: its name and what it can do. Never which provider it is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import date, timedelta
from typing import Literal

from hub.contract import AnyAdapter, Capabilities, ChannelConfig
from hub.model import Medium


def _no_link(token: str) -> str | None:
    return None


@dataclass(frozen=True, slots=True)
class Quotas:
    """What an account may send in a day or a month. ``account``: what channels count together by.

    ``people``: written to unasked in any 24 h. ``monthly``: messages that are paid for. ``zone``: where months and
    days begin. ``warm_up``: the day on which a new sender starts; ``first`` and ``target``: messages a day then and in
    the end, None: the policy's.
    """

    account: str
    zone: str = "UTC"
    people: int | None = None
    monthly: int | None = None
    warm_up: date | None = None
    first: int | None = None
    target: int | None = None

    @property
    def people_key(self) -> str:
        """Of the table ``quota``."""
        return f"people:{self.account}"

    @property
    def month_key(self) -> str:
        return f"month:{self.account}"

    @classmethod
    def of(cls, name: str, config: ChannelConfig) -> Quotas | None:
        if config.people_per_day is None and config.messages_per_month is None and config.warm_up is None:
            return None
        return cls(
            config.shares or name, config.zone, config.people_per_day, config.messages_per_month, config.warm_up,
            config.warm_up_first, config.warm_up_to,
        )  # fmt: skip


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
    quotas: Quotas | None = None
    answerable: bool = True  # people can write to its sender

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
            adapter.entry_link, Quotas.of(adapter.name, adapter.config), adapter.answerable,
        )  # fmt: skip


Channels = Mapping[str, Channel]
