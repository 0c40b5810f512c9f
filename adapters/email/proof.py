"""Whether the receiving mail server vouches for the From address (RFC 8601, RFC 7489)."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence

from adapters.email.address import domain_of

_QUOTED = re.compile(r'"(?:[^"\\]|\\.?)*+(?:"|$)')  # to the end, where nothing closes it
_DMARC = re.compile(r"dmarc\s*(?:/\s*\d+\s*)?=\s*([a-z]+)\b(.*)", re.DOTALL)
_FROM = re.compile(r"(?:^|\s)header\.from\s*=\s*@?([a-z0-9.-]+)")
_LONGEST = 10_000  # characters


def dmarc(headers: Sequence[str], trusted: Collection[str], sender: str) -> bool:
    """Whether the topmost Authentication-Results of a trusted server says that ``sender``'s domain passed DMARC.

    Lower ones may have come with the mail: whoever wrote it wrote them.
    """
    for header in headers:
        clauses = _without_comments(header[:_LONGEST]).lower().split(";")
        words = clauses[0].split()
        if words and words[0] in trusted:
            return any(_passes(clause.strip(), domain_of(sender)) for clause in clauses[1:])
    return False


def _passes(clause: str, domain: str) -> bool:
    found = _DMARC.match(clause)
    if found is None or found[1] != "pass":
        return False
    said = _FROM.search(found[2])
    # Some servers name the organisation's domain in place of the sender's.
    return said is None or domain == said[1] or domain.endswith("." + said[1])


def _without_comments(text: str) -> str:
    """Comments may nest, and hold anything; so may quoted strings."""
    text = _QUOTED.sub(" ", text)
    kept, depth = [], 0
    for piece in re.split(r"([()])", text):
        if piece == "(":
            depth += 1
        elif piece == ")":
            depth = max(0, depth - 1)
        elif depth == 0:
            kept.append(piece)
    return " ".join(kept)
