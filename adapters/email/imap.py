"""One IMAP connection: blocking calls, made in a thread of its own."""

from __future__ import annotations

import asyncio
import imaplib
import re
import select
import socket
import ssl
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, TypeVar

from imap_tools import BaseMailBox, MailBox, MailBoxStartTls, MailBoxUnencrypted
from imap_tools.errors import ImapToolsError, MailboxLoginError

from adapters.email.oauth import AccessTokens
from hub.contract import ChannelDown, SendError

T = TypeVar("T")

ERRORS = (ImapToolsError, imaplib.IMAP4.error, OSError, EOFError, ValueError)
_COMMAND = 60.0  # seconds for the answer to a command
_SIZE = re.compile(rb"RFC822\.SIZE (\d+)", re.IGNORECASE)
_FAREWELL = 3.0  # seconds given to a call that was cut off


class LoginRefused(Exception):
    """The mail server does not take user and password, or there is no token to log in with."""


@dataclass(frozen=True, slots=True)
class Server:
    """``tokens``: in place of a password."""

    host: str
    port: int
    tls: Literal["tls", "starttls", "none"]
    user: str
    password: str
    folder: str
    tokens: AccessTokens | None = None


@dataclass(frozen=True, slots=True)
class Opened:
    """What the server says of the folder. ``next_uid``: that of the next mail to come, 0 if it does not tell."""

    validity: int
    next_uid: int
    idles: bool


@dataclass(frozen=True, slots=True)
class Fetched:
    """``size``: bytes of the whole mail; more than there are in ``raw`` if that was cut."""

    raw: bytes
    size: int


