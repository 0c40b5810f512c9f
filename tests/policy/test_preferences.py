"""The preference page: scanners change nothing, people and mail programs do."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import sqlalchemy as sa

from hub import consent, sending
from hub.customers import CustomerDraft, IdentityDraft, upsert
from hub.policy.ledger import Event, Scope
from hub.web import preferences
from hub.web.preferences import texts
from tests.paper import Office, office

ONE_CLICK = {"List-Unsubscribe": "One-Click"}


@pytest.fixture
async def desk(database_url: str, tmp_path: Path) -> AsyncIterator[Office]:
    async with office(database_url, tmp_path) as running:
        await running.write("hello")
        yield running


def page(desk: Office, address: str = "paper:ann") -> str:
    path = desk.hub.preferences.make(address).partition("/preferences/")[2]
    return f"http://127.0.0.1:{desk.hub.port}/preferences/{path}"


async def ask(
    method: str, url: str, data: dict[str, str] | None = None, languages: str = "en"
) -> tuple[int, str, Any]:
    headers = {"Accept-Language": languages}
    async with aiohttp.ClientSession(headers=headers) as session, session.request(method, url, data=data) as answer:
        return answer.status, await answer.text(), answer.headers


async def said(desk: Office) -> list[tuple[str, str, str]]:
    return [(row.kind, row.scope_purpose, row.source) for row in await desk.rows("consent_event")]


async def test_looking_changes_nothing(desk: Office) -> None:
    for method in ("GET", "HEAD"):
        status, _, headers = await ask(method, page(desk))
        assert status == 200
        assert headers["Referrer-Policy"] == "no-referrer"
    _, text, _ = await ask("GET", page(desk))
    assert "<strong>ann</strong> gets everything" in text
    assert await said(desk) == []


async def test_one_click_ends_advertising_once(desk: Office) -> None:
    for _ in range(2):
        status, text, _ = await ask("POST", page(desk), ONE_CLICK)
        assert status == 200
        assert "<strong>Done.</strong>" in text
    assert await said(desk) == [("revoke", "marketing", "page")]
    await desk.agent("an answer", thread=desk.thread)
    assert desk.letters.texts == ["an answer"]


@pytest.mark.parametrize("block", ["manual", "hard_bounce"])
async def test_one_click_counts_while_something_else_keeps_us_away(desk: Office, block: str) -> None:
    """A colleague's block, or a month's suppression, ends before a no does."""

    def work(connection: sa.Connection, context: Any) -> None:
        entry = Event("suppress", context.now, "paper:ann", "agent", reason=block)
        consent.append(connection, entry, change="opt_out", channel=None, source="api", now=context.now)

    await desk.hub.write(work)
    assert "no more advertising" in (await ask("GET", page(desk)))[1].lower()
    for _ in range(2):
        await ask("POST", page(desk), ONE_CLICK)
    assert await said(desk) == [("suppress", "*", "api"), ("revoke", "marketing", "page")]


async def test_one_click_counts_again_after_they_allowed_something(desk: Office) -> None:
    await ask("POST", page(desk), ONE_CLICK)
    await desk.advance(minutes=1)

    def work(connection: sa.Connection, context: Any) -> None:
        entry = Event("grant", context.now, "paper:ann", scope=Scope("paper", "marketing"), basis="express_written")
        consent.append(connection, entry, change="opt_in_marketing", channel=None, source="page", now=context.now)

    await desk.hub.write(work)
    await desk.advance(minutes=1)
    await ask("POST", page(desk), ONE_CLICK)
    assert [kind for kind, _, _ in await said(desk)] == ["revoke", "grant", "revoke"]


FORM = "application/x-www-form-urlencoded"
PART = b'--b\r\nContent-Disposition: form-data; name="List-Unsubscribe"\r\n\r\nOne-Click'
UNREADABLE = {
    "unknown charset": (f"{FORM}; charset=x-none", b"List-Unsubscribe=One-Click"),
    "another charset": (f"{FORM}; charset=utf-16", b"List-Unsubscribe=One-Click"),
    "no boundary": ("multipart/form-data", PART),
    "cut off": ("multipart/form-data; boundary=b", PART),
    "a NUL in a header": ("multipart/form-data; boundary=b", PART.replace(b"name", b"\0") + b"\r\n--b--"),
    "not UTF-8": (FORM, b"wish=\xe9"),
}


@pytest.mark.parametrize("form", UNREADABLE)
async def test_a_form_that_cannot_be_read_ends_advertising_all_the_same(tmp_path: Path, form: str) -> None:
    kind, body = UNREADABLE[form]
    async with office(f"sqlite:///{tmp_path}/hub.db", tmp_path) as desk:
        async with desk.session.post(page(desk), data=body, headers={"Content-Type": kind}) as answer:
            assert answer.status == 200
        assert await said(desk) == [("revoke", "marketing", "page")]


async def test_a_form_that_does_not_come_ends_advertising_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(preferences, "_PATIENCE", 0.1)
    async with office(f"sqlite:///{tmp_path}/hub.db", tmp_path) as desk:
        reader, writer = await asyncio.open_connection("127.0.0.1", desk.hub.port)
        path = page(desk).partition(str(desk.hub.port))[2]
        lines = (f"POST {path} HTTP/1.1", "Host: hub", f"Content-Type: {FORM}", "Content-Length: 26", "", "List-")
        writer.write("\r\n".join(lines).encode())
        async with asyncio.timeout(20):
            assert (await reader.readline()).startswith(b"HTTP/1.1 200")
        writer.close()
        assert await said(desk) == [("revoke", "marketing", "page")]


async def test_people_choose_and_change_their_mind(desk: Office) -> None:
    await ask("POST", page(desk), {"wish": "nothing"})
    _, text, _ = await ask("GET", page(desk))
    assert "<strong>ann</strong> gets nothing at all" in text
    await desk.agent("an answer", thread=desk.thread)
    assert desk.letters.handed == []
    await ask("POST", page(desk), {"wish": "again"})
    assert await said(desk) == [("revoke", "*", "page"), ("grant", "*", "page")]
    await desk.agent("welcome back", thread=desk.thread)
    assert desk.letters.texts == ["welcome back"]


async def test_advertising_carries_the_way_out(desk: Office) -> None:
    await desk.write("START")
    for purpose in ("marketing", "reply"):
        draft = sending.Draft(customer="paper:ann", text=purpose, purpose=purpose)
        await desk.hub.write(lambda connection, context, draft=draft: sending.accept(connection, context, draft, "me"))
        await desk.settled()
    offer, answer = desk.letters.handed
    assert offer.unsubscribe is not None
    assert desk.hub.preferences.read(offer.unsubscribe.rpartition("/")[2]) == ("paper:ann", None)
    assert answer.unsubscribe is None


async def test_a_forged_link_opens_and_changes_nothing(desk: Office) -> None:
    forged = page(desk)[:-3] + "xyz"
    for method in ("GET", "POST"):
        status, text, _ = await ask(method, forged, ONE_CLICK if method == "POST" else None)
        assert status == 404
        assert "not valid" in text
    assert (await ask("DELETE", page(desk)))[0] == 405
    assert await said(desk) == []


async def test_an_address_cannot_write_into_the_page(desk: Office) -> None:
    _, text, _ = await ask("GET", page(desk, "paper:<script>alert(1)</script>"))
    assert "<script>" not in text


async def test_the_page_speaks_the_customers_language(desk: Office) -> None:
    _, text, _ = await ask("GET", page(desk), languages="xx, fr-CA;q=0.9, de;q=0.8")
    assert '<html lang="fr">' in text
    assert "Ce que vous recevez de nous" in text
    addresses = [IdentityDraft(address="paper:ann", proof="verified")]
    ann = CustomerDraft(external_id="7", locale="de-AT", identities=addresses)
    await desk.hub.write(lambda connection, context: upsert(connection, context, ann))
    _, text, _ = await ask("GET", page(desk), languages="fr")
    assert '<html lang="de">' in text
    status, text, _ = await ask("GET", page(desk) + "x", languages="es")
    assert status != 200
    assert "Este enlace no funciona" in text


@pytest.mark.parametrize("language", list(texts()))
def test_each_language_says_everything(language: str) -> None:
    words = texts()[language]
    assert words.keys() == texts()["en"].keys()
    assert all("{address}" in words[key] for key in ("everything", "no_advertising", "nothing"))
