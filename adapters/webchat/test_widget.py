"""The widget in a real browser, on a page with a strict content security policy."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Browser, Page, async_playwright, expect

from adapters.webchat.testing import Site
from hub.model import Address, Attachment, Button

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="no chromium found: install one to see the widget in a browser"),
]

PAYLOADS = [
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    '<a href="javascript:alert(1)">c</a> javascript:alert(1) data:text/html,x',
    '<svg><filter><feImage href="http://tracker.example/x"/></filter></svg>',
    '<base href="https://evil.example/"><meta http-equiv=refresh content="0;url=https://evil.example">',
    "<iframe srcdoc=\"<script>parent.postMessage(1,'*')</script>\"></iframe>",
    '<div style="position:fixed;inset:0;background:url(http://evil.example/t)">x</div>',
]


class Tab:
    """A page of the website, with everything it asked for and complained about."""

    def __init__(self, site: Site, page: Page) -> None:
        self.site = site
        self.page = page
        self.requests: list[str] = []
        self.complaints: list[str] = []
        page.on("request", lambda request: self.requests.append(request.url))
        page.on("console", lambda message: self.complaints.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("dialog", lambda dialog: self.complaints.append(f"dialog: {dialog.message}"))
        self.launch = page.get_by_role("button", name="chat", exact=False).and_(page.locator("#launch"))
        self.log = page.get_by_role("log")
        self.input = page.get_by_label("Your message")

    async def visit(self, query: str = "") -> Tab:
        await self.page.goto(f"{self.site.website.origin}/{query}")
        await expect(self.launch).to_be_visible()
        return self

    async def open(self) -> Tab:
        await self.launch.click()
        await expect(self.page.locator("#state")).to_be_hidden()  # connected
        return self

    async def write(self, text: str) -> None:
        await self.input.fill(text)
        await self.input.press("Enter")

    @property
    def visitor(self) -> Address:
        """Of the one visitor of this test."""
        return self.site.hub.said()[-1].sender.address

    async def reply(self, text: str, **more: Any) -> None:
        self.site.hub.put(self.visitor, text, **more)
        self.site.hub.publish(f"webchat:site:{self.visitor.value}")

    async def texts(self) -> list[str]:
        return await self.log.locator(".text").all_inner_texts()


@pytest.fixture
async def browser() -> AsyncIterator[Browser]:
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        await browser.close()


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    site = await Site().start()
    yield site
    await site.stop()


@pytest.fixture
async def tab(site: Site, browser: Browser) -> Tab:
    context = await browser.new_context(locale="en-GB")
    return Tab(site, await context.new_page())


async def test_nobody_who_leaves_the_chat_closed_is_connected_or_remembered(tab: Tab) -> None:
    await tab.visit()
    assert not tab.site.adapter._sockets
    assert await tab.page.evaluate("localStorage.length") == 0


async def test_a_conversation_by_keyboard(tab: Tab) -> None:
    await tab.visit()
    await tab.page.keyboard.press("Tab")
    await expect(tab.launch).to_be_focused()
    await tab.page.keyboard.press("Enter")
    await expect(tab.input).to_be_focused()
    await tab.page.keyboard.type("Where is my order?")
    await tab.page.keyboard.press("Shift+Enter")
    await tab.page.keyboard.type("It is 42.")
    await tab.page.keyboard.press("Enter")
    await expect(tab.page.get_by_label("Sent", exact=True)).to_have_count(1)
    assert tab.site.hub.said()[0].text == "Where is my order?\nIt is 42."
    await tab.reply("It left us today: https://example.com/track?id=42.")
    link = tab.log.get_by_role("link")
    await expect(link).to_have_attribute("href", "https://example.com/track?id=42")
    await expect(link).to_have_attribute("rel", "noopener noreferrer")
    await expect(tab.log).to_have_attribute("aria-live", "polite")
    await tab.site.hub.until(lambda: [state for _, state in tab.site.hub.statuses()] == ["read"])
    await tab.page.keyboard.press("Escape")
    await expect(tab.log).to_be_hidden()
    await expect(tab.launch).to_be_focused()
    assert not tab.complaints


async def test_files_are_sent_by_button_and_shown(tab: Tab, tmp_path: Path) -> None:
    await (await tab.visit()).open()
    for name, size in (("lid.png", 100), ("large.bin", 10_000_001)):
        (tmp_path / name).write_bytes(b"x" * size)
    async with tab.page.expect_file_chooser() as chosen:
        await tab.page.get_by_role("button", name="Send a file").click()
    await (await chosen.value).set_files([tmp_path / "lid.png", tmp_path / "large.bin"])
    await expect(tab.page.get_by_label("Sent", exact=True)).to_have_count(1)
    await expect(tab.page.get_by_label("File too large")).to_have_count(1)
    [message] = tab.site.hub.said()
    assert [(file.kind, file.name, file.size) for file in message.attachments] == [("image", "lid.png", 100)]
    await tab.reply("Thank you.")
    await expect(tab.log.get_by_text("Thank you.")).to_be_visible()
    assert await tab.log.locator(".file").all_inner_texts() == ["lid.png", "large.bin"]
    assert await tab.log.locator(".turn.mine").count() == 2, "the hub's word of it is no second message"
    assert not tab.complaints


async def test_a_file_is_tried_again_and_what_takes_none_shows_no_button(tab: Tab, tmp_path: Path) -> None:
    await (await tab.visit()).open()
    (tmp_path / "lid.png").write_bytes(b"x")
    tab.site.hub.down = True
    async with tab.page.expect_response("**/files") as refused:
        await tab.page.locator("input[type=file]").set_input_files(tmp_path / "lid.png")
    assert (await refused.value).status == 503
    tab.site.hub.down = False
    await expect(tab.page.get_by_label("Sent", exact=True)).to_have_count(1)
    assert len(tab.site.hub.said()) == 1
    tab.site.adapter.config = tab.site.adapter.config.model_copy(update={"file_size": 0})
    await (await tab.visit()).open()
    await expect(tab.page.get_by_role("button", name="Send a file")).to_be_hidden()


async def test_a_link_into_the_chat_opens_it_with_the_token_as_the_first_message(tab: Tab) -> None:
    await tab.visit("?q=1#chat=omni-abc")
    await expect(tab.input).to_have_value("Hi! (omni-abc)")
    await expect(tab.input).to_be_focused()
    assert tab.page.url.endswith("/?q=1"), "a copied address shall not carry it"
    await tab.page.keyboard.press("Enter")
    await expect(tab.page.get_by_label("Sent", exact=True)).to_have_count(1)
    assert tab.site.hub.said()[0].text == "Hi! (omni-abc)"


async def test_a_reply_to_a_closed_chat_is_counted_until_it_is_looked_at(tab: Tab) -> None:
    await (await tab.visit()).open()
    await tab.write("hi")
    await expect(tab.page.get_by_label("Sent", exact=True)).to_have_count(1)
    await tab.page.keyboard.press("Escape")
    await tab.reply("one")
    await tab.reply("two")
    await expect(tab.launch).to_have_accessible_name("Open chat, 2 unread")
    await tab.site.hub.until(lambda: [state for _, state in tab.site.hub.statuses()] == ["delivered", "delivered"])
    await tab.visit()
    await expect(tab.launch).to_have_accessible_name("Open chat, 2 unread")
    await tab.open()
    await expect(tab.launch).to_have_accessible_name("Close chat")
    await tab.site.hub.until(lambda: [state for _, state in tab.site.hub.statuses()][2:] == ["read", "read"])
    await tab.visit()
    await expect(tab.launch).to_have_accessible_name("Open chat")


async def test_what_is_written_offline_is_sent_once_after_a_reload(tab: Tab) -> None:
    await (await tab.visit()).open()
    await tab.write("first")
    await expect(tab.page.get_by_label("Sent", exact=True)).to_have_count(1)
    tab.site.hub.down = True  # nothing is durable, so nothing is acknowledged
    await tab.write("second")
    await tab.write("third")
    await expect(tab.page.get_by_label("Sending", exact=True)).to_have_count(2)
    await tab.visit()
    tab.site.hub.down = False
    await tab.open()
    await expect(tab.page.get_by_label("Sent", exact=True)).to_have_count(3, timeout=10_000)
    assert await tab.texts() == ["first", "second", "third"]
    assert [event.text for event in tab.site.hub.said()] == ["first", "second", "third"]


async def test_the_widget_comes_back_by_itself_and_misses_nothing(tab: Tab) -> None:
    await (await tab.visit()).open()
    await tab.write("hi")
    await expect(tab.page.get_by_label("Sent", exact=True)).to_have_count(1)
    await tab.site.adapter.hang_up()
    await expect(tab.page.get_by_text("Offline.")).to_be_visible()
    await tab.write("are you there?")
    await tab.reply("while you were away")
    await expect(tab.page.get_by_label("Sent", exact=True)).to_have_count(2)
    assert sorted(await tab.texts()) == ["are you there?", "hi", "while you were away"]


async def test_two_tabs_are_one_visitor(tab: Tab) -> None:
    await (await tab.visit()).open()
    await tab.write("from the first tab")
    await expect(tab.page.get_by_label("Sent", exact=True)).to_have_count(1)
    other = await (await Tab(tab.site, await tab.page.context.new_page()).visit()).open()
    await expect(other.log).to_contain_text("from the first tab")
    await other.write("from the second")
    await expect(tab.log).to_contain_text("from the second", timeout=30_000)
    assert len({event.sender.value for event in tab.site.hub.said()}) == 1


async def test_hostile_text_stays_text(tab: Tab) -> None:
    await (await tab.visit()).open()
    for payload in PAYLOADS:
        await tab.write(payload)
    await expect(tab.page.get_by_label("Sent", exact=True)).to_have_count(len(PAYLOADS))
    for payload in PAYLOADS:
        files = [Attachment("image", url="http://tracker.example/p.gif", name=payload)]
        await tab.reply(payload, author=payload, buttons=[Button("x", payload)], attachments=files)
    await expect(tab.log.locator(".turn")).to_have_count(2 * len(PAYLOADS))
    assert await tab.texts() == PAYLOADS * 2
    assert await tab.log.locator("script, iframe, img, base, meta, [style]").count() == 0
    assert await tab.log.locator("a:not([href^='http://'], [href^='https://'])").count() == 0
    assert all(url.startswith((tab.site.website.origin, tab.site.url)) for url in tab.requests)
    assert not tab.complaints


async def test_a_choice_is_sent_with_its_id(tab: Tab) -> None:
    await (await tab.visit()).open()
    await tab.write("hi")
    await expect(tab.page.get_by_label("Sent", exact=True)).to_have_count(1)
    await tab.reply("Did it arrive?", buttons=[Button("yes", "Yes"), Button("no", "No")])
    await tab.log.get_by_role("button", name="No").click()
    await expect(tab.page.get_by_label("Sent", exact=True)).to_have_count(2)
    selection = tab.site.hub.said()[-1].selection
    assert selection is not None and (selection.id, selection.title) == ("no", "No")
    await expect(tab.log.get_by_role("button", name="Yes")).to_be_disabled()


async def test_a_user_who_logs_out_leaves_nothing_to_the_next(tab: Tab) -> None:
    await (await tab.visit("?user=42&name=Ann")).open()
    await tab.write("my secret")
    await expect(tab.page.get_by_label("Sent", exact=True)).to_have_count(1)
    tab.site.hub.down = True
    await tab.write("an unsent secret")
    await expect(tab.page.get_by_label("Sending", exact=True)).to_have_count(1)
    await tab.page.goto("about:blank")  # else it could still be sent by who wrote it
    tab.site.hub.down = False
    await (await tab.visit("?user=43")).open()
    assert await tab.texts() == []
    await (await tab.visit()).open()
    assert await tab.texts() == []
    await (await tab.visit("?user=42")).open()
    assert await tab.texts() == ["my secret"]
    assert {event.text for event in tab.site.hub.said()} == {"my secret"}


async def test_who_logs_in_takes_the_anonymous_chat_along_and_leaves_none(tab: Tab) -> None:
    await (await tab.visit()).open()
    await tab.write("my kettle broke")
    await expect(tab.page.get_by_label("Sent", exact=True)).to_have_count(1)
    [said] = tab.site.hub.said()
    await (await tab.visit("?user=42")).open()
    await (await tab.visit("?user=42")).open()
    [login] = tab.site.hub.logins()
    assert login.former == [said.sender.address]
    await (await tab.visit()).open()
    assert await tab.texts() == []


async def test_a_stale_page_asks_for_a_reload_and_takes_a_new_token(tab: Tab) -> None:
    await tab.visit("?user=42")
    await tab.page.evaluate("document.querySelector('script').dataset.token = 'stale'")
    await tab.visit("?user=42&exp=1")  # the website made a token that is over
    await tab.launch.click()
    await expect(tab.page.get_by_text("Please reload this page.")).to_be_visible()
    token = tab.site.website.sign("42")
    await tab.page.evaluate("token => { document.querySelector('script').dataset.token = token }", token)
    await expect(tab.page.locator("#state")).to_be_hidden()


@pytest.mark.parametrize(("lang", "title"), [
    ("de-AT", "Chatten Sie mit uns"),
    ("fr", "Discutez avec nous"),
    ("es", "Chatee con nosotros"),
    ("xx", "Chat with us"),
])
async def test_the_widget_speaks_the_language_of_the_page(tab: Tab, lang: str, title: str) -> None:
    await tab.visit(f"?lang={lang}")
    await tab.launch.click()
    await expect(tab.page.get_by_role("dialog", name=title)).to_be_visible()


async def test_a_long_history_is_shown_in_part_after_a_reload_and_whole_on_request(tab: Tab) -> None:
    await (await tab.visit()).open()
    await tab.write("hi")
    await expect(tab.page.get_by_label("Sent", exact=True)).to_have_count(1)
    for number in range(120):
        tab.site.hub.put(tab.visitor, f"reply {number}")
    await tab.reply("the last")
    await expect(tab.log.locator(".turn")).to_have_count(122)
    await (await tab.visit()).open()
    await expect(tab.log.locator(".turn")).to_have_count(49)
    await tab.page.get_by_role("button", name="Show earlier messages").click()
    await expect(tab.log.locator(".turn")).to_have_count(122)
    await expect(tab.page.get_by_role("button", name="Show earlier messages")).to_be_hidden()


async def test_on_a_phone_nothing_covers_the_send_button(site: Site, browser: Browser) -> None:
    context = await browser.new_context(viewport={"width": 360, "height": 640}, has_touch=True, is_mobile=True)
    tab = await (await Tab(site, await context.new_page()).visit()).open()
    await tab.input.fill("hi")
    send = tab.page.get_by_role("button", name="Send", exact=True)
    await send.tap(timeout=5000)  # fails if something else would be hit
    await expect(tab.page.get_by_label("Sent", exact=True)).to_have_count(1)
    close = tab.page.get_by_role("button", name="Close chat")
    for focused in (tab.page.locator("#attach"), tab.log, close, tab.page.locator("#send")):
        await tab.page.keyboard.press("Shift+Tab")  # the page behind is out of sight: focus stays inside
        await expect(focused).to_be_focused()
    await close.tap()
    await expect(tab.launch).to_be_focused()


async def test_the_newest_message_is_in_sight_unless_the_reader_scrolled_up(tab: Tab) -> None:
    await (await tab.visit()).open()
    await tab.write("hi")
    await expect(tab.page.get_by_label("Sent", exact=True)).to_have_count(1)
    for number in range(20):
        await tab.reply(f"reply {number}", buttons=[Button("ok", f"OK {number}")])
    await expect(tab.log.get_by_role("button", name="OK 19")).to_be_in_viewport(ratio=1)
    await tab.log.get_by_text("hi", exact=True).scroll_into_view_if_needed()
    await tab.page.evaluate("new Promise(requestAnimationFrame)")  # scrolling is told with the next frame
    await tab.reply("the last")
    await expect(tab.log).to_contain_text("the last")
    await expect(tab.log.get_by_text("hi", exact=True)).to_be_in_viewport()


async def test_the_greeting_makes_room_for_the_conversation_and_days_are_told_apart(tab: Tab) -> None:
    await (await tab.visit()).open()
    await expect(tab.log).to_contain_text("Hello! How can we help?")
    await tab.write("hi")
    await expect(tab.log).not_to_contain_text("How can we help?", use_inner_text=True)
    await expect(tab.log.locator(".day").first).to_have_text("today")
    await tab.reply("an old one", at=datetime(2026, 1, 31, 12, tzinfo=UTC))
    await expect(tab.log.locator(".day").last).to_have_text("Saturday 31 January")
