"""Adapter classes by name, and the configured channels that use them."""

from __future__ import annotations

import json
import sys
import types
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache, partial
from importlib import import_module
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, ByteSize, TypeAdapter, ValidationError

from hub.contract import Adapter, AnyAdapter, Capabilities, ChannelConfig, Host
from hub.model import Medium
from hub.settings import ConfigError, Settings, explain, leaves, nearest

FOLDER = "adapters"
GROUP = "omnihub.adapters"
BODY_LIMIT = 25 << 20  # bytes; no channel may ask for more: a webhook's body is held in memory

# Keys of a channel's table that are the hub's, not the adapter's.
_OWN = ("adapter", "body_limit")


class Adapters(Mapping[str, type[AnyAdapter]]):
    """Installed adapter classes by name, each imported when it is first asked for.

    They are folders of ``adapters`` with an ``adapter.py``, and what other distributions register as ``GROUP``.
    ``extra`` adds classes that neither has, or replaces them.
    """

    def __init__(self, extra: Mapping[str, type[AnyAdapter]] | None = None) -> None:
        self._entries: dict[str, Callable[[], type[AnyAdapter]]] = _registered(tuple(sys.path)) | _folders()
        self._loaded = dict(extra or {})

    def __getitem__(self, name: str) -> type[AnyAdapter]:
        if name not in self._loaded:
            self._loaded[name] = self._entries[name]()
        return self._loaded[name]

    def __contains__(self, name: object) -> bool:
        return name in self._entries or name in self._loaded  # Mapping's own would import

    def __iter__(self) -> Iterator[str]:
        return iter(sorted({*self._entries, *self._loaded}))

    def __len__(self) -> int:
        return len({*self._entries, *self._loaded})

    def named(self, name: str) -> type[AnyAdapter]:
        """Raises: ConfigError if it is not installed or cannot be imported."""
        if name not in self:
            raise ConfigError(f"unknown adapter {name!r}{nearest(name, self)}; installed: {', '.join(self) or 'none'}")
        try:
            return self[name]
        except (ImportError, AttributeError) as error:
            raise ConfigError(f"adapter {name!r} cannot be imported: {error}") from error


@cache
def _registered(_path: tuple[str, ...]) -> dict[str, Callable[[], type[AnyAdapter]]]:
    """By other distributions; to look through all that are installed takes 5 ms."""
    return {entry.name: entry.load for entry in entry_points(group=GROUP)}


def _folders() -> dict[str, Callable[[], type[AnyAdapter]]]:
    found = {path.parent.name for each in import_module(FOLDER).__path__ for path in Path(each).glob("*/adapter.py")}
    return {name: partial(_defined, f"{FOLDER}.{name}.adapter") for name in found}


def _defined(module: str) -> type[AnyAdapter]:
    """The adapter class that a module defines itself. Raises: ImportError, AttributeError if there is not just one."""
    names = vars(import_module(module)).values()
    found = [each for each in names if isinstance(each, type) and issubclass(each, Adapter)]
    own = [each for each in found if each.__module__ == module]
    if len(own) != 1:
        told = ", ".join(each.__name__ for each in own) or "none"
        raise AttributeError(f"{module} must define one class that is an Adapter; it defines {told}")
    return own[0]


def adapters(extra: Mapping[str, type[AnyAdapter]] | None = None) -> Adapters:
    return Adapters(extra)


@dataclass(frozen=True, slots=True)
class ChannelSpec:
    """A configured channel, checked. ``body_limit``: bytes of one webhook."""

    name: str
    adapter: str
    role: Literal["contact", "desk"]
    medium: Medium
    config: ChannelConfig
    kind: type[AnyAdapter]
    body_limit: int


def channels(settings: Settings, installed: Adapters | None = None) -> dict[str, ChannelSpec]:
    """All configured channels by name. Raises: ConfigError with every mistake in any of them."""
    installed = installed or adapters()
    specs: dict[str, ChannelSpec] = {}
    problems: list[str] = []
    for name in settings.channels:
        try:
            specs[name] = channel(settings, name, installed)
        except ConfigError as error:
            problems += error.problems
    if problems:
        raise ConfigError(*problems)
    return specs


def channel(settings: Settings, name: str, installed: Adapters | None = None) -> ChannelSpec:
    """One configured channel. Raises: ConfigError."""
    table = settings.channels.get(name)
    if table is None:
        known = ", ".join(settings.channels) or "none"
        raise ConfigError(f"no channel is called {name!r}{nearest(name, settings.channels)}; configured: {known}")
    adapter = table.get("adapter")
    if not isinstance(adapter, str):
        others = [other for other in settings.channels if other != name]
        where = settings.origin(f"channels.{name}.{next(iter(table))}") if table else "default"
        raise ConfigError(
            f'channels.{name} ({where}) has no adapter{nearest(name, others)}: set channels.{name}.adapter = "<name>", '
            f"one of {', '.join(installed or adapters())}"
        )
    try:
        kind = (installed or adapters()).named(adapter)
    except ConfigError as error:
        at = f"channels.{name}.adapter ({settings.origin(f'channels.{name}.adapter')})"
        raise ConfigError(f"{at}: {error}") from error
    return ChannelSpec(
        name, adapter, kind.role, kind.medium, _config(settings, name, kind), kind, _body_limit(settings, name, kind)
    )


