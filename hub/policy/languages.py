"""Which languages the owner of a phone number may write in."""

from __future__ import annotations

from functools import lru_cache

import phonenumbers
from babel.languages import get_official_languages

from hub.policy.pack import Policy
from hub.policy.places import country_of

_TELLING = len("+1514")  # by so much of a number its country is known
_AMERICAN = "2345678"  # makes a number of any area code


def of_number(number: str, policy: Policy) -> tuple[str, ...]:
    """Those of its country, as in ``languages.toml``. ``number``: E.164; empty for what is none."""
    country = _country(number[:_TELLING])
    return () if country is None else policy.languages.get(country, ())


def official(number: str) -> tuple[str, ...]:
    """Those of the country of ``number`` (E.164), the one of most people first (CLDR)."""
    country = _country(number[:_TELLING])
    return () if country is None else tuple(get_official_languages(country, de_facto=True))


@lru_cache(maxsize=4096)
def _country(beginning: str) -> str | None:
    """Nearly all messages come from numbers that have not been seen before, whose beginnings have been."""
    if beginning.startswith("+1"):  # a code of many countries, which share no area code
        return country_of(beginning + _AMERICAN)
    codes = (beginning[1 : 1 + size] for size in (1, 2, 3))
    known = (int(code) for code in codes if code.isdecimal() and int(code) in phonenumbers.COUNTRY_CODE_TO_REGION_CODE)
    code = next(known, None)
    return None if code is None else phonenumbers.region_code_for_country_code(code)
