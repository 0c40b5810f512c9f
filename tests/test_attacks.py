"""Agreed attacks against a hub that runs with real adapters, where their file lies beside the project.

Each case has a driver by its id. A case of which the file has only prose is driven as its words say; some are driven by
a test of the part they concern, which is named here. A case that nobody drives fails.
"""

from __future__ import annotations

import asyncio
import base64
import io
import json
import re
import sys
import time
import zipfile
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import sqlalchemy as sa
from pydantic import ValidationError
from yarl import URL

from adapters.email.testing import adapter as mailbox
from adapters.email.testing import request as fetched
from adapters.graph.records import sign as meta_sign
from adapters.slack.simulator import Simulator as Slack
from adapters.slack.text import escape
from adapters.slack.wire import sign as slack_sign
from adapters.twilio.records import sign as twilio_sign
from adapters.twilio_sms.simulator import Simulator as Twilio
from adapters.webchat.simulator import Visitor
from adapters.whatsapp_cloud.simulator import Simulator as Meta
from hub import keys, media
from hub.app import Hub, running
from hub.cli._table import cell
from hub.contract import Unparseable
from hub.customers import parse_address
from hub.egress import Egress, Refused
from hub.inbound import event_key
from hub.policy.classify import classify
from hub.registry import adapters
from hub.settings import Settings
from hub.store.schema import api_key, customer, delivery, inbox, message
from hub.store.schema import media as media_table
from tests import shared

pytestmark = pytest.mark.timeout(300)
PATIENCE = 30.0  # seconds for what is to cost little; a slow machine is no failure
Case = dict[str, Any]
Answer = tuple[int, dict[str, str], str]