def desk(settings: Settings, specs: Mapping[str, ChannelSpec]) -> ChannelSpec | None:
    """The channel where agents work: ``settings.desk``, else the only one with that role. Raises: ConfigError."""
    desks = {name: spec for name, spec in specs.items() if spec.role == "desk"}
    if settings.desk is not None:
        if settings.desk not in desks:
            known = ", ".join(desks) or "none"
            raise ConfigError(
                f"desk ({settings.origin('desk')}): {settings.desk!r} is no desk channel"
                f"{nearest(settings.desk, desks)}; desk channels: {known}"
            )
        return desks[settings.desk]
    if len(desks) > 1:
        raise ConfigError(f"desk is not set and several channels are desks ({', '.join(desks)}): name one")
    return next(iter(desks.values()), None)


def alerts(settings: Settings, specs: Mapping[str, ChannelSpec]) -> ChannelSpec | None:
    """The channel that operators are told by, if there is one. Raises: ConfigError."""
    if settings.alerts is None:
        return None
    able = {name: spec for name, spec in specs.items() if spec.kind.own_address is not Adapter.own_address}
    if settings.alerts not in able:
        raise ConfigError(
            f"alerts ({settings.origin('alerts')}): {settings.alerts!r} is no channel that leads to people of yours"
            f"{nearest(settings.alerts, able)}; such channels: {', '.join(able) or 'none, add one with apprise'}"
        )
    return able[settings.alerts]


def build(settings: Settings, name: str, host: Host, installed: Adapters | None = None) -> AnyAdapter:
    """The adapter of a configured channel. Raises: ConfigError."""
    spec = channel(settings, name, installed)
    return spec.kind(name, spec.config, host)


def parse_config(kind: type[AnyAdapter], table: Mapping[str, Any]) -> ChannelConfig:
    """An adapter's settings from plain values. Raises: pydantic.ValidationError (print it with ``explain`` only)."""
    return kind.Config.model_validate(_decode(kind.Config, table))


def _config(settings: Settings, name: str, kind: type[AnyAdapter]) -> ChannelConfig:
    table = {key: value for key, value in settings.channels[name].items() if key not in _OWN}
    above = f"channels.{name}."
    try:
        return parse_config(kind, table)
    except ValidationError as error:
        known = [above + key for key in (*_OWN, *leaves(kind.Config))]
        raise ConfigError(*explain(error, settings.origin, prefix=above.rstrip("."), known=known)) from None


def _body_limit(settings: Settings, name: str, kind: type[AnyAdapter]) -> int:
    """The channel's own; else the hub's, or as much as its provider sends."""
    usual = max(int(settings.body_limit), kind.capabilities.webhook)
    value = settings.channels[name].get("body_limit", usual)
    key = f"channels.{name}.body_limit"
    try:
        limit = int(TypeAdapter(ByteSize).validate_python(value))
    except ValidationError as error:
        raise ConfigError(*explain(error, settings.origin, prefix=key)) from None
    if not 0 < limit <= BODY_LIMIT and "body_limit" in settings.channels[name]:
        raise ConfigError(f"{key} ({settings.origin(key)}): must be more than 0 and at most {BODY_LIMIT} bytes")
    return limit


def _decode(model: type[BaseModel], table: Mapping[str, Any]) -> dict[str, Any]:
    """Variables hold text only: lists come as words between commas, or as JSON like all else that has parts."""
    decoded = dict(table)
    for name, value in table.items():
        field = model.model_fields.get(name)
        if field is None:
            continue
        wanted = _containers(field.annotation)
        if isinstance(value, str) and wanted:
            if value.startswith(("[", "{")):
                try:
                    decoded[name] = json.loads(value)
                except ValueError:
                    continue  # the model says what it expected
            elif dict not in wanted:
                decoded[name] = [word.strip() for word in value.split(",") if word.strip()]
        elif isinstance(value, dict):
            for inner in _models(field.annotation):
                decoded[name] = _decode(inner, value)
    return decoded


def _containers(annotation: Any) -> set[type]:
    """Which of list and dict a field may hold; none if it may also be text."""
    found: set[type] = set()
    for option in _options(annotation):
        base = get_origin(option) or option
        if base in (list, tuple, set, frozenset):
            found.add(list)
        elif base is dict or (isinstance(base, type) and issubclass(base, BaseModel)):
            found.add(dict)
        elif base is not types.NoneType:
            return set()
    return found


def _models(annotation: Any) -> list[type[BaseModel]]:
    return [option for option in _options(annotation) if isinstance(option, type) and issubclass(option, BaseModel)]


def _options(annotation: Any) -> tuple[Any, ...]:
    return get_args(annotation) if get_origin(annotation) in (Union, types.UnionType) else (annotation,)


def summary(can: Capabilities) -> str:
    """Capabilities in one line, for `hub channel list`."""
    unit = "bytes" if can.text_unit == "utf-8" else "characters"
    words = [f"{can.text_limit} {unit}" + ("" if can.splits else ", never split")]
    words += [name for name in ("html", "subject", "delivered", "read", "edits", "deletes", "reactions")
              if getattr(can, name)]
    if can.media != "none":
        files = "1 file" if can.media_max == 1 else f"{can.media_max} files"
        words.append(f"{files} of {can.media_size / 1e6:.3g} MB")
    if can.buttons:
        words.append(f"{can.buttons} buttons")
    if can.window:
        words.append(f"window {can.window.total_seconds() / 3600:g} h")
    if not can.inbound:
        words.append("outbound only")
    return ", ".join([*words, f"lost answers: {can.idempotency}"])
