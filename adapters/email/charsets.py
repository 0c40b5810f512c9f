"""Bytes and headers to text, whatever their labels say. Nothing here raises."""

from __future__ import annotations

import re
from binascii import Error as Base64Error
from email.errors import HeaderParseError
from email.header import decode_header

from charset_normalizer import from_bytes

# What labels mean in practice: senders name the small set and write the large one.
_WIDER = {
    "us-ascii": "utf-8", "ascii": "utf-8", "iso-8859-1": "cp1252", "latin-1": "cp1252", "latin1": "cp1252",
    "gb2312": "gb18030", "gbk": "gb18030", "ks_c_5601-1987": "cp949", "euc-kr": "cp949", "shift_jis": "cp932",
    "shift-jis": "cp932", "x-sjis": "cp932", "iso-2022-jp": "iso2022_jp_2", "latin-9": "iso-8859-15",
    "x-mac-roman": "mac_roman", "x-gbk": "gb18030", "x-euc-jp": "euc_jp", "iso-8859-8-i": "iso-8859-8",
    "iso-8859-8-e": "iso-8859-8", "iso-8859-6-i": "iso-8859-6", "windows-874": "cp874", "x-unknown": "utf-8",
}  # fmt: skip
# What mail without a true label is written in; without this list a word of French is taken for Arabic or EBCDIC.
_USUAL = [
    *("cp1252", "cp1250", "cp1251", "koi8_r", "cp1253", "cp1254", "cp1255", "cp1256", "cp874"),
    *("gb18030", "big5", "cp932", "euc_jp", "cp949"),
]
_NAME = re.compile(r"[a-z0-9_-]+")
_HEADER = 10_000  # characters of one that are decoded
_GUESS = 20_000  # bytes looked at when a charset is guessed
_SHORT, _FEW = 200, 0.5  # bytes too few to guess from, if this part of them at most are letters beyond ASCII
_CONTROLS = dict.fromkeys({*range(0x20), 0x7F} - {ord("\n"), ord("\t")})


def decode(data: bytes, label: str | None) -> str:
    """By its label, else UTF-8, else a guess, else Latin-1."""
    found = _NAME.match((label or "").strip().lower().replace("cp-", "cp"))
    name = _WIDER.get(found[0], found[0]) if found else "utf-8"
    for charset in (name, "utf-8"):
        if charset in ("utf-7", "utf_7", "idna", "punycode"):  # hide what other programs would see
            continue
        try:
            return data.decode(charset)
        except (LookupError, ValueError):
            continue
    try:
        return data.decode(_guessed(data))
    except (LookupError, ValueError):
        return data.decode("latin-1")


def _guessed(data: bytes) -> str:
    high = sum(byte > 0x7F for byte in data[:_SHORT])
    if len(data) <= _SHORT and high <= len(data.replace(b" ", b"")) * _FEW:
        return "cp1252"
    guess = from_bytes(data[:_GUESS], cp_isolation=_USUAL).best()
    return guess.encoding if guess else "cp1252"


def clean(text: str) -> str:
    """Lines ended by \\n, no control characters, no lone surrogates: fit for every database."""
    lines = text.replace("\r\n", "\n").replace("\r", "\n").translate(_CONTROLS)
    return lines.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def header(value: str) -> str:
    """A raw header value (bytes above ASCII as surrogates) in words, on one line."""
    value = value[:_HEADER]  # the library takes time that grows with the square of what it is given
    try:
        pieces = decode_header(value)
    except (HeaderParseError, Base64Error, ValueError, LookupError):
        pieces = [(value, None)]
    words = []
    for piece, charset in pieces:
        data = piece.encode("utf-8", "surrogateescape") if isinstance(piece, str) else piece
        words.append(decode(data, charset))
    return " ".join(clean("".join(words)).split())
