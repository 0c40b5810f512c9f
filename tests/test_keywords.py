"""What people say about getting messages, and what only looks like it."""

from __future__ import annotations

import time
import tomllib
from importlib.resources import files

import phonenumbers
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub.policy import languages
from hub.policy.classify import Asked, Reading, Surroundings, classify
from hub.policy.keywords import _plain_by_letter, parse, plain
from hub.policy.pack import default

LISTED = files("config").joinpath("policy/keywords.toml").read_text(encoding="utf-8")

WORDS = [
    *(("opt_out", word) for word in ("stop", "STOP", "unsubscribe", "END", "quit", "Cancel", "Revoke", "STOPALL")),
    *(("opt_out", word) for word in ("opt-out", "Opt out.", "OPTOUT", "Stop all", "stop please", "Please STOP")),
    *(("opt_out", word) for word in ("Stop.", "STOP!!", "  stop\r\n", "“Stop”", "«stop»", "/stop", "#STOP", "*stop*")),
    *(("opt_out", word) for word in ("stop stop", "Stop\n\nSent from my iPhone", "hi, STOP now, thanks", "unsub")),
    *(("opt_in", word) for word in ("START", "start!", "Unstop")),
    *(("help", word) for word in ("HELP", "help?", "Info", "help please")),
]
SENTENCES = [
    ("opt_out", "Take me off your list, will you"),
    ("opt_out", "please do not message me anymore"),
    ("opt_out", "I don't want to receive these texts"),
    ("opt_out", "i no longer want any messages from you"),
    ("opt_out", "how do I unsubscribe?"),
    ("opt_out", "Quit spamming me!!"),
    ("opt_out", "I withdraw my consent"),
    ("opt_out", "kindly opt me out"),
    ("opt_out", "you never stop texting me"),
    ("opt_out", "I cannot stop this app from ringing; unsubscribe me"),
    ("opt_out", "wrong number, stop texting me"),
    ("opt_out", "lose my number"),
    ("opt_out", "I no longer wish to receive these."),
    ("opt_out", "do not contact"),
    ("none", "please don't stop the updates"),
    ("none", "I do not want to unsubscribe"),
    ("none", "do not remove me from the list please"),
    ("none", "does the tram stop here? next stop please"),
    ("none", "can you stop by at five"),
    ("none", "don't send it to my office"),
    ("none", "remove the second item from my order"),
    ("none", "take me to the airport"),
    ("none", "I'll end my walk at the weekend"),
    ("none", "could you send the message again"),
    ("none", "I would recommend offers like that"),
    ("wrong_party", "Sorry, wrong number"),
    ("wrong_party", "you have the wrong person"),
    ("ambiguous", "stop the delivery"),
    ("ambiguous", "please stop my order from shipping today"),
    ("ambiguous", "STOP STOP THE PRESSES"),
    ("ambiguous", "s t o p it"),
    ("opt_out", "S T O P texting me"),
]
LANGUAGES = [
    ("fr", "opt_out", "Arrêtez de m'envoyer des messages"),
    ("fr", "opt_out", "arrêt svp"),
    ("fr", "none", "n'arrêtez pas, j'adore"),
    ("fr", "wrong_party", "vous avez le mauvais numéro"),
    ("es", "opt_out", "no quiero recibir más mensajes"),
    ("es", "opt_out", "baja por favor"),
    ("es", "none", "no pares"),
    ("de", "opt_out", "Keine Werbung mehr!"),
    ("de", "opt_out", "abmelden bitte"),
    ("de", "none", "bitte nicht aufhören"),
    ("pt-BR", "opt_out", "Não quero mais receber"),
    ("it", "none", "alto"),
    ("zh", "opt_out", "请退订"),
    ("ja", "opt_out", "配信停止お願いします"),
    ("th", "opt_out", "หยุด"),
    ("en", "none", "dur"),
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
    ("spaced letters beside a word", "S T O P please"),
    ("spaced words", "Please S T O P  A L L"),
    ("dotted letters", "S.T.O.P."),
    ("dotted letters beside a word", "please S.T.O.P."),
    ("hyphens", "S-T-O-P please"),
    ("a zero for the o", "ST0P"),
    ("drawn out", "stoooop"),
    ("long s", "ſtop"),
    ("no-break spaces", "\u00a0stop\u00a0"),
]
OTHER = [
    *("", " ", "\n", ".", "!!!", "?", "…", "“”", "👍", "🛑", "❤️", "\u200b", "\ufe0f", "\ufeff", "0", "000", "1"),
    *("stopp", "stops", "nonstop flights?", "sto", "s top", "st op", "5top"),
    *("don't stop", "dont stop", "never stop, I love these", "bus stop"),
    *("Have a great weekend", "The End of the road", "please cancel my order", "can you help me with my order"),
    *("YES", "yes please", "start over", "information", "dur", "alto", "s" * 500),
]
REACTIONS = [
    "Liked “Sale today. Reply STOP to end”",
    "Liked “STOP”",
    'Laughed at "Txt STOP to end"',
    'Emphasized "STOP"',
    "Removed a like from “STOP”",
    "Reacted 👍 to “Reply STOP to opt out”",
    "👍 to “STOP”",
    'Liked "Txt "STOP" to end"',
    "Loved ‘Don’t miss it. STOP ends’",
    "Gefällt „Antworten Sie STOP“",
    "A aimé « STOP pour arrêter »",
    "👍🏽 to “STOP”.",
]
OWN_WORDS = [
    ("opt_out", "Loved a few of these but please stop texting me"),
    ("opt_out", "Liked “Sale today” stop texting me"),
    ("opt_out", 'Liked "Sale today" stop texting me about "sales"'),
    ("opt_out", "Laughed at “Sale today”\nSTOP"),
    ("opt_out", "No to “offers”, unsubscribe me please"),
    ("ambiguous", "Loved an item once. UNSUBSCRIBE"),
    ("ambiguous", "Disliked a text, STOP"),
    ("ambiguous", "STOP to “Sale alerts”"),
    ("ambiguous", "Liked “Sale today. STOP"),  # who knows where it ends
    ("opt_out", "> STOP"),
    ("opt_out", "> STOP\nSent from my iPhone"),
    ("none", "On Monday you wrote:\n> Reply STOP to end\nI am glad of that."),
    ("none", "Is this one real?\n\n---------- Forwarded message ---------\nUnsubscribe from our mails here."),
    ("none", "Begin forwarded message:\nUnsubscribe from our mails here."),
]
_LETTER = "I have written about the blue kettle before, and nobody has told me when it would be here. "
LONG = [
    ("opt_out", "Please unsubscribe me from your list and stop sending me these emails. " + 4 * _LETTER),
    ("opt_out", 40 * _LETTER + "Take me off your list."),
    ("none", 40 * _LETTER),
    ("none", 40 * _LETTER + "Do not stop writing to me."),
]


