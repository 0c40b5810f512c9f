"""A mail provider: SMTP for what we send, an IMAP mailbox for what comes, and the people on the other side."""

from __future__ import annotations

import asyncio
import base64
import json
import logging
from collections.abc import Coroutine, Mapping, Sequence
from typing import Any
from weakref import WeakKeyDictionary

from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session, auth_mechanism

from adapters.email.imap_server import ImapServer
from adapters.email.letters import File, Seen, letter, received, report, seen
from adapters.email.token_server import TokenServer
from hub.testing.simulation import Fault, Faults, Ledger
from hub.testing.simulation import Simulator as Base

logging.getLogger("mail.log").setLevel(logging.ERROR)  # aiosmtpd warns of its own use of what it has deprecated

_SIZE = 25_000_000  # bytes of a mail
_LINE = 998  # bytes of a line (RFC 5321)
_THROTTLED = "450 4.7.1 Error: too much mail, try again later"
_CLOSING = "421 4.7.0 Try again later, closing connection"
_BUSY = "451 4.3.0 Temporary lookup failure"
_REJECTED = "554 5.7.1 Message rejected as spam"


class Simulator(Base):
    """``address``: the hub's mailbox and login. All other addresses are people's. ``oauth``: log in with access tokens
    of ``tokens``; passwords are refused.

    A fault strikes one mail. ``Fault.code`` is the reply of a "reject"; for "throttle", "error" and "drop_before" it
    names the command at which it happens ("mail", "rcpt", "data"), else that is RCPT (throttle) or after the mail
    itself.
    """

    def __init__(
        self,
        *,
        ledger: Ledger | None = None,
        faults: Faults | None = None,
        address: str = "support@hub.example.com",
        idle: bool = True,
        oauth: bool = False,
    ) -> None:
        super().__init__(ledger=ledger, faults=faults)
        self.address = address
        self.password = "a simulated password"
        self.server = "mx.hub.example.com"
        self.refused: dict[str, str] = {}  # recipient: the reply to RCPT
        self.undeliverable: dict[str, tuple[str, str]] = {}  # recipient: status and words of the report sent later
        self.away: set[str] = set()  # people whose mailbox answers every mail by itself
        self.size = _SIZE
        self.tokens = TokenServer(self.ledger) if oauth else None
        knows = self.tokens.knows if self.tokens else None
        self.imap = ImapServer(address, self.password, ["Done"], idle=idle, knows=knows)
        self.connections = 0  # SMTP connections ever made
        self.later: set[asyncio.Task[None]] = set()
        self._mailboxes: dict[str, list[Seen]] = {}
        self._smtp: asyncio.Server | None = None
        self._open: set[_Connection] = set()
        self._struck: WeakKeyDictionary[Envelope, Fault] = WeakKeyDictionary()

    # --- what who starts it, and the demo, use ---

    async def start(self, port: int = 0) -> None:
        """SMTP listens on ``port``, IMAP on any free one."""
        await self.imap.start()
        if self.tokens is not None:
            await self.tokens.start()
        self._smtp = await asyncio.get_running_loop().create_server(self._connection, "127.0.0.1", port)

    async def stop(self) -> None:
        for task in self.later:
            task.cancel()
        await asyncio.gather(*self.later, return_exceptions=True)
        if self._smtp is not None:
            self._smtp.close()
            self.hang_up()
            await self._smtp.wait_closed()
        await self.imap.stop()
        if self.tokens is not None:
            await self.tokens.stop()

    def config(self) -> dict[str, Any]:
        assert self._smtp is not None, "start() first"
        return {
            "address": self.address,
            "name": "Example Support",
            "user": self.address,
            **(self.tokens.config() if self.tokens else {"password": self.password}),
            "authserv_ids": [self.server],
            "smtp_host": "127.0.0.1",
            "smtp_port": self._smtp.sockets[0].getsockname()[1],
            "smtp_tls": "none",
            "imap_host": "127.0.0.1",
            "imap_port": self.imap.port,
            "imap_tls": "none",
        }

    async def write(
        self,
        sender: str,
        text: str,
        *,
        subject: str = "",
        name: str = "",
        answers: Seen | None = None,
        html: str | None = None,
        files: Sequence[File] = (),
        headers: Mapping[str, str] | None = None,
        passed: bool = True,
    ) -> Seen:
        """A person writes to the hub. ``passed``: whether the provider found the sender to be who it says (DMARC)."""
        to = answers.reply_to if answers else self.address
        mail = letter(
            sender, to, text, name=name, subject=subject, answers=answers, html=html, files=files, headers=headers
        )
        written = seen(mail.as_bytes(), mine=True)
        machine = "Auto-Submitted" in (headers or {})
        raw = received(written.raw, by=self.server, sender=sender, recipient=to, passed=passed, machine=machine)
        await self.deliver(raw)
        self._mailboxes.setdefault(sender, []).append(written)
        return written

    async def deliver(self, raw: bytes) -> int:
        """Put a raw mail into the hub's mailbox. Returns its UID."""
        uid = await self.imap.append(raw)
        mail = seen(raw)
        self.ledger.write("deliver", id=mail.id, uid=uid, text=mail.text, **{"from": mail.sender})
        return uid

    def mailbox(self, address: str) -> list[Seen]:
        """All mail that person has received and written, oldest first."""
        return list(self._mailboxes.get(address, []))

    async def settle(self) -> None:
        """Wait until all reports and automatic answers are written, and all late mails taken."""
        while self.later:
            await asyncio.gather(*self.later)

    def hang_up(self) -> None:
        """Close all SMTP connections, as servers do with those that are idle."""
        for connection in list(self._open):
            connection.cut()

    # --- SMTP, called by aiosmtpd ---

    async def handle_MAIL(
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        if not session.authenticated:
            return "530 5.7.0 Authentication required"
        if address != self.address:
            return f"553 5.7.1 <{address}>: Sender address rejected: not owned by user {self.address}"
        fault = self.faults.next()
        if fault is not None:
            self.ledger.write("fault", fault=fault.kind)
            if fault.code == "mail":
                return await self._strike(server, fault)
            self._struck[envelope] = fault
        envelope.mail_from, envelope.mail_options = address, options
        return "250 2.1.0 Ok"

    async def handle_RCPT(
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        self.ledger.write("request", to=address)
        fault = self._struck.get(envelope)
        if fault is not None and (fault.kind in ("throttle", "reject") or fault.code == "rcpt"):
            return await self._strike(server, self._struck.pop(envelope))
        if address in self.refused:
            return self.refused[address]
        envelope.rcpt_tos.append(address)
        return "250 2.1.5 Ok"

    async def before_data(self, server: SMTP, envelope: Envelope | None) -> str | None:
        """An answer to DATA in place of 354."""
        fault = self._struck.get(envelope) if envelope else None
        if envelope is None or fault is None or fault.code != "data":
            return None
        return await self._strike(server, self._struck.pop(envelope))

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        fault = self._struck.pop(envelope, None)
        content = envelope.original_content or b""
        if wrong := _objection(content):
            return f"554 5.6.0 {wrong}"
        kind = fault.kind if fault else None
        if fault and kind in ("error", "drop_before"):
            return await self._strike(server, fault)
        if fault and kind == "late_accept":
            self._spawn(self._late(fault.delay, content, envelope.rcpt_tos))
            return await _cut(server)
        if fault and kind == "slow":
            await asyncio.sleep(fault.delay)
        queued = self._accept(content, envelope.rcpt_tos)
        if kind == "drop_after":
            return await _cut(server)
        return _BUSY if kind == "error_after" else f"250 2.0.0 Ok: queued as {queued}"

    async def _strike(self, server: SMTP, fault: Fault) -> str:
        if fault.kind == "drop_before":
            return await _cut(server)
        if fault.kind == "reject":
            return fault.code or _REJECTED
        if fault.kind == "throttle":
            return _CLOSING if fault.code == "mail" else _THROTTLED
        return _BUSY

    def _connection(self) -> _Connection:
        self.connections += 1
        return _Connection(self, self._open)

    def authenticate(self, data: object) -> bool:
        known = (self.address.encode(), self.password.encode())
        if self.tokens is not None:
            return False
        return isinstance(data, LoginPassword) and (data.login, data.password) == known

    async def log_in_by_token(self, server: SMTP, first: str) -> AuthResult:
        assert self.tokens is not None
        words = base64.b64decode(first).decode().split("\1")
        if words[0] == f"user={self.address}" and self.tokens.knows(words[1].removeprefix("auth=Bearer ")):
            return AuthResult(success=True)
        # As Gmail does it: the reason as a challenge, which is answered with nothing.
        await server.challenge_auth(json.dumps({"status": "400", "schemes": "Bearer", "scope": "mail"}))
        return AuthResult(success=False, handled=False)

    # --- what becomes of a mail ---

    def _accept(self, content: bytes, recipients: Sequence[str]) -> str:
        mail = seen(content)
        key = mail.id.partition("@")[0].rpartition(".")[0]
        for to in recipients:
            line = self.ledger.write("accept", id=mail.id, key=key, to=to, subject=mail.subject, text=mail.text)
            if to in self.undeliverable:
                self._spawn(self._bounce(content, to))
            elif to.partition("+")[0] == self.address.partition("@")[0] or to == self.address:
                self._spawn(self._to_hub(content, to))
            else:
                self._mailboxes.setdefault(to, []).append(mail)
                if to in self.away:
                    self._spawn(self._answer(mail, to))
        return f"{line.number:08X}"

    async def _late(self, delay: float, content: bytes, recipients: Sequence[str]) -> None:
        await asyncio.sleep(delay)
        self._accept(content, recipients)

    async def _bounce(self, content: bytes, recipient: str) -> None:
        status, words = self.undeliverable[recipient]
        raw = report(self.server, self.address, content, recipient, status, words)
        await self.deliver(b"Return-Path: <>\r\n" + raw)

    async def _to_hub(self, content: bytes, recipient: str) -> None:
        await self.deliver(
            received(content, by=self.server, sender=self.address, recipient=recipient, passed=True)
        )

    async def _answer(self, mail: Seen, person: str) -> None:
        await self.write(
            person, "I am away until 5.12.26.", subject=f"Automatic reply: {mail.subject}", answers=mail,
            headers={"Auto-Submitted": "auto-replied"},
        )  # fmt: skip

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self.later.add(task)
        task.add_done_callback(self.later.discard)


class _Connection(SMTP):
    def __init__(self, simulator: Simulator, opened: set[_Connection]) -> None:
        super().__init__(
            simulator,
            hostname=simulator.server,
            data_size_limit=simulator.size,
            enable_SMTPUTF8=True,
            auth_exclude_mechanism=["XOAUTH2"] if simulator.tokens is None else ["LOGIN", "PLAIN"],
            auth_require_tls=False,
            authenticator=lambda server, session, envelope, mechanism, data: AuthResult(
                success=simulator.authenticate(data), handled=False
            ),
            loop=asyncio.get_running_loop(),
        )
        self._simulator = simulator
        self._opened = opened
        opened.add(self)

    @auth_mechanism("XOAUTH2")
    async def auth_token(self, _server: SMTP, args: list[str]) -> AuthResult:
        return await self._simulator.log_in_by_token(self, args[1])

    async def smtp_DATA(self, arg: str) -> None:
        if (refused := await self._simulator.before_data(self, self.envelope)) is not None:
            await self.push(refused)
        else:
            await super().smtp_DATA(arg)

    def cut(self) -> None:
        if isinstance(self.transport, asyncio.Transport):
            self.transport.abort()

    def connection_lost(self, error: Exception | None) -> None:
        self._opened.discard(self)
        super().connection_lost(error)


async def _cut(server: SMTP) -> str:
    assert isinstance(server, _Connection)
    server.cut()
    lost: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    return await lost  # cancelled with this connection


def _objection(content: bytes) -> str | None:
    """What a server finds wrong with a mail."""
    head = content.partition(b"\r\n\r\n")[0].lower()
    names = [line.partition(b":")[0] for line in head.split(b"\r\n")]
    missing = [name for name in (b"from", b"date", b"message-id", b"to", b"subject") if names.count(name) != 1]
    if missing:
        return f"Header {missing[0].decode()} missing or doubled"
    if any(len(line) > _LINE for line in content.split(b"\r\n")):
        return "Line too long"
    return "Bare LF" if content.replace(b"\r\n", b"").count(b"\n") else None
