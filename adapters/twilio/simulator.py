"""Twilio's side: the REST API, signed webhooks, and the phones behind it."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qs, parse_qsl, urlencode, urlsplit

import aiohttp
from aiohttp import web

from adapters.twilio.records import (
    ANSWERS,
    ERRORS,
    HELP,
    MAGIC,
    START,
    STOP,
    Sms,
    inbound,
    matches,
    row,
    sign,
    status_form,
)
from hub.testing.server import Server, disconnect
from hub.testing.simulation import Fault, Faults, Ledger, Simulator


class Twilio(Simulator):
    """``number``: the account's. ``public_url``: where Twilio believes the hub to be (scheme and host, as the hub's own
    public_url), which is what it signs; by default where ``webhook_url`` is. Requests go to ``webhook_url``'s host in
    any case, so nothing leaves this machine."""

    def __init__(
        self,
        *,
        ledger: Ledger | None = None,
        faults: Faults | None = None,
        public_url: str | None = None,
        number: str = "+12025550100",
    ) -> None:
        super().__init__(ledger=ledger, faults=faults)
        self.public_url = public_url
        self.number = number
        self.account_sid = "AC" + secrets.token_hex(16)
        self.auth_token = secrets.token_hex(16)
        self.service_sid = "MG" + secrets.token_hex(16)
        self.api_key = ("SK" + secrets.token_hex(16), secrets.token_hex(16))
        self.account_status = "active"
        self._reached = ["delivered"]  # what becomes of a message that is not lost
        self.deliver = True  # False: no status callbacks
        self.insists = 0.0  # seconds for which what was not taken is posted again: #rc and #rp=all of a webhook's URL
        self.advanced_opt_out = True  # False: Twilio answers STOP as well, but the webhook has no OptOutType
        self.undeliverable: dict[str, int] = {}  # phone number: the error code of every message to it
        self.messages: list[Sms] = []  # as they were taken
        self.opted_out: set[str] = set()
        self.server = Server()
        self._phones: dict[str, list[Sms]] = {}
        self._media: dict[str, tuple[str, bytes]] = {}
        self._base = ""
        self._store = ""  # another host, where media are in fact

    # --- what who starts it, and the demo, use ---

    async def start(self, port: int = 0) -> None:
        account = "/2010-04-01/Accounts/{account}"
        api = web.Application()
        api.add_routes(
            [
                web.post(account + "/Messages.json", self._create),
                web.get(account + "/Messages.json", self._list),
                web.get(account + "/Messages/{message}/Media/{media}", self._media_of),
                web.get(account + ".json", self._account),
                *self._routes(),
            ]
        )
        store = web.Application()
        store.add_routes([web.get("/{media}", self._stored)])
        self._base = await self.server.listen(api, port)
        self._store = await self.server.listen(store, 0)

    async def stop(self) -> None:
        await self.server.close()

    def config(self) -> dict[str, Any]:
        return {
            "account_sid": self.account_sid,
            "auth_token": self.auth_token,
            "from_number": self.number,
            "base_url": self._base,
        }

    async def text(
        self, from_: str, body: str, media: Sequence[tuple[str, bytes]] = (), **more: str
    ) -> int | None:
        """A phone sends a message, perhaps with (mime type, bytes). The hub's status; None if it gave none.

        ``more``: further fields of the webhook."""
        message = Sms(("MM" if media else "SM") + secrets.token_hex(16), from_, self.number, body, direction="inbound")
        message.status, message.sent = "received", message.created
        message.media = [self._keep(message.sid, mime, data) for mime, data in media]
        self.messages.append(message)
        keyword = self._keyword(from_, body)
        form = inbound(self.account_sid, message, [mime for mime, _ in media]) | more
        if keyword and self.advanced_opt_out:
            form["OptOutType"] = keyword
        hook = urlsplit(self._hook)
        url = (self.public_url or f"{hook.scheme}://{hook.netloc}") + hook.path
        self.ledger.write("deliver", id=message.sid, **{"from": from_}, text=body, media=message.media)
        status = await self._post(url, form)
        self.ledger.write("acked", id=message.sid, status=status)
        if self.faults.duplicate_callbacks:
            await self._post(url, form)
        return status

    def phone(self, number: str) -> list[Sms]:
        """The messages that phone has received, oldest first."""
        return list(self._phones.get(number, []))

    async def settle(self) -> None:
        """Wait until all status callbacks are posted, and all late messages taken."""
        await self.server.settle()

    # --- the REST API ---

    def _routes(self) -> list[web.RouteDef]:
        """Further ones of the API."""
        return []

    async def _create(self, request: web.Request) -> web.StreamResponse:
        pairs = parse_qsl(await request.text(), keep_blank_values=True)
        form = dict(pairs)
        media = [value for name, value in pairs if name == "MediaUrl"]
        key = _key(form.get("StatusCallback"))
        self.ledger.write("request", method="POST", path=request.path, to=form.get("To"), key=key)
        if refused := self._unauthorized(request):
            return refused
        fault = self.faults.next()
        if fault is not None:
            self.ledger.write("fault", fault=fault.kind, key=key)
            if (answer := _before(request, fault, form)) is not None:
                return answer
        code = self._objection(form, media)
        if code:
            return _error(code, request, form)
        if fault is not None and fault.kind == "late_accept":
            self.server.spawn(self._late(fault.delay, form, media))
            return disconnect(request)
        if fault is not None and fault.kind == "slow":
            await asyncio.sleep(fault.delay)
        message = self._accept(form, media)
        if fault is not None and fault.kind == "drop_after":
            return disconnect(request)
        if fault is not None and fault.kind == "error_after":
            return _error(20500, request, form)
        return web.json_response(row(self.account_sid, message, new=True), status=201)

    def _objection(self, form: Mapping[str, str], media: Sequence[str]) -> int | None:
        """The code of what is wrong with a message."""
        to, sender = form.get("To", ""), form.get("From", "")
        if not sender and form.get("MessagingServiceSid") != self.service_sid:
            return 21603
        if sender and sender != self.number:
            return 21212 if sender == "+15005550001" else 21606
        if not to:
            return 21604
        if to in MAGIC:
            return MAGIC[to]
        if not to.startswith("+") or not to[1:].isdecimal() or not 8 <= len(to) <= 16:
            return 21211
        if to in self.opted_out:
            return 21610
        if not form.get("Body") and not media:
            return 21602
        if len(form.get("Body", "")) > 1600:
            return 21617
        if len(media) > 10:
            return 21623
        return 21620 if any(not url.startswith(("http://", "https://")) for url in media) else None

    def _accept(self, form: Mapping[str, str], media: Sequence[str]) -> Sms:
        sid = ("MM" if media else "SM") + secrets.token_hex(16)
        message = Sms(sid, form.get("From") or self.number, form["To"], self._words(form), list(media))
        message.service = form.get("MessagingServiceSid")
        message.status = "accepted" if message.service else "queued"
        message.callback = form.get("StatusCallback")
        self.messages.append(message)
        key = _key(message.callback)
        self.ledger.write("accept", id=sid, key=key, to=message.to, text=message.body, media=message.media)
        message.error_code = self._failure(message, form)
        if message.error_code is None:
            self._phones.setdefault(message.to, []).append(message)
        self.server.spawn(self._carry(message))
        return message

    def _words(self, form: Mapping[str, str]) -> str:
        """What the phone shows."""
        return form.get("Body", "")

    def _failure(self, message: Sms, form: Mapping[str, str]) -> int | None:
        """Why a message that was taken will not arrive."""
        return self.undeliverable.get(message.to)

    async def _late(self, delay: float, form: Mapping[str, str], media: Sequence[str]) -> None:
        await asyncio.sleep(delay)
        self._accept(form, media)

    async def _list(self, request: web.Request) -> web.Response:
        if refused := self._unauthorized(request):
            return refused
        query = request.query
        found = [message for message in reversed(self.messages) if matches(message, query)]
        self.ledger.write("query", to=query.get("To"), found=len(found))
        page, size = int(query.get("Page", "0")), min(int(query.get("PageSize", "50")), 1000)
        more = len(found) > (page + 1) * size
        following = urlencode([*((n, v) for n, v in query.items() if n != "Page"), ("Page", str(page + 1))])
        rows = found[page * size : (page + 1) * size]
        return web.json_response(
            {
                "messages": [row(self.account_sid, message) for message in rows],
                "page": page,
                "page_size": size,
                "start": page * size,
                "end": page * size + len(rows) - 1,
                "uri": request.path_qs,
                "next_page_uri": f"{request.path}?{following}" if more else None,
            }
        )

    async def _account(self, request: web.Request) -> web.Response:
        refused = self._unauthorized(request, keys=False)
        row = {"sid": self.account_sid, "friendly_name": "Simulated", "status": self.account_status, "type": "Full"}
        return refused or web.json_response(row)

    async def _media_of(self, request: web.Request) -> web.Response:
        if refused := self._unauthorized(request):
            return refused
        name = request.match_info["media"]
        if name not in self._media:
            return _error(20404, request, {})
        return web.Response(status=307, headers={"Location": f"{self._store}/{name}"})

    async def _stored(self, request: web.Request) -> web.Response:
        if "Authorization" in request.headers:  # like S3
            return web.Response(status=400, text="Only one auth mechanism allowed")
        mime, data = self._media[request.match_info["media"]]
        return web.Response(body=data, content_type=mime)

    def _unauthorized(self, request: web.Request, *, keys: bool = True) -> web.Response | None:
        pairs = [(self.account_sid, self.auth_token), *([self.api_key] if keys else [])]
        known = [aiohttp.encode_basic_auth(*pair) for pair in pairs]
        if request.headers.get("Authorization") not in known:
            return _error(20003, request, {})
        return None if request.match_info["account"] == self.account_sid else _error(20404, request, {})

    # --- what it tells the hub ---

    async def _carry(self, message: Sms) -> None:
        """Take a message to the phone, and tell."""
        await asyncio.sleep(0)  # the answer to its creation is written first
        steps = ["queued", "sent", "undelivered"] if message.error_code else ["queued", "sent", *self._reached]
        told = list(steps)
        if self.faults.duplicate_callbacks:
            told = [step for step in told for _ in range(2)]
        if self.faults.shuffle_callbacks:
            self.faults.random.shuffle(told)
        message.status, message.sent = steps[-1], datetime.now(UTC)
        if message.callback and self.deliver and self.webhook_url:
            for status in told:
                await self._callback(message.callback, message, status)

    async def _callback(self, url: str, message: Sms, status: str) -> None:
        form = status_form(self.account_sid, message, status)
        answered = await self._post(url, form)
        self.ledger.write("callback", id=message.sid, key=_key(url), state=status, status=answered)

    async def _post(self, url: str, form: Mapping[str, str]) -> int | None:
        """Signed for ``url``, but posted to the hub's own address; again only if it could not connect, and once (or
        as long as it ``insists``). None without an answer."""
        hook, called = urlsplit(self._hook), urlsplit(url)
        target = f"{hook.scheme}://{hook.netloc}{called.path}{'?' + called.query if called.query else ''}"
        headers = {
            "X-Twilio-Signature": sign(self.auth_token, url, form),
            "Content-Type": "application/x-www-form-urlencoded; charset=UTF-8",
            "User-Agent": "TwilioProxy/1.1",
            "I-Twilio-Idempotency-Token": secrets.token_hex(16),
        }
        data, clock = urlencode(form).encode(), asyncio.get_running_loop().time
        until = clock() + self.insists
        status = await self._try(target, data, headers) or await self._try(target, data, headers)
        while (status <= 0 or status >= 500) and clock() < until:
            await asyncio.sleep(0.1)
            status = await self._try(target, data, headers)
        return status if status > 0 else None

    async def _try(self, target: str, data: bytes, headers: Mapping[str, str]) -> int:
        """The status; 0 without a connection, -1 without an answer."""
        try:
            async with self.server.session.post(target, data=data, headers=headers, allow_redirects=False) as answer:
                await answer.read()
                return answer.status
        except aiohttp.ClientConnectorError:
            return 0
        except (aiohttp.ClientError, TimeoutError):
            return -1

    @property
    def _hook(self) -> str:
        if self.webhook_url is None:
            raise RuntimeError("set webhook_url first: http://127.0.0.1:8080/hooks/sms")
        return self.webhook_url

    # --- the rest of the machinery ---

    def _keyword(self, from_: str, body: str) -> str | None:
        """STOP, START or HELP, obeyed and answered by Twilio itself; only a message of that one word counts."""
        word = body.strip().upper()
        keyword = "STOP" if word in STOP else "HELP" if word in HELP else None
        if word in START and from_ in self.opted_out:
            keyword = "START"
        if keyword == "STOP":
            self.opted_out.add(from_)
        elif keyword == "START":
            self.opted_out.discard(from_)
        if keyword:
            answer = Sms("SM" + secrets.token_hex(16), self.number, from_, ANSWERS[keyword], direction="outbound-reply")
            self._phones.setdefault(from_, []).append(answer)
        return keyword

    def _keep(self, message: str, mime: str, data: bytes) -> str:
        name = "ME" + secrets.token_hex(16)
        self._media[name] = (mime, data)
        return f"{self._base}/2010-04-01/Accounts/{self.account_sid}/Messages/{message}/Media/{name}"



def _before(request: web.Request, fault: Fault, form: Mapping[str, str]) -> web.Response | None:
    """The answer of faults that take no message."""
    match fault.kind:
        case "throttle":
            return _error(20429, request, form, headers={"Retry-After": f"{fault.delay:g}"})
        case "error":
            return _error(int(fault.code or 20500), request, form)
        case "reject":
            return _error(int(fault.code or 21211), request, form)
        case "drop_before":
            return disconnect(request)
    return None


def _error(
    code: int, request: web.Request, form: Mapping[str, str], headers: Mapping[str, str] | None = None
) -> web.Response:
    status, words = ERRORS.get(code, (400, "Refused"))
    message = words.format(path=request.path, to=form.get("To"), from_=form.get("From"))
    more = f"https://www.twilio.com/docs/errors/{code}"
    body = {"code": code, "message": message, "more_info": more, "status": status}
    return web.json_response(body, status=status, headers=headers)


def _key(url: str | None) -> str | None:
    """The hub's own reference in a callback URL."""
    return parse_qs(urlsplit(url or "").query).get("key", [None])[0]