@pytest.mark.parametrize(("kind", "text"), WORDS)
def test_a_keyword_alone_is_understood(kind: str, text: str) -> None:
    assert classify(text).kind == kind


@pytest.mark.parametrize("text", [text for _, text in DISGUISED], ids=[name for name, _ in DISGUISED])
def test_stop_is_understood_however_it_is_typed(text: str) -> None:
    assert classify(text).kind == "opt_out"


@pytest.mark.parametrize("text", OTHER)
def test_anything_else_is_no_keyword(text: str) -> None:
    assert classify(text).kind == "none"


@pytest.mark.parametrize("text", REACTIONS)
def test_a_reaction_that_quotes_our_footer_is_no_keyword(text: str) -> None:
    assert classify(text).kind == "none"


@pytest.mark.parametrize(("kind", "text"), OWN_WORDS)
def test_what_stands_outside_of_a_quotation_counts(kind: str, text: str) -> None:
    assert classify(text).kind == kind


@pytest.mark.parametrize(("kind", "text"), LONG, ids=["begins so", "ends so", "ordinary", "the opposite"])
def test_long_letters_are_read(kind: str, text: str) -> None:
    assert classify(text).kind == kind


@pytest.mark.parametrize("unit", ["new number ", "\n ", "don t want x ", "cancel the ", "Liked “", "s t o p ", "é>"])
def test_no_text_takes_long(unit: str) -> None:
    text = "stop " + unit * (100_000 // len(unit))
    classify(text, ("de", "fr", "ja"))
    began = time.thread_time()
    classify(text, ("de", "fr", "ja"))
    assert time.thread_time() - began < 0.02


@pytest.mark.parametrize(("kind", "text"), SENTENCES)
def test_sentences_are_read_as_people_mean_them(kind: str, text: str) -> None:
    assert classify(text).kind == kind


@pytest.mark.parametrize(("language", "kind", "text"), LANGUAGES)
def test_each_language_has_its_own_words(language: str, kind: str, text: str) -> None:
    assert classify(text, (language,)).kind == kind


@pytest.mark.parametrize("kind", ["opt_out", "opt_in", "help"])
def test_every_listed_keyword_means_what_its_list_says(kind: str) -> None:
    for language, words in tomllib.loads(LISTED)[kind].items():
        for keyword in words["keywords"]:
            assert classify(keyword.upper() + "!", (language,), Asked(pending=True)).kind == kind


def test_english_is_read_beside_every_language() -> None:
    assert classify("stop", ("xx",)).kind == "opt_out"
    assert classify("stop", ()).kind == "opt_out"


def test_yes_subscribes_only_who_was_asked() -> None:
    assert classify("Yes").kind == "none"
    assert classify("Yes", asked=Asked(pending=True)).kind == "opt_in"
    assert classify("YES", asked=Asked(provider_opted_out=True)).kind == "opt_in"
    assert classify("yes please", asked=Asked(pending=True)).kind == "none"


def test_a_weak_word_acts_alone_only_where_carriers_act_on_it() -> None:
    chat = Surroundings("whatsapp", carrier=False)
    assert classify("cancel").kind == "opt_out"
    assert classify("cancel", here=chat).kind == "ambiguous"
    assert classify("stop", here=chat).kind == "opt_out"
    assert classify("please cancel", asked=Asked("reply")).kind == "ambiguous"
    assert classify("please cancel", asked=Asked("marketing")).kind == "opt_out"


def test_a_short_order_after_marketing_is_about_the_marketing() -> None:
    assert classify("stop that", asked=Asked("marketing")).kind == "opt_out"
    assert classify("stop that", asked=Asked("reply")).kind == "ambiguous"


@pytest.mark.parametrize(
    ("medium", "text", "scope"),
    [
        ("sms", "stop texting me", None),
        ("sms", "stop emailing me", "channel:email"),
        ("email", "Stop texting me!", "channel:sms"),
        ("whatsapp", "stop texting me", None),
        ("sms", "no more calls", "channel:voice"),
        ("sms", "STOP ALL", "all"),
        ("email", "unsubscribe from everything", "all"),
        ("sms", "Stop news", "topic:news"),
        ("email", "unsubscribe from the news", "topic:news"),
    ],
)
def test_what_a_refusal_is_about(medium: str, text: str, scope: str | None) -> None:
    words = {name: rules.words for name, rules in default().channels.items()}
    here = Surroundings(medium, default().channel(medium).carrier, words)
    found = classify(text, here=here, topics=["news"])
    assert (found.kind, found.scope) == ("opt_out", scope)


def test_languages_are_never_merged() -> None:
    lists = parse(_lists(**{"opt_out.es": '["alto", "no más"]', "opt_in.en": '["go"]'}))
    assert classify("alto", ("es",), lists=lists).kind == "opt_out"
    assert classify("No mas!", ("es",), lists=lists).kind == "opt_out"
    assert classify("alto", ("it",), lists=lists) == Reading("none")
    assert classify("go", ("es",), lists=lists).kind == "opt_in"


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
        ("[opt_out.en", "not TOML"),
        ("[halt.en]", "halt: Input should be 'opt_out', 'weak'"),
        ("[opt_out]\nen = 1", "opt_out.en: "),
        ('[opt_out.en]\nkeyword = ["x"]', "opt_out.en.keywords: Field required"),
        ('[opt_out.en]\nkeywords = ["stop"]\nreviewed = 2026-01-31', "opt_out.en.source: Field required"),
        ('[opt_out.en]\nkeywords = ["stop"]\nsource = "x"', "opt_out.en.reviewed: Field required"),
        ('[opt_out.en]\nkeywords = ["stop"]\nsource = "x"\nreviewed = "soon"', "opt_out.en.reviewed: "),
        ('[opt_out.en]\nkeywords = ["a", 2]\nsource = "x"\nreviewed = 2026-01-31', "opt_out.en.keywords.1: "),
        ('[opt_out.en]\nkeywords = []\nsource = "x"\nreviewed = 2026-01-31', "opt_out.en.keywords: "),
        ('[opt_out.en]\nkeywords = ["a", "!"]\nsource = "x"\nreviewed = 2026-01-31', "keywords.1: '!' has no letters"),
    ],
)
def test_a_malformed_file_is_named_with_its_key(toml: str, complaint: str) -> None:
    with pytest.raises(ValueError) as caught:
        parse(toml)
    assert str(caught.value).startswith("config/policy/keywords.toml: ")
    assert complaint in str(caught.value)


