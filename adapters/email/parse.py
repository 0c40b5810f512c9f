"""Raw mail to headers, texts and files, with caps before anything expensive."""

from __future__ import annotations

import re
from base64 import b64decode
from collections.abc import Iterator
from dataclasses import dataclass, field
from email import message_from_bytes
from email.message import Message
from email.policy import Compat32
from itertools import count
from typing import Any, Literal, TypeAlias

from adapters.email import markup
from adapters.email.address import one_line
from adapters.email.charsets import clean, decode, header
from hub.contract import Unparseable
from hub.model import Attachment

_PARTS, _DEEP = 200, 20
_HOLDERS = 100  # parts that hold others, by what their headers look like
_LINES = 1_000_000  # each costs the parser a microsecond and 60 bytes; 25 MB of files in base64 have 330 000
_PIECES = 20_000  # headers and parts, those of attached mails too
_HEADERS = 256 * 1024  # bytes of all headers of the mail itself
_HEADER = 64 * 1024  # characters of one
# The library takes time that grows with the square of what such a header holds, and reads it again for each question.
_PARAMETERS, _PARAMETERS_LONG = 200, 8 * 1024  # semicolons; characters
_PARAMETRIC = ("content-type", "content-disposition")
_TEXT = 500_000  # characters of text that are kept
_NESTS = re.compile(rb"^content-type:[ \t]*(?:\r?\n[ \t]+)?(?:multipart|message)/", re.IGNORECASE | re.MULTILINE)
_HEAD_ENDS = re.compile(rb"\r?\n\r?\n")
# Parts that say nothing by themselves, and the names of some that come without one.
_HIDDEN = {
    "application/pgp-signature", "application/pkcs7-signature", "application/x-pkcs7-signature",
    "application/pgp-encrypted", "text/x-amp-html",
}
_NAMES = {"message/rfc822": "mail.eml", "text/calendar": "invite.ics"}
_SEALED = {"multipart/encrypted", "application/pkcs7-mime", "application/x-pkcs7-mime"}

Part: TypeAlias = "Message[Any, Any]"  # quoted: generic in its stubs only


@dataclass(slots=True)
class Mail:
    """``text`` is the whole text; ``html`` the raw markup, joined if there are several."""

    headers: dict[str, list[str]]  # lower-case names; raw unfolded values, top to bottom
    root: Part
    text: str = ""
    html: str | None = None
    attachments: list[Attachment] = field(default_factory=list)
    from_html: bool = False  # there was no plain text

    def first(self, name: str) -> str:
        return next(iter(self.headers.get(name, ())), "")

    def words(self, name: str) -> str:
        """A header decoded, on one line."""
        return header(self.first(name))


class _Limits(Compat32):
    """What headers may hold, looked at before the library makes anything of them. One for each reading."""

    pieces: Iterator[int]

    def __init__(self) -> None:
        super().__init__()
        self.__dict__["pieces"] = count()  # the library's policies take no other attributes

    def header_source_parse(self, sourcelines: list[str]) -> tuple[str, str]:
        """Raises: Unparseable."""
        name, value = super().header_source_parse(sourcelines)
        self.spend()
        if name.lower() in _PARAMETRIC and (len(value) > _PARAMETERS_LONG or value.count(";") > _PARAMETERS):
            raise Unparseable(f"{name} of {len(value)} characters with {value.count(';')} semicolons")
        return name, value[:_HEADER]

    def spend(self) -> None:
        if next(self.pieces) >= _PIECES:
            raise Unparseable(f"more than {_PIECES} headers and parts")


class _Part(Message):
    """Refuses parts while they are found: the parser compares each line with the boundaries of all that are open."""

    depth = 0

    def attach(self, payload: Any) -> None:
        """Raises: Unparseable."""
        if isinstance(payload, _Part):
            payload.depth = self.depth + (self.get_content_maintype() == "multipart")
            if payload.depth > _DEEP:
                raise Unparseable(f"parts nest more than {_DEEP} deep")
        if isinstance(self.policy, _Limits):
            self.policy.spend()
        super().attach(payload)


