"""A new channel: ask for what its adapter needs, write it down, secrets apart from the rest."""

from __future__ import annotations

import json
import os
import secrets
import tomllib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args

from pydantic import SecretStr, ValidationError
from pydantic.fields import FieldInfo

from hub.cli.base import Failure
from hub.contract import AnyAdapter, ChannelConfig
from hub.registry import parse_config
from hub.settings import ConfigError, Places, Settings, explain, leaves, variable

Ask = Callable[["Question"], str]  # "": leave it out


@dataclass(frozen=True, slots=True)
class Question:
    """``answer``: what Enter gives; never shown for a secret."""

    name: str
    description: str
    secret: bool
    required: bool
    answer: str


@dataclass
class Draft:
    """A channel that is not in the settings yet. ``known``: what variables or secrets already say of it."""

    name: str
    adapter: str
    kind: type[AnyAdapter]
    known: Mapping[str, Any]
    given: dict[str, str] = field(default_factory=dict)

    def config(self) -> ChannelConfig:
        """Raises: ValidationError."""
        return parse_config(self.kind, {**self.known, **self.given})

    def problems(self, error: ValidationError) -> list[str]:
        above = f"channels.{self.name}."
        known = [above + each for each in leaves(self.kind.Config)]
        return explain(error, lambda _: "given", prefix=above.rstrip("."), known=known)

    def made(self) -> dict[str, str]:
        """Secrets of ours that the provider must be told, with what for."""
        fields = self.kind.Config.model_fields
        return {name: fields[name].description or "" for name in self.given if _made_here(fields[name])}


def draft(settings: Settings, kind: type[AnyAdapter], adapter: str, name: str, given: Mapping[str, str]) -> Draft:
    """Raises: ConfigError on a name that cannot be, Failure if there is such a channel."""
    try:
        Settings(channels={name: {}})
    except ValidationError as error:
        raise ConfigError(*explain(error, lambda _: "--name")) from None
    known = settings.channels.get(name, {})
    if "adapter" in known:
        raise Failure(f"there is a channel {name!r} already ({settings.origin(f'channels.{name}.adapter')}); "
                      "choose another name with --name")
    new = Draft(name, adapter, kind, known, dict(given))
    for each, its in kind.Config.model_fields.items():
        if _made_here(its) and each not in {**known, **given}:
            new.given[each] = secrets.token_urlsafe(24)
    return new


def complete(new: Draft, ask: Ask | None, tell: Callable[[str], None], every: bool = False) -> ChannelConfig:
    """Its settings, checked; questions until they are good. ``every``: also what has a default.

    Raises: ConfigError with all that is wrong, if nobody can be asked.
    """
    names = [each.name for each in _questions(new, every)]
    while True:
        if ask is not None:
            for each in names:
                _answer(new, ask, each)
        try:
            return new.config()
        except ValidationError as error:
            problems = new.problems(error)
            if ask is None:
                raise ConfigError(*problems, "nothing was written; give what is missing with --set key=value") from None
            for problem in problems:
                tell(problem)
            wrong = [str(each["loc"][0]) for each in error.errors() if each["loc"]]
            if unknown := [each for each in wrong if each not in new.kind.Config.model_fields]:
                raise ConfigError(f"nothing was written; take away --set {', '.join(unknown)}") from None
            for each in wrong:
                new.given.pop(each, None)
            names = wrong or names or [each.name for each in _questions(new, True)]


def _answer(new: Draft, ask: Ask, name: str) -> None:
    said = ask(_question(name, new.kind.Config.model_fields[name], new.given.get(name)))
    if said:
        new.given[name] = said
    else:
        new.given.pop(name, None)


def _questions(new: Draft, every: bool) -> Iterator[Question]:
    """What must be known first, then what may be; not what every channel has, nor what was told already."""
    fields = new.kind.Config.model_fields
    for must in (True, False):
        for name, its in fields.items():
            told = name in new.known or name in new.given or name in ChannelConfig.model_fields
            if not told and its.is_required() is must and (must or every or _is_asked(its)):
                yield _question(name, its, None)


