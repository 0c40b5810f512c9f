"""Handing letters to the mail server, over connections that are used again."""

from __future__ import annotations

import asyncio
import re
import ssl
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import Literal

from aiosmtplib import SMTP, SMTPResponse
from aiosmtplib.errors import SMTPDataError, SMTPException, SMTPResponseException, SMTPServerDisconnected

from adapters.email.errors import Stage, refusal
from adapters.email.mail_out import Letter
from adapters.email.oauth import AccessTokens
from hub.contract import Ambiguous, ChannelDown, Rejected, SendError, Transient

Tls = Literal["tls", "starttls", "none"]

_COMMAND = 60.0  # seconds for the answer to a command
_IDLE = 60.0  # seconds after which a connection is not trusted to be open still
_GO_ON, _TAKEN = 354, 250
_DOT = re.compile(rb"^\.", re.MULTILINE)  # at the start of a line it is doubled (RFC 5321, 4.5.2)
_LETTERS = 50  # in one connection; many servers close after a hundred


@dataclass(frozen=True, slots=True)
class Server:
    """``user`` None: no login. ``tokens``: in place of a password. ``patience``: seconds for the answer after the mail
    itself."""

    host: str
    port: int
    tls: Tls
    user: str | None
    password: str | None
    tokens: AccessTokens | None
    context: ssl.SSLContext | None
    patience: float


@dataclass(slots=True)
class Connection:
    smtp: SMTP
    sent: int = 0
    used_at: float = 0.0  # monotonic seconds

    def close(self) -> None:
        self.smtp.close()


class Post:
    """The mail server as it is used: as many connections as there are letters at a time, kept for a minute."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._idle: list[Connection] = []

    async def deliver(self, letter: Letter) -> str:
        """Returns the server's answer to the mail. Raises: SendError.

        A connection that was used before may be closed by now: before any of the mail is sent, a new one is as good.
        """
        kept = self._take()
        if kept is not None:
            try:
                return await self._hand_over(kept, letter)
            except _Stale:
                pass
        try:
            return await self._hand_over(await self._connect(), letter)
        except _Stale as error:
            raise error.refused from error

    async def probe(self, sender: str) -> str:
        """Log in, and ask whether mail from ``sender`` would be taken. Returns the server's name. Raises: SendError."""
        connection = await self._connect()
        try:
            await connection.smtp.mail(sender)
        except SMTPResponseException as error:
            raise refusal(error.code, error.message, "mail") from error
        except (SMTPException, OSError, TimeoutError) as error:
            raise Transient(f"the mail server closed the connection: {error}") from error
        finally:
            await self._quit(connection)
        return self._server.host

    async def close(self) -> None:
        idle, self._idle = self._idle, []
        for connection in idle:
            await self._quit(connection)

    def _take(self) -> Connection | None:
        while self._idle:
            connection = self._idle.pop()
            if connection.smtp.is_connected and time.monotonic() - connection.used_at < _IDLE:
                return connection
            connection.close()
        return None

    async def _connect(self) -> Connection:
        if self._server.tokens is not None:
            return await self._server.tokens.use(self._log_in, ChannelDown)
        return await self._log_in(None)

    async def _log_in(self, token: str | None) -> Connection:
        server = self._server
        smtp = SMTP(
            hostname=server.host,
            port=server.port,
            username=None if token else server.user,
            password=server.password,
            use_tls=server.tls == "tls",
            start_tls=server.tls == "starttls",
            tls_context=server.context,
            timeout=_COMMAND,
        )
        try:
            await smtp.connect()
            if token:
                await smtp.ehlo()  # not said yet where TLS is there from the start
                if "xoauth2" not in smtp.server_auth_methods:
                    raise SMTPException("The SMTP server offers no XOAUTH2")
                await smtp.auth_xoauth2(server.user or "", token)
        except SMTPResponseException as error:
            smtp.close()
            raise refusal(error.code, error.message, _stage(error)) from error
        except (ssl.SSLError, OSError, TimeoutError) as error:
            smtp.close()
            raise Transient(f"no connection to {server.host}:{server.port}: {error or type(error).__name__}") from error
        except SMTPException as error:  # no STARTTLS, or no way to log in, offered
            smtp.close()
            raise ChannelDown(f"{error}: check smtp_tls, smtp_port and how to log in") from error
        except BaseException:
            smtp.close()
            raise
        return Connection(smtp)

    async def _hand_over(self, connection: Connection, letter: Letter) -> str:
        stage: Stage = "mail"
        try:
            _check(connection.smtp, letter)
            await connection.smtp.mail(letter.sender, options=_options(connection.smtp, letter))
            stage = "rcpt"
            await connection.smtp.rcpt(letter.recipient, encoding="utf-8" if _needs_utf8(letter) else "ascii")
            stage = "data"
            ready = await connection.smtp.execute_command(b"DATA")
            if ready.code != _GO_ON:
                raise SMTPDataError(ready.code, ready.message)
            stage = "content"
            answer = await _write(connection.smtp, letter.content, self._server.patience)
        except SMTPResponseException as error:
            await self._reuse(connection, reset=True, over=error.code == 421)
            refused = refusal(error.code, error.message, stage)
            if error.code == 421 and stage == "mail":
                raise _Stale(refused) from error
            raise refused from error
        except SendError:
            await self._reuse(connection, reset=False)
            raise
        except (SMTPServerDisconnected, SMTPException, OSError, TimeoutError) as error:
            connection.close()
            if stage == "content":
                raise Ambiguous(f"the answer to the mail was lost: {error}") from error
            raise _Stale(Transient(f"the mail server closed the connection: {error}")) from error
        except BaseException:
            connection.close()
            raise
        connection.sent += 1
        await self._reuse(connection, reset=False)
        return f"{answer.code} {answer.message}"

    async def _reuse(self, connection: Connection, *, reset: bool, over: bool = False) -> None:
        if over or connection.sent >= _LETTERS:
            await self._quit(connection)
            return
        try:
            if reset:
                await connection.smtp.rset()
        except (SMTPException, OSError, TimeoutError):
            connection.close()
            return
        connection.used_at = time.monotonic()
        self._idle.append(connection)

    async def _quit(self, connection: Connection) -> None:
        with suppress(SMTPException, OSError, TimeoutError):
            async with asyncio.timeout(5):
                await connection.smtp.quit()
        connection.close()


