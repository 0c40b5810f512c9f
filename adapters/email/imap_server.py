"""An IMAP server in memory (pymap) with one account, on the loop that runs: the mailbox side of the simulator."""

from __future__ import annotations

import asyncio
from argparse import Namespace
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime

from proxyprotocol.result import ProxyResultLocal
from proxyprotocol.sock import SocketInfo
from pymap.backend.dict import Config, Identity, Login
from pymap.backend.dict.mailbox import LoadedMessage, MailboxData, Message
from pymap.concurrent import Event, Subsystem
from pymap.config import BackendCapability
from pymap.exceptions import InvalidAuth
from pymap.imap import IMAPServer
from pymap.parsing.message import AppendMessage
from pymap.parsing.specials.fetchattr import FetchRequirement
from pymap.parsing.specials.flag import Flag, Seen
from pymap.selected import SelectedMailbox
from pymap.user import UserMetadata
from pysasl import SASLAuth
from pysasl.creds.external import ExternalCredentials, ExternalVerificationRequired
from pysasl.creds.server import ServerCredentials
from pysasl.hashing import Cleartext
from pysasl.mechanism.oauth import OAuth2Mechanism


class ImapServer:
    """``user`` has an INBOX, and the further ``folders``. ``knows``: whether an access token is good; with it nobody
    logs in by password."""

    def __init__(
        self,
        user: str,
        password: str,
        folders: Sequence[str] = (),
        *,
        idle: bool = True,
        knows: Callable[[str], bool] | None = None,
    ) -> None:
        self._user = user
        self._knows = knows
        self._password = password
        self._folders = folders
        self._idle = idle
        self._server: asyncio.Server | None = None
        self._sessions: dict[asyncio.Task[None] | None, asyncio.StreamWriter] = {}
        self._boxes: dict[str, MailboxData] = {}
        self._imap: IMAPServer | None = None

    @property
    def port(self) -> int:
        assert self._server is not None, "start() first"
        number: int = self._server.sockets[0].getsockname()[1]
        return number

    @property
    def sessions(self) -> int:
        """Clients that are connected."""
        return len(self._sessions)

    async def start(self, port: int = 0) -> None:
        await self._open()
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", port)

    async def stop(self) -> None:
        if self._server is None:
            return
        self._server.close()
        tasks = [task for task in self._sessions if task is not None]
        self.drop()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._server.wait_closed()

    def drop(self) -> None:
        """Cut all connections."""
        for writer in self._sessions.values():
            writer.transport.abort()

    async def append(self, mail: bytes, *, seen: bool = False) -> int:
        """Put a mail into the inbox. Returns its UID."""
        flags: frozenset[Flag] = frozenset([Seen]) if seen else frozenset()
        kept = await self._boxes["INBOX"].append(AppendMessage(mail, datetime.now(UTC), flags), recent=True)
        return kept.uid

    def seen(self, folder: str = "INBOX") -> dict[int, bool]:
        """UIDs of a folder, and whether each is marked as read."""
        return {uid: Seen in message.permanent_flags for uid, message in self._boxes[folder]._messages.items()}

    def bend(self, uid: int, *, straight: bool = False) -> None:
        """From now on the connection breaks whenever this mail is fetched; or no longer."""
        self._boxes["INBOX"]._messages[uid].__class__ = Message if straight else _Bent

    def renumber(self) -> None:
        """As after a restored backup: UIDVALIDITY changes and old UIDs mean nothing any more."""
        box = self._boxes["INBOX"]
        box._uid_validity += 1
        self.drop()

    async def _open(self) -> None:
        config = _config(self._user, self._password, idle=self._idle, by_token=self._knows is not None)
        config.apply_context()
        login = Login(config) if self._knows is None else _TokenLogin(config, self._user, self._knows)
        await login.demo_user_identity.set(UserMetadata(config, self._user, password=self._password))
        async with login.demo_user_identity.new_session() as session:
            for name in self._folders:
                await session.mailbox_set.add_mailbox(name)
            (await session.mailbox_set.get_mailbox("INBOX")).__class__ = _Inbox
            self._boxes = {name: await session.mailbox_set.get_mailbox(name) for name in ("INBOX", *self._folders)}
        self._imap = IMAPServer(login, config)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert self._imap is not None
        task = asyncio.current_task()
        self._sessions[task] = writer
        try:
            with suppress(ConnectionError, _Breaks):
                await self._imap(reader, writer, SocketInfo.get(writer, ProxyResultLocal()))
        finally:
            del self._sessions[task]


class _Breaks(Exception):
    """pymap overlooks a ConnectionError, and lets the client wait."""


class _Bent(Message):
    __slots__ = ()

    async def load_content(self, requirement: FetchRequirement) -> LoadedMessage:
        if requirement & FetchRequirement.CONTENT:
            raise _Breaks
        return await super().load_content(requirement)


class _Inbox(MailboxData):
    """IDLE tells what has come since the last command, as RFC 2177 wants it; pymap waits for the next change."""

    async def update_selected(self, selected: SelectedMailbox, *, wait_on: Event | None = None) -> SelectedMailbox:
        behind = selected.mod_sequence is None or selected.mod_sequence < self._mod_sequences.highest
        return await super().update_selected(selected, wait_on=None if behind else wait_on)


class _NoIdle(Config):
    """As servers that have to be asked."""

    @property
    def backend_capability(self) -> BackendCapability:
        return BackendCapability(idle=False, object_id=True, multi_append=True)


class _ByToken(Config):
    """As servers that take no passwords."""

    @property
    def tls_auth(self) -> SASLAuth:
        return SASLAuth([OAuth2Mechanism()])


class _TokenLogin(Login):
    def __init__(self, config: Config, user: str, knows: Callable[[str], bool]) -> None:
        super().__init__(config)
        self._user = user
        self._knows = knows

    async def authenticate(self, credentials: ServerCredentials) -> Identity:
        if isinstance(credentials, ExternalCredentials):
            try:
                credentials.verify(None)
            except ExternalVerificationRequired as asked:
                if credentials.authzid == self._user and self._knows(asked.token or ""):
                    return Identity(self._user, self, None, frozenset())
        raise InvalidAuth


def _config(user: str, password: str, *, idle: bool, by_token: bool) -> Config:
    args = Namespace(passlib_cfg=None, proxy_protocol=None)
    kind = _ByToken if by_token else Config if idle else _NoIdle
    return kind(
        args,
        demo_data=False,
        demo_user=user,
        demo_password=password,
        host="127.0.0.1",
        port=0,
        tls_enabled=False,
        secure_auth=False,
        invalid_user_sleep=0,
        hash_context=Cleartext(),
        cpu_subsystem=Subsystem.for_asyncio(),
    )
