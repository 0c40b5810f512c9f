"""Vonage's side of the SMS API: sends, signed webhooks, and the phones behind it."""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Literal
from urllib.parse import urlencode, urlsplit

import aiohttp
from aiohttp import web

from adapters.vonage_sms.records import (
    LONGEST,
    START,
    STOP,
    Sms,
    answer,
    cut,
    inbound,
    receipt,
    refused,
    shown,
    signed,
)
from hub.testing.server import Server, disconnect
from hub.testing.simulation import Fault, Faults, Ledger
from hub.testing.simulation import Simulator as Base


class Simulator(Base):
    """``number``: the account's. Phones and the account have numbers with "+" here, and without it on the wire."""

    def __init__(
        self, *, ledger: Ledger | None = None, faults: Faults | None = None, number: str = "+447700900000"
    ) -> None:
        super().__init__(ledger=ledger, faults=faults)
        self.number = number
        self.api_key, self.api_secret = secrets.token_hex(4), secrets.token_hex(8)
        self.signature_secret = secrets.token_hex(20)
        self.signature_method = "md5hash"
        self.way: Literal["json", "form", "get"] = "json"  # how the account's webhooks come
        self.balance = 15.5
        self.deliver = True  # False: no receipts
        self.redelivery: tuple[float, ...] = (0.1, 0.5)  # seconds until what was not taken is posted again
        self.undeliverable: dict[str, int] = {}  # phone number: the err-code of every message to it
        self.lost: dict[str, set[int]] = {}  # phone number: which parts of each message do not arrive, from 0
        self.barred: set[str] = set()  # phone numbers
        self.takes: int | None = None  # so many parts of each message, then there is no credit left
        self.messages: list[Sms] = []  # as they were taken
        self.written: list[Sms] = []  # by phones
        self.opted_out: set[str] = set()
        self.server = Server()
        self._phones: dict[str, list[Sms]] = {}
        self._base = ""

    # --- what who starts it uses ---

    async def start(self, port: int = 0) -> None:
        app = web.Application()
        app.add_routes([web.post("/sms/json", self._send), web.get("/account/get-balance", self._balance)])
        self._base = await self.server.listen(app, port)

    async def stop(self) -> None:
        await self.server.close()

    def config(self) -> dict[str, Any]:
        return {
            "api_key": self.api_key,
            "api_secret": self.api_secret,
            "signature_secret": self.signature_secret,
            "signature_method": self.signature_method,
            "from_number": self.number,
            "base_url": self._base,
        }

    async def text(self, from_: str, body: str, **more: str) -> int | None:
        """A phone sends a message, each part of a long one by itself. The hub's last status; None if it gave none.

        ``more``: further fields of the webhook."""
        parts = cut(body, unicode=shown(body, unicode=False) != body)
        message = Sms(_digits(from_), _digits(self.number), body, [_id() for _ in parts])
        self.written.append(message)
        self._keyword(from_, body)
        self.ledger.write("deliver", id=message.id, **{"from": from_}, text=body)
        answered: int | None = None
        for fields in inbound(message):
            answered = await self._tell(self._hook, fields | more)
            if self.faults.duplicate_callbacks:
                await self._tell(self._hook, fields | more)
        self.ledger.write("acked", id=message.id, status=answered)
        return answered

    def phone(self, number: str) -> list[Sms]:
        """The messages that phone has received, oldest first."""
        return list(self._phones.get(_digits(number), []))

    async def settle(self) -> None:
        """Wait until all receipts are posted, and all late messages taken."""
        await self.server.settle()

    # --- the API ---

    async def _send(self, request: web.Request) -> web.StreamResponse:
        form = {name: str(value) for name, value in (await request.post()).items()}
        key = form.get("client-ref")
        self.ledger.write("request", method="POST", path=request.path, to=form.get("to"), key=key)
        if not self._known(request):
            return web.json_response(refused("4"), status=401)
        fault = self.faults.next()
        if fault is not None:
            self.ledger.write("fault", fault=fault.kind, key=key)
            if (early := _before(request, fault)) is not None:
                return early
        if (wrong := self._objection(form)) is not None:
            return web.json_response(wrong)
        if fault is not None and fault.kind == "late_accept":
            self.server.spawn(self._late(fault.delay, form))
            return disconnect(request)
        if fault is not None and fault.kind == "slow":
            await asyncio.sleep(fault.delay)
        message = self._accept(form)
        if fault is not None and fault.kind == "drop_after":
            return disconnect(request)
        if fault is not None and fault.kind == "error_after":
            return web.Response(status=500, text="Internal Server Error")
        return web.json_response(self._told(message))

    def _objection(self, form: Mapping[str, str]) -> dict[str, Any] | None:
        """The answer to a message that is not right."""
        for name in ("from", "to", "text"):
            if not form.get(name):
                return refused("2", name=name)
        if form["from"] != _digits(self.number):
            return refused("15")
        if not form["to"].isdecimal() or not 7 <= len(form["to"]) <= 15:
            return refused("3")
        if form.get("type", "text") not in ("text", "unicode"):
            return refused("3", name="type")
        if any(len(form.get(name, "")) > 100 for name in ("callback", "client-ref")):
            return refused("3", name="callback")
        if not 20_000 <= int(form.get("ttl", "20000")) <= 604_800_000:
            return refused("3", name="ttl")
        if len(form["text"]) > LONGEST:
            return refused("12")
        return refused("7") if form["to"] in map(_digits, self.barred) else None

    def _accept(self, form: Mapping[str, str]) -> Sms:
        unicode = form.get("type") == "unicode"
        parts = cut(form["text"], unicode=unicode)[: self.takes]
        message = Sms(form["from"], form["to"], shown("".join(parts), unicode=unicode), [_id() for _ in parts])
        message.callback, message.key = form.get("callback"), form.get("client-ref")
        self.messages.append(message)
        self.ledger.write("accept", id=message.id, key=message.key, to=f"+{message.to}", text=message.body)
        status, code = self._outcome(message)
        if status == "delivered" and not self._lost(message):
            self._phones.setdefault(message.to, []).append(message)
        if self.deliver and form.get("status-report-req") == "1" and self.webhook_url:
            self.server.spawn(self._carry(message, status, code))
        return message

    def _told(self, message: Sms) -> dict[str, Any]:
        told = answer(message)
        if self.takes is not None:
            told["messages"] += refused("9")["messages"]
            told["message-count"] = str(len(told["messages"]))
        return told

    def _outcome(self, message: Sms) -> tuple[str, str]:
        """What becomes of a message that was taken: the status and the err-code of its receipts."""
        if message.to in self.opted_out:
            return "rejected", "9"
        code = {_digits(number): code for number, code in self.undeliverable.items()}.get(message.to, 0)
        return ("failed" if code else "delivered"), str(code)

    def _lost(self, message: Sms) -> set[int]:
        return {_digits(number): parts for number, parts in self.lost.items()}.get(message.to, set())

    async def _late(self, delay: float, form: Mapping[str, str]) -> None:
        await asyncio.sleep(delay)
        self._accept(form)

    async def _balance(self, request: web.Request) -> web.Response:
        if not self._known(request):
            return web.json_response({"error-code": "401", "error-code-label": "authentication failed"}, status=401)
        return web.json_response({"value": self.balance, "autoReload": False})

    def _known(self, request: web.Request) -> bool:
        return request.headers.get("Authorization") == aiohttp.encode_basic_auth(self.api_key, self.api_secret)

    # --- what it tells the hub ---

    async def _carry(self, message: Sms, status: str, code: str) -> None:
        """Tell what became of each part."""
        await asyncio.sleep(0)  # the answer to its creation is written first
        lost = self._lost(message)
        ends = [("failed", "8") if number in lost else (status, code) for number in range(len(message.ids))]
        told = [
            (part, *each) for part, end in zip(message.ids, ends, strict=True) for each in (("buffered", "0"), end)
        ]
        if self.faults.duplicate_callbacks:
            told = [each for each in told for _ in range(2)]
        if self.faults.shuffle_callbacks:
            self.faults.random.shuffle(told)
        for part, state, why in told:
            url = self._here(message.callback) if message.callback else self._hook
            answered = await self._tell(url, receipt(message, part, state, why))
            self.ledger.write("callback", id=part, key=message.key, state=state, status=answered)

    async def _tell(self, url: str, fields: Mapping[str, str]) -> int | None:
        """One webhook, and again where it was not taken. The hub's last status; None if it gave none."""
        answered: int | None = None
        for pause in (*self.redelivery, None):
            answered = await self._call(url, self._signed(fields))
            if (answered is not None and 200 <= answered <= 205) or pause is None:
                break
            await asyncio.sleep(pause)
        return answered

    def _signed(self, fields: Mapping[str, str]) -> dict[str, str]:
        now = str(int(datetime.now(UTC).timestamp()))
        stamped = {**fields, "timestamp": now, "nonce": secrets.token_hex(8)}
        return signed(self.signature_secret, self.signature_method, stamped)

    async def _call(self, url: str, fields: Mapping[str, str]) -> int | None:
        method, body, headers = "POST", urlencode(fields), {"Content-Type": "application/x-www-form-urlencoded"}
        if self.way == "get":
            method, url, body, headers = "GET", f"{url}?{body}", "", {}
        elif self.way == "json":
            body, headers = json.dumps(fields, ensure_ascii=False), {"Content-Type": "application/json"}
        headers["User-Agent"] = "Nexmo/MessagingHUB/v1.0"
        try:
            async with self.server.session.request(
                method, url, data=body.encode(), headers=headers, allow_redirects=False
            ) as told:
                await told.read()
                return told.status
        except (aiohttp.ClientError, TimeoutError):
            return None

    @property
    def _hook(self) -> str:
        if self.webhook_url is None:
            raise RuntimeError("set webhook_url first: http://127.0.0.1:8080/hooks/sms")
        return self.webhook_url

    def _here(self, url: str) -> str:
        """The hub's own address, whatever public one the URL names: nothing leaves this machine."""
        hook = urlsplit(self._hook)
        return f"{hook.scheme}://{hook.netloc}{urlsplit(url).path}"

    # --- the rest of the machinery ---

    def _keyword(self, from_: str, body: str) -> None:
        """What somebody says to a number of a country in which Vonage itself keeps the opt-outs."""
        word = body.strip().upper()
        if word == STOP:
            self.opted_out.add(_digits(from_))
        elif word == START:
            self.opted_out.discard(_digits(from_))


def _before(request: web.Request, fault: Fault) -> web.Response | None:
    """The answer of faults that take no message."""
    match fault.kind:
        case "throttle":
            return web.json_response(refused("1", wait=f"{fault.delay * 1000:.0f}"))
        case "error":
            return web.json_response(refused(fault.code)) if fault.code else web.Response(status=500)
        case "reject":
            return web.json_response(refused(fault.code or "7"))
        case "drop_before":
            return disconnect(request)
    return None


def _digits(number: str) -> str:
    return number.removeprefix("+")


def _id() -> str:
    return f"0A{secrets.token_hex(7).upper()}"