@dataclass
class World:
    """A hub with channels sms, slack, meta and chat, and somebody who may call its API."""

    hub: Hub
    sms: Twilio
    slack: Slack
    meta: Meta
    session: aiohttp.ClientSession
    token: str

    @property
    def base(self) -> str:
        return f"http://127.0.0.1:{self.hub.port}"

    async def ask(self, method: str, path: str, data: bytes | None = None, **headers: str) -> Answer:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        body = None if data is None else io.BytesIO(data)
        async with self.session.request(
            method, self.base + path, data=body, headers=named, allow_redirects=False
        ) as answer:
            return answer.status, {name.lower(): value for name, value in answer.headers.items()}, await answer.text()

    async def api(self, method: str, path: str, body: Any = None, **headers: str) -> Answer:
        """``body``: a value, or bytes as they are to be sent."""
        data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        given = {"Content_Type": "application/json", "Authorization": f"Bearer {self.token}"} | headers
        return await self.ask(method, f"/api/v1{path}", data, **given)

    async def count(self, *tables: sa.Table) -> list[int]:
        """Rows; of the inbox without what the desk's provider tells of our own posts."""

        def rows(table: sa.Table) -> sa.Select[tuple[int]]:
            query = sa.select(sa.func.count()).select_from(table)
            return query.where(inbox.c.channel != "slack") if table is inbox else query

        def work(connection: sa.Connection) -> list[int]:
            return [connection.execute(rows(each)).scalar_one() for each in tables]

        return await self.hub.store.read(work)

    async def stored(self, name: str) -> int:
        """The id of the file of that name, once the hub has it."""
        query = sa.select(media_table.c.id).where(media_table.c.name == name, media_table.c.state == "stored")
        async with asyncio.timeout(PATIENCE):
            while True:
                found = await self.hub.store.read(lambda connection: connection.execute(query).scalar())
                if found is not None:
                    return int(found)
                await asyncio.sleep(0.01)

    async def raw(self, data: bytes, *, half: bool = False) -> bytes:
        """What comes back on a connection of one's own, until it ends."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.hub.port)
        try:
            writer.write(data)
            if half:
                writer.write_eof()
            async with asyncio.timeout(PATIENCE):
                return await reader.read()
        finally:
            writer.close()

    async def works(self) -> None:
        """A webhook that is right is still taken, once, and becomes a message."""
        kept, shown = await self.count(inbox, message)
        assert await self.sms.text("+447700900123", "hello") == 200
        assert await self.count(inbox) == [kept + 1]
        async with asyncio.timeout(PATIENCE):
            while await self.count(message) == [shown]:  # noqa: ASYNC110 - the projector tells nobody outside
                await asyncio.sleep(0.01)


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    sms, slack, meta = Twilio(), Slack(), Meta()
    for each in (sms, slack, meta):
        await each.start()
    settings = Settings.model_validate(
        {
            "data": tmp_path,
            "database_url": f"sqlite:///{tmp_path}/hub.db",
            "listen": {"port": 0},
            "public_url": "https://hub.example.com",
            "channels": {
                "sms": {"adapter": "twilio_sms", **sms.config()},
                "slack": {"adapter": "slack", **slack.config()},
                "meta": {"adapter": "whatsapp_cloud", **meta.config()},
                "chat": {"adapter": "webchat", "allowed_origins": ["https://shop.example"]},
            },
        }
    )
    try:
        async with running(settings) as hub, aiohttp.ClientSession() as session:
            slack.webhook_url = f"http://127.0.0.1:{hub.port}/hooks/slack"
            sms.public_url, sms.webhook_url = "https://hub.example.com", f"http://127.0.0.1:{hub.port}/hooks/sms"
            _, token = await hub.write(
                lambda connection, context: keys.create(connection, context.now, "boss", ("admin",))
            )
            yield World(hub, sms, slack, meta, session, token)
    finally:
        for each in (meta, slack, sms):
            await each.stop()


# --- the payloads ---


def made(payload: Case) -> bytes:
    """The bytes that a payload stands for."""
    match payload["enc"]:
        case "text":
            return str(payload["data"]).encode()
        case "base64":
            return base64.b64decode(payload["data"])
        case "gen":
            return "".join(each if isinstance(each, str) else each[0] * each[1] for each in payload["parts"]).encode()
        case "gen_mime_parts":
            parts = b"".join(b"--x\r\n\r\na\r\n" for _ in range(payload["n"]))
            head = b"From: a@example.com\r\nContent-Type: multipart/mixed; boundary=x\r\n\r\n"
            return head + parts + b"--x--\r\n"
        case "gen_zip_bomb":
            packed = io.BytesIO()
            fast = zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED, compresslevel=1)
            with fast as archive, archive.open("zeros", "w") as out:
                for _ in range(payload["inner_mb"]):
                    out.write(bytes(1 << 20))
            return packed.getvalue()
        case other:
            raise AssertionError(f"nobody makes {other!r}")


# --- signatures ---


def signed_for_slack(world: World, body: bytes, at: float | None = None, secret: str | None = None) -> dict[str, str]:
    stamp = str(int(time.time() if at is None else at))
    sign = slack_sign(secret or world.slack.signing_secret, stamp, body)
    return {"X_Slack_Request_Timestamp": stamp, "X_Slack_Signature": sign, "Content_Type": "application/json"}


async def refused(world: World, answer: Awaitable[Answer], statuses: tuple[int, ...] = (401, 403)) -> Answer:
    """And nothing is kept."""
    before = await world.count(inbox, message, delivery)
    got = await answer
    assert got[0] in statuses, got
    assert await world.count(inbox, message, delivery) == before
    await world.works()
    return got


async def no_signature(world: World, case: Case) -> None:
    for channel in ("sms", "slack", "meta"):
        await refused(world, world.ask("POST", f"/hooks/{channel}", case["payload"]["data"]["body"].encode()))


async def empty_secret(world: World, case: Case) -> None:
    secrets = {
        "twilio_sms": ("auth_token", world.sms.config()),
        "slack": ("signing_secret", world.slack.config()),
        "whatsapp_cloud": ("app_secret", world.meta.config()),
    }
    kinds = adapters()
    for name, (secret, config) in secrets.items():
        for wrong in ({secret: ""}, {secret: "  "}):
            with pytest.raises(ValidationError):
                kinds[name].Config.model_validate(config | wrong)
        with pytest.raises(ValidationError):
            kinds[name].Config.model_validate({key: value for key, value in config.items() if key != secret})


async def wrong_time(world: World, case: Case) -> None:
    body = b'{"type":"event_callback"}'
    for seconds in (-100_000_000, -3600, 3600):
        headers = signed_for_slack(world, body, time.time() + seconds)
        await refused(world, world.ask("POST", "/hooks/slack", body, **headers))


async def smuggled_separator(world: World, case: Case) -> None:
    stamp = str(int(time.time()))
    sign = slack_sign(world.slack.signing_secret, stamp, b"1:x")
    headers = {"X_Slack_Request_Timestamp": f"{stamp}:1", "X_Slack_Signature": sign}
    await refused(world, world.ask("POST", "/hooks/slack", b"x", **headers))


async def slacks_old_example(world: World, case: Case) -> None:
    given = case["payload"]["data"]
    headers = {"X_Slack_Request_Timestamp": str(given["ts"]), "X_Slack_Signature": f"v0={given['v0']}"}
    await refused(world, world.ask("POST", "/hooks/slack", b"token=xyzz0WbapA4vBCDEFasx0q6G", **headers))


async def twilio_behind_a_proxy(world: World, case: Case) -> None:
    form = {"CallSid": "CA1234567890ABCDE", "Caller": "+12349013030", "Digits": "1234", "From": "+12349013030"}
    form["To"] = "+18005551212"
    url = "https://mycompany.com/myapp.php?foo=1&bar=2"
    assert twilio_sign("12345", url, form) == "0/KCTR6DLpKmkAf8muzZqo1nDgQ="
    body = b"From=%2B447700900123&Body=hi&MessageSid=SM" + b"0" * 32
    sent = {"From": "+447700900123", "Body": "hi", "MessageSid": "SM" + "0" * 32}
    elsewhere = twilio_sign(world.sms.auth_token, "https://evil.example/hooks/sms", sent)
    kind = {"Content_Type": "application/x-www-form-urlencoded", "X_Twilio_Signature": elsewhere}
    for name in ("Host", "X_Forwarded_Host", "Forwarded"):
        host = "host=evil.example" if name == "Forwarded" else "evil.example"
        await refused(world, world.ask("POST", "/hooks/sms", body, **(kind | {name: host})))


async def signed_as_written(world: World, case: Case) -> None:
    """Spaces and the order of names are part of what was signed."""
    body = b'{ "object" : "whatsapp_business_account" ,\n "entry" : [ ] }'
    sign = meta_sign(world.meta.app_secret, body)
    headers = {"X_Hub_Signature_256": sign, "Content_Type": "application/json"}
    [before] = await world.count(inbox)
    status, _, _ = await world.ask("POST", "/hooks/meta", body, **headers)
    assert (status, await world.count(inbox)) == (200, [before + 1])
    await refused(world, world.ask("POST", "/hooks/meta", json.dumps(json.loads(body)).encode(), **headers))


async def somebody_elses_account(world: World, case: Case) -> None:
    """Signed with our secret, but about a number that is not ours; and with the secret of another channel."""
    value = {
        "messaging_product": "whatsapp",
        "metadata": {"display_phone_number": "15550000000", "phone_number_id": "1" * 15},
        "contacts": [{"profile": {"name": "Eve"}, "wa_id": "447700900123"}],
        "messages": [
            {"from": "447700900123", "id": "wamid.EVE", "timestamp": str(int(time.time())), "type": "text",
             "text": {"body": "hi"}}
        ],
    }  # fmt: skip
    entry = {"id": "1" * 15, "changes": [{"field": "messages", "value": value}]}
    body = json.dumps({"object": "whatsapp_business_account", "entry": [entry]}).encode()
    sign = meta_sign(world.meta.app_secret, body)
    await world.ask("POST", "/hooks/meta", body, X_Hub_Signature_256=sign, Content_Type="application/json")
    before = await world.count(message)
    await world.works()  # with ours, which came after it
    assert await world.count(message) == [before[0] + 1]
    foreign = {"X_Hub_Signature_256": meta_sign(world.sms.auth_token, body)}
    await refused(world, world.ask("POST", "/hooks/meta", body, **foreign))


async def no_time_to_measure(world: World, case: Case) -> None:
    """Signatures are compared in the same time however much of them is right."""
    for folder in ("twilio", "slack", "graph", "telegram", "webchat"):
        code = "".join(each.read_text(encoding="utf-8") for each in (shared.ROOT / "adapters" / folder).glob("*.py"))
        assert "compare_digest" in code or "SignatureVerifier" in code or "SignatureValidator" in code, folder


async def challenge(world: World, case: Case) -> None:
    query = "&".join(f"{name}={value}" for name, value in case["payload"]["data"]["query"].items())
    status, headers, text = await world.ask("GET", f"/hooks/meta?{query}")
    assert status == 403
    assert "<script>" not in text or headers["content-type"].startswith("text/plain")
    assert headers["x-content-type-options"] == "nosniff"


async def unsigned_verification(world: World, case: Case) -> None:
    await refused(world, world.ask("POST", "/hooks/slack", made(case["payload"])), (401, 403, 413))


# --- bodies ---


async def bad_json(world: World, case: Case) -> None:
    for path in ("/messages", "/customers", "/campaigns"):
        await refused(world, world.api("POST", path, made(case["payload"]), Idempotency_Key="k"), (400, 413, 422))


async def half_a_character(world: World, case: Case) -> None:
    body = made(case["payload"])
    status, _, _ = await world.api("POST", "/messages", body, Idempotency_Key="k")
    assert status in (400, 422)
    sign = meta_sign(world.meta.app_secret, body)
    status, _, _ = await world.ask("POST", "/hooks/meta", body, X_Hub_Signature_256=sign)
    assert status in (200, 400, 422)
    await world.works()


async def tiny_chunks(world: World, case: Case) -> None:
    head = "POST {} HTTP/1.1\r\nHost: hub\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n{}\r\n"
    who = f"Authorization: Bearer {world.token}\r\nIdempotency-Key: k\r\n"
    body = b"1\r\na\r\n" * 1_000_000 + b"0\r\n\r\n"
    for path in ("/hooks/meta", "/api/v1/messages"):
        told = asyncio.create_task(world.raw(head.format(path, who).encode() + body, half=True))
        await world.works()  # meanwhile
        assert re.match(rb"HTTP/1\.1 4\d\d ", await told)


async def many_parts(world: World, case: Case) -> None:
    body = b"".join(b'--x\r\nContent-Disposition: form-data; name="a"\r\n\r\n0123456789\r\n' for _ in range(200_000))
    kind = "multipart/form-data; boundary=x"
    for path in ("/hooks/sms", "/hooks/chat", "/api/v1/messages"):
        status, _, _ = await world.ask("POST", path, body + b"--x--\r\n", Content_Type=kind, Authorization="Bearer x")
        assert 400 <= status < 500, path
    await world.works()


async def half_a_form(world: World, case: Case) -> None:
    head = (
        "POST {} HTTP/1.1\r\nHost: hub\r\nContent-Type: multipart/form-data; boundary=x\r\nConnection: close\r\n"
        "Content-Length: 60\r\n\r\n--x\r\nContent-Disposition: form-data; name=a\r\n\r\nvalue"
    )
    for path in ("/hooks/sms", "/hooks/chat", "/api/v1/messages"):
        assert not (await world.raw(head.format(path).encode(), half=True)).startswith(b"HTTP/1.1 2")
    await world.works()


async def slow_heads(world: World, case: Case) -> None:
    lines = [await asyncio.open_connection("127.0.0.1", world.hub.port) for _ in range(500)]
    try:
        for _, writer in lines:
            writer.write(b"P")
        await world.works()
    finally:
        for _, writer in lines:
            writer.close()


async def two_lengths(world: World, case: Case) -> None:
    raw = made(case["payload"])
    answer = await world.raw(raw)  # it ends, or this waits for ever
    assert re.match(rb"HTTP/1\.[01] 400 ", answer), answer
    assert answer.count(b"HTTP/1.") == 1
    answer = await world.raw(raw.replace(b"POST / ", b"POST /hooks/sms "))
    assert re.match(rb"HTTP/1\.[01] 400 ", answer), answer


async def other_kind(world: World, case: Case) -> None:
    given = case["payload"]["data"]
    for kind in (given["content_type"], "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"):
        answer = world.api("POST", "/messages", given["body"].encode(), Content_Type=kind, Idempotency_Key="k")
        await refused(world, answer, (400, 415))


# --- mail ---


async def read(raw: bytes) -> list[Any] | None:
    """What the hub makes of a mail; None: it is put aside with its bytes. Beside the loop, which goes on."""

    def work() -> list[Any] | None:
        try:
            return list(mailbox().receive(fetched(raw)))
        except Unparseable:
            return None

    async with asyncio.timeout(PATIENCE):
        return await asyncio.to_thread(work)


async def mail(world: World, case: Case) -> None:
    raw = made(case["payload"]) if case["payload"]["enc"] != "scenario" else _nested(200)
    if case["payload"]["enc"] == "gen_zip_bomb":
        raw = _mail_with("bomb.zip", raw)
    found = await read(raw)
    if case["expect"]["outcome"] == "accept_inert":
        assert found is not None
        assert all(len(getattr(each, "references", ())) <= 50 for each in found)
    await world.works()


def _nested(depth: int) -> bytes:
    layer = b"Content-Type: message/rfc822\r\n\r\nFrom: a@example.com\r\n"
    return b"From: a@example.com\r\n" + layer * depth + b"\r\nx"


def _mail_with(name: str, data: bytes) -> bytes:
    body = base64.encodebytes(data)
    return (
        b"From: a@example.com\r\nContent-Type: multipart/mixed; boundary=x\r\n\r\n--x\r\n\r\nhi\r\n--x\r\n"
        b"Content-Type: application/zip\r\nContent-Transfer-Encoding: base64\r\n"
        + f'Content-Disposition: attachment; filename="{name}"\r\n\r\n'.encode() + body + b"\r\n--x--\r\n"
    )  # fmt: skip


async def automatic_mail(world: World, case: Case) -> None:
    [one] = await read(made(case["payload"])) or []
    assert one.automatic, "nobody answers it"


async def nothing_is_answered(world: World, case: Case) -> None:
    """A stranger's message has no effect at the address it names but those that a person causes."""
    for number in range(50):
        assert await world.sms.text(f"+4477009{number:05}", "attacker's words") == 200
    await world.works()
    sent = sa.select(sa.func.count()).select_from(delivery).where(delivery.c.kind == "contact")
    assert await world.hub.store.read(lambda connection: connection.execute(sent).scalar_one()) == 0


