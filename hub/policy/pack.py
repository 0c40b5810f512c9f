"""The policy's data: ``config/policy/*.toml`` as values. Legal numbers live there, each with its source."""

from __future__ import annotations

import hashlib
import tomllib
from collections.abc import Mapping
from datetime import date, datetime
from functools import cache, cached_property
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, Literal
from zoneinfo import ZoneInfo

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from hub.policy import keywords
from hub.policy.keywords import Kind, Lists

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_Clock = Annotated[str, Field(pattern=r"^([01]\d|2[0-3]):[0-5]\d$|^24:00$")]


class _Data(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class QuietRule(_Data):
    """``windows``: by weekday ("mon" … "sun", "*" for the others) opening and closing, local time."""

    windows: dict[str, tuple[_Clock, _Clock]]
    no_holidays: bool = False
    source: str | None = None
    reviewed: date | None = None

    @field_validator("windows")
    @classmethod
    def _days(cls, windows: dict[str, tuple[str, str]]) -> dict[str, tuple[str, str]]:
        for day, (opens, closes) in windows.items():
            if day not in (*DAYS, "*"):
                raise ValueError(f"{day!r} is no day (mon, tue, wed, thu, fri, sat, sun or *)")
            if opens >= closes:
                raise ValueError(f"{day}: opens at {opens} but closes at {closes}")
        return windows

    def of(self, day: date) -> tuple[str, str] | None:
        """Opening and closing on that day's weekday."""
        return self.windows.get(DAYS[day.weekday()], self.windows.get("*"))


class ChannelRules(_Data):
    """What differs between media; see the head of ``channels.toml``."""

    family: tuple[str, ...] = ()
    carrier: bool = False
    words: tuple[str, ...] = ()
    free_h: float | None = None
    human_agent_h: float | None = None
    template_for: tuple[str, ...] = ()
    templates: dict[str, tuple[str, ...]] = {}
    session: bool = False
    quiet: bool = False
    reply_despite: tuple[str, ...] = ()
    confirm: Literal["link", "reply"] = "reply"
    free: tuple[str, ...] = ()
    no_marketing_to: tuple[str, ...] = ()
    imprint: bool = False
    stop_line: bool = False
    source: str | None = None
    reviewed: date | None = None


class Effect(_Data):
    """What one answer of a provider means."""

    effect: str
    scope: str | None = None
    reason: str | None = None
    ledger: str | None = None
    retry: str | None = None
    min_delay_s: float | None = None
    max_retries: int | None = None
    suppress_after: int | None = None


class Region(_Data):
    """A part of a country; see the head of ``places.toml``."""

    zones: tuple[str, ...] = ()
    area_codes: tuple[str, ...] = ()
    postcodes: tuple[str, ...] = ()

    @field_validator("zones")
    @classmethod
    def _known(cls, zones: tuple[str, ...]) -> tuple[str, ...]:
        for each in zones:
            try:
                ZoneInfo(each)
            except (KeyError, OSError, ValueError):
                raise ValueError(f"unknown time zone {each!r}: write a name such as America/Chicago") from None
        return zones

    def has(self, postcode: str) -> bool:
        first = postcode.strip()
        for each in self.postcodes:
            low, _, high = each.partition("-")
            if low <= first[: len(low)] <= (high or low):
                return True
        return False


class CapRule(_Data):
    """At most ``max`` counted messages to one person in any ``hours``. ``channel``: "*" is all of them together."""

    code: str
    max: int
    hours: float
    channel: str = "*"
    topic: str | None = None
    jurisdiction: str | None = None
    same_topic: bool = False


class Breaker(_Data):
    """Rates from which marketing slows or pauses. ``slow_to``: part of the usual pace."""

    minimum: int = 1000
    slow_to: float = Field(0.5, gt=0, le=1)
    complaint_slow: float = 0.001
    complaint_pause: float = 0.003
    bounce_pause: float = 0.05


class Warmup(_Data):
    """``first``: messages of the first day; ``target``: a day on which the sender is warm. ``minimum``: messages of a
    day, before its rates mean anything."""

    growth: float = Field(1.5, ge=1)
    cut: float = Field(0.5, gt=0, le=1)
    first: int = Field(50, ge=1)
    target: int = Field(20_000, ge=1)
    minimum: int = Field(100, ge=1)


class MailDomains(_Data):
    """Domains of one mailbox provider; ``rate``: messages per second of one sender to all of them."""

    domains: tuple[str, ...]
    rate: float | None = Field(None, gt=0)
    source: str | None = None
    reviewed: date | None = None


class Policy(BaseModel):
    """All of it. ``version`` names the content, so a stored decision tells by which rules it was made."""

    model_config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=True)

    quiet_rules: dict[str, QuietRule] = {}
    regions: dict[str, Region] = {}
    channels: dict[str, ChannelRules] = {}
    feedback: dict[str, dict[str, Effect]] = {}
    marketing_requirements: dict[str, dict[str, tuple[str, ...]]] = {}
    lift_actors: dict[str, tuple[str, ...]] = {}
    implied_months: dict[str, int] = {}
    fallback_reasons: tuple[str, ...] = ()
    replies: dict[str, str] = {}
    soft_opt_in_on: tuple[str, ...] = ()
    doi_ttl_h: float = 72
    doi_most: int = 3
    doi_most_h: float = 720
    doi_pause_h: float = 1
    doi_wants_consent: tuple[str, ...] = ()
    review_h: float = 24
    default_backoff_s: float = 2
    max_retry_after_s: float = 3600
    marketing_share: float = 0.8
    spread_s: float = 0
    quiet_guard_s: float = 0
    window_guard_s: float = 0
    quota_hours: float = 24
    hold_answers_h: float = 168
    meta_deprecated_tags: tuple[str, ...] = ()
    meta_deprecated_from: datetime | None = None
    breaker: Breaker = Breaker()
    warmup: Warmup = Warmup()
    caps: tuple[CapRule, ...] = ()
    domains: dict[str, MailDomains] = {}
    languages: dict[str, tuple[str, ...]] = {}
    keywords: Lists = Field(default_factory=Lists, exclude=True)
    note: str = ""

    @field_validator("replies")
    @classmethod
    def _fillable(cls, replies: dict[str, str]) -> dict[str, str]:
        for name, text in replies.items():
            filled = ("business", "link", "word") if name == "confirm" else ("business",)
            try:
                text.format(**dict.fromkeys(filled, ""))
            except (LookupError, ValueError, AttributeError):
                names = ", ".join(f"{{{each}}}" for each in filled)
                raise ValueError(f"{name}: {names} and nothing else is filled in; write {{{{ for a brace") from None
        return replies

    @cached_property
    def version(self) -> str:
        lists = self.keywords
        words = sorted((kind, lang, sorted(each)) for kind, by in lists.words.items() for lang, each in by.items())
        patterns = ((kind, lang, each.expression) for kind, by in lists.patterns.items() for lang, each in by.items())
        found = sorted((kind, lang, expression.pattern) for kind, lang, expression in patterns)
        return hashlib.sha256(f"{self.model_dump_json()}{words}{found}".encode()).hexdigest()[:12]

    def channel(self, medium: str) -> ChannelRules:
        return self.channels.get(medium, _PLAIN)

    def family(self, medium: str) -> tuple[str, ...]:
        """Media that one opt-out closes together."""
        return self.channel(medium).family or (medium,)

    def mailbox(self, address: str) -> str:
        """The group of a mail address's domain ("gmail"), or "other"."""
        return self._groups.get(address.rpartition("@")[2].lower(), "other")

    @cached_property
    def _groups(self) -> dict[str, str]:
        return {domain: name for name, each in self.domains.items() for domain in each.domains}

    def requirements(self, jurisdiction: str | None, medium: str) -> tuple[str, ...]:
        """Bases that suffice for marketing there; the strictest default where nothing is known."""
        place = jurisdiction or "*"
        for name in (place, place.partition("-")[0], "*"):
            if name in self.marketing_requirements:
                country = self.marketing_requirements[name]
                return country.get(medium, country.get("*", _STRICT))
        return _STRICT


