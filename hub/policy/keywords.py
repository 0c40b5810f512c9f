"""Words by which people steer what they get, as lists per language, and the form in which texts are compared."""

from __future__ import annotations

import re
import tomllib
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from functools import cache, lru_cache
from importlib.resources import files
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

Kind = Literal[
    "opt_out", "weak", "opt_in", "opt_in_contextual", "help", "polite", "message",
    "phrase", "negation", "collocation", "wrong_party",
]  # fmt: skip
PATTERNS: tuple[Kind, ...] = ("phrase", "negation", "collocation", "wrong_party")
_EXCLUSIVE: tuple[Kind, ...] = ("opt_out", "opt_in", "help")  # a word has one of these meanings in a language

_FILE = "config/policy/keywords.toml"
_REPEATED = re.compile(r"([^\W\d_])\1{2,}")
_REPEATED_ASCII = re.compile(r"([a-z])\1\1+")
_ASCII = bytes(ord(letter.lower()) if (letter := chr(code)).isalnum() else ord(" ") for code in range(128)).ljust(256)
_LONE = re.compile(r" \w \w(?!\S)")
_SPACED = re.compile(r"(?<!\S)\w(?: \w){2,}(?!\S)")
_ZERO_IN_WORD = re.compile(r"(?<=[^\W\d_])0|0(?=[^\W\d_])")
_ARROW = " => "
_SIGN = re.compile(r"[a-z0-9]+\*?")
_UNSPACED = re.compile(r"[\u0e00-\u0eff\u3040-\u30ff\u3400-\u9fff]")  # scripts that put no space between words


class Words(BaseModel):
    """One list of the file."""

    model_config = ConfigDict(extra="forbid")

    keywords: Annotated[list[str], Field(min_length=1)]
    source: Annotated[str, Field(min_length=1)]
    reviewed: date


@dataclass(frozen=True, slots=True)
class Pattern:
    """``expression``: to be searched in folded text. ``signs``: it matches no text in plain letters that has none of
    these words; one with * is the beginning of words. None: nobody has said which."""

    expression: re.Pattern[str]
    signs: frozenset[str] | None


@dataclass(frozen=True, slots=True, eq=False)
class Lists:
    """``words``: folded. ``patterns``: one per language."""

    words: Mapping[Kind, Mapping[str, frozenset[str]]] = field(default_factory=dict)
    patterns: Mapping[Kind, Mapping[str, Pattern]] = field(default_factory=dict)

    def of(self, kind: Kind, languages: Iterable[str]) -> frozenset[str]:
        """The words of all these languages."""
        lists = self.words.get(kind, {})
        return frozenset().union(*(lists.get(each, frozenset()) for each in languages))

    def matching(self, kind: Kind, languages: Iterable[str]) -> list[re.Pattern[str]]:
        lists = self.patterns.get(kind, {})
        return [lists[each].expression for each in languages if each in lists]

    def signs(self, languages: Iterable[str]) -> frozenset[str] | None:
        """Of all patterns of these languages; None if one has none."""
        found = [lists[each].signs for lists in self.patterns.values() for each in languages if each in lists]
        known = [signs for signs in found if signs is not None]
        return frozenset().union(*known) if len(known) == len(found) else None


class Vocabulary:
    """The lists of some languages, ready for reading one message after the other."""

    def __init__(self, lists: Lists, languages: Sequence[str]) -> None:
        self.stops = lists.of("opt_out", languages)
        self.strong = self.stops - lists.of("weak", languages)
        self.help = lists.of("help", languages)
        self.opt_in = lists.of("opt_in", languages)
        self.contextual = lists.of("opt_in_contextual", languages)
        self.polite = any_of(lists.of("polite", languages))
        self.stray = any_of(self.strong)
        self.everyday = [*lists.matching("negation", languages), *lists.matching("collocation", languages)]
        self.phrases = lists.matching("phrase", languages)
        self.wrong_party = lists.matching("wrong_party", languages)
        keywords = self.stops | self.help | self.opt_in
        self._parts = frozenset(part for keyword in keywords for part in keyword.split())
        signs = lists.signs(languages)
        beginnings = tuple(each.rstrip("*") for each in signs or () if each.endswith("*"))
        self._telling = None if signs is None else (self._parts | signs, beginnings)

    def may_have_keyword(self, said: str) -> bool:
        """Cheap. False: no keyword is in this folded text, alone or among other words."""
        return not said.isascii() or not self._parts.isdisjoint(said.split())

    def may_say_something(self, said: str) -> bool:
        """Cheap. False: no keyword is in this folded text, and no expression matches it."""
        if self._telling is None or not said.isascii():
            return True
        words, beginnings = self._telling
        return not words.isdisjoint(said.split()) or any(each in said for each in beginnings)


@lru_cache(256)
def vocabulary(lists: Lists, languages: tuple[str, ...]) -> Vocabulary:
    """``languages`` are tags (BCP 47), of which only the language counts. English is always read beside them."""
    bare = [re.split("[-_]", tag.casefold())[0] for tag in languages]
    return Vocabulary(lists, tuple(dict.fromkeys(["en", *bare])))