async def once_a_mailbox(world: World, case: Case) -> None:
    [found] = await read(b"From: a@example.com\r\nMessage-ID: <m@example.com>\r\n\r\nhi") or []
    billing, legal = (event_key(name, found) for name in ("billing", "legal"))
    assert billing != legal
    assert billing == event_key("billing", found)


async def header_injection(world: World, case: Case) -> None:
    status, _, _ = await world.api(
        "POST",
        "/messages",
        {"customer": "mailto:ann@example.com", "text": "hi", "subject": case["payload"]["data"]["subject"]},
        Idempotency_Key="k",
    )
    assert status in (400, 422)


async def no_smtp_server(world: World, case: Case) -> None:
    """Mail is fetched; nothing of the hub listens for SMTP."""
    for each in [*(shared.ROOT / "hub").rglob("*.py"), *(shared.ROOT / "adapters" / "email").glob("*.py")]:
        if "testing" not in each.parts and each.name not in ("simulator.py", "testing.py", "conftest.py", "smtp.py"):
            assert "aiosmtpd" not in each.read_text(encoding="utf-8"), each


# --- markup ---


async def markup(world: World, case: Case) -> None:
    payload = made(case["payload"]).decode()
    raw = f"From: {payload[:40]!r} <a@example.com>\r\nContent-Type: text/html\r\n\r\n{payload}".encode()
    found = await read(raw)
    for each in found or []:
        assert not re.search(r"<(?:script|svg|iframe|math|base|meta|img)\b|javascript:|onerror=", each.text or "", re.I)
    shown = escape(payload)
    assert "<" not in shown
    assert ">" not in shown
    await world.works()


