"""The hub's own settings as typed values, and how mistakes in them are told. Reads nothing: see ``sources``."""

from __future__ import annotations

import contextlib
import difflib
import json
import os
import re
import secrets
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import timedelta
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ByteSize,
    ConfigDict,
    Field,
    PrivateAttr,
    SecretStr,
    ValidationError,
    field_validator,
)
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from hub.prices import Prices

Role = Literal["web", "inbound", "outbound", "pull"]

# So that every channel can be named in a variable (HUB_CHANNELS__<NAME>__…) and in a URL.
_CHANNEL_NAME = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*")
_NO_DATABASE = "not a database: use postgresql://user:password@host/name or sqlite:////path/hub.db"
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


class ConfigError(Exception):
    """Settings that cannot be used. ``problems``: one line each, with the key, its source and what to do."""

    def __init__(self, *problems: str) -> None:
        super().__init__("; ".join(problems))
        self.problems = problems


def _duration(value: object) -> object:
    if isinstance(value, timedelta):
        return value
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([smhd])", value.strip()) if isinstance(value, str) else None
    if match is None:
        raise ValueError('not a duration: write a number and its unit, "90s", "15m", "72h" or "3d"')
    return timedelta(**{_UNITS[match[2]]: float(match[1])})


def _split(value: object) -> object:
    """A variable holds a list as words between commas."""
    return [word.strip() for word in value.split(",") if word.strip()] if isinstance(value, str) else value


def _network(value: object) -> object:
    try:
        return ip_network(value) if isinstance(value, str) else value
    except ValueError:
        raise ValueError("not a network: it looks like 10.0.0.0/8, 192.0.2.7 or 2001:db8::/32") from None


def _check_postgres(url: str) -> None:
    user, _, _ = url.partition("://")[2].rpartition("@")
    if re.search(r"[/@#?\[\]]", user):
        raise ValueError(
            "characters of its password must be percent-encoded: write %40 for @, %2F for /, %3A for :, %23 for #, "
            "%3F for ?, %5B for [, %5D for ] and %25 for %"
        )
    try:
        _ = urlsplit(url).port
    except ValueError:
        raise ValueError(_NO_DATABASE) from None


def _channel_name(value: str) -> str:
    if not _CHANNEL_NAME.fullmatch(value):
        raise ValueError(f"{value!r} cannot be a channel's name: small letters, digits, single underscores")
    return value


Duration = Annotated[timedelta, BeforeValidator(_duration)]
Network = Annotated[IPv4Network | IPv6Network, BeforeValidator(_network)]
def _topics(value: object) -> object:
    """A variable holds them as JSON."""
    try:
        return json.loads(value) if isinstance(value, str) else value
    except ValueError:
        raise ValueError('no topics: as a variable they are JSON, {"news": "Kettle News"}') from None


TopicName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,39}$")]
TopicTitle = Annotated[str, Field(min_length=1, max_length=60)]
ChannelName = Annotated[str, AfterValidator(_channel_name)]


class Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Listen(Table):
    host: str = Field("127.0.0.1", description="Address to listen on; 0.0.0.0 for all.")
    port: int = Field(8080, ge=0, le=65535, description="TCP port; 0 for any free one.")


class Conversation(Table):
    new_after: Duration = Field(
        timedelta(hours=72), gt=timedelta(0), description="Quiet time after which a message starts a new conversation."
    )
    reactions: bool = Field(False, description="An agent's emoji on a customer's message is shown to the customer.")


class Media(Table):
    max_bytes: ByteSize = Field(ByteSize(25 << 20), gt=0, description="Largest file kept, in bytes.")


class Egress(Table):
    allow: Annotated[tuple[str, ...], BeforeValidator(_split)] = Field(
        (), description="Hosts, addresses or networks that may be fetched although they are private."
    )


