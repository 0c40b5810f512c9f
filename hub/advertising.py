"""What advertising says by itself, whoever wrote it: where the business is, and how it is ended."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Sequence
from functools import cache
from html import escape
from importlib.resources import files

from hub.channels import Channel
from hub.context import Context
from hub.model import Content
from hub.policy import keywords, languages, pack
from hub.render.html import add_lines

_WORD = re.compile(r"\w+")
_LAST = 80  # characters in which an author's own words about it stand, as everywhere


def unknown_topic(context: Context, topic: str | None) -> str | None:
    """What is wrong with a message's topic; None: nothing."""
    if topic is None or topic in context.topics:
        return None
    known = ", ".join(context.topics) or "none"
    return f"no topic is called {topic!r}; there are: {known} (setting: topics)"


def sign(content: Content, address: str) -> None:
    """Put the postal address under it, unless its author did."""
    if address not in content.text and (content.text or not content.html):
        content.text = f"{content.text.rstrip()}\n\n{address}".lstrip()
    if content.html and escape(address) not in content.html:
        content.html = add_lines(content.html, address)


def say_how_to_end(content: Content, context: Context, channel: Channel, address: str, locales: Sequence[str]) -> None:
    """Put a line under it that says how, where the channel's rules want one, unless its author did.

    ``locales``: of the text and of the recipient, the best first; then those of their number's country.
    """
    policy = pack.default()
    if not policy.channel(channel.medium).stop_line or content.template is not None:
        return
    scheme, _, value = address.partition(":")
    spoken = (*locales, *(languages.official(value) if scheme == "tel" else ()))
    if _says_how(content.text or content.html or "", spoken):
        return
    words = texts()[_language(spoken)]
    line = words["reply"] if channel.answerable else words["link"].format(link=context.page(address))
    if content.text or not content.html:
        content.text = f"{content.text.rstrip()}\n{line}".lstrip()
    if content.html:
        content.html = add_lines(content.html, line)


def _says_how(text: str, spoken: Sequence[str]) -> bool:
    """Whether a keyword stands at its end, in capitals as one does it: "Don't stop dreaming" says nothing."""
    strong = keywords.vocabulary(pack.default().keywords, tuple(spoken)).strong
    words = _WORD.findall(text.rstrip()[-_LAST:])
    return any(word == word.upper() and keywords.fold(word) in strong for word in words)


@cache
def texts() -> dict[str, dict[str, str]]:
    """By language, those of ``config/advertising.toml``."""
    return tomllib.loads(files("config").joinpath("advertising.toml").read_text(encoding="utf-8"))


def _language(spoken: Sequence[str]) -> str:
    short = (each.replace("_", "-").partition("-")[0].lower() for each in spoken)
    return next((each for each in short if each in texts()), "en")
