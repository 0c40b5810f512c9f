"""The demo in a real browser, as `make demo` serves it: apps of the customer, the agents' thread, the timeline."""

from __future__ import annotations

import asyncio
import json
import shutil
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from playwright.async_api import FrameLocator, Page, async_playwright, expect

from hub.client import AsyncClient

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="no chromium found: install one to see the demo in a browser"),
]


class Stage:
    """The page with its three sides."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.complaints: list[str] = []
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("console", lambda message: self.complaints.append(message.text) if message.type == "error" else None)
        self.thread = page.get_by_role("log", name="Thread")
        self.timeline = page.locator("#messages")

    async def choose(self, title: str) -> None:
        await self.page.get_by_role("tab", name=title).click()

    async def write(self, title: str, text: str) -> None:
        await self.choose(title)
        await self.page.get_by_label(f"Write by {title}").fill(text)
        await self.page.keyboard.press("Enter")
        await expect(self.thread).to_contain_text(text)

    async def answer(self, text: str) -> None:
        await self.page.get_by_label("Answer as Zoe").fill(text)
        await self.page.keyboard.press("Enter")

    async def chat(self) -> FrameLocator:
        """The widget on the business's website, open and connected."""
        await self.choose("Web chat")
        frame = self.page.frame_locator("iframe")
        launch = frame.locator("#launch")
        if await launch.get_attribute("aria-expanded") != "true":
            await launch.click()
        await expect(frame.locator("#state")).to_be_hidden()
        return frame


@pytest.fixture
async def demo() -> AsyncIterator[dict[str, str]]:
    """``hub demo`` as a user starts it, and what it tells scripts."""
    command = [str(Path(sys.executable).with_name("hub")), "demo", "--no-open", "--port", "0", "--json"]
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    assert process.stdout is not None
    said = json.loads(await process.stdout.readuntil(b"\n}\n"))
    yield said
    process.terminate()
    assert await process.wait() in (0, 130, -15)


@pytest.fixture
async def stage(demo: dict[str, str]) -> AsyncIterator[Stage]:
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = await (await browser.new_context(locale="en-GB")).new_page()
        stage = Stage(page)
        await page.goto(demo["page"])
        await expect(page.get_by_role("note")).to_contain_text("nothing is sent for real")
        yield stage
        assert stage.complaints == []
        await browser.close()


async def test_a_visitor_asks_the_agent_answers_and_history_survives_a_new_visit(stage: Stage) -> None:
    chat = await stage.chat()
    await chat.get_by_label("Your message").fill("Do you ship to Malta?")
    await stage.page.keyboard.press("Enter")
    await expect(stage.thread).to_contain_text("Do you ship to Malta?")
    await stage.answer("We do, in three days.")
    await expect(chat.get_by_role("log")).to_contain_text("We do, in three days.")
    await expect(stage.thread).to_contain_text("✔")

    await stage.page.reload()
    chat = await stage.chat()
    log = chat.get_by_role("log")
    await expect(log).to_contain_text("Do you ship to Malta?")
    await expect(log.locator(".text")).to_have_text(["Do you ship to Malta?", "We do, in three days."])
    await stage.answer("Anything else?")
    await expect(log.locator(".text")).to_have_count(3)


async def test_three_apps_one_thread_and_every_message_explained(stage: Stage) -> None:
    await stage.write("SMS", "Where is my order?")
    await stage.answer("On its way.")
    await expect(stage.page.get_by_role("log", name="SMS")).to_contain_text("On its way.")
    await stage.write("Email", "The lid is missing.")
    await stage.answer("A new one is coming.")
    await expect(stage.page.get_by_role("log", name="Email")).to_contain_text("A new one is coming.")
    await stage.chat()
    await stage.answer("!note Be nice to her.")
    await expect(stage.timeline).to_contain_text("Be nice to her.")
    await expect(stage.page.locator("#devices")).not_to_contain_text("Be nice to her.")
    await stage.write("SMS", "STOP")
    await stage.answer("Your lid has shipped.")
    await expect(stage.thread).to_contain_text("CONSENT_REVOKED")
    await expect(stage.page.locator("#devices")).not_to_contain_text("Your lid has shipped.")
    refused = stage.timeline.locator("li.message", has_text="Your lid has shipped.")
    await refused.locator("summary").click()
    await expect(refused.locator(".why")).to_contain_text("CONSENT_REVOKED")
    await expect(stage.page.locator("#card select")).to_have_count(0)  # there is one conversation


APPS = {"Telegram": "telegram", "LINE": "line", "WhatsApp": "whatsapp"}


async def test_choices_are_drawn_and_can_be_pressed(stage: Stage, demo: dict[str, str]) -> None:
    async with AsyncClient(demo["hub"], demo["api_key"]) as hub:
        for count, (title, channel) in enumerate(APPS.items(), 1):
            await stage.write(title, f"Hello by {title}")
            choices = [{"id": f"{channel}-yes", "title": "Yes, please"}, {"id": f"{channel}-no", "title": "No"}]
            await hub.send("1042", "A new lid?", channel=channel, purpose="reply", buttons=choices)
            log = stage.page.get_by_role("log", name=title)
            await log.get_by_role("button", name="Yes, please").click()
            pressed = stage.timeline.locator("li.message.in", has_text="Yes, please")
            await expect(pressed).to_have_count(count)


async def test_a_link_leads_the_customer_into_another_app_and_the_thread_stays_one(stage: Stage) -> None:
    await stage.write("SMS", "Can we talk on Messenger?")
    await stage.answer("!continue messenger")
    await stage.page.get_by_role("log", name="SMS").get_by_role("button").click()
    await expect(stage.page.get_by_role("tab", name="Messenger")).to_have_attribute("aria-selected", "true")
    await expect(stage.thread).to_contain_text("Messenger")
    await stage.answer("Here we are.")
    await expect(stage.page.get_by_role("log", name="Messenger")).to_contain_text("Here we are.")
    for title, channel in (("Instagram", "instagram"), ("Telegram", "telegram"), ("WhatsApp", "whatsapp")):
        before = await stage.page.locator("[role=tab][aria-selected=true]").inner_text()
        await stage.answer(f"!continue {channel}")
        await stage.page.get_by_role("log", name=before).get_by_role("button").last.click()
        await expect(stage.page.get_by_role("tab", name=title)).to_have_attribute("aria-selected", "true")
        await stage.answer(f"Hello on {title}.")
        await expect(stage.page.get_by_role("log", name=title)).to_contain_text(f"Hello on {title}.")
    await expect(stage.page.locator("#card select")).to_have_count(0)  # there is one conversation