def test_a_pattern_that_is_none_is_named() -> None:
    with pytest.raises(ValueError, match=r"phrase\.en\.keywords\.0: not a regular expression"):
        parse(_lists(**{"phrase.en": '["(stop"]'}))


def test_one_word_cannot_mean_two_things() -> None:
    with pytest.raises(ValueError, match=r"help\.en: 'stop' already means opt_out"):
        parse(_lists(**{"opt_out.en": '["stop"]', "help.en": '["Stop!"]'}))


def _lists(**keywords: str) -> str:
    return "\n".join(
        f'[{name}]\nkeywords = {words}\nsource = "test"\nreviewed = 2026-01-31' for name, words in keywords.items()
    )


@pytest.mark.parametrize(
    ("number", "expected"),
    [
        ("+33612345678", ("fr",)),
        ("+41791234567", ("de", "fr", "it")),
        ("+15145550100", ("fr",)),  # Montreal
        ("+12125550100", ("es",)),
        ("+18765550100", ()),  # Jamaica
        ("+447700900123", ()),
        ("+5511987654321", ("pt",)),
        ("+77011234567", ("ru",)),
        ("+88", ()),
        ("+", ()),
        ("anonymous", ()),
        ("", ()),
    ],
)
def test_a_number_tells_which_languages_are_read(number: str, expected: tuple[str, ...]) -> None:
    assert languages.of_number(number, default()) == expected


def test_only_languages_with_keywords_are_named() -> None:
    named = {each for spoken in default().languages.values() for each in spoken}
    assert named <= default().keywords.words["opt_out"].keys()
    assert default().languages.keys() <= phonenumbers.SUPPORTED_REGIONS | {"VA"}


@given(st.text(st.characters(codec="ascii")))
def test_plain_ascii_is_read_like_any_other_text(text: str) -> None:
    assert plain(text) == _plain_by_letter(text)