_file: TypeAdapter[dict[Kind, dict[str, Words]]] = TypeAdapter(dict[Kind, dict[str, Words]])


def plain(text: str) -> str:
    """Words in lower case with one space between: no format characters, punctuation or symbols. Perhaps empty."""
    if text.isascii():
        return " ".join(text.encode("ascii").translate(_ASCII).decode("ascii").split())
    return _plain_by_letter(text)


def _plain_by_letter(text: str) -> str:
    """``plain`` for any text, at some 50 times the cost: each message of a customer comes this way."""
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


def fold(text: str) -> str:
    """``plain`` without what people vary and mean the same: accents, "S T O P", "ST0P", "stooop"."""
    said = plain(text)
    if not said.isascii():
        said = " ".join(_unaccented(said).split())
    if said[1::2].isspace():  # each word is one letter
        said = said[::2]
    elif _LONE.search(said):  # quick; what is to be joined has two letters after a first one
        said = _SPACED.sub(lambda found: found.group().replace(" ", ""), said)
    if "0" in said:
        said = _ZERO_IN_WORD.sub("o", said)
    repeated = _REPEATED_ASCII if said.isascii() else _REPEATED
    return repeated.sub(r"\1", said) if repeated.search(said) else said


def _unaccented(text: str) -> str:
    letters = (each for each in unicodedata.normalize("NFD", text) if unicodedata.category(each) != "Mn")
    return unicodedata.normalize("NFC", "".join(letters))


def any_of(words: Iterable[str]) -> re.Pattern[str]:
    """Any of these folded words, the longest first; whole words where the script separates them."""
    return re.compile(bounded(words) or "(?!)")


def bounded(words: Iterable[str]) -> str:
    """The text of ``any_of``; empty if there are no words."""
    longest = sorted(words, key=len, reverse=True)
    return "|".join(re.escape(each) if _UNSPACED.search(each) else rf"\b{re.escape(each)}\b" for each in longest)


@cache
def default() -> Lists:
    return parse(files("config").joinpath("policy/keywords.toml").read_text(encoding="utf-8"))


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
    return build({kind: {lang: words.keywords for lang, words in each.items()} for kind, each in found.items()})


def build(found: Mapping[Kind, Mapping[str, list[str]]], where: str = _FILE) -> Lists:
    """Lists ready for use. Raises: ValueError that names the entry."""
    words: dict[Kind, dict[str, frozenset[str]]] = {}
    patterns: dict[Kind, dict[str, Pattern]] = {}
    for kind, languages in found.items():
        for language, entries in languages.items():
            place = f"{where}: {kind}.{language}.keywords"
            if kind in PATTERNS:
                nouns = bounded(map(fold, found.get("message", {}).get(language, []))) or "(?!)"
                patterns.setdefault(kind, {})[language] = _pattern(entries, nouns, place)
            else:
                words.setdefault(kind, {})[language] = _folded(entries, place)
    _no_two_meanings(words, where)
    return Lists(words, patterns)


def over(base: Lists, changed: Mapping[Kind, Mapping[str, list[str]]]) -> Lists:
    """``base`` with the kinds in ``changed`` replaced as a whole."""
    mine = build(changed, "keywords")
    return Lists({**base.words, **mine.words}, {**base.patterns, **mine.patterns})


def _folded(entries: Iterable[str], where: str) -> frozenset[str]:
    found = set()
    for place, entry in enumerate(entries):
        word = fold(entry)
        if not word:
            raise ValueError(f"{where}.{place}: {entry!r} has no letters, so no message could match it")
        found.add(word)
    return frozenset(found)


def _pattern(entries: Iterable[str], nouns: str, where: str) -> Pattern:
    parts: list[str] = []
    signs: set[str] | None = set()
    for place, entry in enumerate(entries):
        said, arrow, text = entry.rpartition(_ARROW)
        if wrong := [each for each in said.split() if not _SIGN.fullmatch(each)]:
            raise ValueError(f"{where}.{place}: {wrong[0]!r} before => is no word in plain small letters")
        signs = None if signs is None or not arrow else signs | set(said.split())
        part = _unaccented(text).replace("{message}", nouns)
        try:
            re.compile(part)
        except re.error as error:
            raise ValueError(f"{where}.{place}: not a regular expression: {error}") from None
        # A word that only ends like one of ours says something else: "send the message" does not end messages.
        parts.append(f"(?:{part})" if _UNSPACED.search(part) else rf"\b(?:{part})")
    return Pattern(re.compile("|".join(parts)), None if signs is None else frozenset(signs))


def _no_two_meanings(words: Mapping[Kind, Mapping[str, frozenset[str]]], where: str) -> None:
    meaning: dict[tuple[str, str], Kind] = {}
    for kind in _EXCLUSIVE:
        for language, entries in words.get(kind, {}).items():
            for word in sorted(entries):
                if meaning.setdefault((language, word), kind) != kind:
                    other = meaning[language, word]
                    raise ValueError(f"{where}: {kind}.{language}: {word!r} already means {other} in this language")
