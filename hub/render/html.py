"""HTML to text, at a bounded price, and text lines into HTML."""

from __future__ import annotations

import re
from collections import Counter
from html import escape, unescape
from typing import Any

from inscriptis import get_text
from inscriptis.css_profiles import STRICT_CSS_PROFILE
from inscriptis.html_properties import Display
from inscriptis.model.config import ParserConfig
from inscriptis.model.html_element import HtmlElement
from inscriptis.model.tag import CustomHtmlTagHandlerMapping

from hub.render.text import clean

_LARGEST = 256 * 1024  # characters given to the parser: a third of a second; mail clients clip at 102 kB
_DEEPEST = 50  # open elements; libxml2 drops what lies below 256, silently, and end tags may be implied
_LINKS = ("http://", "https://", "mailto:", "tel:")
_TAG = re.compile(r"<(/?)([a-z][a-z0-9]*)", re.IGNORECASE)
_BODY_ENDS = re.compile("</body>", re.IGNORECASE)
_NAME = re.compile(r"\w+")
_FLAT = frozenset(  # without content, or ended by the next of their kind
    _NAME.findall(
        "area base br col embed hr img input link meta source track wbr "
        "p li dt dd option optgroup tr td th thead tbody tfoot colgroup rt rp html head body"
    )
)
_UNSEEN = {name: re.compile(f"</{name}[^>]*>?", re.IGNORECASE) for name in ("script", "style", "title")}
_LINE_TAGS = frozenset(_NAME.findall("p div br li tr table h1 h2 h3 h4 h5 h6 blockquote pre ul ol hr section article"))
_LINK_STARTS, _LINK_ENDS = "\ufdd0", "\ufdd1"  # no characters of any text; around an address in inscriptis' output


def to_text(html: str) -> str:
    """What a reader sees, links as ``words (https://…)``. Never fails; too large or deep: just without its tags."""
    html = clean(html)
    if len(html) > _LARGEST or _depth(html) > _DEEPEST:
        return strip_tags(html)
    text = clean(_show_links(get_text(html, _config())))
    # Indentation of nested lists grows with the square of what it is made of.
    return text if len(text) <= 2 * len(html) else strip_tags(html)


def add_lines(html: str, lines: str) -> str:
    """The document with ``lines`` as its last paragraph."""
    paragraph = "<p>" + escape(lines).replace("\n", "<br>\n") + "</p>"
    ends = [end.start() for end in _BODY_ENDS.finditer(html)] or [len(html)]
    return html[: ends[-1]] + paragraph + html[ends[-1] :]


def strip_tags(html: str) -> str:
    """Words without tags, in linear time and without a parser."""
    pieces: list[str] = []
    place = 0
    while (opened := html.find("<", place)) >= 0:
        pieces.append(html[place:opened])
        if html.startswith("<!--", opened):
            place = _after(html, "-->", opened)
            continue
        tag = _TAG.match(html, opened)
        if tag is None and not html.startswith(("<!", "<?"), opened):
            pieces.append("<")
            place = opened + 1
            continue
        place = _after(html, ">", opened)
        name = tag[2].lower() if tag else ""
        pieces.append("\n" if name in _LINE_TAGS else " " if name in ("td", "th") else "")
        if tag and not tag[1] and name in _UNSEEN:
            end = _UNSEEN[name].search(html, place)
            place = end.end() if end else len(html)
    pieces.append(html[place:])
    return clean(re.sub(r"\n{3,}", "\n\n", unescape("".join(pieces))))


def _after(html: str, mark: str, start: int) -> int:
    found = html.find(mark, start)
    return len(html) if found < 0 else found + len(mark)


def _depth(html: str) -> int:
    """How deep elements nest, roughly and rather too deep. An end tag without its start tag ends nothing."""
    opened: Counter[str] = Counter()
    depth = deepest = 0
    for slash, tag in _TAG.findall(html):
        name = tag.lower()
        if name in _FLAT:
            continue
        if not slash:
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


def _open_link(state: Any, attributes: dict[str, str]) -> None:
    address = attributes.get("href", "").strip()
    state.link_target = address if address.lower().startswith(_LINKS) else ""


def _close_link(state: Any) -> None:
    if state.link_target:
        state.tags[-1].write(f"{_LINK_STARTS}{state.link_target}{_LINK_ENDS}")
    state.link_target = ""


def _show_links(text: str) -> str:
    """Addresses in brackets after their words, unless they are the words."""
    first, *rest = text.split(_LINK_STARTS)
    pieces = [first]
    for each in rest:
        address, _, following = each.partition(_LINK_ENDS)
        words = pieces[-1].rstrip()
        bare = address.partition(":")[2].strip("/")
        if not words.rstrip("/").endswith(bare):
            pieces[-1] = words
            pieces.append(f" ({address})" if words else address)
        pieces.append(following)
    return "".join(pieces)


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
        css=css,
        display_links=True,
        custom_html_tag_handler_mapping=CustomHtmlTagHandlerMapping(
            {**no_table, "a": _open_link}, {**no_table, "a": _close_link}
        ),
    )
    config.attribute_handler = _Attributes()
    return config