class Line:
    """``async with Line(server) as line``: connected, logged in. Raises: LoginRefused, and ERRORS."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="imap")
        self._box: BaseMailBox | None = None

    async def __aenter__(self) -> Line:
        tokens = self._server.tokens
        try:
            if tokens is None:
                await self._log_in(None)
            else:
                await tokens.use(self._log_in, LoginRefused)
        except ChannelDown as error:
            self._end()
            raise LoginRefused(error.detail) from error
        except SendError as error:
            self._end()
            raise ConnectionError(error.detail) from error
        except BaseException:
            self._end()
            raise
        return self

    async def _log_in(self, token: str | None) -> None:
        self._hang_up()
        await self._call(partial(self._connect, token=token))

    async def __aexit__(self, *error: object) -> None:
        if error[0] is None:
            with suppress(*ERRORS):
                await self._call(lambda box: box.logout())
        self._end()

    async def open(self) -> Opened:
        return await self._call(self._open)

    async def exists(self, folder: str) -> bool:
        return await self._call(lambda box: bool(box.folder.exists(folder)))

    async def search(self, *criteria: str) -> list[int]:
        """UIDs, ascending."""
        return await self._call(partial(_search, criteria=criteria))

    async def fetch(self, uid: int, limit: int) -> Fetched | None:
        """The first ``limit`` bytes of a mail, without marking it; None if it is gone."""
        return await self._call(partial(_fetch, uid=uid, limit=limit))

    async def mark_seen(self, uids: Sequence[int]) -> None:
        await self._call(lambda box: _checked(box.client.uid("STORE", _set(uids), "+FLAGS.SILENT", r"(\Seen)")))

    async def move(self, uids: Sequence[int], folder: str) -> None:
        await self._call(lambda box: box.move([str(uid) for uid in uids], folder))

    async def news(self, seconds: float) -> None:
        """Return when the server tells of something new, at the latest after ``seconds`` (IDLE, RFC 2177)."""
        await self._call(partial(_idle, seconds=seconds))

    async def _call(self, work: Callable[[Any], T]) -> T:
        """When this is cancelled the connection is cut, which ends the call in the thread at once."""
        future = asyncio.get_running_loop().run_in_executor(self._pool, work, self._box)
        try:
            return await asyncio.shield(future)
        except asyncio.CancelledError:
            self._cut()
            future.add_done_callback(_heard)
            await asyncio.wait([future], timeout=_FAREWELL)
            raise

    def _connect(self, _: object, token: str | None) -> None:
        server = self._server
        kinds: dict[str, Callable[[], BaseMailBox]] = {
            "tls": lambda: MailBox(server.host, server.port, _COMMAND, ssl_context=ssl.create_default_context()),
            "starttls": lambda: MailBoxStartTls(
                server.host, server.port, _COMMAND, ssl_context=ssl.create_default_context()
            ),
            "none": lambda: MailBoxUnencrypted(server.host, server.port, timeout=_COMMAND),
        }
        self._box = kinds[server.tls]()
        try:
            if token:
                _authenticate(self._box, server.user, token)
            else:
                plain = server.user.isascii() and server.password.isascii()
                (self._box.login if plain else self._box.login_utf8)(server.user, server.password, initial_folder=None)
        except (MailboxLoginError, imaplib.IMAP4.error) as error:
            if isinstance(error, imaplib.IMAP4.abort):
                raise
            advice = "user, and that the application may read its mail" if token else "user and password"
            raise LoginRefused(f"{' '.join(str(error).split())[:300]}; check {advice}") from None
        # Before the login servers name only some (often neither IDLE nor MOVE), and imaplib does not ask again.
        self._box.client.capabilities = _capabilities(self._box)

    def _open(self, box: BaseMailBox) -> Opened:
        box.folder.set(self._server.folder)
        return Opened(
            _number(box.client.response("UIDVALIDITY")[1]),
            _number(box.client.response("UIDNEXT")[1]),
            "IDLE" in box.client.capabilities,
        )

    def _cut(self) -> None:
        if self._box is not None:
            with suppress(OSError):
                self._box.client.sock.shutdown(socket.SHUT_RDWR)

    def _hang_up(self) -> None:
        if self._box is not None:
            with suppress(*ERRORS):
                self._box.client.shutdown()

    def _end(self) -> None:
        self._hang_up()
        self._pool.shutdown(wait=False)


def _authenticate(box: BaseMailBox, user: str, token: str) -> None:
    """A server that refuses tells why first, and wants an empty answer to it."""
    answers = iter([f"user={user}\1auth=Bearer {token}\1\1".encode()])
    box.client.authenticate("XOAUTH2", lambda _: next(answers, b""))


def _heard(future: asyncio.Future[Any]) -> None:
    """Nobody waits for it any more; without this its error would be reported as never looked at."""
    if not future.cancelled():
        future.exception()


def _number(data: Sequence[Any] | None) -> int:
    with suppress(TypeError, ValueError, IndexError):
        return int((data or [b"0"])[0])
    return 0


def _capabilities(box: BaseMailBox) -> tuple[str, ...]:
    data = _checked(box.client.capability())
    return tuple(" ".join(line.decode("ascii", "replace") for line in data if isinstance(line, bytes)).upper().split())


def _set(uids: Sequence[int]) -> str:
    return ",".join(map(str, uids))


def _checked(answer: tuple[str, list[Any]]) -> list[Any]:
    status, data = answer
    if status != "OK":
        raise imaplib.IMAP4.error(f"{status}: {data!r:.200}")
    return data


def _search(box: BaseMailBox, criteria: Sequence[str]) -> list[int]:
    box.client.untagged_responses.pop("EXISTS", None)  # what was told until now is what is searched
    data = _checked(box.client.uid("SEARCH", *criteria))
    return sorted(int(uid) for line in data if isinstance(line, bytes) for uid in line.split())


def _fetch(box: BaseMailBox, uid: int, limit: int) -> Fetched | None:
    data = _checked(box.client.uid("FETCH", str(uid), f"(UID RFC822.SIZE BODY.PEEK[]<0.{limit}>)"))
    found = next((each for each in data if isinstance(each, tuple) and b"BODY[" in each[0].upper()), None)
    if found is None:
        return None
    # What is not the mail itself stands before or behind it, as the server likes.
    words = b" ".join(each[0] if isinstance(each, tuple) else each for each in data if each)
    size = _SIZE.search(words)
    return Fetched(bytes(found[1]), int(size[1]) if size else len(found[1]))


def _idle(box: Any, seconds: float) -> None:
    if box.client.untagged_responses.get("EXISTS"):
        return  # told beside the answer to another command
    box.idle.start()
    try:
        if not _buffered(box.client):
            poller = select.poll()
            poller.register(box.client.sock, select.POLLIN)
            poller.poll(seconds * 1000)
    finally:
        box.idle.stop()


def _buffered(client: Any) -> bool:
    """Whether the server's news came in one piece with its last answer: then the socket shows none."""
    file = getattr(client, "_file", None) or client.file
    before = client.sock.gettimeout()
    client.sock.settimeout(0)
    try:
        return bool(file.peek(1))
    except (ssl.SSLWantReadError, BlockingIOError):
        return False
    finally:
        client.sock.settimeout(before)
