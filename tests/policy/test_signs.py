"""Looking for certain words first changes nothing that a message is taken for."""

from __future__ import annotations

import re
import tomllib
from importlib.resources import files
from random import Random
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hub.policy.classify import Asked, Reading, Surroundings, _own_words, _Reader, classify
from hub.policy.keywords import PATTERNS, Kind, Vocabulary, build, default, fold, over, vocabulary

LANGUAGES = sorted({language for found in default().patterns.values() for language in found})
FILE: dict[str, Any] = tomllib.loads(files("config").joinpath("policy/keywords.toml").read_text(encoding="utf-8"))
KINDS = [(kind, language) for kind in PATTERNS for language in default().patterns[kind]]
LETTERS = st.characters(codec="utf-8", categories=["L", "M", "N", "Z"])
PLAIN = st.characters(codec="ascii", categories=["L", "N", "Z"])
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


def matched_by(entry: str) -> st.SearchStrategy[str]:
    """Texts that the entry's expression matches, perhaps among other words."""
    _, _, expression = entry.rpartition(" => ")
    whole = expression.replace("{message}", "(?:messages|sms|texts)")
    texts = st.from_regex(whole, fullmatch=True, alphabet=PLAIN if whole.isascii() else LETTERS)
    return st.builds(str.format, st.sampled_from(["{}", "{}", "{}", "so {}", "{} now", "x{}", "{}x"]), texts)


@pytest.mark.parametrize(("kind", "language"), KINDS, ids=["-".join(each) for each in KINDS])
def test_what_an_expression_matches_is_looked_at(kind: Kind, language: str) -> None:
    for entry in FILE[kind][language]["keywords"]:
        lists = build({kind: {language: [entry]}, "message": {language: ["messages", "sms", "texts"]}})
        expression, known = lists.patterns[kind][language].expression, Vocabulary(lists, [language])
        found: list[str] = []

        @settings(max_examples=40, derandomize=True, deadline=None, suppress_health_check=list(HealthCheck))
        @given(text=matched_by(entry))
        def looked_at(text: str) -> None:
            assert same(text, language), text
            if expression.search(fold(text)):  # noqa: B023 - called at once
                found.append(text)  # noqa: B023 - as above
                assert known.may_say_something(fold(text)), text  # noqa: B023 - as above

        looked_at()
        assert found, entry


@given(text=st.text())
def test_any_text_is_read_alike(text: str) -> None:
    known = vocabulary(default(), ("en",))
    assert classify(text, ("en",), ASKED, HERE) in (
        plainly(text, known),
        Reading("none", rule="a reaction that quotes us"),
    )


@pytest.mark.parametrize(
    ("entries", "words"),
    [
        ([r"stop quit => \b(?:stop|quit) it\b"], {"stop", "quit"}),
        ([r"never => \bnever\b", "unsub* => unsubscrib"], {"never", "unsub*"}),
        ([" => 退(?:订|訂)"], set()),
        ([r"\bstop\b"], None),
        ([r"never => \bnever\b", r"\bstop\b"], None),
    ],
)
def test_what_is_looked_for(entries: list[str], words: set[str] | None) -> None:
    assert build({"phrase": {"en": entries}}).signs(["en"]) == words


def test_an_expression_without_signs_is_tried_on_every_text() -> None:
    lists = over(default(), {"phrase": {"en": [r"\w+"]}})
    assert Vocabulary(lists, ["en"]).may_say_something("hello")
    assert not Vocabulary(default(), ["en"]).may_say_something("hello")


def test_a_sign_that_no_folded_text_has_is_refused() -> None:
    with pytest.raises(ValueError, match=r"phrase.en.keywords.0: 'Stop' before => is no word in plain small letters"):
        build({"phrase": {"en": ["Stop => stop it"]}})


def test_words_of_another_alphabet_are_not_looked_for_in_plain_letters() -> None:
    known = Vocabulary(build({"phrase": {"en": [" => 退(?:订|訂)"]}}), ["en"])
    assert not known.may_say_something("stop")
    assert known.may_say_something("退订")
