"""Where files are fetched, and who sees our credentials."""

from __future__ import annotations

import pytest

from adapters.twilio.api import MEDIA_LIMIT
from adapters.twilio_sms.adapter import TwilioSms
from adapters.twilio_sms.testing import played, said
from hub.contract import (
    Ambiguous,
    Answer,
    ChannelDown,
    Rejected,
    SendError,
)
from hub.model import Attachment

# --- fetch ---

FILE = "https://api.twilio.com/2010-04-01/Accounts/AC01/Messages/MM1/Media/ME1"


def moved(to: str) -> Answer:
    return said(307, location=to)


async def fetched(adapter: TwilioSms, url: str = FILE) -> bytes:
    content = await adapter.fetch(Attachment(url=url), None)
    assert content is not None
    return b"".join([part async for part in content])


async def test_credentials_go_to_twilio_only() -> None:
    adapter, player = played(
        moved("/elsewhere"),
        moved("https://media.twiliocdn.com/x"),
        moved("https://api.twilio.com/y"),
        said(200, b"PNG"),
    )
    assert await fetched(adapter) == b"PNG"
    assert [(url, "authorization" in headers) for _, url, headers, _ in player.asked] == [
        (FILE, True), ("https://api.twilio.com/elsewhere", True), ("https://media.twiliocdn.com/x", False),
        ("https://api.twilio.com/y", True),
    ]


FOREIGN = ["http://api.twilio.com/x", "https://api.twilio.com.evil.example/x", "https://api.twilio.com@evil.example/x",
           "http://169.254.169.254/latest", "file:///etc/passwd", "https://api.twilio.com:8443/x", "https://[", ""]


@pytest.mark.parametrize("url", FOREIGN)
async def test_only_twilios_files_are_fetched(url: str) -> None:
    adapter, player = played()
    with pytest.raises(Rejected, match="not a file of Twilio's"):
        await fetched(adapter, url)
    assert player.asked == []


FETCH_ERRORS: list[tuple[list[Answer], type[SendError], str]] = [
    ([moved(FILE)] * 4, Rejected, "more than 3 redirects"),
    ([moved("http://media.twiliocdn.com/x")], Rejected, "no https"),
    ([moved("https://[")], Rejected, "no https"),
    ([said(404)], Rejected, "no longer"),
    ([said(401)], ChannelDown, "401"),
    ([said(500)], Ambiguous, "500"),
    ([said(200, b"x" * (MEDIA_LIMIT + 1))], Ambiguous, "too large"),
]


@pytest.mark.parametrize(("answers", "error", "words"), FETCH_ERRORS)
async def test_what_cannot_be_fetched(answers: list[Answer], error: type[SendError], words: str) -> None:
    adapter, _ = played(*answers)
    with pytest.raises(error, match=words):
        await fetched(adapter)