async def files(world: World, case: Case) -> None:
    """Nothing that a browser would run is shown in place, whatever it is called and says it is."""
    payload = b"GIF89a/*<script>*/" if case["payload"]["enc"] == "scenario" else made(case["payload"])
    assert not any(media.shown_inline(mime) for mime in ("image/svg+xml", "text/html", "text/xml", "application/pdf"))
    visitor = Visitor(f"{world.base.replace('http', 'ws')}/channels/chat/socket", "https://shop.example")
    try:
        await visitor.connect()
        name, mime = ("x.html", "image/gif") if payload.startswith(b"GIF") else ("x.svg", "image/svg+xml")
        assert (await visitor.upload(name, mime, payload))[0] == 200
    finally:
        await visitor.close()
    path = world.hub.links.make(await world.stored(name), name).removeprefix("https://hub.example.com")
    status, headers, _ = await world.ask("GET", path)
    assert status == 200
    assert headers["content-type"].startswith("image/gif") or headers["content-disposition"].startswith("attachment")
    assert headers["content-type"].partition(";")[0] not in ("image/svg+xml", "text/html")
    assert headers["x-content-type-options"] == "nosniff"
    assert "sandbox" in headers["content-security-policy"]


async def endless_markup(world: World, case: Case) -> None:
    await read(b"From: a@example.com\r\nContent-Type: text/html\r\n\r\n" + made(case["payload"]))
    await world.works()