_PLAIN = ChannelRules()
_STRICT = ("express_written", "express")
_FIELDS = {"quiet_hours": "quiet_rules", "channels": "channels", "feedback": "feedback", "domains": "domains"}
_TABLES = ("quiet_hours", "channels", "domains")  # each table of these has a source of its own
_WHOLE = ("consent", "limits", "places", "languages")  # these have one source at the top


_chosen: Path | None = None


def choose(folder: Path | None) -> None:
    """Which folder's packs count in this process from now on; None: those of this installation alone.

    Raises: ValueError that names the file and the key.
    """
    global _chosen  # as fixed for a process as its code is
    if folder is not None:
        _read_once(folder)
    _chosen = folder


def default() -> Policy:
    """The policy that counts in this process."""
    return _installed() if _chosen is None else _read_once(_chosen)


@cache
def _installed() -> Policy:
    found = [each for each in files("config").joinpath("policy").iterdir() if each.name.endswith(".toml")]
    return load({each.name: each.read_text(encoding="utf-8") for each in found})


@cache
def _read_once(folder: Path) -> Policy:
    return read(folder)


def read(folder: Path) -> Policy:
    """The packs of this installation with the files in ``folder`` in place of those of the same name.

    Raises: ValueError if the folder is not there, or holds something else; OSError.
    """
    if not folder.is_dir():
        raise ValueError(f"{folder}: there is no such folder")
    found = {each.name: each for each in files("config").joinpath("policy").iterdir() if each.name.endswith(".toml")}
    mine = {each.name: each for each in folder.glob("*.toml")}
    if unknown := mine.keys() - found.keys():
        raise ValueError(f"{folder}: no pack is called {', '.join(sorted(unknown))} (there are {', '.join(found)})")
    texts = {name: each.read_text(encoding="utf-8") for name, each in {**found, **mine}.items()}
    return load(texts, {name: str(each) for name, each in mine.items()})


