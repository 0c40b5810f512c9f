"""Email as a channel: its settings, and what it does with mails and messages."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Annotated, ClassVar, Literal
from urllib.parse import quote

from pydantic import AfterValidator, Field, SecretStr, model_validator

from adapters.email import imap, smtp
from adapters.email.address import normal, one_line
from adapters.email.errors import refusal
from adapters.email.imap import ERRORS, Line, LoginRefused
from adapters.email.mail_in import MailIn
from adapters.email.mail_out import Letter, MailOut, wire_address
from adapters.email.oauth import AccessTokens, Client
from adapters.email.parse import file_of
from adapters.email.pull import MISSED, Backlog, Habits, Puller
from adapters.email.tokens import Tokens
from hub.contract import (
    RARE,
    Adapter,
    BadAddress,
    Capabilities,
    ChannelConfig,
    ChannelDown,
    Emit,
    Event,
    Health,
    Host,
    MessageReceived,
    Outgoing,
    Receipt,
    Rejected,
    Relay,
    Request,
    SendError,
    Unparseable,
    Verified,
    entry_words,
)
from hub.model import Attachment

_REFUSED = Verified(False, 403, "mail is fetched by IMAP; nothing is taken from a webhook\n")
_TOKEN = 44  # characters that a token adds to the local part, which has 64


def _address(value: str) -> str:
    try:
        return wire_address(value)
    except BadAddress as error:
        raise ValueError(error.detail) from None


def _usable(secret: SecretStr) -> SecretStr:
    value = secret.get_secret_value()
    if not value or not value.isprintable():
        raise ValueError("empty, or with characters that no password has")
    return secret


MailAddress = Annotated[str, AfterValidator(_address)]
Secret = Annotated[SecretStr, AfterValidator(_usable)]
Tls = Literal["tls", "starttls", "none"]
Name = Annotated[str, Field(pattern=r"^[^\s/@]+$")]


class EmailConfig(ChannelConfig):
    address: MailAddress = Field(description="The address mail comes from: support@example.com.")
    name: str | None = Field(None, max_length=60, description="The name beside it: Example Support.")
    aliases: list[MailAddress] = Field([], description="Further addresses whose mail comes into this mailbox.")
    reply_address: MailAddress | None = Field(
        None, description="Where answers go, if not to address.", json_schema_extra=RARE
    )
    reply_tokens: bool = Field(
        True, description="Ask for answers at support+TOKEN@…; turn off where the server takes no plus addresses."
    )
    token_days: int = Field(365, ge=1, le=3650, description="Days that such a token is good for.")
    authserv_ids: list[Name] = Field(
        [],
        description="Names with which your own mail server begins Authentication-Results headers: mx.example.com. "
        "Without them no sender is proven.",
    )
    user: str | None = Field(None, description="Login of both servers; usually the address.")
    password: Secret | None = Field(None, description="Its password, better an app password.")
    oauth_token_url: str | None = Field(
        None,
        pattern=r"^https://[^\s/@]+/\S*$|^http://(127\.0\.0\.1|localhost)[:/]\S*$",
        description="Log in by OAuth 2 in place of a password: where the provider gives access tokens.",
        json_schema_extra=RARE,
    )
    oauth_client_id: str | None = Field(None, min_length=1, description="The application's id.", json_schema_extra=RARE)
    oauth_client_secret: Secret | None = Field(None, description="The application's secret.", json_schema_extra=RARE)
    oauth_refresh_token: Secret | None = Field(
        None, description="From the account's consent; without it the application logs in for itself.",
        json_schema_extra=RARE,
    )  # fmt: skip
    oauth_scope: str | None = Field(
        None, min_length=1, description="What the token is asked for; some providers want to be told.",
        json_schema_extra=RARE,
    )  # fmt: skip
    smtp_host: Name | None = Field(None, description="Server that takes outgoing mail: smtp.example.com.")
    smtp_port: int = Field(587, ge=1, le=65_535, description="587 with starttls, 465 with tls.")
    smtp_tls: Tls = Field("starttls", description="starttls, tls, or none (on this machine only).")
    smtp_user: str | None = Field(None, description="Login there, if it is another one.", json_schema_extra=RARE)
    smtp_password: Secret | None = Field(None, description="Password there.", json_schema_extra=RARE)
    smtp_patience: float = Field(600, gt=0, le=3600, description="Seconds the server has to take a mail.")
    imap_host: Name | None = Field(None, description="Server with the mailbox: imap.example.com; none: only send.")
    imap_port: int = Field(993, ge=1, le=65_535, description="993 with tls, 143 with starttls.")
    imap_tls: Tls = Field("tls", description="tls, starttls, or none (on this machine only).")
    imap_user: str | None = Field(None, description="Login there, if it is another one.", json_schema_extra=RARE)
    imap_password: Secret | None = Field(None, description="Password there.", json_schema_extra=RARE)
    imap_folder: str = Field("INBOX", min_length=1, description="Folder that is read.")
    imap_backlog: Backlog = Field("unseen", description="Which mails from before the first start are read.")
    imap_mark_seen: bool = Field(True, description="Mark mails as read once they are kept.")
    imap_move_to: str | None = Field(None, description="Move mails there once they are kept.", json_schema_extra=RARE)
    imap_idle: float = Field(300, ge=1, le=1740, description="Seconds after which IDLE is asked anew.")
    imap_poll: float = Field(30, ge=1, description="Seconds between looks, where the server has no IDLE.")
    max_size: int = Field(25_000_000, ge=10_000, description="Bytes of one mail, in and out.")

    @model_validator(mode="after")
    def _consistent(self) -> EmailConfig:
        if self.base_url is not None:
            raise ValueError("base_url is not for email: set smtp_host, smtp_port, imap_host and imap_port")
        local = (self.reply_address or self.address).rpartition("@")[0]
        if self.reply_tokens and len(local) + _TOKEN > 64:
            raise ValueError(
                f"{local!r} is too long for a token behind it: set a reply_address of at most 20 characters before "
                "the @, or reply_tokens = false"
            )
        for name in ("user", "smtp_user", "imap_user"):
            if (login := getattr(self, name)) and one_line(login) != login:
                raise ValueError(f"{name} has characters that no login has")
        self._consistent_oauth()
        if self.imap_host and not (self.imap_login[0] and (self.imap_login[1] or self.oauth)):
            raise ValueError("imap_host needs a login: set user and password, or imap_user and imap_password")
        return self

    def _consistent_oauth(self) -> None:
        given = [name for name in type(self).model_fields if name.startswith("oauth_") and getattr(self, name)]
        if not given:
            return
        missing = [name for name in ("oauth_token_url", "oauth_client_id") if name not in given]
        if missing:
            raise ValueError(f"{given[0]} needs {' and '.join(missing)} beside it")
        if not (self.oauth_client_secret or self.oauth_refresh_token):
            raise ValueError("oauth_client_id needs oauth_client_secret or oauth_refresh_token beside it, or both")
        if self.password:
            raise ValueError("password and oauth_token_url are two ways to log in: take one away")
        if not (self.smtp_user or self.user):
            raise ValueError("oauth_token_url needs user: whose mailbox it is")

    @property
    def oauth(self) -> Client | None:
        if self.oauth_token_url is None or self.oauth_client_id is None:
            return None
        secrets = (self.oauth_client_secret, self.oauth_refresh_token)
        secret, refresh = (each.get_secret_value() if each else None for each in secrets)
        return Client(self.oauth_token_url, self.oauth_client_id, secret, refresh, self.oauth_scope)

    @property
    def smtp_login(self) -> tuple[str | None, str | None]:
        return _login(self.smtp_user or self.user, self.smtp_password or self.password)

    @property
    def imap_login(self) -> tuple[str | None, str | None]:
        return _login(self.imap_user or self.user, self.imap_password or self.password)


def _login(user: str | None, password: SecretStr | None) -> tuple[str | None, str | None]:
    return user, password.get_secret_value() if password else None


class Email(Adapter[EmailConfig]):
    medium = "email"
    scheme = "mailto"
    Config = EmailConfig
    capabilities = Capabilities(
        text_limit=400_000,  # characters; a mail is not split, and readers cut far below
        splits=False,
        html=True,
        subject=True,
        media="bytes",
        media_max=20,
        media_size=10_000_000,  # bytes of one; common servers take mails of 20 to 25 MB with base64 (a third more)
        # RFC 1047: a server may have taken a mail whose answer was lost, and none can be asked. The Message-ID stays
        # the same, which lets some receivers drop the copy, but that is nothing to build on.
        idempotency="none",
        codes="smtp",
        concurrency=3,  # connections; what Microsoft 365 takes at a time, others take more (from memory)
        rate=None,
        shed=503,  # for form's sake: nothing comes by webhook
        retry_for=timedelta(hours=72),
    )

    webhook_help: ClassVar[str | None] = None  # the hub fetches mail

    def __init__(self, name: str, config: EmailConfig, host: Host) -> None:
        super().__init__(name, config, host)
        tokens = Tokens(host.secret, timedelta(days=config.token_days))
        reply_address = config.reply_address or config.address
        own = {normal(each) for each in (config.address, reply_address, *config.aliases)}
        self._in = MailIn(own, config.authserv_ids, tokens)
        self._out = MailOut(config.address, config.name, reply_address, tokens, with_token=config.reply_tokens)
        tokens_to_log_in = AccessTokens(config.oauth, host) if config.oauth else None
        self._post = _post(config, tokens_to_log_in)
        self._mailbox = _mailbox(config, tokens_to_log_in)

    def verify(self, request: Request) -> Verified:
        return _REFUSED

    def receive(self, request: Request) -> list[Event]:
        """``request.body`` is a raw mail. A message, or what became of mails of ours. Raises: Unparseable."""
        if request.method == MISSED:
            raise Unparseable("the connection broke each time this mail was fetched; it is tried again hourly")
        try:
            events = self._in.events(request.body, request.received_at)
        except Unparseable:
            raise
        except (ValueError, RecursionError) as error:
            raise Unparseable(f"not a mail that can be read: {type(error).__name__}") from error
        for event in events:
            if _is_cut(request) and isinstance(event, MessageReceived):
                event.unsupported = f"mail larger than {len(request.body)} bytes; the rest is only in the mailbox"
        return events

    async def send(self, out: Outgoing) -> Receipt:
        """Hand one mail to the mail server. Raises: SendError, as ``errors.refusal`` says."""
        if out.to.scheme != self.scheme:
            raise BadAddress(f"not a mail address: {out.to.scheme}")
        if out.template is not None and not out.text:
            raise Rejected("email has no provider templates: send the text itself")
        letter = await asyncio.to_thread(self._out.letter, out, self.host.now())
        if len(letter.content) > self.config.max_size:
            raise Rejected(f"{len(letter.content)} bytes with its files, and max_size is {self.config.max_size}")
        answer = await self._deliver(letter)
        return Receipt(letter.message_id, "sent", {"answer": one_line(answer)[:200]})

    async def _deliver(self, letter: Letter) -> str:
        if isinstance(host := self.host, Relay):
            url = f"smtp://{self.config.smtp_host or 'localhost'}:{self.config.smtp_port}"
            envelope = {"mail-from": letter.sender, "rcpt-to": letter.recipient}
            said = await host.relay("SMTP", url, envelope, letter.content)
            words = said.body.decode("utf-8", "replace")
            if not 200 <= said.status < 300:
                raise refusal(said.status, words)
            return f"{said.status} {words}"
        if self._post is None:
            raise ChannelDown("no server for outgoing mail: set smtp_host")
        return await self._post.deliver(letter)

    async def run(self, emit: Emit) -> None:
        server = self._mailbox
        if server is None:
            return
        config = self.config
        habits = Habits(
            config.imap_backlog,
            config.imap_mark_seen,
            config.imap_move_to,
            config.imap_idle,
            config.imap_poll,
            config.max_size,
        )
        await Puller(server, habits, self.host).run(emit)

    async def fetch(self, attachment: Attachment, request: Request | None) -> AsyncIterator[bytes] | None:
        """The file out of the raw mail it came in."""
        if request is None or attachment.ref is None:
            raise Rejected("the mail this file came in is no longer kept")
        cut = _is_cut(request)
        data = await asyncio.to_thread(file_of, request.body, attachment.ref, cut=cut)
        if data is None:
            raise Rejected("the file is beyond max_size, only in the mailbox" if cut else "the mail has no such file")
        return _once(data)

    def entry_link(self, token: str) -> str | None:
        address = self.config.reply_address or self.config.address
        return f"mailto:{quote(address, safe='@')}?subject={quote(entry_words(token))}"

    async def check(self) -> Health:
        """Log in at both servers; ask whether mail from our address would be taken."""
        told = []
        try:
            if self._post is None:
                return Health(False, "no server for outgoing mail: set smtp_host")
            told.append(f"smtp {await self._post.probe(self.config.address)}")
        except SendError as error:
            return Health(False, f"smtp: {error.detail}")
        if (server := self._mailbox) is not None:
            try:
                async with Line(server) as line:
                    await line.open()
                    folder = self.config.imap_move_to
                    if folder and not await line.exists(folder):
                        return Health(False, f"imap: there is no folder {folder}; create it, or mend imap_move_to")
                told.append(f"imap {server.host} {server.folder}")
            except LoginRefused as error:
                return Health(False, f"imap: {error}")
            except ERRORS as error:
                return Health(False, f"imap: {error or type(error).__name__}")
        return Health(True, ", ".join(told))

    async def close(self) -> None:
        if self._post is not None:
            await self._post.close()


def _post(config: EmailConfig, tokens: AccessTokens | None) -> smtp.Post | None:
    if config.smtp_host is None:
        return None
    user, password = config.smtp_login
    context = None if config.smtp_tls == "none" else ssl.create_default_context()
    used = None if password else tokens
    return smtp.Post(
        smtp.Server(
            config.smtp_host, config.smtp_port, config.smtp_tls, user, password, used, context, config.smtp_patience
        )
    )


def _mailbox(config: EmailConfig, tokens: AccessTokens | None) -> imap.Server | None:
    user, password = config.imap_login
    used = None if password else tokens
    if config.imap_host is None or user is None or (password is None and used is None):
        return None
    return imap.Server(
        config.imap_host, config.imap_port, config.imap_tls, user, password or "", config.imap_folder, used
    )


def _is_cut(request: Request) -> bool:
    size = request.headers.get("content-length", "")
    return len(size) < 20 and size.isascii() and size.isdecimal() and int(size) > len(request.body)


async def _once(data: bytes) -> AsyncIterator[bytes]:
    yield data
