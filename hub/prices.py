"""What messages cost, as the owner of the hub says: an estimate before sending, never a bill."""

from __future__ import annotations

import json
from decimal import Decimal
from functools import cached_property
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints


class Price(BaseModel):
    """Of one message, where it is split of one part, of SMS of one segment. What it leaves open holds for all."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    channel: str = Field(description="Name of a channel, or a medium such as sms, for all its channels.")
    price: Decimal = Field(ge=0, description="In the currency of all prices; 0: it costs nothing.")
    to: Annotated[str, StringConstraints(pattern=r"^\+\d{1,14}$")] | None = Field(
        None, description="How the phone number begins, such as +44; the longest beginning counts."
    )
    category: str | None = Field(None, description="Of the provider's template, as the provider calls it.")


def _spoken(value: object) -> object:
    """A variable holds the list as JSON."""
    try:
        return json.loads(value) if isinstance(value, str) else value
    except ValueError:
        raise ValueError('not a list: as a variable it is JSON, [{"channel": "sms", "price": 0.05}]') from None


class Prices(BaseModel):
    """Of several prices the one for the channel's own name counts, then that of the category, then of the number."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    currency: Annotated[str, StringConstraints(pattern=r"^[A-Z]{3}$")] = Field(
        "EUR", description="Of all prices, ISO 4217."
    )
    list: Annotated[tuple[Price, ...], BeforeValidator(_spoken)] = Field((), description="One table for each price.")

    def of(self, name: str, medium: str, address: str, category: str | None) -> Decimal | None:
        """What one part costs; None if no price says. ``address``: scheme:value."""
        number = address.partition(":")[2]
        number = f"+{number}" if number.isdigit() else number
        found = None
        for each in self._by_channel.get(name, ()) or self._by_channel.get(medium, ()):
            fits = number.startswith(each.to or "") and (each.category is None or _same(each.category, category))
            if fits and (found is None or _weight(each) > _weight(found)):
                found = each
        return found.price if found else None

    def known(self, name: str, medium: str) -> bool:
        """Whether there is any price for the channel."""
        return bool(self._by_channel.get(name) or self._by_channel.get(medium))

    @property
    def categories(self) -> bool:
        """Whether it matters which category a template has."""
        return any(each.category is not None for each in self.list)

    @cached_property
    def _by_channel(self) -> dict[str, tuple[Price, ...]]:
        names = {each.channel for each in self.list}
        return {name: tuple(each for each in self.list if each.channel == name) for name in names}


def _same(wanted: str, category: str | None) -> bool:
    return category is not None and wanted.lower() == category.lower()


def _weight(each: Price) -> tuple[bool, int]:
    return each.category is not None, len(each.to or "")
