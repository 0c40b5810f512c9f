"""One address of Apprise's as a channel that only sends: for alerts to staff, and as a last resort."""

from __future__ import annotations

import asyncio
import json
import logging
import re
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import ClassVar

from apprise import Apprise as Library
from apprise import AppriseResult, AppriseResultStatus, NotifyFormat, NotifyType, OverflowMode
from apprise.plugins import NotifyBase
from pydantic import Field, SecretStr, field_validator, model_validator

from hub.contract import (
    Adapter,
    Ambiguous,
    BadAddress,
    Capabilities,
    ChannelConfig,
    ChannelDown,
    Event,
    Health,
    Host,
    Outgoing,
    RateLimited,
    Receipt,
    Rejected,
    Relay,
    Request,
    SendError,
    Transient,
    Unparseable,
    Verified,
)
from hub.model import Address

_REFUSED = Verified(False, 403, "this channel only sends: nothing can be posted to it\n")
_STATUS = re.compile(r"\berror=([1-5][0-9]{2})\b")  # how Apprise's services tell what they were answered
_THREADS = 2  # Apprise blocks, and sleeps to keep a service's pace

# What it logs may hold addresses with secrets in them; what matters is in its results.
logging.getLogger("apprise").propagate = False


class AppriseConfig(ChannelConfig):
    url: SecretStr = Field(description="Apprise URL of one service: slack://…, tgram://…, mailtos://…, pover://…")

    @field_validator("url")
    @classmethod
    def _known(cls, value: SecretStr) -> SecretStr:
        if service(value) is None:
            raise ValueError("not an Apprise URL, or parts of it are missing: https://appriseit.com/services/ has all")
        return value

    @model_validator(mode="after")
    def _complete(self) -> AppriseConfig:
        if self.base_url is not None:
            raise ValueError("base_url is not for Apprise: url says where everything goes")
        return self


def service(url: SecretStr) -> NotifyBase | None:
    """What the URL stands for; longer texts than the service takes become several."""
    found = Library.instantiate(url.get_secret_value())
    if found is not None and "overflow=" not in url.get_secret_value():
        found.overflow_mode = OverflowMode.SPLIT
    return found


def _fitting(there: NotifyBase | None, out: Outgoing) -> tuple[str, str]:
    """Text and title. A title that is too long for the service begins it, and is whole in the text."""
    title = out.subject or ""
    most = 0 if there is None else there.title_maxlen  # 0: it has no titles, and Apprise puts them into the text
    if not most or len(title) <= most:
        return out.text, title
    return f"{title}\n\n{out.text}".strip(), f"{title[: most - 1]}…"


class Apprise(Adapter[AppriseConfig]):
    """Its one address is ``apprise:<channel>``."""

    medium = "apprise"
    scheme = "apprise"
    Config = AppriseConfig
    capabilities = Capabilities(
        text_limit=30_000,  # characters; what a service takes less of, Apprise splits
        subject=True,
        inbound=False,
        # Nothing but success or failure is told: no id, no receipt, no word on an answer that was lost.
        idempotency="none",
        concurrency=_THREADS,
        retry_for=timedelta(hours=24),
    )
    patience: ClassVar[float] = 60.0  # seconds for one notification

    def __init__(self, name: str, config: AppriseConfig, host: Host) -> None:
        super().__init__(name, config, host)
        self._library = Library()
        if (found := service(config.url)) is not None:
            self._library.add(found)
        self._pool = ThreadPoolExecutor(_THREADS, thread_name_prefix=f"apprise-{name}")

    def verify(self, request: Request) -> Verified:
        return _REFUSED

    def receive(self, request: Request) -> list[Event]:
        raise Unparseable("nothing comes in by this channel")

    def own_address(self) -> Address:
        return Address(self.scheme, self.name)

    async def send(self, out: Outgoing) -> Receipt:
        """One notification. Raises: SendError; Ambiguous where Apprise does not tell whether it arrived."""
        if out.to != self.own_address():
            raise BadAddress(f"the only address of this channel is {self.own_address()}")
        if not out.text and not out.subject:
            known = "templates: send the text itself" if out.template else "messages that say nothing"
            raise Rejected(f"Apprise knows no {known}", code="empty")
        if isinstance(host := self.host, Relay):
            return await self._relayed(host, out)
        work = self._pool.submit(self._notify, *_fitting(service(self.config.url), out))
        try:
            async with asyncio.timeout(self.patience):
                result = await asyncio.wrap_future(work)
        except TimeoutError:
            if work.cancelled():  # it had not begun
                raise Transient(f"no thread was free for {self.patience:.0f} s") from None
            raise Ambiguous(f"no answer within {self.patience:.0f} s") from None
        if result.status is not AppriseResultStatus.SUCCESS:
            raise _refusal(result)
        return Receipt(out.key)

    async def _relayed(self, host: Relay, out: Outgoing) -> Receipt:
        """What the service would be told, without its secrets. Raises: SendError."""
        found = service(self.config.url)
        body, title = _fitting(found, out)
        told = {"title": title, "body": body}
        url = "" if found is None else str(found.url(privacy=True))  # type: ignore[no-untyped-call]  # no types in Apprise
        answer = await host.relay("NOTIFY", url, {}, json.dumps(told, ensure_ascii=False).encode())
        if not 200 <= answer.status < 300:
            raise _by_status(answer.status)
        return Receipt(out.key)

    def _notify(self, text: str, title: str) -> AppriseResult:
        return self._library.notify(
            body=text, title=title, body_format=NotifyFormat.TEXT, notify_type=NotifyType.INFO,
            interpret_escapes=False, log_level=logging.WARNING,
        )

    async def check(self) -> Health:
        """Apprise can ask no service whether it would take something, so only the URL is looked at."""
        found = service(self.config.url)
        if found is None:
            return Health(False, "url is no Apprise URL")
        return Health(True, f"{found.service_name}; whether it arrives shows only when something is sent")

    async def close(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)


def _refusal(result: AppriseResult) -> SendError:
    if result.status is AppriseResultStatus.NOMATCH:
        return ChannelDown("no service stands behind url", code="nomatch")
    said = " ".join(entry.message for each in result.results for entry in each.logs())
    found = _STATUS.search(said)
    if found is None:  # no connection, or a cut one, or a service that tells nothing
        return Ambiguous("Apprise says that it failed, and not why", code=result.status.name.lower())
    return _by_status(int(found[1]))


def _by_status(status: int) -> SendError:
    words, code = f"the service answered HTTP {status}", str(status)
    if status == 429:
        return RateLimited(words, code=code)
    if status in (401, 403, 404):
        return ChannelDown(f"{words}: check url", code=code)
    return Ambiguous(words, code=code) if status >= 500 else Rejected(words, code=code)
