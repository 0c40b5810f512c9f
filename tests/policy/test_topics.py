"""Topics of advertising: refused and allowed one by one, in words, by one click and on the page."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import sqlalchemy as sa
from pydantic import ValidationError

from hub import consent, sending
from hub.campaigns import engine
from hub.campaigns.draft import CampaignError, read
from hub.confirmations import Wish
from hub.confirmations import ask as ask_for
from hub.policy.ledger import Event, Scope
from hub.web.ledger import ShowQuery, show
from tests.paper import Office, office, until

TOPICS = {"news": "Kettle News", "offers": "Offers"}
ONE_CLICK = {"List-Unsubscribe": "One-Click"}


@pytest.fixture
async def desk(database_url: str, tmp_path: Path) -> AsyncIterator[Office]:
    async with office(database_url, tmp_path, settings_={"topics": TOPICS}) as running:
        await running.write("hello")
        yield running


async def allow(desk: Office, topic: str = "*") -> None:
    def work(connection: sa.Connection, context: Any) -> None:
        scope = Scope("paper", "marketing", topic)
        entry = Event("grant", context.now, "paper:ann", scope=scope, basis="express_written")
        change = consent.word("opt_in", scope)
        consent.append(connection, entry, change=change, channel=None, source="page", now=context.now)

    await desk.hub.write(work)
    await desk.advance(days=2)  # no cap of an earlier message counts


async def offer(desk: Office, topic: str | None) -> str:
    """What became of it."""
    draft = sending.Draft(customer="paper:ann", text=f"about {topic}", purpose="marketing", topic=topic)
    await desk.hub.write(lambda connection, context: sending.accept(connection, context, draft, "me"))
    await desk.settled()
    row = (await desk.rows("delivery", kind="contact"))[-1]
    await desk.advance(days=2)
    return str(row.code or row.state)


def page(desk: Office, topic: str | None = None) -> str:
    path = desk.hub.preferences.make("paper:ann", topic).partition("/preferences/")[2]
    return f"http://127.0.0.1:{desk.hub.port}/preferences/{path}"


async def ask(desk: Office, method: str, topic: str | None = None, data: dict[str, str] | None = None) -> str:
    async with desk.session.request(method, page(desk, topic), data=data) as answer:
        assert answer.status == 200
        return await answer.text()


@pytest.mark.parametrize("words", ["STOP news", "stop the Kettle News", "Unsubscribe from kettle news"])
async def test_a_keyword_and_a_topic_close_that_topic(desk: Office, words: str) -> None:
    await allow(desk)
    await desk.write(words)
    assert desk.letters.texts == []  # "you will get no more messages here" would not be true
    assert "Opted out of" in desk.board.texts[-1]
    assert [await offer(desk, each) for each in ("news", "offers", None)] == [
        "CONSENT_REVOKED", "sent", "CONSENT_REVOKED",
    ]  # fmt: skip


async def test_a_permission_for_a_topic_opens_no_other(desk: Office) -> None:
    await allow(desk, "offers")
    assert [await offer(desk, each) for each in ("offers", "news", None)] == [
        "sent", "CONSENT_SCOPE_MISMATCH", "CONSENT_SCOPE_MISMATCH",
    ]  # fmt: skip


async def test_one_click_ends_the_topic_of_its_message(desk: Office) -> None:
    await allow(desk)
    assert await offer(desk, "news") == "sent"
    [handed] = desk.letters.handed
    assert desk.hub.preferences.read(str(handed.unsubscribe).rpartition("/")[2]) == ("paper:ann", "news")
    for _ in range(2):
        text = await ask(desk, "POST", "news", ONE_CLICK)
    assert "gets everything" in text and "Again: Kettle News" in text and "No more: Offers" in text
    entries = [row for row in await desk.rows("consent_event") if row.kind == "revoke"]
    assert [(row.scope_topic, row.scope_purpose, row.change) for row in entries] == [
        ("news", "marketing", "opt_out_topic")
    ]
    assert [await offer(desk, each) for each in ("news", "offers")] == ["CONSENT_REVOKED", "sent"]


async def test_one_click_for_a_topic_that_is_no_more_ends_advertising(desk: Office) -> None:
    await allow(desk)
    assert "gets no advertising" in await ask(desk, "POST", "gone", ONE_CLICK)
    assert await offer(desk, "offers") == "CONSENT_REVOKED"


async def test_people_choose_their_topics_on_the_page(desk: Office) -> None:
    await allow(desk)
    await ask(desk, "POST", "news", {"wish": "stop:offers"})
    assert [await offer(desk, each) for each in ("news", "offers")] == ["sent", "CONSENT_REVOKED"]
    await ask(desk, "POST", None, {"wish": "again:offers"})
    assert await offer(desk, "offers") == "sent"
    assert "gets no advertising" in await ask(desk, "POST", "news", {"wish": "stop"})
    text = await ask(desk, "GET")
    assert "Offers" not in text and "Write to me again" in text
    assert await offer(desk, "offers") == "CONSENT_REVOKED"


async def test_a_topic_nobody_knows_is_no_topic(desk: Office) -> None:
    draft = sending.Draft(customer="paper:ann", text="x", topic="nwes")
    with pytest.raises(sending.Unsendable, match=r"no topic is called 'nwes'; there are: news, offers"):
        await desk.hub.write(lambda connection, context: sending.accept(connection, context, draft, "me"))
    values = {
        "name": "x", "topic": "nwes", "audience": {"segment": {"all": []}}, "channels": ["paper"],
        "messages": [{"text": "x"}],
    }  # fmt: skip
    with pytest.raises(CampaignError, match=r"topic: no topic is called 'nwes'"):
        await desk.hub.write(lambda connection, context: engine.create(connection, context, read(values)))
    with pytest.raises(CampaignError, match="only advertising has"):
        read(values | {"topic": "news", "purpose": "transactional"})
    wish = Wish("paper:ann", "website", topic="nwes")
    with pytest.raises(sending.Unsendable, match="no topic is called 'nwes'"):
        await desk.hub.write(lambda connection, context: ask_for(connection, context, desk.hub.confirmations, wish))
    with pytest.raises(ValidationError, match="only advertising has"):
        sending.Draft(customer="paper:ann", text="x", topic="news", purpose="reply")


async def test_a_campaign_leaves_out_who_refused_its_topic(desk: Office) -> None:
    await allow(desk)
    await ask(desk, "POST", "news", ONE_CLICK)
    for topic, state in (("news", "denied"), ("offers", "sent")):
        values = {
            "name": topic, "topic": topic, "audience": {"segment": {"all": []}}, "channels": ["paper"],
            "messages": [{"text": "x"}],
        }  # fmt: skip

        def begin(connection: sa.Connection, context: Any, values: dict[str, Any] = values) -> None:
            engine.start(connection, context, engine.create(connection, context, read(values)))

        await desk.hub.write(begin)

        async def told(topic: str = topic, state: str = state) -> bool:
            return [row.topic for row in await desk.rows("delivery", kind="contact", state=state)] == [topic]

        await until(told)


async def test_it_is_told_how_each_topic_stands(desk: Office) -> None:
    await allow(desk)
    await ask(desk, "POST", "news", ONE_CLICK)
    call: Any = SimpleNamespace(hub=desk.hub, path={"who": "paper:ann"}, query=ShowQuery())
    found = json.loads((await show(call)).body)["standing"]  # type: ignore[arg-type]  # there is a body
    assert [(each["topic"], each["reason"]) for each in found if each["purpose"] == "marketing"] == [
        (None, "CONSENT_REVOKED"), ("news", "CONSENT_REVOKED"), ("offers", "OK"),
    ]  # fmt: skip
