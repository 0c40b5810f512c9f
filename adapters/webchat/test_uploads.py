"""Files of visitors: who may send them, what is kept, what is refused before it is read."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from typing import Any

import aiohttp
import pytest

from adapters.webchat import uploads
from adapters.webchat.adapter import FILE_HEADER, VISITOR_HEADER, WebChat, WebChatConfig
from adapters.webchat.testing import NOON, Site
from hub.contract import Rejected, Request, Unparseable
from hub.model import Attachment
from hub.testing.host import LocalHost

PNG = b"\x89PNG\r\n\x1a\n a picture"
SMALL = 1000  # bytes


async def test_a_file_is_a_message_and_is_fetched_from_what_it_came_in(site: Site) -> None:
    visitor = await site.visitor().connect()
    status, body = await visitor.upload("lid.png", "image/png", PNG, id="file-0001", text="The lid")
    assert (status, body) == (200, {"id": "file-0001"})
    [message] = site.hub.said()
    assert message.external_id == f"{visitor.id}/file-0001"
    assert (message.sender.value, message.text) == (visitor.id, "The lid")
    assert message.attachments == [Attachment("image", ref="body", mime="image/png", name="lid.png", size=len(PNG))]
    content = await site.adapter.fetch(message.attachments[0], site.hub.emitted[-1])
    assert content is not None and b"".join([piece async for piece in content]) == PNG
    with pytest.raises(Rejected):
        await site.adapter.fetch(message.attachments[0], None)
    await visitor.until(lambda: [entry["client"] for entry in visitor.entries] == ["file-0001"])


async def test_a_file_of_a_signed_visitor_is_theirs(site: Site) -> None:
    visitor = await site.visitor().connect(token=site.website.sign("42", name="Ann"))
    assert (await visitor.upload("a.txt", "text/plain", b"Hi"))[0] == 200
    [message] = site.hub.said()
    assert (message.sender.value, message.sender.name) == (visitor.id, "Ann")


async def test_the_same_id_is_the_same_message(site: Site) -> None:
    visitor = await site.visitor().connect()
    for _ in range(2):
        assert (await visitor.upload("a.txt", "text/plain", b"Hi", id="file-0001"))[0] == 200
    assert {message.external_id for message in site.hub.said()} == {f"{visitor.id}/file-0001"}


NAMES = [
    ("../../etc/passwd", "....etcpasswd"), ("a\u202efdp.exe", "afdp.exe"), ("C:\\x.txt", "C:x.txt"),
    ("n" * 300 + ".pdf", "n" * 196 + ".pdf"), ("März.pdf", "März.pdf"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "kept"), NAMES)
async def test_a_name_is_only_a_name(site: Site, name: str, kept: str) -> None:
    visitor = await site.visitor().connect()
    assert (await visitor.upload(name, "application/pdf", b"%PDF-1.7"))[0] == 200
    assert site.hub.said()[0].attachments[0].name == kept


async def test_a_name_that_is_not_utf_8_is_kept_without_what_no_database_takes(site: Site) -> None:
    visitor = await site.visitor().connect()
    form = "".join(
        f"--b\r\nContent-Disposition: form-data; name={name}\r\n\r\n{value}\r\n"
        for name, value in (("ticket", visitor.ticket), ("id", "file-0001"))
    ).encode() + b"--b\r\nContent-Disposition: form-data; name=file; filename=\"M\xfcller.pdf\"\r\n\r\nHi\r\n--b--"
    headers = {"Origin": site.website.origin, "Content-Type": "multipart/form-data; boundary=b"}
    async with aiohttp.ClientSession() as http, http.post(
        f"{site.url}/channels/site/files", data=form, headers=headers
    ) as answer:
        assert answer.status == 200
    assert site.hub.said()[0].attachments[0].name == "M?ller.pdf"
    older = uploads.Upload("file-0001", "M\udcfcller.pdf", "application/pdf")  # as it was kept once
    assert uploads.read_described(uploads.described(older), b"Hi").name == "M?ller.pdf"


@pytest.mark.parametrize(("mime", "kind", "kept"), [
    ("video/mp4", "video", "video/mp4"), ("text/html; charset=x", "file", "text/html"),
    ("nonsense", "file", "application/octet-stream"), ("image/<svg>", "file", "application/octet-stream"),
])  # fmt: skip
async def test_a_type_that_is_none_is_not_kept(site: Site, mime: str, kind: str, kept: str) -> None:
    visitor = await site.visitor().connect()
    assert (await visitor.upload("a", mime, b"x"))[0] == 200
    file = site.hub.said()[0].attachments[0]
    assert (file.kind, file.mime) == (kind, kept)


@pytest.mark.parametrize("origin", [None, "null", "https://evil.example"])
async def test_only_allowed_sites_send_files(site: Site, origin: str | None) -> None:
    visitor = await site.visitor().connect()
    visitor.origin = origin
    assert (await visitor.upload("a.txt", "text/plain", b"Hi"))[0] == 403
    assert site.hub.said() == []


def forged(ticket: str) -> str:
    start, dot, signature = ticket.rpartition(".")
    return start + dot + ("A" if signature[0] != "A" else "B") + signature[1:]  # the last may hold bits of no meaning


TICKETS: list[Callable[[Site, str], str]] = [
    lambda _, __: "", lambda _, ticket: forged(ticket), lambda _, ticket: "x" * 5000,
    lambda _, ticket: ticket.partition(".")[0],
    lambda site, _: WebChat("other", site.adapter.config, site.hub)._visitors.ticket(site.adapter._visitors.who(
        session=None, token=None)),
]  # fmt: skip


@pytest.mark.parametrize("ticket", TICKETS)
async def test_a_ticket_that_we_did_not_give_is_refused_before_the_file_is_read(
    site: Site, ticket: Callable[[Site, str], str]
) -> None:
    visitor = await site.visitor().connect()
    status, body = await visitor.upload("a.txt", "text/plain", b"Hi", ticket=ticket(site, visitor.ticket or ""))
    assert (status, body["code"]) == (401, "bad_ticket")
    assert site.hub.said() == []


async def test_a_session_is_no_ticket_and_a_ticket_no_session(site: Site) -> None:
    visitor = await site.visitor().connect()
    status, _ = await visitor.upload("a.txt", "text/plain", b"Hi", ticket=visitor.session or "")
    assert status == 401
    other = site.visitor()
    await other.dial()
    await other.say(type="hello", session=visitor.ticket)
    assert await other.closed() == 4401


async def test_a_ticket_is_good_for_a_day(site: Site) -> None:
    site.hub._now = NOON
    visitor = await site.visitor().connect()
    site.hub._now = NOON + timedelta(hours=23)
    assert (await visitor.upload("a.txt", "text/plain", b"Hi"))[0] == 200
    site.hub._now = NOON + timedelta(hours=25)
    assert (await visitor.upload("a.txt", "text/plain", b"Hi"))[0] == 401


async def test_the_largest_file_is_taken_and_a_larger_one_is_not(sites: Any) -> None:
    site = await sites(file_size=SMALL)
    visitor = await site.visitor().connect()
    assert visitor.frames[0]["file_size"] == SMALL
    assert (await visitor.upload("a", "text/plain", b"x" * SMALL))[0] == 200
    status, body = await visitor.upload("a", "text/plain", b"x" * (SMALL + 1))
    assert (status, body["code"]) == (413, "too_large")
    assert (await visitor.upload("a", "text/plain", b"x" * 200_000))[0] == 413
    assert [len(request.body) for request in site.hub.emitted] == [SMALL]


async def test_a_channel_may_take_none(sites: Any) -> None:
    site = await sites(file_size=0)
    visitor = await site.visitor().connect()
    status, body = await visitor.upload("a", "text/plain", b"x")
    assert (status, body["code"]) == (403, "no_files")


WRONG: list[tuple[dict[str, str], bytes]] = [
    ({"id": "short"}, b"x"), ({"id": "a/b/c/d/e/f"}, b"x"), ({"text": "x" * 4001}, b"x"), ({}, b""),
]  # fmt: skip


@pytest.mark.parametrize(("fields", "data"), WRONG)
async def test_what_is_no_upload_is_refused(site: Site, fields: dict[str, str], data: bytes) -> None:
    visitor = await site.visitor().connect()
    status, body = await visitor.upload("a", "text/plain", data, **fields)
    assert status == 400 and body["code"] in ("bad_form", "empty")
    assert site.hub.said() == []


BODIES: list[tuple[str, bytes]] = [
    ("application/json", b"{}"), ("multipart/form-data", b"x"), ("multipart/form-data; boundary=b", b""),
    ("multipart/form-data; boundary=b", b"--b\r\nContent-Disposition: form-data; name=\"id\"\r\n\r\nx\r\n--b--"),
    ("multipart/form-data; boundary=b", b"--b\r\n\r\nx\r\n--b--"),
    ("multipart/form-data; boundary=b",
     b"--b\r\nContent-Disposition: form-data; name=\"ticket\"\r\n\r\n\xff\r\n--b--"),
    ("multipart/form-data; boundary=b",
     b"--b\r\nContent-Disposition: form-data; name=\"ticket\"; x=\"\0\"\r\n\r\nx\r\n--b--"),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "body"), BODIES)
async def test_a_form_that_is_none_is_refused(site: Site, kind: str, body: bytes) -> None:
    headers = {"Origin": site.website.origin, "Content-Type": kind}
    async with aiohttp.ClientSession() as http, http.post(
        f"{site.url}/channels/site/files", data=body, headers=headers
    ) as answer:
        assert answer.status == 400
        assert answer.headers["Access-Control-Allow-Origin"] == site.website.origin


async def test_a_form_of_very_many_fields_is_refused_before_it_is_read(site: Site) -> None:
    one = b"--b\r\nContent-Disposition: form-data; name=\"f%d\"\r\n\r\n0123456789\r\n"

    async def fields() -> AsyncIterator[bytes]:
        for number in range(20_000):
            yield one % number

    headers = {"Origin": site.website.origin, "Content-Type": "multipart/form-data; boundary=b"}
    async with aiohttp.ClientSession() as http:
        try:
            async with http.post(f"{site.url}/channels/site/files", data=fields(), headers=headers) as answer:
                assert answer.status == 400
        except aiohttp.ClientConnectionError:
            pass  # refused while it still wrote
    assert site.hub.emitted == [] and not site.adapter._uploads._under_way


async def test_an_upload_that_breaks_off_is_no_file(site: Site) -> None:
    visitor = await site.visitor().connect()
    begun = (
        b"--b\r\nContent-Disposition: form-data; name=\"ticket\"\r\n\r\n" + (visitor.ticket or "").encode()
        + b"\r\n--b\r\nContent-Disposition: form-data; name=\"id\"\r\n\r\nfile-0001\r\n--b\r\n"
        + b"Content-Disposition: form-data; name=\"file\"; filename=\"a\"\r\n\r\nhalf of it"
    )
    head = (
        f"POST /channels/site/files HTTP/1.1\r\nHost: x\r\nOrigin: {site.website.origin}\r\n"
        f"Content-Type: multipart/form-data; boundary=b\r\nContent-Length: {len(begun) + 100}\r\n\r\n"
    )
    reader, writer = await asyncio.open_connection("127.0.0.1", int(site.url.rpartition(":")[2]))
    writer.write(head.encode() + begun)
    writer.write_eof()
    await reader.read()
    writer.close()
    await writer.wait_closed()
    async with asyncio.timeout(5):
        while site.adapter._uploads._under_way:  # noqa: ASYNC110 - a counter tells nobody
            await asyncio.sleep(0.005)
    assert site.hub.emitted == []
    whole = begun + b"\r\n"  # what is announced is there, but the form has no end
    head = head.replace(str(len(begun) + 100), str(len(whole)))
    reader, writer = await asyncio.open_connection("127.0.0.1", int(site.url.rpartition(":")[2]))
    writer.write(head.encode() + whole)
    status = (await reader.readline()).split()[1]
    writer.close()
    await writer.wait_closed()
    assert status == b"400"
    assert site.hub.emitted == []


async def test_what_cannot_be_stored_is_not_confirmed(site: Site) -> None:
    visitor = await site.visitor().connect()
    site.hub.down = True
    status, body = await visitor.upload("a", "text/plain", b"x", id="file-0001")
    assert (status, body["after"]) == (503, 5)
    site.hub.down = False
    assert (await visitor.upload("a", "text/plain", b"x", id="file-0001"))[0] == 200


async def test_one_address_sends_so_many_a_minute(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uploads, "A_MINUTE", 2)
    site.hub._now = NOON
    visitor = await site.visitor().connect()
    assert [(await visitor.upload("a", "text/plain", b"x"))[0] for _ in range(3)] == [200, 200, 429]
    site.hub._now = NOON + timedelta(minutes=1)
    assert (await visitor.upload("a", "text/plain", b"x"))[0] == 200


async def test_one_address_sends_so_many_at_once(site: Site) -> None:
    visitor = await site.visitor().connect()
    site.hub.gate = asyncio.Event()
    under_way = [asyncio.create_task(visitor.upload("a", "text/plain", b"x")) for _ in range(uploads.OF_ONE)]
    async with asyncio.timeout(5):
        while site.adapter._uploads._under_way.total() < uploads.OF_ONE:  # noqa: ASYNC110 - a counter tells nobody
            await asyncio.sleep(0.005)
    status, body = await visitor.upload("a", "text/plain", b"x")
    assert (status, body["code"]) == (503, "busy")
    site.hub.gate.set()
    assert [(await each)[0] for each in under_way] == [200] * uploads.OF_ONE
    assert not site.adapter._uploads._under_way


@pytest.mark.parametrize("told", ["{", "[]", "{}", '{"id": "x"}', "null"])
def test_a_description_that_is_none_is_unparseable(told: str) -> None:
    headers = {VISITOR_HEADER: '{"id": "a-1"}', FILE_HEADER: told}
    adapter = WebChat("site", WebChatConfig(allowed_origins=("*",)), LocalHost())
    with pytest.raises(Unparseable):
        adapter.receive(Request("POST", "https://hub.example.com/channels/site/files", headers, b"x", NOON))