def _is_asked(its: FieldInfo) -> bool:
    """Of what need not be set: what nothing stands for, unless few need it."""
    return its.get_default() is None and not _marked(its, "rare")


def _question(name: str, its: FieldInfo, given: str | None) -> Question:
    default = "" if its.is_required() else _plain(its.get_default(call_default_factory=True, validated_data={}))
    answer = default if given is None else given
    return Question(name, its.description or "", _is_secret(its), its.is_required(), answer)


def _plain(value: Any) -> str:
    match value:
        case None | SecretStr():
            return ""
        case str():
            return value
        case list() | tuple():
            return ",".join(map(str, value))
    return "" if value == {} else json.dumps(value, default=str)


def _is_secret(its: FieldInfo) -> bool:
    return SecretStr in _types(its.annotation)


def _types(annotation: Any) -> set[Any]:
    return {annotation}.union(*map(_types, get_args(annotation)))


def _made_here(its: FieldInfo) -> bool:
    return _marked(its, "made_here")


def _marked(its: FieldInfo, mark: str) -> bool:
    return isinstance(its.json_schema_extra, dict) and bool(its.json_schema_extra.get(mark))


# --- writing ---


def write(new: Draft, config: ChannelConfig, places: Places) -> str:
    """Put it into the settings file, its secrets first and elsewhere; where those are, if there are any.

    Raises: Failure, OSError. Comments and order of what is there stay.
    """
    fields = type(config).model_fields
    hidden = {variable(f"channels.{new.name}.{each}"): new.given[each]
              for each in fields if each in new.given and _is_secret(fields[each])}
    open_ = {each for each in new.given if not _is_secret(fields[each])}
    plain = {"adapter": new.adapter, **config.model_dump(mode="json", include=open_)}
    table = _table(new.name, plain)
    old = places.file.read_text(encoding="utf-8") if places.file.exists() else ""
    try:
        tomllib.loads(old + table)
    except tomllib.TOMLDecodeError as error:
        raise Failure(f"nothing was written, since {places.file} would be no TOML any more ({error}); "
                      f"write the table [channels.{new.name}] yourself") from None
    where = _hide(hidden, places) if hidden else ""
    with places.file.open("a", encoding="utf-8") as file:
        file.write(table.lstrip() if not old else table if old.endswith("\n") else "\n" + table)
    return where


def _table(name: str, values: Mapping[str, Any]) -> str:
    lines = [f"[channels.{name}]", *(f"{key} = {_toml(value)}" for key, value in values.items())]
    return "\n" + "\n".join(lines) + "\n"


def _toml(value: Any) -> str:
    match value:
        case dict():
            return "{" + ", ".join(f"{json.dumps(str(key))} = {_toml(part)}" for key, part in value.items()) + "}"
        case list():
            return "[" + ", ".join(map(_toml, value)) + "]"
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def _hide(hidden: Mapping[str, str], places: Places) -> str:
    """Where only the hub's user can read them: a file each in the secrets directory, else lines of ``.env``."""
    if places.secrets is not None:
        for name, value in hidden.items():
            path = places.secrets / name
            with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
                file.write(value)
        return str(places.secrets)
    if unsafe := [name for name, value in hidden.items() if "${" in value]:
        raise Failure(f"nothing was written: ${{ has a meaning in .env; put {', '.join(unsafe)} into a file of "
                      "HUB_SECRETS_DIR, then repeat this")
    path = Path(".env")
    lines = "".join(f"{name}={_quoted(value)}\n" for name, value in hidden.items())
    with os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600), "r+", encoding="utf-8") as file:
        old = file.read()
        os.fchmod(file.fileno(), 0o600)
        file.write(lines if not old or old.endswith("\n") else "\n" + lines)
    return str(path.absolute())  # the hub reads it where it starts


def _quoted(value: str) -> str:
    return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"
