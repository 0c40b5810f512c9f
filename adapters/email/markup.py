"""HTML mail as text, at a bounded price, and without the mail it quotes."""

from __future__ import annotations

import re
from collections import Counter
from contextlib import suppress
from html import unescape
from typing import Any

from inscriptis import get_text
from inscriptis.css_profiles import STRICT_CSS_PROFILE
from inscriptis.html_properties import Display
from inscriptis.model.config import ParserConfig
from inscriptis.model.html_element import HtmlElement
from inscriptis.model.tag import CustomHtmlTagHandlerMapping

from adapters.email.charsets import clean

LARGEST = 1_000_000  # characters of HTML that are kept
PARSED = 256 * 1024  # characters of a mail given to the parser: a third of a second
_DEEPEST = 50  # open elements; libxml2 drops what lies below 256
_TAG = re.compile(r"<(/?)([A-Za-z][A-Za-z0-9]*+)([^<>]*+)>")  # nothing is given back: not every tag ends
_ANY_TAG = re.compile(r"<[^<>]*>")
_FLAT = frozenset(
    re.findall(
        r"\w+",
        "area base br col embed hr img input link meta source track wbr "
        "p li dt dd option tr td th thead tbody tfoot html head body",
    )
)
# What mail programs put around the mail that is answered …
_QUOTES = re.compile(r"\bgmail_quote\b|\btype\s*=\s*[\"']?cite\b|\byahoo_quoted\b|\bprotonmail_quote\b", re.IGNORECASE)
_INTRODUCTION = re.compile(r"\bgmail_attr\b|\bmoz-cite-prefix\b", re.IGNORECASE)
# … and above it: all that follows is quoted.
_REST = re.compile(
    r"\bid\s*=\s*[\"']?(?:x_)*+(?:divRplyFwdMsg|appendonsend|OLK_SRC_BODY_SECTION)\b|data-marker\s*=\s*[\"']?__DIVIDER__"
    r"|border-top:\s*solid\s+#(?:E1E1E1|B5C4DF)\s+1\.0pt",
    re.IGNORECASE,
)
_LINK = re.compile(r"\[([^\[\]\n]{0,500})\]\(((?:[^()\s]|\([^()\s]{0,200}\)){1,2000})\)")


def to_text(html: str, most: int = PARSED) -> str:
    """What a reader sees. Never fails; of more than ``most`` characters, or too deep: just without its tags."""
    if len(html) > most or _depth(html) > _DEEPEST:
        return _stripped(html)
    try:
        text = get_text(html, _config())
    except (ValueError, RecursionError, AssertionError):
        return _stripped(html)
    if len(text) > 3 * len(html):  # indentation of nested lists grows with the square of what it is made of
        return _stripped(html)
    lines = [line.rstrip() for line in clean(_LINK.sub(_shown_link, text)).split("\n")]
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip()


def without_quote(html: str) -> str:
    """The document without what it quotes. Text between quoted blocks stays: some answer in between."""
    kept: list[str] = []
    place, name, level, start = 0, "", 0, 0
    for tag in _TAG.finditer(html):
        closing, kind, attributes = tag[1], tag[2].lower(), tag[3]
        if level:
            if kind == name:
                level += -1 if closing else 1
            if level == 0 and _is_quote(name, html[start : tag.end()]):
                kept.append(html[place:start])
                place = tag.end()
        elif not closing and _REST.search(attributes):
            kept.append(html[place : tag.start()])
            return "".join(kept)
        elif not closing and _opens_quote(kind, attributes):
            name, level, start = kind, 1, tag.start()
    kept.append(html[place:start] if level and _is_quote(name, html[start:]) else html[place:])
    return "".join(kept)


def _opens_quote(kind: str, attributes: str) -> bool:
    # A div.gmail_quote holds new text too, where people answer in between; only its blockquotes are the old mail.
    if kind == "blockquote":
        return bool(_QUOTES.search(attributes))
    if kind != "div":
        return False
    return bool(_INTRODUCTION.search(attributes) or ("gmail_quote" not in attributes and _QUOTES.search(attributes)))


def _is_quote(name: str, element: str) -> bool:
    """Forwarded mail is introduced too, but it is what the writer wants to show."""
    return name == "blockquote" or "-----" not in element[:500]


def _shown_link(found: re.Match[str]) -> str:
    words, address = found[1].strip(), found[2]
    if not address.lower().startswith(("http://", "https://", "mailto:", "tel:")):
        return words
    bare = address.partition(":")[2].strip("/")
    if not words:
        return ""
    return words if words.rstrip("/").endswith(bare) else f"{words} ({address})"


def _stripped(html: str) -> str:
    text = _ANY_TAG.sub(" ", html)
    with suppress(ValueError):  # a character's number of thousands of digits
        text = unescape(text)
    # A run of spaces is looked at once: there may be as many as there were tags.
    return clean(re.sub(r"(?<!\s)[^\S\n]*+\n\s*", "\n", text)).strip()


def _depth(html: str) -> int:
    """How deep elements nest, roughly and rather too deep."""
    opened: Counter[str] = Counter()
    depth = deepest = 0
    for tag in re.finditer(r"<(/?)([A-Za-z][A-Za-z0-9]*)", html):
        name = tag[2].lower()
        if name in _FLAT:
            continue
        if not tag[1]:
            opened[name] += 1
            depth += 1
            deepest = max(deepest, depth)
        elif opened[name]:
            opened[name] -= 1
            depth -= 1
    return deepest


class _Attributes:
    """Of all styles only "do not show this": widths and margins set by a stranger cost memory."""

    def apply_attributes(self, attributes: dict[str, str], html_element: Any) -> Any:
        if "display:none" in attributes.get("style", "").replace(" ", "").lower() or "hidden" in attributes:
            html_element.display = Display.none
        return html_element


def _config() -> ParserConfig:
    """Tables as lines of words: padding every row to the widest one turns 100 kB into 250 MB."""
    css = {
        **STRICT_CSS_PROFILE,
        **{tag: HtmlElement(display=Display.block, padding_inline=2) for tag in ("ul", "ol")},
        **{tag: HtmlElement(display=Display.block) for tag in ("table", "tr", "caption")},
        **{tag: HtmlElement(prefix=" ", suffix=" ", limit_whitespace_affixes=True) for tag in ("td", "th")},
    }
    no_table: dict[str, Any] = dict.fromkeys(("table", "tr", "td", "th"))
    config = ParserConfig(
        css=css, display_links=True, custom_html_tag_handler_mapping=CustomHtmlTagHandlerMapping(no_table, no_table)
    )
    config.attribute_handler = _Attributes()
    return config
