"""Where a recipient may be, from what is known of them: every candidate counts, so that nobody is woken."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache, lru_cache
from importlib.resources import files

import phonenumbers
from phonenumbers import timezone

from hub.policy.pack import Policy, Region
from hub.policy.quiet import Place

_NAMED = re.compile(r"([A-Z]{2})\.")
_VAGUE = 12  # zones; a prefix of so many says no more than the country does


@dataclass(frozen=True, slots=True)
class Known:
    """``zone``: IANA name of the profile. ``country``: ISO 3166 alpha-2. ``region``: ISO 3166-2 ("US-TX").

    ``number``: E.164, of the recipient or of the person.
    """

    zone: str | None = None
    country: str | None = None
    region: str | None = None
    postcode: str | None = None
    number: str | None = None


@dataclass(frozen=True, slots=True)
class Whereabouts:
    """``jurisdiction``: the narrowest place whose law applies ("US-FL", "FR"); None where nothing is known."""

    places: tuple[Place, ...]
    jurisdiction: str | None


def whereabouts(known: Known, policy: Policy) -> Whereabouts:
    """Candidates from profile, postcode and number, each under its own country's law. None if nothing is known."""
    regions = list(dict.fromkeys(_regions(known, policy)))
    numbers = country_of(known.number)
    countries = [known.country, *(each.partition("-")[0] for each in regions), numbers]
    countries = list(dict.fromkeys(each for each in countries if each)) or [None]
    found: dict[Place, None] = {}
    for country in countries:
        parts = [each for each in regions if each.partition("-")[0] == country]
        zones = [known.zone] if known.zone and country == countries[0] else []
        zones += _zones_of_regions(parts, policy)
        zones += _zones_of_number(known.number) if country == numbers else []
        rules = _rules(country, parts, policy)
        found |= dict.fromkeys(Place(zone, rules) for zone in zones or _zones_of_country(country))
    return Whereabouts(tuple(found), regions[0] if regions else countries[0])


def _regions(known: Known, policy: Policy) -> Iterable[str]:
    """What the profile says, then the postcode, then the number."""
    if known.region:
        yield known.region
    national = _national(known.number)
    for name, region in policy.regions.items():
        country = name.partition("-")[0]
        if known.postcode and (known.country or country_of(known.number)) == country and region.has(known.postcode):
            yield name
    for name, region in policy.regions.items():
        if country_of(known.number) == name.partition("-")[0] and national.startswith(region.area_codes):
            yield name


def _zones_of_regions(regions: Iterable[str], policy: Policy) -> Iterable[str]:
    return [zone for name in regions for zone in policy.regions.get(name, Region()).zones]


def _rules(country: str | None, regions: Iterable[str], policy: Policy) -> tuple[str, ...]:
    """The country's and each candidate region's; the default where neither has any."""
    wanted = [*([country] if country else []), *regions]
    return tuple(each for each in wanted if each in policy.quiet_rules) or ("*",)


def country_of(number: str | None) -> str | None:
    """ISO 3166 alpha-2; the main country of a shared code where the number tells no more. None: not a number."""
    parsed = _parsed(number)
    if parsed is None:
        return None
    found = phonenumbers.region_code_for_number(parsed)
    main = phonenumbers.region_code_for_country_code(parsed.country_code or 0)
    return found or (main if main not in ("ZZ", "001") else None)


def country_behind(address: str) -> str | None:
    """Of the number by which a provider knows somebody: ``tel:+1305…``, ``whatsapp:1305…``, ``whatsapp:US.1349…``."""
    _, _, value = address.partition(":")
    if named := _NAMED.match(value):
        return named[1]
    return country_of(f"+{value}" if value.isdecimal() else value)


def _national(number: str | None) -> str:
    parsed = _parsed(number)
    return phonenumbers.national_significant_number(parsed) if parsed else ""


@lru_cache(maxsize=4096)
def _parsed(number: str | None) -> phonenumbers.PhoneNumber | None:
    try:
        return phonenumbers.parse(number or "", None)
    except phonenumbers.NumberParseException:
        return None


def _zones_of_number(number: str | None) -> Iterable[str]:
    parsed = _parsed(number)
    if parsed is None:
        return []
    zones = timezone.time_zones_for_number(parsed)
    if len(zones) > _VAGUE or "Etc/Unknown" in zones:
        return _zones_of_country(country_of(number) or "")
    return zones


def _zones_of_country(country: str | None) -> tuple[str, ...]:
    return _country_zones().get(country or "", ())


@cache
def _country_zones() -> Mapping[str, tuple[str, ...]]:
    """By ISO 3166 alpha-2, from the table that comes with the time zones."""
    found: dict[str, tuple[str, ...]] = {}
    table = files("tzdata").joinpath("zoneinfo/zone.tab").read_text(encoding="utf-8")
    for line in table.splitlines():
        if line and not line.startswith("#"):
            country, _, zone, *_ = line.split("\t")
            found[country] = (*found.get(country, ()), zone)
    return found
