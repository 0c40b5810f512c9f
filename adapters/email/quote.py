"""What is new in a mail: without the quoted mail below it, and without the signature."""

from __future__ import annotations

import re
from operator import itemgetter

from mailparser_reply.parser import EmailMessage

from adapters.email.introductions import introduction, is_device, is_forwarding, is_separator

_LANGUAGES = ("en", "de", "fr", "es", "it", "nl", "pl", "sv", "da", "cs", "ja", "ko", "zh")
_LOOKED_AT = 20_000  # characters; the library takes time that grows with the square of what it looks at
_LONG_LINE = 500  # characters; a line that introduces a quote is shorter
_BLANKS = re.compile(r"\n[^\S\n]*(?:\n[^\S\n]*){2,}")
_DASHES = re.compile(r"^--[ \t\xa0]*$", re.MULTILINE)


def new_text(text: str, *, forwarded: bool = False) -> str:
    """The part its author added. Never empty where ``text`` is not: then it is all of it.

    Answers between quoted lines are shown with those lines, since alone they say nothing; so is a mail that is
    ``forwarded``, since it is what the writer wants to show.
    """
    whole = _BLANKS.sub("\n\n", text).strip()
    lines = whole.split("\n")
    first = _first_reply(lines)
    if forwarded or _is_forwarded(lines, first):
        return whole
    if first is None:
        return _or(_below_quote(_unsigned(whole)), whole)
    end, header = first
    rest = lines[end + header :]
    if header and _interleaved(rest):
        return _or(_unsigned(whole), whole)
    new = "\n".join(lines[:end])
    return _or(_without_tail(new), whole)


def _is_forwarded(lines: list[str], first: tuple[int, int] | None) -> bool:
    """Whether a mail is shown, and no other one is quoted above it."""
    shown = next((number for number, line in enumerate(lines) if is_forwarding(line)), None)
    return shown is not None and (first is None or first[1] == 0 or sum(first) > shown)


def _first_reply(lines: list[str]) -> tuple[int, int] | None:
    """How many lines come before the first quote or signature, and how many introduce the quote (0: none).

    None if the mail begins with a quote.
    """
    looked_at = _beginning(lines)
    known, seen = _known_reply(looked_at, len(lines)), introduction(looked_at)
    if known is None or seen is None:
        return known
    return None if seen[0] == 0 else min(seen, known, key=itemgetter(0))


def _beginning(lines: list[str]) -> list[str]:
    """As many lines as are looked at, the long ones masked."""
    masked, size = [], 0
    for line in lines:
        size += min(len(line), _LONG_LINE) + 1
        if size > _LOOKED_AT:
            break
        masked.append(line if len(line) <= _LONG_LINE else "x")
    return masked


def _known_reply(lines: list[str], count_all: int) -> tuple[int, int] | None:
    """The same, as the library sees it for the languages that it knows."""
    mail = EmailMessage(text="\n".join(lines), languages=list(_LANGUAGES), keep_hyphen_lists=True)
    # Its read() would go on to all quoted mails, and through the text again for each.
    found = mail.HEADER_REGEX.search(mail.text)
    after = next(filter(None, found.groups()), "") if found else ""
    new = mail.text[: mail.text.find(after)] if after else mail.text
    content = new.strip()
    if (after and not content) or content.startswith(">"):
        return None
    signed = mail.SIGNATURE_REGEX.search(new)
    signature = signed[0].strip() if signed else ""
    if signature and (start := content.rfind(signature)) > 0:
        content = content[:start].rstrip()
        return content.count("\n") + 1, 0
    if not after:
        # Nothing found: what lies beyond the part that was looked at is new too.
        return count_all, 0
    count = content.count("\n") + 1 if content else 0
    while count < len(lines) and not lines[count].strip():
        count += 1
    return count, after.strip().count("\n") + 1


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
    """Without quoted lines at its end that nothing introduces, lines drawn, and what a phone says of itself."""
    lines = text.rstrip().split("\n")
    while lines and _says_nothing(lines[-1]):
        lines.pop()
    return "\n".join(lines).strip()


def _says_nothing(line: str) -> bool:
    return line.startswith(">") or not line.strip() or is_separator(line) or is_device(line)


def _or(text: str, whole: str) -> str:
    return text if text.strip() else whole