async def no_redirect(world: World, case: Case) -> None:
    for target in case["payload"]["data"]["next"]:
        for path in ("/", "/preferences/x", "/login"):
            status, headers, _ = await world.ask("GET", f"{path}?next={target}")
            assert "location" not in headers
            assert "set-cookie" not in headers
            assert status < 500


async def slack_text(world: World, case: Case) -> None:
    payload = made(case["payload"]).decode()
    shown = escape(payload)
    assert not re.search(r"<[!@#]", shown)
    assert shown.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&") == payload


# --- requests ---


async def inward(world: World, case: Case) -> None:
    asked: list[str] = []

    async def resolve(host: str, port: int) -> list[str]:
        asked.append(host)
        return ["127.0.0.1"]

    url = made(case["payload"]).decode()
    for call in (Egress(resolve=resolve).get(url, limit_bytes=10), Egress(resolve=resolve).post(url, b"", {})):
        with pytest.raises(Refused, match=r"^The address could not be reached\.$"):
            await call


# --- templates ---


async def template(world: World, case: Case) -> None:
    payload = made(case["payload"]).decode()
    draft = {
        "name": case["id"], "purpose": "transactional", "channels": ["sms"], "messages": [{"text": payload}],
        "audience": {"segment": {"all": []}},
    }  # fmt: skip
    before = await world.count(message, delivery)
    status, _, text = await world.api("POST", "/campaigns", draft, Idempotency_Key=case["id"])
    assert status in (400, 422), text
    assert await world.count(message, delivery) == before
    await world.works()


