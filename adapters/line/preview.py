"""The picture that LINE shows in place of a film until it is played: a white triangle on grey."""

from __future__ import annotations

import struct
import zlib
from functools import cache

_WIDTH, _HEIGHT = 320, 180  # pixels
_GREY, _WHITE = b"\x55", b"\xff"


@cache
def png() -> bytes:
    """Eight bits of grey for each pixel. https://www.w3.org/TR/png-3/"""
    rows = b"".join(b"\0" + b"".join(_pixel(x, y) for x in range(_WIDTH)) for y in range(_HEIGHT))
    header = struct.pack(">IIBBBBB", _WIDTH, _HEIGHT, 8, 0, 0, 0, 0)
    chunks = (b"IHDR", header), (b"IDAT", zlib.compress(rows, 9)), (b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(kind, data) for kind, data in chunks)


def _pixel(x: int, y: int) -> bytes:
    """The triangle points to the right, 60 pixels wide and 80 high."""
    across, down = x - 130, abs(y - _HEIGHT // 2)
    return _WHITE if 0 <= across < 60 and down * 60 <= (60 - across) * 40 else _GREY


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
