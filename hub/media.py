"""Files: expected with a message, fetched by a worker, kept once by content, served by short signed links."""

from __future__ import annotations

import asyncio
import hashlib
import os
import tempfile
from collections.abc import AsyncIterator, Collection, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import IO, Any

import sqlalchemy as sa
from itsdangerous import BadSignature, URLSafeTimedSerializer
from sqlalchemy import Connection

from hub.context import Context
from hub.model import Attachment, decode_attachment, encode
from hub.store.bulk import SOME, among, insert_many
from hub.store.schema import media

LINK_LIFE = timedelta(days=7)  # a provider may fetch an MMS long after we handed it off
_LONGEST_PAUSE = timedelta(hours=1)  # before a file is tried again
_AT_ONCE = 100


class TooLarge(ValueError):
    """More bytes than ``media.max_bytes`` allows."""


@dataclass(slots=True)
class File:
    """A media row."""

    id: int
    message_id: int
    position: int
    channel: str
    inbox_id: int | None
    source: Attachment
    state: str
    sha256: str | None
    mime: str | None
    name: str | None
    size: int | None
    error: str | None
    attempts: int


_COLUMNS = [media.c[name] for name in File.__dataclass_fields__]
_OF_MESSAGES = (
    sa.select(*_COLUMNS)
    .where(media.c.message_id.in_(SOME), media.c.state != "unwanted")
    .order_by(media.c.message_id, media.c.position)
)


def _file(row: Sequence[Any]) -> File:
    values = dict(zip(File.__dataclass_fields__, row, strict=True))
    values["source"] = decode_attachment(values["source"])
    return File(**values)


def expect(
    connection: Connection,
    context: Context,
    channel: str,
    inbox_id: int | None,
    files: Iterable[tuple[int, Sequence[Attachment]]],
    first: int = 0,
) -> None:
    """Note the files of (message, attachments) pairs, from position ``first`` on; a worker fetches them."""
    rows = [
        {
            "id": context.ids(),
            "message_id": message_id,
            "position": position,
            "channel": channel,
            "inbox_id": inbox_id,
            "source": encode(attachment),
            "mime": attachment.mime,
            "name": attachment.name,
            "state": "pending",
            "due_at": context.now,
        }
        for message_id, attachments in files
        for position, attachment in enumerate(attachments, first)
    ]
    insert_many(connection, media, rows)
    if rows:
        context.news.add("media")


def of_messages(connection: Connection, message_ids: Iterable[int]) -> dict[int, list[File]]:
    """Files by message, in their order."""
    found: dict[int, list[File]] = {}
    for row in among(connection, _OF_MESSAGES, message_ids):
        file = _file(row)
        found.setdefault(file.message_id, []).append(file)
    return found


def pending(
    connection: Connection, context: Context, limit: int, but: Collection[int], busy: Collection[str]
) -> list[File]:
    """Files that are due, except ``but`` and those of ``busy`` channels."""
    query = (
        sa.select(*_COLUMNS)
        .where(media.c.state == sa.literal_column("'pending'"), media.c.due_at <= context.now)
        .where(media.c.id.not_in(but), media.c.channel.not_in(busy))
        .order_by(media.c.due_at)
        .limit(limit)
    )
    return [_file(row) for row in connection.execute(query)]


def stored(connection: Connection, file_id: int, sha256: str, size: int, mime: str) -> bool:
    """False if it has become unwanted meanwhile."""
    state = sa.case((media.c.state == "unwanted", "unwanted"), else_="stored")
    values = {"state": state, "sha256": sha256, "size": size, "mime": mime, "error": None}
    kept = sa.update(media).where(media.c.id == file_id).values(values).returning(media.c.state)
    return connection.execute(kept).scalar_one_or_none() == "stored"


def failed(connection: Connection, context: Context, file: File, error: str, *, tries: int) -> bool:
    """Try again with growing pauses, ``tries`` times in all, then give up and say why. Returns whether it is given
    up."""
    attempts = file.attempts + 1
    over = attempts >= tries
    changed = connection.execute(
        sa.update(media)
        .where(media.c.id == file.id, media.c.state != "unwanted")
        .values(
            state="failed" if over else "pending",
            attempts=attempts,
            error=error,
            due_at=context.now + min(timedelta(seconds=2**attempts), _LONGEST_PAUSE),
        )
    )
    return over and changed.rowcount > 0


def again(connection: Connection, context: Context, message_id: int, inbox_id: int) -> None:
    """Files that came with a message in an inbox row and were given up are tried anew."""
    lost = media.c.message_id == message_id, media.c.inbox_id == inbox_id, media.c.state == "failed"
    connection.execute(sa.update(media).where(*lost).values(state="pending", attempts=0, due_at=context.now))
    context.news.add("media")


def discard(connection: Connection, context: Context, message_id: int, position: int | None = None) -> list[int]:
    """Nobody shall see a message's files any more, or the one at that position; the worker removes them. Returns where
    they were told of, by inbox row."""
    which = media.c.message_id == message_id, sa.true() if position is None else media.c.position == position
    values = {"state": "unwanted", "source": encode(Attachment()), "name": None, "error": None, "due_at": context.now}
    gone = sa.update(media).where(*which).values(values).returning(media.c.inbox_id)
    rows = connection.execute(gone).scalars().all()
    if rows:
        context.news.add("media")
    return [each for each in rows if each is not None]