# --- who may what ---


async def aliases(world: World, case: Case) -> None:
    first, *others = case["payload"]["data"]["emails"]
    same = [each for each in others if _canonical(each) == _canonical(first)]
    assert set(same) <= {"victim@corp.example ", "victim@CORP.example."}


def _canonical(mail: str) -> str | None:
    try:
        return str(parse_address(f"mailto:{mail}"))
    except ValueError:
        return None


async def old_key(world: World, case: Case) -> None:
    made_, token = await world.hub.write(
        lambda connection, context: keys.create(connection, context.now, "thief", ("read",))
    )
    assert (await world.ask("GET", "/api/v1/customers", Authorization=f"Bearer {token}"))[0] == 200
    assert (await world.api("DELETE", f"/keys/{made_.id}"))[0] in (200, 204)
    assert (await world.ask("GET", "/api/v1/customers", Authorization=f"Bearer {token}"))[0] == 401


async def from_another_site(world: World, case: Case) -> None:
    before = await world.count(customer, message)
    body = json.dumps({"external_id": "eve"}).encode()
    for kind in ("text/plain", "application/x-www-form-urlencoded"):
        for more in ({}, {"X_HTTP_Method_Override": "DELETE"}):
            status, _, _ = await world.ask("POST", "/api/v1/customers", body, Content_Type=kind, Cookie="a=b", **more)
            assert status in (400, 401, 403, 405, 415)
    assert (await world.ask("GET", "/api/v1/customers/batch"))[0] in (401, 404, 405)
    assert await world.count(customer, message) == before


async def socket_of_another_site(world: World, case: Case) -> None:
    for origin in case["payload"]["data"]["headers"]["Origin"]:
        headers = {} if origin is None else {"Origin": origin}
        with pytest.raises(aiohttp.WSServerHandshakeError) as caught:
            await world.session.ws_connect(f"{world.base}/channels/chat/socket", headers=headers)
        assert caught.value.status in (401, 403, 404)


async def key_in_the_url(world: World, case: Case) -> None:
    status, headers, text = await world.ask("GET", f"/api/v1/customers?key={world.token}&token={world.token}")
    assert status == 401
    assert world.token not in text + repr(headers)


async def more_than_asked(world: World, case: Case) -> None:
    before = await world.count(api_key)
    for path in ("/customers", "/keys"):
        status, _, _ = await world.api("POST", path, case["payload"]["data"])
        assert status in (400, 422), path
    assert await world.count(api_key) == before


