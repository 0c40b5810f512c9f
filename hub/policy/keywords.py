"""STOP, START and HELP: what a whole message means, by the lists in ``config/keywords.toml``."""

from __future__ import annotations

import re
import tomllib
import unicodedata
from collections.abc import Iterable, Mapping
from datetime import date
from functools import cache
from importlib.resources import files
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

Kind = Literal["stop", "start", "help"]

_FILE = "config/keywords.toml"
_LONGEST = 200  # characters; a longer message is a sentence, whatever it consists of
_REPEATED = re.compile(r"([^\W\d_])\1{2,}")
_ZERO_IN_WORD = re.compile(r"(?<=[^\W\d_])0|0(?=[^\W\d_])")


class Words(BaseModel):
    """One list of the file."""

    model_config = ConfigDict(extra="forbid")

    keywords: Annotated[list[str], Field(min_length=1)]
    source: Annotated[str, Field(min_length=1)]
    reviewed: date


Lists = Mapping[str, Mapping[str, Kind]]  # language → normalised keyword → what it means
_file: TypeAdapter[dict[Kind, dict[str, Words]]] = TypeAdapter(dict[Kind, dict[str, Words]])


def classify(text: str, languages: Iterable[str] = ("en",)) -> Kind | None:
    """What the message means if it is a keyword and nothing else, in one of ``languages`` (unknown ones have none).

    A quoted footer (``Liked "Reply STOP to end"``) is never a keyword: there are other words around it.
    """
    if len(text) > _LONGEST:
        return None
    word = _keyword(text)
    lists = _lists()
    return next((lists[each][word] for each in languages if word in lists.get(each, {})), None)


def plain(text: str) -> str:
    """Words in lower case with one space between: no format characters, punctuation or symbols. Perhaps empty."""
    visible = "".join(letter for letter in unicodedata.normalize("NFKC", text) if not _invisible(letter))
    folded = unicodedata.normalize("NFKC", visible.casefold())
    return " ".join("".join(letter if unicodedata.category(letter)[0] in "LMN" else " " for letter in folded).split())


def _invisible(letter: str) -> bool:
    """Zero-width and directional characters, soft hyphens, variation selectors, the keycap's frame."""
    return (
        unicodedata.category(letter) in ("Cf", "Me")
        or "\ufe00" <= letter <= "\ufe0f"
        or "\U000e0100" <= letter <= "\U000e01ef"
    )


def _keyword(text: str) -> str:
    """``plain`` without what people vary and mean the same: accents, "S T O P", "ST0P", "stooop"."""
    bare = "".join(each for each in unicodedata.normalize("NFD", plain(text)) if unicodedata.category(each) != "Mn")
    words = unicodedata.normalize("NFC", bare).split()
    if len(words) > 1 and all(len(word) == 1 for word in words):
        words = ["".join(words)]
    return _REPEATED.sub(r"\1", _ZERO_IN_WORD.sub("o", " ".join(words)))


@cache
def _lists() -> Lists:
    return parse(files("config").joinpath("keywords.toml").read_text(encoding="utf-8"))


def parse(toml: str) -> Lists:
    """The lists in the text of a keywords file. Raises: ValueError that names the file and the key."""
    try:
        found = _file.validate_python(tomllib.loads(toml))
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"{_FILE}: not TOML: {error}") from None
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
        key = ".".join(str(part) for part in first["loc"] if part != "[key]")
        raise ValueError(f"{_FILE}: {key}: {first['msg']}") from None
    lists: dict[str, dict[str, Kind]] = {}
    for kind, languages in found.items():
        for language, words in languages.items():
            for place, keyword in enumerate(words.keywords):
                _add(lists.setdefault(language, {}), keyword, kind, f"{_FILE}: {kind}.{language}.keywords.{place}")
    return lists


def _add(known: dict[str, Kind], keyword: str, kind: Kind, where: str) -> None:
    word = _keyword(keyword)
    if not word:
        raise ValueError(f"{where}: {keyword!r} has no letters, so no message could match it")
    if known.setdefault(word, kind) != kind:
        raise ValueError(f"{where}: {keyword!r} already means {known[word]} in this language")