class Settings(BaseSettings):
    """All settings but those that belong to one adapter, which its own ``Config`` checks (``hub.registry``)."""

    model_config = SettingsConfigDict(
        extra="forbid", frozen=True, env_prefix="HUB_", env_nested_delimiter="__", env_ignore_empty=True,
        validate_default=True, hide_input_in_errors=True,
    )

    business: str | None = Field(
        None, min_length=1, max_length=60, description="Who you are, in messages that the hub itself writes."
    )
    postal_address: str | None = Field(
        None, min_length=10, max_length=300,
        description="Who and where you are, as a letter finds you: under every advertising mail, which needs it.",
    )
    public_url: str = Field("http://127.0.0.1:8080", description="Where providers and browsers reach this hub.")
    listen: Listen = Listen()
    data: Path = Field(Path("hub-data"), description="Directory of the database, the media and the secret key.")
    database_url: SecretStr | None = Field(None, description="postgresql://… ; unset: SQLite in the data directory.")
    secret_key: SecretStr | None = Field(
        None, min_length=32, description="Signs links and tokens; unset: made once and kept in the data directory."
    )
    roles: Annotated[tuple[Role, ...], BeforeValidator(_split)] = Field(
        ("web", "inbound", "outbound", "pull"), min_length=1, description="What this process does."
    )
    outbound: Literal["on", "off"] = Field("on", description="off: nothing is handed to a provider; it waits.")
    policy: Path | None = Field(
        None, description="Folder of policy packs that replace ours of the same name; try it with `hub policy check`."
    )
    topics: Annotated[dict[TopicName, TopicTitle], BeforeValidator(_topics)] = Field(
        default_factory=dict, max_length=50,
        description="What advertising is about, by name, with what people call it. They may refuse each by itself.",
    )
    desk: str | None = Field(None, description="Name of the desk channel; unset: the only one with that role.")
    alerts: str | None = Field(
        None, description="Name of the channel that tells people of yours what they should know; unset: none does."
    )
    body_limit: ByteSize = Field(ByteSize(1 << 20), gt=0, description="Largest webhook body, in bytes.")
    trusted_proxies: Annotated[tuple[Network, ...], BeforeValidator(_split)] = Field(
        (), description="Networks whose X-Forwarded-For headers are believed."
    )
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_format: Literal["json", "console"] = "console"
    conversation: Conversation = Conversation()
    media: Media = Media()
    egress: Egress = Egress()
    prices: Prices = Prices()
    # Raw until the adapter's Config has said which of it is secret: never shown.
    channels: dict[ChannelName, dict[str, Any]] = Field(default_factory=dict, repr=False, exclude=True)

    _origins: dict[str, str] = PrivateAttr(default_factory=dict)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return (init_settings,)  # `load` merges the others, since it must know which of them won

    @field_validator("public_url")
    @classmethod
    def _web_address(cls, value: str) -> str:
        parts = urlsplit(value)
        if parts.scheme not in ("http", "https") or not parts.netloc or parts.query or parts.fragment or parts.username:
            raise ValueError("not a web address: it looks like https://hub.example.com")
        return value.rstrip("/")

    @field_validator("database_url")
    @classmethod
    def _database(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and not re.match(r"(sqlite|postgres(ql)?)://.", value.get_secret_value()):
            raise ValueError(_NO_DATABASE)
        if value is not None and not value.get_secret_value().startswith("sqlite:"):
            _check_postgres(value.get_secret_value())
        return value

    @property
    def database(self) -> str:
        """The URL in effect; it may hold a password."""
        if self.database_url is not None:
            return self.database_url.get_secret_value()
        return f"sqlite:///{self.data.absolute() / 'hub.db'}"

    def origin(self, key: str) -> str:
        """Where a value was found: "flag", "env HUB_DESK", ".env …", "secrets …", "hub.toml" or "default".

        The origin of a table's or list's part is that of the nearest part around it that has one; of a table, that of
        a part of it.
        """
        return find_origin(key, self._origins)

    def with_origins(self, origins: Mapping[str, str]) -> Settings:
        self._origins.update(origins)
        return self


def master_key(settings: Settings) -> bytes:
    """``secret_key``; if none is set, a random one made once in the data directory. Safe between processes.

    Raises: ConfigError if the file there cannot be read or is no key; OSError if it cannot be made.
    """
    if settings.secret_key is not None:
        return settings.secret_key.get_secret_value().encode()
    path = settings.data / "secret_key"
    if not path.exists():
        settings.data.mkdir(mode=0o700, parents=True, exist_ok=True)
        draft = path.with_name(f"secret_key.{secrets.token_hex(8)}")
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(secrets.token_urlsafe(48))
            file.flush()
            os.fsync(file.fileno())
        with contextlib.suppress(FileExistsError):
            os.link(draft, path)  # whole or not at all, and the first process wins
        draft.unlink()
    try:
        key = path.read_bytes().strip()
    except OSError as error:
        raise ConfigError(f"{path} cannot be read ({error.strerror}): run this as the user who owns it") from None
    if len(key) < 32:
        raise ConfigError(f"{path} holds no key of 32 characters: put back the old file, or remove it to get a new key")
    return key


def _where_to_set(key: str) -> str:
    if any(part.isdigit() for part in key.split(".")):  # one of a list, which is in one place as a whole
        return "set it where the list is set"
    return f"set it in the file, as {variable(key)} or as {variable(key)}_FILE"


_NAME = "[key]"  # how pydantic says that a name is wrong, and not what it stands for
_LISTED = "config/hub.example.toml lists all"


def explain(
    error: ValidationError,
    origin: Callable[[str], str],
    *,
    prefix: str = "",
    known: Iterable[str] = (),
    remedy: Callable[[str], str] = _where_to_set,
    listed: str = _LISTED,
) -> list[str]:
    """One line per mistake, without the value: it may be a secret. ``prefix``: the dotted key of what was checked.

    ``remedy``: what to do about a missing key; ``listed``: where all keys are told.
    """
    lines = []
    for item in error.errors(include_url=False, include_context=False, include_input=False):
        where = [part for part in item["loc"] if part != _NAME]
        key = ".".join([*prefix.split("."), *map(str, where)]).lstrip(".")
        if item["type"] == "missing":
            lines.append(f"{key} is missing: {remedy(key)}")
        elif item["type"] == "extra_forbidden":
            lines.append(unknown(key, origin(key), known, listed))
        else:
            lines.append(f"{key} ({origin(key)}): {item['msg'].removeprefix('Value error, ')}")
    return lines


def unknown(key: str, origin: str, known: Iterable[str], listed: str = _LISTED) -> str:
    """What to say of a setting that does not exist."""
    near = _nearest(key, known)
    advice = f"did you mean {near}?" if near else listed
    if near and "env " in origin:
        advice = f"did you mean {near} ({variable(near)})?"
    return f"unknown setting {key} ({origin}); {advice}"


def nearest(word: str, known: Iterable[str]) -> str:
    """``; did you mean …?``, or nothing if no known name is like it."""
    near = _nearest(word, known)
    return f"; did you mean {near}?" if near else ""


def _nearest(word: str, known: Iterable[str]) -> str | None:
    names = list(known)
    table = word[: word.rfind(".") + 1]
    inside = [name.removeprefix(table) for name in names if name.startswith(table)]
    # Beginning in the same table makes no two names alike.
    alike = difflib.get_close_matches(word.removeprefix(table) if inside else word, inside or names, n=1)
    near = [table + name if inside else name for name in alike]
    near += [name for name in names if name.startswith(f"{word}.") or name.rpartition(".")[2] == word]
    return near[0] if near else None


def variable(key: str) -> str:
    """The environment variable of a dotted key."""
    return "HUB_" + key.replace(".", "__").upper()


def find_origin(key: str, origins: Mapping[str, str]) -> str:
    part = next((origin for name, origin in origins.items() if name.startswith(f"{key}.")), "default")
    while key and key not in origins:
        key = key.rpartition(".")[0]
    return origins.get(key, part)


def leaves(model: type[BaseModel], above: str = "") -> Iterator[str]:
    """Dotted keys of a model's plain settings."""
    for name, field in model.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from leaves(field.annotation, f"{above}{name}.")
        else:
            yield above + name


LEAVES = tuple(key for key in leaves(Settings) if key != "channels")