async def one_key_two_bodies(world: World, case: Case) -> None:
    body = {"customer": "tel:+447700900123", "text": "one"}
    assert (await world.api("POST", "/messages", body, Idempotency_Key="k"))[0] == 202
    assert (await world.api("POST", "/messages", body | {"text": "two"}, Idempotency_Key="k"))[0] == 422
    assert await world.count(message) == [1]


# --- injection ---


async def sql(world: World, case: Case) -> None:
    given = case["payload"].get("data") or {"q": ["%_" * 5000, "(a+)+$", "a" * 100_000], "sort": "x", "op": "y"}
    assert (await world.api("POST", "/customers", {"external_id": "ann", "name": "Ann"}))[0] in (200, 201)
    before = await world.count(customer)
    async with asyncio.timeout(PATIENCE):
        for text in [*given["q"], given["sort"], given["op"]]:
            for name in ("q", "name", "search", "external_id", "address", "sort", "order", "limit", "after"):
                query = str(URL("/").with_query({name: text}))[1:]
                if len(query) > 8000:
                    query = query[:8000]
                status, _, found = await world.api("GET", f"/customers{query}")
                assert status in (200, 400, 404, 422), (name, text[:40], status)
                assert status != 200 or not json.loads(found)["items"], (name, text[:40])
            status, _, _ = await world.api("GET", "/customers/" + URL("/" + text[:2000]).raw_path[1:])
            assert status in (400, 404, 405, 422)
    assert await world.count(customer) == before


async def endless_expression(world: World, case: Case) -> None:
    text = made(case["payload"]).decode()
    async with asyncio.timeout(PATIENCE):
        await asyncio.to_thread(classify, text)
        await asyncio.to_thread(escape, text)
        await read(b"From: a@example.com\r\n\r\n" + text.encode())
        assert await world.sms.text("+447700900123", text[:1600]) == 200
    await world.works()


async def formula(world: World, case: Case) -> None:
    for text in case["payload"]["data"]["name"]:
        assert not re.match(r"[=+\-@\t\r＝]", cell(text)), text


async def lines_of_a_log(world: World, case: Case) -> None:
    """What is logged of a customer is one record, whatever it holds."""
    text = made(case["payload"]).decode()
    code = (
        "import structlog, sys; from hub.cli._logging import start_logging; start_logging('info', sys.argv[1]);"
        "structlog.get_logger('hub.x').info('read', name=sys.argv[2])"
    )
    for form in ("json", "console"):
        command = asyncio.create_subprocess_exec(sys.executable, "-c", code, form, text, stdout=PIPE, cwd=shared.ROOT)
        out, _ = await (await command).communicate()
        assert len(out.splitlines()) == 1, (form, out)
        assert b"\x1b[2J" not in out


async def not_to_be_sent_to(world: World, case: Case) -> None:
    """Nothing that a stranger does sends a message; a program that does has a key, and its channel a rate."""
    await nothing_is_answered(world, case)
    for number in ("+19005550100", "+8835100000000"):
        body = json.dumps({"customer": f"tel:{number}", "text": "hi"}).encode()
        status, _, _ = await world.ask("POST", "/api/v1/messages", body, Content_Type="application/json")
        assert status == 401


async def others_are_not_kept_waiting(world: World, case: Case) -> None:
    """Many messages wait; an answer is sent before them."""
    for number in range(150):
        body = {"customer": f"tel:+4477009{number:05}", "text": "news", "purpose": "transactional", "channel": "sms"}
        assert (await world.api("POST", "/messages", body, Idempotency_Key=f"many {number}"))[0] == 202
    body = {"customer": "tel:+447700999999", "text": "an answer", "purpose": "reply", "channel": "sms"}
    assert (await world.api("POST", "/messages", body, Idempotency_Key="one"))[0] == 202
    await world.sms.ledger.wait_for("accept", to="+447700999999")
    assert len(world.sms.ledger.of("accept")) < 150


