"""Looking for certain words first changes nothing that a message is taken for."""

from __future__ import annotations

import re
from collections.abc import Iterable
from random import Random
from re import _parser as parser  # type: ignore[attr-defined]  # no stubs
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub.policy.classify import Asked, Reading, Surroundings, _own_words, _Reader, classify
from hub.policy.keywords import PATTERNS, Kind, Vocabulary, build, default, fold, over, vocabulary
from hub.policy.needed import needed

LANGUAGES = sorted({language for found in default().patterns.values() for language in found})
KINDS = [(kind, language) for kind in PATTERNS for language in default().patterns[kind]]
ASKED, HERE = Asked("marketing", pending=True), Surroundings()


def plainly(text: str, known: Vocabulary) -> Reading:
    """What all rules say, one after the other, of a message that is no reaction."""
    reader = _Reader(fold(_own_words(text)), known, ASKED, HERE)
    if not reader.said:
        return Reading("none")
    rules = (reader.whole, reader.polite, reader.answer, reader.sentence)
    return next((found for rule in rules if (found := rule())), Reading("none"))


def same(text: str, language: str) -> bool:
    return classify(text, (language,), ASKED, HERE) == plainly(text, vocabulary(default(), (language,)))


def pieces(language: str) -> list[str]:
    """Words and halves of words of all lists that are read in this language."""
    lists = default()
    listed = [word for kind in lists.words for word in lists.of(kind, ["en", language])]
    expressions = [each.pattern for kind in PATTERNS for each in lists.matching(kind, ["en", language])]
    words = sorted({word for text in (*listed, *expressions) for word in re.findall(r"[^\W\d_]+", text)})
    return [*words, *(word[: len(word) // 2] for word in words), "order", "today"]


@pytest.mark.parametrize("language", LANGUAGES)
def test_sentences_of_listed_words_are_read_alike(language: str) -> None:
    words, random = pieces(language), Random(language)
    for _ in range(1000):
        text = random.choice(("", " ")).join(random.choices(words, k=2))
        text = " ".join([*random.choices(words, k=random.randrange(6)), text, *random.choices(words, k=2)])
        assert same(text, language), text


def spelled(items: Iterable[Any], random: Random) -> str:
    """A text of this parsed expression, but for what it looks ahead or back for."""
    return "".join(_spelled(op, value, random) for op, value in items)


def _spelled(op: Any, value: Any, random: Random) -> str:
    match str(op):
        case "LITERAL":
            return chr(value)
        case "IN":
            return _spelled(*random.choice(value), random)
        case "CATEGORY" | "ANY" | "NOT_LITERAL":
            return random.choice("abcstop")
        case "SUBPATTERN":
            return spelled(value[3], random)
        case "BRANCH":
            return spelled(random.choice(value[1]), random)
        case "MAX_REPEAT" | "MIN_REPEAT":
            times = random.randint(value[0], min(value[1], value[0] + 2))
            return "".join(spelled(value[2], random) for _ in range(times))
    return ""


@pytest.mark.parametrize(("kind", "language"), KINDS, ids=["-".join(each) for each in KINDS])
def test_what_an_expression_matches_is_looked_at(kind: Kind, language: str) -> None:
    expression, random = default().patterns[kind][language], Random(language)
    parsed, known, count = list(parser.parse(expression.pattern)), vocabulary(default(), (language,)), 0
    for _ in range(500):
        text = random.choice(("{}", "{}", "so {}", "{} now", "x{}", "{}x")).format(spelled(parsed, random))
        assert same(text, language), text
        if expression.search(fold(text)):
            count += 1
            assert known.may_say_something(fold(text)), text
    assert count > 100


@given(text=st.text())
def test_any_text_is_read_alike(text: str) -> None:
    known = vocabulary(default(), ("en",))
    assert classify(text, ("en",), ASKED, HERE) in (
        plainly(text, known),
        Reading("none", rule="a reaction that quotes us"),
    )


@pytest.mark.parametrize(
    ("expression", "words", "pieces"),
    [
        (r"\b(?:wrong|bad) number\b", {"number"}, set()),
        (r"\b(?:quit|stop) (?:with )?(?:all )?(?:texts?|mails?|calls?)\b", {"quit", "stop"}, set()),
        (r"\bnever(?: ever)? again", {"never"}, set()),
        (r"unsubscrib", set(), {"unsubscrib"}),
        (r"\bno (?:\w+ )?texts\b", set(), {"texts"}),
        (r"\bst[oa]p\b", {"stop", "stap"}, set()),
    ],
)
def test_what_is_looked_for(expression: str, words: set[str], pieces: set[str]) -> None:
    found = needed([re.compile(expression)])
    assert found is not None
    assert (found.words, found.pieces) == (words, pieces)


@pytest.mark.parametrize("expression", [r"\w+", r"(?:stop)?", r"(?i:stop)", r"a|\bstop\b", r"[a-z]{9}"])
def test_where_nothing_is_certain_all_is_tried(expression: str) -> None:
    assert needed([re.compile(expression)]) is None
    lists = over(default(), {"phrase": {"en": [expression]}})
    assert Vocabulary(lists, ["en"]).may_say_something("hello")


def test_words_of_another_alphabet_are_not_looked_for_in_plain_letters() -> None:
    lists = build({"phrase": {"en": ["退(?:订|訂)"]}})
    known = Vocabulary(lists, ["en"])
    assert not known.may_say_something("stop")
    assert known.may_say_something("退订")
