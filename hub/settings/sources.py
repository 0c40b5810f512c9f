"""Where settings are read from, strongest first: flags, environment, ``.env``, ``*_FILE`` variables, the secrets
directory, the TOML file. A name that maps to no setting is refused, whichever source it stands in."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic_settings import (
    DotEnvSettingsSource,
    EnvSettingsSource,
    NestedSecretsSettingsSource,
    SecretsSettingsSource,
    SettingsError,
    TomlConfigSettingsSource,
)

from hub.settings.values import LEAVES, ConfigError, Settings, explain, find_origin, unknown

Key = tuple[str, ...]

_TABLES = frozenset({("topics",)})  # settings that are tables, whose names are the operator's
# Variables that carry our prefix and are no settings: where to look, and switches of tests and debugging.
_NO_SETTINGS = re.compile(r"hub_(config|secrets_dir|debug|crash|url|api_key|test_\w+)")


@dataclass(frozen=True, slots=True)
class Found:
    value: Any
    origin: str


Layer = dict[Key, Found]  # what one source says, leaf by leaf


@dataclass(frozen=True, slots=True)
class Places:
    """``file``: the settings file, which need not exist unless it was ``named``. ``secrets``: a file a setting."""

    file: Path
    named: bool
    secrets: Path | None


def places(config: Path | None = None) -> Places:
    """Where `load` reads settings, beside variables and ``.env``."""
    dotenv = DotEnvSettingsSource(Settings, env_file=".env").env_vars
    return _places(config, {**dotenv, **EnvSettingsSource(Settings).env_vars})


def load(config: Path | None = None, flags: Mapping[str, Any] | None = None) -> Settings:
    """Settings from all sources. ``config``: the TOML file, else ``HUB_CONFIG``, else ``hub.toml`` here if it exists.

    ``flags`` by dotted key: ``{"listen.port": 9000}``; None is "not given". Raises: ConfigError.
    """
    try:
        layers = list(_layers(config, flags or {}))
    except SettingsError as error:
        raise ConfigError(str(error)) from error
    problems = [problem for layer in layers for key, found in layer.items() if (problem := _unknown(key, found))]
    if problems:
        raise ConfigError(*problems)
    merged: Layer = {}
    for layer in layers:
        for key, found in layer.items():
            merged.setdefault(key, found)
    origins = {".".join(key): found.origin for key, found in merged.items()}
    try:
        settings = Settings(**_nest(merged))
    except ValidationError as error:
        raise ConfigError(*explain(error, lambda key: find_origin(key, origins), known=LEAVES)) from None
    return settings.with_origins(origins)


def _layers(config: Path | None, flags: Mapping[str, Any]) -> Iterator[Layer]:
    """What each source says, strongest first."""
    yield {tuple(key.split(".")): Found(value, "flag") for key, value in flags.items() if value is not None}
    env = EnvSettingsSource(Settings).env_vars
    dotenv = DotEnvSettingsSource(Settings, env_file=".env").env_vars
    own, local = _named("env", env), _named(".env", dotenv)
    files = {**_files(local), **_files(own)}
    if twice := [found.origin for key, found in files.items() if key in own or key in local]:
        raise ConfigError(*(f"{origin}: also set without _FILE; keep one of the two" for origin in twice))
    yield own
    yield local
    yield files
    where = _places(config, {**dotenv, **env})
    if where.secrets:
        yield _secrets(where.secrets)
    if where.file.is_file():
        yield _toml(where.file)
    elif where.named:
        raise ConfigError(f"{where.file}: there is no such file; --config or HUB_CONFIG names the settings file")


def _places(config: Path | None, variables: Mapping[str, str | None]) -> Places:
    directory, named = variables.get("hub_secrets_dir"), config or variables.get("hub_config")
    return Places(Path(named or "hub.toml"), bool(named), Path(directory) if directory else None)


def _named(label: str, variables: Mapping[str, str | None]) -> Layer:
    """Variables by the key they name. Empty ones are "not given", as compose files write them."""
    return {
        tuple(name.removeprefix("hub_").split("__")): Found(value, f"{label} {name.upper()}")
        for name, value in variables.items()
        if name.startswith("hub_") and value and not _NO_SETTINGS.fullmatch(name)
    }


def _files(layer: Layer) -> Layer:
    """Take the ``*_FILE`` variables out of a layer and read what they name."""
    found: Layer = {}
    for key in [key for key in layer if key[-1].endswith("_file")]:
        named = layer.pop(key)
        try:
            text = Path(named.value).read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
            raise ConfigError(f"{named.origin}: cannot read {named.value}: {reason}") from None
        found[(*key[:-1], key[-1].removesuffix("_file"))] = Found(text, named.origin)
    return found


def _secrets(directory: Path) -> Layer:
    """One file per setting, named like the variable, with or without ``HUB_``."""
    if not directory.is_dir():
        raise ConfigError(f"HUB_SECRETS_DIR: {directory} is not a directory")
    source = NestedSecretsSettingsSource(
        SecretsSettingsSource(Settings, secrets_dir=directory), secrets_prefix="", secrets_nested_delimiter="__"
    )
    layer: Layer = {}
    for name, value in source.env_vars.items():
        key = tuple(name.removeprefix("hub_").split("__"))
        if key in layer:
            raise ConfigError(f"{directory}: {name} is there twice, with and without HUB_; keep one of them")
        layer[key] = Found(value, f"secrets {name}")
    return layer


def _toml(path: Path) -> Layer:
    try:
        tables = TomlConfigSettingsSource(Settings, toml_file=path).toml_data
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not TOML: {error}") from None
    return {key: Found(value, str(path)) for key, value in _flat(tables)}


def _flat(table: Mapping[str, Any], above: Key = ()) -> Iterator[tuple[Key, Any]]:
    for name, value in table.items():
        key = (*above, name)
        if isinstance(value, dict) and value and key not in _TABLES:
            yield from _flat(value, key)
        elif value != {} or key[0] == "channels":  # an empty table of ours says nothing, an empty channel is a mistake
            yield key, value


def _nest(layer: Layer) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for key, found in sorted(layer.items(), key=lambda item: len(item[0])):
        table = tree
        for depth, name in enumerate(key[:-1], 1):
            table = table.setdefault(name, {})
            if not isinstance(table, dict):
                raise ConfigError(f"{'.'.join(key)} ({found.origin}): {'.'.join(key[:depth])} is set to a plain value")
        table[key[-1]] = found.value
    return tree


def _unknown(key: Key, found: Found) -> str | None:
    dotted = ".".join(key)
    if dotted in LEAVES or (key[0] == "channels" and len(key) > 2):
        return None
    if key[0] == "channels" and len(key) == 2:
        return f'{dotted} ({found.origin}): a channel is a table, [{dotted}] with adapter = "…" and its settings'
    return unknown(dotted, found.origin, LEAVES)
