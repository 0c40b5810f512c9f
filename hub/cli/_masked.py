"""Settings as people may see them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import Any

from pydantic import BaseModel, SecretStr

from hub.registry import ChannelSpec
from hub.settings import Settings


def rows(settings: Settings, specs: Mapping[str, ChannelSpec]) -> list[tuple[str, Any, str]]:
    """Key, masked value, source of every setting."""
    pairs = [pair for pair in _leaves(settings) if pair[0] != "channels"]
    for name, spec in specs.items():
        above = f"channels.{name}."
        pairs.append((above + "adapter", spec.adapter))
        pairs += _leaves(spec.config, above)
        pairs.append((above + "body_limit", spec.body_limit))
    return [(key, masked(value), settings.origin(key)) for key, value in pairs]


def masked(value: Any) -> Any:
    """As JSON, without what nobody may see."""
    match value:
        case SecretStr():
            return "****"
        case bool() | int() | float() | None:
            return value
        case timedelta():
            seconds = value.total_seconds()
            return f"{seconds / 3600:g}h" if seconds % 3600 == 0 else f"{seconds:g}s"
        case BaseModel():
            return {key: masked(part) for key, part in _leaves(value)}
        case dict():
            return {str(key): masked(part) for key, part in value.items()}
        case list() | tuple() | set() | frozenset():
            return [masked(part) for part in value]
    return re.sub(r"//[^/@\s]+@", "//****@", str(value))  # user and password of a URL


def _leaves(model: BaseModel, above: str = "") -> Iterator[tuple[str, Any]]:
    for name in type(model).model_fields:
        value = getattr(model, name)
        if isinstance(value, BaseModel):
            yield from _leaves(value, f"{above}{name}.")
        else:
            yield above + name, value