def load(texts: Mapping[str, str], places: Mapping[str, str] | None = None) -> Policy:
    """The policy in these files (name → TOML). ``places``: where they are, if not among ours.

    Raises: ValueError that names the file and the key.
    """
    where = {name.removesuffix(".toml"): (places or {}).get(name, f"config/policy/{name}") for name in texts}
    found = {name: _toml(where[name], texts[f"{name}.toml"]) for name in where}
    try:
        words = keywords.parse(texts["keywords.toml"])
    except ValueError as error:
        raise ValueError(str(error).replace("config/policy/keywords.toml", where["keywords"], 1)) from None
    values: dict[str, Any] = {"keywords": words}
    origin: dict[str, str] = {}
    for name, field in _FIELDS.items():
        values[field] = found.get(name, {})
        origin[field] = f"{where[name]}: " if name in where else ""
    for name in _TABLES:
        for place, table in found.get(name, {}).items():
            _sourced(f"{where[name]}: {place}", table)
    for name in _WHOLE:
        table = found.get(name, {})
        _sourced(where.get(name, name), table)
        rest = {key: value for key, value in table.items() if key not in ("source", "reviewed")}
        if name == "places":
            values["regions"], origin["regions"] = rest, f"{where[name]}: "
            continue
        values |= rest
        origin |= {key: f"{where[name]}: {key}" for key in rest}
    return _validated(values, origin)


def over(base: Policy, changes: Mapping[str, Any]) -> Policy:
    """``base`` with the fields in ``changes`` replaced, each as a whole. Raises: ValueError that names the key."""
    values: dict[str, Any] = {name: getattr(base, name) for name in Policy.model_fields}
    words: Mapping[Kind, Mapping[str, list[str]]] | None = changes.get("keywords")
    values |= changes
    values["keywords"] = base.keywords if words is None else keywords.over(base.keywords, words)
    return _validated(values)


def _validated(values: Mapping[str, Any], origin: Mapping[str, str] | None = None) -> Policy:
    """``origin``: the file of each field, and its key there if it is one."""
    try:
        return Policy.model_validate(values)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
        field, *rest = map(str, first["loc"])
        file, _, key = (origin or {}).get(field, f"policy: {field}").partition(": ")
        what = first["msg"].removeprefix("Value error, ")
        if first["type"] == "extra_forbidden":
            what = "there is no such key; the file of this name in config/policy has all of them"
        raise ValueError(f"{file}: {'.'.join(filter(None, (key, *rest)))}: {what}") from None


def _toml(where: str, text: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"{where}: not TOML: {error}") from None


def _sourced(where: str, table: Mapping[str, Any]) -> None:
    for key in ("source", "reviewed"):
        if not table.get(key):
            raise ValueError(f"{where}: {key} is missing; say where the numbers come from and when somebody compared")