class _Stale(Exception):
    """The connection was of no use; nothing of the mail has been sent. ``refused``: what that means, if it was new."""

    def __init__(self, refused: SendError) -> None:
        super().__init__(refused.detail)
        self.refused = refused


def _stage(error: SMTPResponseException) -> Stage:
    return "login" if type(error).__name__ == "SMTPAuthenticationError" else "connect"


async def _write(smtp: SMTP, content: bytes, patience: float) -> SMTPResponse:
    """The mail itself, after the answer to DATA: with that in one call nobody could tell which of the two was lost."""
    if smtp.protocol is None:
        raise SMTPServerDisconnected("Connection lost")
    smtp.protocol.write(_DOT.sub(b"..", content) + b".\r\n")
    answer = await smtp.protocol.read_response(timeout=patience)
    if answer.code != _TAKEN:
        raise SMTPDataError(answer.code, answer.message)
    return answer


def _needs_utf8(letter: Letter) -> bool:
    return not letter.recipient.isascii()


def _options(smtp: SMTP, letter: Letter) -> list[str]:
    options = [f"size={len(letter.content)}"] if smtp.supports_extension("size") else []
    return [*options, "SMTPUTF8"] if _needs_utf8(letter) else options


def _check(smtp: SMTP, letter: Letter) -> None:
    """What the server said it does not take."""
    limit = smtp.esmtp_extensions.get("size", "").strip()
    if limit.isdecimal() and 0 < int(limit) < len(letter.content):
        raise Rejected(f"{len(letter.content)} bytes, and the mail server takes {limit}", code="5.3.4")
    if _needs_utf8(letter) and not smtp.supports_extension("smtputf8"):
        raise Rejected("the mail server takes no addresses with letters beyond ASCII (SMTPUTF8)", code="5.6.7")