def unwanted(connection: Connection, context: Context) -> tuple[list[int], list[str]]:
    """Rows to be removed, and the hashes that only they have."""
    due = media.c.state == sa.literal_column("'unwanted'"), media.c.due_at <= context.now
    rows = connection.execute(sa.select(media.c.id, media.c.sha256).where(*due).limit(_AT_ONCE)).all()
    theirs = {row.sha256 for row in rows if row.sha256}
    if theirs:
        mine = [row.id for row in rows]
        others = sa.select(media.c.sha256).where(media.c.sha256.in_(theirs), media.c.id.not_in(mine))
        theirs -= set(connection.execute(others).scalars())
    return [row.id for row in rows], sorted(theirs)


def remove(connection: Connection, file_ids: Sequence[int]) -> None:
    connection.execute(sa.delete(media).where(media.c.id.in_(file_ids)))


def by_id(connection: Connection, file_id: int) -> File | None:
    row = connection.execute(sa.select(*_COLUMNS).where(media.c.id == file_id)).first()
    return _file(row) if row else None


class Shelf:
    """Content-addressed files below ``root``, each written once and completely."""

    def __init__(self, root: Path, limit: int) -> None:
        self._root = root
        self._limit = limit  # bytes of one file

    def path(self, sha256: str) -> Path:
        return self._root / sha256[:2] / sha256

    async def put(self, content: AsyncIterator[bytes]) -> tuple[str, int, bytes]:
        """Keep it. Returns hash, size in bytes and the first 512 bytes. Raises: TooLarge."""
        draft = await asyncio.to_thread(self._draft)
        digest, size, head = hashlib.sha256(), 0, b""
        try:
            async for piece in content:
                size += len(piece)
                if size > self._limit:
                    raise TooLarge(f"file is larger than {self._limit} bytes")
                head += piece[: max(0, 512 - len(head))]
                digest.update(piece)
                await asyncio.to_thread(draft.write, piece)
            await asyncio.to_thread(self._finish, draft, digest.hexdigest())
        except BaseException:
            with suppress(OSError):  # a full disk does not take what is still to be written either
                draft.close()
            with suppress(OSError):
                os.unlink(draft.name)  # noqa: PTH108 - must not wait: we may be cancelled
            raise
        return digest.hexdigest(), size, head

    def _draft(self) -> IO[bytes]:
        self._root.mkdir(parents=True, exist_ok=True)
        return tempfile.NamedTemporaryFile(dir=self._root, delete=False)

    def _finish(self, draft: IO[bytes], sha256: str) -> None:
        draft.flush()
        os.fsync(draft.fileno())
        draft.close()
        final = self.path(sha256)
        final.parent.mkdir(exist_ok=True)
        Path(draft.name).replace(final)

    def read(self, sha256: str) -> bytes:
        return self.path(sha256).read_bytes()

    def drop(self, sha256: str) -> None:
        self.path(sha256).unlink(missing_ok=True)


# The first bytes of what we are sure about; the sender's word counts for nothing where a browser may show it.
_MAGIC: tuple[tuple[bytes, int, str], ...] = (
    (b"\xff\xd8\xff", 0, "image/jpeg"),
    (b"\x89PNG\r\n\x1a\n", 0, "image/png"),
    (b"GIF87a", 0, "image/gif"),
    (b"GIF89a", 0, "image/gif"),
    (b"WEBP", 8, "image/webp"),
    (b"%PDF-", 0, "application/pdf"),
    (b"OggS", 0, "audio/ogg"),
    (b"ID3", 0, "audio/mpeg"),
    (b"ftyp", 4, "video/mp4"),
)
_SHOWN = ("image/jpeg", "image/png", "image/gif", "image/webp")
_HARMLESS_CLAIMS = ("text/plain", "text/csv", "text/calendar", "text/vcard", "application/zip")


def sniff(head: bytes, claimed: str | None) -> str:
    """The media type by content; a claim is believed only for types no browser runs."""
    for magic, offset, mime in _MAGIC:
        if head[offset : offset + len(magic)] == magic:
            return mime
    kind = (claimed or "").partition(";")[0].strip().lower()
    return kind if kind in _HARMLESS_CLAIMS or kind.startswith(("audio/", "video/")) else "application/octet-stream"


def shown_inline(mime: str) -> bool:
    """Whether a browser may show it in place; everything else is a download."""
    return mime in _SHOWN


class Links:
    """Signed links to files: ``{public_url}/media/<token>/<name>``."""

    def __init__(self, public_url: str, secret: bytes) -> None:
        self._public_url = public_url
        self._serializer = URLSafeTimedSerializer(secret, salt="media")

    def make(self, file_id: int, name: str | None) -> str:
        token = self._serializer.dumps(file_id)
        return f"{self._public_url}/media/{token}/{safe_name(name)}"

    def read(self, token: str) -> int | None:
        """The file a token names; None if it is forged or too old."""
        try:
            value = self._serializer.loads(token, max_age=int(LINK_LIFE.total_seconds()))
        except BadSignature:
            return None
        return value if isinstance(value, int) else None


def safe_name(name: str | None) -> str:
    """A file name fit for a header and a URL."""
    plain = (letter if letter.isascii() and (letter.isalnum() or letter in "._-") else "_" for letter in name or "file")
    kept = "".join(plain)
    return kept.lstrip(".")[-80:] or "file"
