"""What counts as STOP, START and HELP, and what only looks like it."""

from __future__ import annotations

import tomllib
from importlib.resources import files

import pytest

from hub.policy.keywords import classify, parse, plain

LISTED = files("config").joinpath("keywords.toml").read_text(encoding="utf-8")

WORDS = [
    *(("stop", word) for word in ("stop", "STOP", "unsubscribe", "END", "quit", "Cancel", "Revoke", "STOPALL")),
    *(("stop", word) for word in ("opt-out", "Opt out.", "OPTOUT", "Stop all", "stop please", "Please STOP")),
    *(("stop", word) for word in ("Stop.", "STOP!!", "  stop\r\n", "“Stop”", "«stop»", "/stop", "#STOP", "*stop*")),
    *(("start", word) for word in ("START", "start!", "Unstop")),
    *(("help", word) for word in ("HELP", "help?", "Info")),
]
DISGUISED = [
    ("fullwidth letters", "ＳＴＯＰ"),
    ("mathematical bold", "𝐒𝐓𝐎𝐏"),
    ("zero-width space inside", "st\u200bop"),
    ("zero-width joiner and byte order mark", "\ufeffs\u200dtop"),
    ("soft hyphen", "st\u00adop"),
    ("right-to-left mark", "\u200fstop\u200e"),
    ("variation selector", "stop\ufe0f"),
    ("variation selector of the supplement", "stop\U000e0101"),
    ("a stop sign beside it", "STOP 🛑"),
    ("a thumb before it", "👎🏽 stop"),
    ("accents", "stóp"),
    ("decomposed accents", "sto\u0301p"),
    ("spaced letters", "s t o p"),
    ("dotted letters", "S.T.O.P."),
    ("a zero for the o", "ST0P"),
    ("drawn out", "stoooop"),
    ("long s", "ſtop"),
    ("no-break spaces", "\u00a0stop\u00a0"),
]
OTHER = [
    *("", " ", "\n", ".", "!!!", "?", "…", "“”", "👍", "🛑", "❤️", "\u200b", "\ufe0f", "\ufeff", "0", "000", "1"),
    *("stopp", "stops", "nonstop flights?", "stop_it_now", "sto", "s top", "st op", "s t o p it", "5top"),
    *("STOP this bill", "stop the delivery", "don't stop", "dont stop", "never stop, I love these", "bus stop"),
    *("Have a great weekend", "The End of the road", "please cancel my order", "can you help me with my order"),
    *("YES", "yes please", "start over", "information", "STOP STOP THE PRESSES", "dur", "alto", "s" * 500),
]
REACTIONS = [
    "Liked “Sale today. Reply STOP to end”",
    "Liked “STOP”",
    'Laughed at "Txt STOP to end"',
    'Emphasized "STOP"',
    "Removed a like from “STOP”",
    "Reacted 👍 to “Reply STOP to opt out”",
    "👍 to “STOP”",
    "Disliked an image: STOP",
]


@pytest.mark.parametrize(("kind", "text"), WORDS)
def test_a_keyword_alone_is_understood(kind: str, text: str) -> None:
    assert classify(text) == kind


@pytest.mark.parametrize("text", [text for _, text in DISGUISED], ids=[name for name, _ in DISGUISED])
def test_stop_is_understood_however_it_is_typed(text: str) -> None:
    assert classify(text) == "stop"


@pytest.mark.parametrize("text", OTHER)
def test_anything_else_is_no_keyword(text: str) -> None:
    assert classify(text) is None


@pytest.mark.parametrize("text", REACTIONS)
def test_a_reaction_that_quotes_our_footer_is_no_keyword(text: str) -> None:
    assert classify(text) is None


@pytest.mark.parametrize("kind", ["stop", "start", "help"])
def test_every_listed_keyword_means_what_its_list_says(kind: str) -> None:
    for language, words in tomllib.loads(LISTED)[kind].items():
        for keyword in words["keywords"]:
            assert classify(keyword.upper() + "!", (language,)) == kind


def test_a_language_without_a_list_has_no_keywords() -> None:
    assert classify("stop", ("xx",)) is None
    assert classify("stop", ()) is None
    assert classify("stop", ("xx", "en")) == "stop"


def test_languages_are_never_merged() -> None:
    lists = parse(_lists(**{"stop.es": '["alto", "no más"]', "start.en": '["go"]'}))
    assert lists == {"es": {"alto": "stop", "no mas": "stop"}, "en": {"go": "start"}}


def test_a_long_message_is_dismissed_unread() -> None:
    assert classify("stop" + " " * 300) is None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("  Yes,  please! ", "yes please"),
        ("１０ Uhr", "10 uhr"),
        ("1️⃣", "1"),
        ("Größe", "grösse"),
        ("ça va", "ça va"),
        ("हिन्दी", "हिन्दी"),
        ("👍", ""),
    ],
)
def test_plain_text_is_words_in_lower_case(text: str, expected: str) -> None:
    assert plain(text) == expected


@pytest.mark.parametrize(
    ("toml", "complaint"),
    [
        ("[stop.en", "not TOML"),
        ("[halt.en]", "halt: Input should be 'stop', 'start' or 'help'"),
        ("[stop]\nen = 1", "stop.en: "),
        ('[stop.en]\nkeyword = ["x"]', "stop.en.keywords: Field required"),
        ('[stop.en]\nkeywords = ["stop"]\nreviewed = 2026-01-31', "stop.en.source: Field required"),
        ('[stop.en]\nkeywords = ["stop"]\nsource = "x"', "stop.en.reviewed: Field required"),
        ('[stop.en]\nkeywords = ["stop"]\nsource = "x"\nreviewed = "soon"', "stop.en.reviewed: "),
        ('[stop.en]\nkeywords = ["a", 2]\nsource = "x"\nreviewed = 2026-01-31', "stop.en.keywords.1: "),
        ('[stop.en]\nkeywords = []\nsource = "x"\nreviewed = 2026-01-31', "stop.en.keywords: "),
        ('[stop.en]\nkeywords = ["a", "!"]\nsource = "x"\nreviewed = 2026-01-31', "keywords.1: '!' has no letters"),
    ],
)
def test_a_malformed_file_is_named_with_its_key(toml: str, complaint: str) -> None:
    with pytest.raises(ValueError) as caught:
        parse(toml)
    assert str(caught.value).startswith("config/keywords.toml: ")
    assert complaint in str(caught.value)


def test_one_word_cannot_mean_two_things() -> None:
    with pytest.raises(ValueError, match=r"help\.en\.keywords\.0: 'Stop!' already means stop"):
        parse(_lists(**{"stop.en": '["stop"]', "help.en": '["Stop!"]'}))


def _lists(**keywords: str) -> str:
    return "\n".join(
        f'[{name}]\nkeywords = {words}\nsource = "test"\nreviewed = 2026-01-31' for name, words in keywords.items()
    )
