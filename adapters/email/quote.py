"""What is new in a mail: without the quoted mail below it, and without the signature."""

from __future__ import annotations

import re

from mailparser_reply.parser import EmailMessage

_LANGUAGES = ("en", "de", "fr", "es", "it", "nl", "pl", "sv", "da", "cs", "ja", "ko", "zh")
_LOOKED_AT = 20_000  # characters; the library takes time that grows with the square of what it looks at
_LONG_LINE = 500  # characters; a line that introduces a quote is shorter
_BLANKS = re.compile(r"\n[ \t]*(?:\n[ \t]*){2,}")
_DASHES = re.compile(r"^--[ \t\xa0]*$", re.MULTILINE)


def new_text(text: str) -> str:
    """The part its author added. Never empty where ``text`` is not: then it is all of it.

    Answers between quoted lines are shown with those lines, since alone they say nothing.
    """
    whole = _BLANKS.sub("\n\n", text).strip()
    lines = whole.split("\n")
    first = _first_reply(lines)
    if first is None:
        return _or(_below_quote(_unsigned(whole)), whole)
    end, header = first
    rest = lines[end + header :]
    if header and _interleaved(rest):
        return _or(_unsigned(whole), whole)
    new = "\n".join(lines[:end])
    return _or(_without_tail(new), whole)


def _first_reply(lines: list[str]) -> tuple[int, int] | None:
    """How many lines come before the first quote or signature, and how many introduce the quote (0: none).

    None if the mail begins with a quote.
    """
    masked, size = [], 0
    for line in lines:
        size += min(len(line), _LONG_LINE) + 1
        if size > _LOOKED_AT:
            break
        masked.append(line if len(line) <= _LONG_LINE else "x")
    given = "\n".join(masked)
    replies = EmailMessage(text=given, languages=list(_LANGUAGES), keep_hyphen_lists=True).read().replies
    first = replies[0]
    if first.headers or first.content.lstrip().startswith(">"):
        return None
    after = replies[1].headers if len(replies) > 1 else None
    content = first.content
    if first.signatures and (start := content.rfind(first.signatures)) > 0:
        content = content[:start].rstrip()
        return content.count("\n") + 1, 0
    if after is None:
        # Nothing found: what lies beyond the part that was looked at is new too.
        return len(lines), 0
    count = content.count("\n") + 1 if content else 0
    while count < len(lines) and not lines[count].strip():
        count += 1
    return count, after.count("\n") + 1


def _interleaved(rest: list[str]) -> bool:
    """Whether something new stands between or below quoted lines."""
    filled = [line for line in _unsigned("\n".join(rest)).split("\n") if line.strip()]
    return bool(filled) and filled[0].startswith(">") and not all(line.startswith(">") for line in filled)


def _below_quote(text: str) -> str:
    """Of a mail that begins with a quote: what is below it; all of it where quoted lines go on between."""
    lines = text.split("\n")
    quoted = [number for number, line in enumerate(lines) if line.startswith(">")]
    if not quoted:
        return text
    first, last = quoted[0], quoted[-1]
    if any(line.strip() and not line.startswith(">") for line in lines[first:last]):
        return text
    return "\n".join(lines[last + 1 :]).strip()


def _unsigned(text: str) -> str:
    found = list(_DASHES.finditer(text))
    return text[: found[-1].start()].rstrip() if found else text


def _without_tail(text: str) -> str:
    """Without quoted lines at its end that nothing introduces."""
    lines = text.rstrip().split("\n")
    while lines and (lines[-1].startswith(">") or not lines[-1].strip()):
        lines.pop()
    return "\n".join(lines).strip()


def _or(text: str, whole: str) -> str:
    return text if text.strip() else whole