def _read(raw: bytes) -> Part:
    """Raises: Unparseable."""
    return message_from_bytes(raw, _Part, policy=_Limits())


def parse(raw: bytes) -> Mail:
    """Raises: Unparseable for what is no mail, or is built to exhaust who reads it."""
    _refuse_bombs(raw)
    try:
        root = _read(raw)
        mail = Mail(_headers(root), root)
        _bodies(mail)
    except (RecursionError, ValueError, LookupError, AttributeError, IndexError, TypeError) as error:
        if isinstance(error, Unparseable):
            raise
        raise Unparseable(f"not a mail that can be read: {type(error).__name__}") from error
    return mail


def _refuse_bombs(raw: bytes) -> None:
    end = _HEAD_ENDS.search(raw)
    if (end.start() if end else len(raw)) > _HEADERS:
        raise Unparseable(f"more than {_HEADERS} bytes of headers")
    if raw.count(b"\n") + raw.count(b"\r") - raw.count(b"\r\n") > _LINES:
        raise Unparseable(f"more than {_LINES} lines")
    if sum(1 for _ in _NESTS.finditer(raw)) > _HOLDERS:
        raise Unparseable("too many parts within parts")


def _headers(root: Part) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for name, value in root.raw_items():
        text = " ".join(str(value).split("\n")).replace("\r", " ")
        found.setdefault(name.lower(), []).append(_utf8(text).strip())
    return found


def _utf8(value: str) -> str:
    """Headers of mail with SMTPUTF8 are in UTF-8; other bytes stay as they are (surrogates), for who guesses."""
    try:
        return value.encode("ascii", "surrogateescape").decode()
    except ValueError:
        return value


def leaves(root: Part) -> Iterator[tuple[Part, Part | None]]:
    """All parts that hold no others, with the multipart/alternative each is a form of. Attached mails are one part."""
    stack: list[tuple[Part, Part | None]] = [(root, None)]
    found = 0
    while stack:
        part, alternative = stack.pop()
        if part.get_content_maintype() == "multipart" and part.is_multipart():
            inside = part if part.get_content_subtype() == "alternative" else alternative
            stack += [(child, inside) for child in reversed(held(part))]
            continue
        found += 1
        if found > _PARTS:
            raise Unparseable(f"more than {_PARTS} parts")
        yield part, alternative


def held(part: Part) -> list[Part]:
    """The parts in a part; [] for a leaf. Its text is not asked for, which the library would decode by any label."""
    payload: Any = part.get_payload() if part.is_multipart() else []
    return [each for each in payload if isinstance(each, Message)]


def _bodies(mail: Mail) -> None:
    texts: list[tuple[str, str, Part | None]] = []
    for number, (part, alternative) in enumerate(leaves(mail.root)):
        kind = part.get_content_type()
        if part is mail.root and part.get_content_maintype() == "multipart":
            kind = "text/plain"  # it says that it has parts, and not where they begin
        named = part.get_param("name") or part.get_param("filename", header="content-disposition")
        shown = kind in ("text/plain", "text/html") and part.get_content_disposition() != "attachment" and not named
        if shown:
            texts.append((kind, _content(part), alternative))
        elif kind not in _HIDDEN:
            mail.attachments.append(_attachment(number, part, kind))
    plain = {id(alternative) for kind, content, alternative in texts if kind == "text/plain" and content.strip()}
    words = []
    parsed = 0
    for kind, content, alternative in texts:
        if kind == "text/plain":
            words.append(content)
        elif alternative is None or id(alternative) not in plain:
            left = markup.PARSED - parsed
            words.append(markup.to_text(markup.without_quote(content), left) or markup.to_text(content, left))
            parsed += len(content)
            mail.from_html = True
    markups = [content for kind, content, _ in texts if kind == "text/html"]
    mail.html = "\n".join(markups)[: markup.LARGEST] or None
    mail.text = "\n\n".join(filter(None, (each.strip() for each in words)))[:_TEXT]