DRIVERS: dict[str, Callable[[World, Case], Awaitable[None]]] = {
    "SIG-01": no_signature, "SIG-05": empty_secret, "SIG-07": wrong_time, "SIG-08": wrong_time,
    "SIG-09": smuggled_separator, "SIG-10": slacks_old_example, "SIG-11": twilio_behind_a_proxy,
    "SIG-13": signed_as_written, "SIG-14": somebody_elses_account, "SIG-15": no_time_to_measure,
    "SIG-16": challenge, "SIG-17": unsigned_verification,
    "BODY-01": bad_json, "BODY-04": bad_json, "BODY-05": bad_json, "BODY-06": half_a_character,
    "BODY-09": tiny_chunks, "BODY-10": many_parts, "BODY-11": half_a_form, "BODY-13": slow_heads,
    "BODY-15": two_lengths, "BODY-16": other_kind,
    "MAIL-15": nothing_is_answered, "MAIL-16": once_a_mailbox, "XSS-16": files, "XSS-17": files,
    "INJ-07": lines_of_a_log, "BIZ-04": not_to_be_sent_to, "BIZ-05": others_are_not_kept_waiting,
    "MAIL-02": mail, "MAIL-03": mail, "MAIL-04": mail, "MAIL-14": automatic_mail, "MAIL-19": mail, "MAIL-20": mail,
    "MAIL-21": no_smtp_server, "MAIL-22": header_injection, "MAIL-24": mail,
    "XSS-15": endless_markup, "XSS-19": no_redirect, "SLK-01": slack_text, "SLK-03": slack_text,
    "ID-05": aliases, "AUTH-03": old_key, "AUTH-07": from_another_site, "AUTH-08": socket_of_another_site,
    "AUTH-10": key_in_the_url, "AUTH-12": more_than_asked, "AUTH-13": one_key_two_bodies,
    "INJ-01": sql, "INJ-02": sql, "INJ-03": endless_expression, "INJ-04": formula,
}  # fmt: skip
FAMILIES = {"XSS": markup, "SSRF": inward, "TPL": template}
# Driven where the whole of it is at hand, whether or not the file is there.
ELSEWHERE = {
    "MAIL-09": "adapters/email/test_send.py::test_mail_of_a_stranger_is_no_answer",
    "MAIL-11": "adapters/email/test_receive.py::test_a_token_that_is_not_the_senders_is_worth_nothing",
    "MAIL-12": "adapters/email/test_email.py::test_a_sender_that_our_server_does_not_vouch_for_only_claims",
    "SLK-08": "tests/test_slack.py::test_what_an_agent_deletes_at_once_is_not_sent_twice",
    "SLK-09": "tests/test_flows.py::test_a_note_and_a_mistyped_command_stay_inside",
    "SSRF-34": "tests/test_egress.py::test_a_gzip_bomb_never_unpacks_beyond_the_limit",
    "ID-03": "adapters/webchat/test_webchat.py::test_a_forged_expired_or_foreign_visitor_token_is_refused",
    "ID-07": "adapters/webchat/test_webchat.py::test_a_session_that_we_did_not_sign_is_refused",
    "AUTH-05": "tests/test_api.py::test_every_route_asks_for_its_scope",
    "AUTH-15": "tests/test_api.py::test_two_callers_with_the_same_key_do_not_see_each_other",
}


def driver(case: Case) -> Callable[[World, Case], Awaitable[None]]:
    """Raises: KeyError."""
    return DRIVERS.get(case["id"]) or FAMILIES[case["id"].partition("-")[0]]


@pytest.fixture
def attacks() -> list[Case]:
    found: list[Case] = shared.read("attacks.json")["attacks"]
    return found


@pytest.mark.parametrize("family", ["SIG", "BODY", "MAIL", "XSS", "SLK", "SSRF", "TPL", "ID", "AUTH", "INJ", "BIZ"])
async def test_agreed_attacks(family: str, attacks: list[Case], world: World) -> None:
    failed = []
    for case in attacks:
        if not case["id"].startswith(f"{family}-") or case["id"] in ELSEWHERE:
            continue
        try:
            await driver(case)(world, case)
        except Exception as error:
            failed.append(f"{case['id']} ({case['kind']}): {type(error).__name__}: {str(error)[:300]}")
    assert not failed, "\n".join(failed)


def test_every_agreed_attack_is_driven(attacks: list[Case]) -> None:
    for case in attacks:
        assert case["id"] in ELSEWHERE or driver(case)


@pytest.mark.parametrize("place", ELSEWHERE.values(), ids=ELSEWHERE)
def test_what_is_driven_elsewhere_is_there(place: str) -> None:
    file, _, name = place.partition("::")
    assert f"def {name}(" in (shared.ROOT / file).read_text(encoding="utf-8")
