"""Where files are fetched, who sees our token, and contact cards."""

from __future__ import annotations

import pytest

from adapters.whatsapp_cloud.adapter import WhatsApp
from adapters.whatsapp_cloud.api import MEDIA_LIMIT
from adapters.whatsapp_cloud.records import error
from adapters.whatsapp_cloud.testing import FIXTURES, NUMBER_ID, TOKEN, played, posted, said
from hub.contract import Ambiguous, Answer, ChannelDown, Rejected, Request, SendError, Transient
from hub.model import Attachment

STORE = "https://lookaside.fbsbx.com/whatsapp_business/attachments/?mid=1"


async def fetched(adapter: WhatsApp, ref: str | None = "777", request: Request | None = None) -> bytes | None:
    content = await adapter.fetch(Attachment(ref=ref), request)
    return None if content is None else b"".join([part async for part in content])


def found(url: str = STORE) -> Answer:
    return said(200, {"url": url, "mime_type": "image/png", "id": "777"})


async def test_a_file_is_asked_for_and_then_fetched_with_our_token() -> None:
    adapter, player = played(found(), said(200, b"PNG"))
    assert await fetched(adapter) == b"PNG"
    assert [(method, url) for method, url, *_ in player.asked] == [
        ("GET", f"https://graph.facebook.com/v25.0/777?phone_number_id={NUMBER_ID}"), ("GET", STORE),
    ]
    assert all(headers["authorization"] == f"Bearer {TOKEN}" for _, _, headers, _ in player.asked)


FOREIGN = [
    "https://evil.example/x", "https://fbsbx.com.evil.example/x", "https://evilfbsbx.com/x",
    "http://lookaside.fbsbx.com/x", "https://lookaside.fbsbx.com@evil.example/x", "https://me@lookaside.fbsbx.com/x",
    "https://lookaside.fbsbx.com:8443/x",
    "http://169.254.169.254/latest", "https://[", "",
]


@pytest.mark.parametrize("url", FOREIGN)
async def test_our_token_goes_to_meta_only(url: str) -> None:
    adapter, player = played(found(url))
    with pytest.raises(Rejected, match="no address of its own"):
        await fetched(adapter)
    assert len(player.asked) == 1


@pytest.mark.parametrize("ref", ["../me", "1?fields=x", "", "contact:x:wamid.1"])
async def test_only_ids_of_files_are_asked_for(ref: str) -> None:
    adapter, player = played()
    with pytest.raises(Rejected, match="not the id"):
        await fetched(adapter, ref)
    assert player.asked == []


ERRORS: list[tuple[list[Answer], type[SendError], str]] = [
    ([said(400, error(100, "gone", 33))], Rejected, "no longer at Meta"),
    ([said(404)], Rejected, "no longer at Meta"),
    ([said(401, error(190))], ChannelDown, "check access_token"),
    ([said(200, b"<html>")], ChannelDown, "base_url"),
    ([said(200, {"url": None})], Rejected, "no address"),
    ([said(500)], Ambiguous, "500"),
    ([found(), said(404)], Transient, "expired"),
    ([found(), said(401)], ChannelDown, "401"),
    ([found(), said(200, b"x" * (MEDIA_LIMIT + 1))], Ambiguous, "too large"),
]


@pytest.mark.parametrize(("answers", "kind", "words"), ERRORS)
async def test_what_cannot_be_fetched(answers: list[Answer], kind: type[SendError], words: str) -> None:
    adapter, _ = played(*answers)
    with pytest.raises(kind, match=words):
        await fetched(adapter)


CARD = (
    "BEGIN:VCARD\r\nVERSION:3.0\r\nFN:Barbara J. Johnson\r\nN:Johnson;Barbara;;;\r\nORG:Social\\, Tsunami\r\n"
    "TEL:+1 (415) 555-0829\r\nEMAIL:barbara@example.com\r\nEND:VCARD\r\n"
)


async def test_a_contact_card_is_written_from_the_webhook() -> None:
    adapter, player = played()
    webhook = posted((FIXTURES / "contacts.json").read_bytes())
    assert await fetched(adapter, "contact:0:wamid.contacts", webhook) == CARD.encode()
    carl = await fetched(adapter, "contact:1:wamid.contacts", webhook)
    assert carl is not None and b"FN:Carl\r\n" in carl and b"TEL" not in carl
    assert player.asked == []


@pytest.mark.parametrize("ref", ["contact:2:wamid.contacts", "contact:0:wamid.other"])
async def test_a_card_that_the_webhook_does_not_hold_is_gone(ref: str) -> None:
    adapter, _ = played()
    webhook = posted((FIXTURES / "contacts.json").read_bytes())
    for request in (webhook, None):
        with pytest.raises(Rejected):
            await fetched(adapter, ref, request)


async def test_a_file_with_an_address_is_fetched_as_it_is() -> None:
    adapter, _ = played()
    assert await fetched(adapter, None) is None
