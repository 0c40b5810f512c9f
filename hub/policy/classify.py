"""What a message says about getting messages: stop, start, help, wrong number, perhaps stop, or nothing."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from hub.policy import keywords
from hub.policy.keywords import Lists, Vocabulary, fold

Class = Literal["opt_out", "opt_in", "help", "wrong_party", "ambiguous", "none"]

_READ = 1000  # characters at the beginning, and as many at the end: where somebody says what they want
_SHORT = 3  # words; "stop it", "stop the ads": an order to whoever wrote last
# What phones write before the quoted text of ours that somebody has tapped a reaction on.
_REACTED = re.compile(
    r"""\s*(?:
        liked | loved | disliked | laughed\ at | emphasi[sz]ed | questioned
      | removed\ an?\ [^"“«„]{1,40}\ from
      | (?:reacted\ )?[^\w\s"“«„'‘]{1,12}\ to
      | reacted\ .{1,20}\ to
      | a\ (?:aimé|adoré|ri\ (?:de|à)) | le\ (?:gustó|encantó) | gefällt | liebt | hat\ .{0,30}geliked
    )\s?:?\s?(?=["“«„'‘])""",
    re.IGNORECASE | re.VERBOSE,
)
_CLOSED_BY = {'"': '"', "'": "'", "“": "”", "‘": "’", "«": "»", "„": "“”"}
_QUOTED = re.compile(r"^[ \t]*>.*$", re.MULTILINE)
_SIGNATURE = re.compile(
    r"(?<=\n)[ \t]*(?:--\s|—|sent from my |get outlook for |envoyé de mon |enviado desde mi |von meinem ).*",
    re.IGNORECASE | re.DOTALL,
)
# Below such a line stands a mail that is shown, with the words of its own footer.
_PASSED_ON = re.compile(r"^(?:-{3,} ?\w[^\n]{0,60}-{3,}|_{10,}|begin forwarded message:).*", re.I | re.M | re.S)
_EVERYTHING = re.compile(r"^(?:stopall|\w+ (?:from )?(?:all|everything))$")


@dataclass(frozen=True, slots=True)
class Asked:
    """What went before. ``pending``: we asked them to confirm a subscription."""

    last_outbound: Literal["reply", "transactional", "marketing"] | None = None
    pending: bool = False
    provider_opted_out: bool = False


@dataclass(frozen=True, slots=True)
class Reading:
    """``scope``: None is the channel it came on; else "all", "channel:<medium>" or "topic:<name>"."""

    kind: Class
    scope: str | None = None
    rule: str = ""


@dataclass(frozen=True, slots=True)
class Surroundings:
    """``carrier``: carriers act on keywords here. ``words``: what other media are called, by medium."""

    medium: str = "sms"
    carrier: bool = True
    words: Mapping[str, Sequence[str]] | None = None


_NONE = Reading("none")


def classify(
    text: str,
    languages: Iterable[str] = ("en",),
    asked: Asked = Asked(),
    here: Surroundings = Surroundings(),
    topics: Iterable[str] = (),
    lists: Lists | None = None,
) -> Reading:
    """Pure. English is always read beside ``languages`` (BCP 47, only the language counts)."""
    lists = keywords.default() if lists is None else lists
    known = keywords.vocabulary(lists, tuple(languages))
    said = fold(_own_words(text))
    if not said or not known.may_say_something(said):
        return _NONE
    reader = _Reader(said, known, asked, here)
    if not known.may_have_keyword(said):
        return reader.sentence() or _NONE
    return reader.whole() or reader.topic(topics) or reader.polite() or reader.answer() or reader.sentence() or _NONE


def _own_words(text: str) -> str:
    """Without a reaction's quotation of us, without what else it quotes, and without a signature."""
    if len(text) > 2 * _READ:
        text = f"{text[:_READ]}\n{text[-_READ:]}"
    if reacted := _REACTED.match(text):
        text = _after_quotation(text, reacted.end())
    if "\n" not in text:  # what quotes a mail has more than one line
        return text
    text = _SIGNATURE.sub("", _PASSED_ON.sub("", text))
    return _QUOTED.sub("", text) if ">" in text and "\n" in text.strip() else text


def _after_quotation(text: str, start: int) -> str:
    """What stands behind the quotation that begins at ``start``; everything if that does not end."""
    opening, closing, depth = text[start], _CLOSED_BY[text[start]], 0
    for place in range(start, len(text)):
        letter = text[place]
        if letter != opening and letter not in closing:
            continue
        before, after = text[place - 1 : place], text[place + 1 : place + 2]
        if letter == opening and (letter not in closing or place == start or (before.isspace() and after.strip())):
            depth += 1
        elif not after.isalnum():  # else an apostrophe
            depth -= 1
            if depth == 0:
                return text[place + 1 :]
    return text


class _Reader:
    """One message under the rules, which are asked in this order."""

    def __init__(self, said: str, vocabulary: Vocabulary, asked: Asked, here: Surroundings) -> None:
        self.said, self.known, self.asked, self.here = said, vocabulary, asked, here

    def whole(self) -> Reading | None:
        """The message is one keyword, perhaps repeated."""
        if self.said in self.known.strong or self._repeated(self.known.strong):
            return self._out(_everything(self.said), "a keyword alone")
        if self.said in self.known.stops or self._repeated(self.known.stops):
            if self.here.carrier:
                return Reading("opt_out", rule="a keyword alone, on which carriers block")
            return Reading("ambiguous", rule="a keyword that may be about something else")
        if _EVERYTHING.match(self.said) and self.said.split()[0] in self.known.stops:
            return Reading("opt_out", "all", "a keyword for everything")
        return None

    def topic(self, topics: Iterable[str]) -> Reading | None:
        """A keyword and the name of a topic: STOP PROMO."""
        for name in topics:
            named = re.escape(fold(name))
            for word in self.known.stops:
                if named and re.fullmatch(rf"{re.escape(word)} (?:from )?(?:the )?{named}s?", self.said):
                    return Reading("opt_out", f"topic:{name}", "a keyword and a topic")
        return None

    def polite(self) -> Reading | None:
        """A keyword among words that change nothing."""
        rest = " ".join(self.known.polite.sub(" ", self.said).split())
        if rest == self.said or not rest:
            return None
        if rest in self.known.strong:
            return self._out(_everything(rest), "a keyword and politeness")
        if rest in self.known.stops:
            if self.here.carrier and self.asked.last_outbound == "marketing":
                return Reading("opt_out", rule="a keyword and politeness, after marketing")
            return Reading("ambiguous", rule="a keyword that may be about something else")
        if rest in self.known.help:
            return Reading("help", rule="a keyword and politeness")
        return None

    def answer(self) -> Reading | None:
        """HELP and START. YES only to a question: nobody is subscribed by answering something else."""
        if self.said in self.known.help:
            return Reading("help", rule="a keyword alone")
        if self.said not in self.known.opt_in:
            return None
        if self.said not in self.known.contextual:
            return Reading("opt_in", rule="a keyword alone")
        if self.asked.pending or self.asked.provider_opted_out:
            return Reading("opt_in", rule="an answer to our question")
        return Reading("none", rule="an answer, but not to whether we may write")

    def sentence(self) -> Reading | None:
        """Negated and everyday uses are taken out first, so that what is left is meant."""
        rest = self.said
        for pattern in self.known.everyday:
            rest = " ".join(pattern.sub(" ", rest).split())
        for pattern in self.known.phrases:
            if found := pattern.search(rest):
                return self._out(self._other_medium(found.group()), f"says so: {found.group()!r}")
        if any(pattern.search(rest) for pattern in self.known.wrong_party):
            return Reading("wrong_party", rule="somebody else has this address")
        return self._stray(rest)

    def _stray(self, rest: str) -> Reading | None:
        """A strong keyword in another sentence: a person has to look, unless it answers marketing at once."""
        if not self.known.may_have_keyword(rest) or not self.known.stray.search(rest):
            return None
        leading = self.known.stray.match(rest) is not None and rest == self.said and len(rest.split()) <= _SHORT
        if leading and self.asked.last_outbound == "marketing":
            return Reading("opt_out", rule="begins with a keyword, after marketing")
        return Reading("ambiguous", rule="a keyword in another sentence")

    def _out(self, scope: str | None, rule: str) -> Reading:
        return Reading("opt_out", scope, rule)

    def _repeated(self, words: frozenset[str]) -> bool:
        each = self.said.split()
        return len(each) > 1 and len(set(each)) == 1 and each[0] in words

    def _other_medium(self, words: str) -> str | None:
        """The one medium that is named, if it is not the one the message came on; all of them if both are."""
        names, said = self.here.words or {}, set(words.split())
        own = said.intersection(names.get(self.here.medium, ()))
        others = said - own
        named = [medium for medium, called in names.items() if others.intersection(called)]
        if not named:
            return None
        return "all" if own else f"channel:{named[0]}"


def _everything(word: str) -> str | None:
    return "all" if _EVERYTHING.match(word) else None