def is_sealed(mail: Mail) -> bool:
    """Whether all of it is in one part of S/MIME or PGP that only its receiver can open."""
    return mail.root.get_content_type() in _SEALED


def whole_text(mail: Mail) -> str:
    """The text with what HTML quotes."""
    return (markup.to_text(mail.html) if mail.from_html and mail.html else mail.text)[:_TEXT]


def _content(part: Part) -> str:
    text = decode(data_of(part), part.get_content_charset())
    if part.get_content_type() != "text/plain":
        return clean(text)
    text = clean(text[: 2 * _TEXT])  # of HTML the words may come last
    if str(part.get_param("format", "")).lower() == "flowed":
        return _unflowed(text, delete_space=str(part.get_param("delsp", "")).lower() == "yes")
    return text


def data_of(part: Part) -> bytes:
    """The decoded bytes of a leaf; of an attached mail, the mail."""
    if part.is_multipart():  # message/rfc822, or blocks of message/delivery-status
        return _unpacked(part, b"\n".join(each.as_bytes() for each in held(part)))
    decoded = part.get_payload(decode=True)
    return decoded if isinstance(decoded, bytes) else b""


def _unpacked(part: Part, inside: bytes) -> bytes:
    """Some servers encode a report in base64, which no part of this kind may be."""
    if str(part.get("content-transfer-encoding", "")).strip().lower() != "base64":
        return inside
    try:
        return b64decode(inside)
    except ValueError:
        return inside


def _unflowed(text: str, *, delete_space: bool) -> str:
    """Lines that were wrapped for transport, whole again (RFC 3676)."""
    lines: list[list[str]] = []  # of pieces
    open_quote: str | None = None
    for line in text.split("\n"):
        bare = line.lstrip(">")
        quote = line[: len(line) - len(bare)]
        bare = bare.removeprefix(" ")
        flows = bare.endswith(" ") and bare != "-- "
        kept = bare[:-1] if flows and delete_space else bare
        if open_quote == quote and bare != "-- ":
            lines[-1].append(kept)
        else:
            lines.append([f"{quote} {kept}" if quote else kept])
        open_quote = quote if flows else None
    return "\n".join("".join(pieces) for pieces in lines)


def _attachment(number: int, part: Part, kind: str) -> Attachment:
    _read_names(part)
    name = part.get_param("filename", header="content-disposition") or part.get_param("name")
    if isinstance(name, tuple):  # of RFC 2231: charset, language, words
        name = decode(name[2].encode("raw-unicode-escape"), name[0])
    label = one_line(header(str(name)))[:200].replace("/", "_").replace("\\", "_") if name else None
    label = label or _NAMES.get(kind)
    mime = clean(kind) if "/" in kind else "application/octet-stream"
    return Attachment(_family(kind), ref=f"part:{number}", mime=mime, name=label or None)


def _read_names(part: Part) -> None:
    """Names in bare bytes, which no header may have and many do, are lost where the library reads them."""
    for name, value in list(part.raw_items()):
        if name.lower() in ("content-type", "content-disposition") and not str(value).isascii():
            part.replace_header(name, decode(str(value).encode("utf-8", "surrogateescape"), None))


def _family(mime: str) -> Literal["image", "audio", "video", "contact", "file"]:
    match mime.partition("/")[0]:
        case "image":
            return "image"
        case "audio":
            return "audio"
        case "video":
            return "video"
    return "contact" if mime in ("text/vcard", "text/x-vcard", "text/directory") else "file"


def file_of(raw: bytes, ref: str, *, cut: bool = False) -> bytes | None:
    """The bytes of the attachment with that ref; None if the mail has no such part. ``cut``: its last one is torn."""
    parts = [part for part, _ in leaves(_read(raw))]
    whole = parts[:-1] if cut else parts
    return next((data_of(part) for number, part in enumerate(whole) if ref == f"part:{number}"), None)
