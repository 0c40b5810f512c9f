"""What Messenger and Instagram ask of the core: receipts up to a moment or a message, late answers, names."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from aiohttp import ClientSession

from adapters.graph.records import Sent, Template, milliseconds
from adapters.instagram.simulator import Simulator as Instagram
from adapters.messenger.simulator import Simulator
from hub import customers, names, sending
from hub.app import Hub, running
from hub.customers import CustomerDraft, IdentityDraft
from hub.keys import local_token
from hub.model import public_id
from hub.sending import Draft, TemplateDraft
from hub.settings import Settings, master_key
from hub.store.schema import metadata
from hub.testing.simulation import Fault
from tests.paper import Clock, until

ANN = "5678901234567890"
ZOE = {"kind": "agent", "name": "Zoe"}


@dataclass
class Shop:
    """A hub with two pages of one app, and an account at Instagram."""

    hub: Hub
    clock: Clock
    first: Simulator
    second: Simulator
    insta: Instagram

    async def rows(self, table: str, **match: Any) -> Sequence[Any]:
        source = metadata.tables[table]
        query = sa.select(source).where(*(source.c[name] == value for name, value in match.items()))
        ordered = query.order_by(*source.primary_key.columns)
        return await self.hub.store.read(lambda connection: connection.execute(ordered).all())

    async def send(self, text: str, **more: Any) -> None:
        address = f"psid:{self.first.account_id}:{ANN}"
        draft = Draft(**({"customer": address, "text": text, "channel": "first", "purpose": "reply"} | more))
        await self.hub.write(lambda connection, context: sending.accept(connection, context, draft, "script"))

    async def written(self, text: str = "Hi") -> None:
        """Ann has written to the first page, and the hub has read it."""
        count = len(await self.rows("message", inbound=True))
        assert await self.first.text(ANN, text) == 200
        await self.there("message", count + 1, inbound=True)

    async def there(self, table: str, count: int, **match: Any) -> Sequence[Any]:
        async def found() -> bool:
            return len(await self.rows(table, **match)) >= count

        await until(found)
        return await self.rows(table, **match)

    async def states(self, *wanted: str) -> None:
        """Wait until the messages to customers are in these states."""
        found: list[str] = []

        async def reached() -> bool:
            nonlocal found
            found = [row.state for row in await self.rows("delivery", kind="contact")]
            return found == list(wanted)

        try:
            await until(reached)
        except TimeoutError:
            raise TimeoutError(f"{found}, not {wanted}") from None


@pytest.fixture
async def shop(database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Shop]:
    monkeypatch.setattr(names, "_PATIENCE", 0.1)
    monkeypatch.setattr(names, "_POLL", 0.05)
    monkeypatch.setattr(names, "_TRIES", 3)
    clock = Clock()
    meta, insta = [Simulator(), Simulator()], Instagram()
    meta[1].app_secret, meta[1].verify_token = meta[0].app_secret, meta[0].verify_token
    async with AsyncExitStack() as stack:
        for each in (*meta, insta):
            each.now = clock  # type: ignore[method-assign]  # the provider's clock is the test's
            await each.start()
            stack.push_async_callback(each.stop)
        settings = Settings.model_validate(
            {
                "data": tmp_path,
                "database_url": database_url,
                "listen": {"port": 0},
                "channels": {
                    name: {"adapter": "messenger", **each.config()}
                    for name, each in zip(("first", "second"), meta, strict=True)
                }
                | {"insta": {"adapter": "instagram", **insta.config()}},
            }
        )
        hub = await stack.enter_async_context(running(settings, clock=clock))
        for each in meta:
            each.webhook_url = f"http://127.0.0.1:{hub.port}/hooks/first"
        insta.webhook_url = f"http://127.0.0.1:{hub.port}/hooks/insta"
        yield Shop(hub, clock, *meta, insta)


async def test_one_webhook_serves_all_pages_of_an_app(shop: Shop) -> None:
    await shop.first.text(ANN, "one")
    await shop.second.text(ANN, "two")
    messages = await shop.there("message", 2, inbound=True)
    assert [row.channel for row in messages] == ["first", "second"]
    assert len(await shop.rows("customer")) == 2  # ids of one page mean nothing at another


async def test_what_was_read_up_to_a_moment_is_read(shop: Shop) -> None:
    await shop.written()
    for number in range(2):
        await shop.send(f"Hello {number}")
        await shop.states(*["delivered"] * (number + 1))
        shop.clock.now += timedelta(seconds=5)
    read = shop.first.was_read(shop.first.messages[0])
    await shop.first.tell(ANN, read)
    await shop.states("read", "delivered")
    await shop.first.tell(ANN, read)
    await shop.first.read(ANN)
    await shop.states("read", "read")


async def test_what_came_before_a_message_that_was_read_is_read(shop: Shop) -> None:
    await shop.insta.text(ANN, "Hi")
    await shop.there("message", 1, inbound=True)
    for number in range(3):
        await shop.send(f"Hello {number}", customer=f"igsid:{shop.insta.account_id}:{ANN}", channel="insta")
    await shop.states("sent", "sent", "sent")
    await shop.insta.tell(ANN, shop.insta.was_read(shop.insta.messages[1]))
    await shop.states("read", "read", "sent")


async def test_what_was_read_before_we_know_that_it_was_sent_is_read(shop: Shop) -> None:
    await shop.written()
    shop.first.deliver = False

    async def read(_: Sent) -> None:
        assert await shop.first.read(ANN) == 200
        [parked] = await shop.there("parked_status", 1)
        assert parked.external_id == f"psid:{shop.first.account_id}:{ANN}"

    shop.first.before_answer = read
    await shop.send("Hello")
    await shop.states("read")
    assert await shop.rows("parked_status") == []


async def test_reading_tells_nothing_of_others(shop: Shop) -> None:
    await shop.written()
    await shop.send("Hello")
    await shop.states("delivered")
    shop.clock.now += timedelta(seconds=5)
    watermark = milliseconds(shop.clock.now)
    await shop.first.tell("7", {"read": {"watermark": watermark}})
    await shop.second.tell(ANN, {"read": {"watermark": watermark}})
    await shop.written("Thanks")  # whatever is to come of them has come
    await shop.states("delivered")


async def test_after_a_day_people_answer_and_machines_do_not(shop: Shop) -> None:
    await shop.written()
    await shop.send("Hello", author=ZOE)
    await shop.states("delivered")
    shop.clock.now += timedelta(hours=25)
    await shop.send("Sorry for the delay", author=ZOE)
    await shop.send("How did we do?")
    await shop.states("delivered", "delivered", "denied")
    shop.clock.now += timedelta(days=6)
    await shop.send("Are you still there?", author=ZOE)
    await shop.states("delivered", "delivered", "denied", "denied")
    assert [each.body.get("tag") for each in shop.first.messages] == [None, "HUMAN_AGENT"]
    assert [row.code for row in await shop.rows("delivery", state="denied")] == [
        "HUMAN_AGENT_REQUIRED", "WINDOW_CLOSED"
    ]


WORDLESS: list[dict[str, Any]] = [
    {"optin": {"ref": "shop", "type": "other"}}, {"referral": {"source": "ADS", "type": "OPEN_THREAD"}}, {"waved": {}}
]


@pytest.mark.parametrize("said", WORDLESS, ids=lambda said: next(iter(said)))
async def test_what_comes_without_a_word_opens_no_window(shop: Shop, said: dict[str, Any]) -> None:
    await shop.written()
    shop.clock.now += timedelta(hours=25)
    await shop.first.tell(ANN, said)
    await shop.there("message", 2, inbound=True)
    await shop.send("How did we do?")
    await shop.states("denied")


async def test_a_press_opens_the_window(shop: Shop) -> None:
    await shop.written()
    shop.clock.now += timedelta(hours=25)
    shop.first.person(ANN).last_wrote = shop.clock.now
    await shop.first.tell(ANN, {"postback": {"mid": "m_1", "title": "Get started", "payload": "start"}})
    await shop.there("message", 2, inbound=True)
    await shop.send("Hello")
    await shop.states("delivered")


async def test_people_get_the_names_that_meta_knows(shop: Shop) -> None:
    carl = IdentityDraft(address=f"psid:{shop.first.account_id}:9", proof="verified")
    draft = CustomerDraft(name="Carl", identities=[carl])
    await shop.hub.write(lambda connection, context: customers.upsert(connection, context, draft))
    shop.first.person("7", "Bob Stone")
    shop.first.withheld[ANN] = (2, None)
    await shop.written()
    await shop.first.ledger.wait_for("query")
    assert [row.name for row in await shop.rows("customer")] == ["Carl", None]
    del shop.first.withheld[ANN]
    await shop.first.text("7", "Hello")

    async def named() -> bool:
        return [row.name for row in await shop.rows("customer")] == ["Carl", "Ann Fielding", "Bob Stone"]

    await until(named)
    await shop.written("Thanks")
    assert [row.author_name for row in await shop.rows("message", inbound=True)][-1] == "Ann Fielding"
    asked = [len(shop.first.ledger.of("query", path=f"/v25.0/{person}")) for person in (7, 9)]
    assert asked == [1, 0]  # a name that is known is not asked for


async def test_somebody_without_a_name_does_not_keep_others_from_theirs(shop: Shop) -> None:
    shop.first.withheld["7"] = (1, None)
    await shop.first.text("7", "Hi")
    await shop.written()

    async def named() -> bool:
        return [row.name for row in await shop.rows("customer")] == [None, "Ann Fielding"]

    await until(named)


async def test_a_name_that_the_business_knows_stays(shop: Shop) -> None:
    shop.first.withheld[ANN] = (2, None)
    await shop.written()
    address = IdentityDraft(address=f"psid:{shop.first.account_id}:{ANN}", proof="verified")
    known = CustomerDraft(name="Mrs Fielding", identities=[address])
    await shop.hub.write(lambda connection, context: customers.upsert(connection, context, known))
    del shop.first.withheld[ANN]

    async def named() -> bool:
        return [row.name for row in await shop.rows("identity")] == ["Ann Fielding"]

    await until(named)
    assert "Mrs Fielding" in [row.name for row in await shop.rows("customer")]
    assert "Ann Fielding" not in [row.name for row in await shop.rows("customer")]


async def test_an_echo_settles_a_send_whose_answer_was_lost(shop: Shop) -> None:
    await shop.written()
    shop.first.faults.queued.append(Fault("drop_after"))
    await shop.send("Hello")
    await shop.states("delivered")
    assert [each.text for each in shop.first.phone(ANN)] == ["Hello"]


async def test_a_long_message_with_a_choice_goes_out_in_parts(shop: Shop) -> None:
    await shop.written()
    await shop.send("x" * 2500, buttons=[{"id": "y", "title": "Yes"}])
    await shop.send("Now?", buttons=[{"id": "y", "title": "Rather a long title"}, {"id": "n", "title": "x" * 21}])
    await shop.states("delivered", "delivered")
    first, second, listed = shop.first.messages
    assert (len(first.text), first.buttons) == (2000, [])
    assert (len(second.text), second.buttons) == (500, [{"id": "y", "title": "Yes"}])
    assert listed.text == "Now?\n\n1. Rather a long title\n2. " + "x" * 21


async def test_who_blocks_the_page_gets_no_more(shop: Shop) -> None:
    await shop.written()
    shop.first.person(ANN).blocked = True
    await shop.send("Hello")
    await shop.states("failed")
    await shop.send("Hello?")
    await shop.states("failed", "denied")
    assert "SUPP_BLOCKED_BY_USER" in [row.code for row in await shop.rows("delivery", kind="contact")]


async def test_who_had_blocked_the_page_and_writes_is_answered(shop: Shop) -> None:
    await shop.written()
    shop.first.person(ANN).blocked = True
    await shop.send("Hello")
    await shop.states("failed")
    shop.clock.now += timedelta(minutes=1)
    await shop.written("I am back")
    await shop.send("Welcome back")
    await shop.states("failed", "delivered")


async def test_a_block_takes_back_no_stop(shop: Shop) -> None:
    await shop.written("STOP")
    shop.clock.now += timedelta(minutes=1)
    await shop.written("Where is my parcel?")
    await shop.send("Here")
    await shop.states("delivered", "denied")


async def test_opting_in_to_marketing_there_is_consent_to_it(shop: Shop) -> None:
    await shop.written()
    optin = {"type": "notification_messages", "notification_messages_token": "8"}
    await shop.first.tell(ANN, {"optin": optin})
    await shop.there("consent_event", 1)
    shop.clock.now += timedelta(seconds=1)
    await shop.first.tell(ANN, {"optin": optin | {"notification_messages_status": "STOP_NOTIFICATIONS"}})
    changes = [row.change for row in await shop.there("consent_event", 2)]
    assert changes == ["opt_in_marketing", "opt_out_marketing"]
    await shop.send("Sale!", purpose="marketing")
    await shop.send("Your order has shipped.")
    await shop.states("denied", "delivered")


async def test_what_a_colleague_answers_in_metas_own_app_is_in_the_thread(shop: Shop) -> None:
    await shop.written()
    assert await shop.first.answer(ANN, "Hello from my phone") == 200
    await shop.states("sent")
    assert [row.inbound for row in await shop.rows("message")] == [True, False]
    await shop.first.tell(ANN, {"read": {"watermark": milliseconds(shop.clock.now + timedelta(seconds=5))}})
    await shop.states("read")
    assert shop.first.messages == []


async def test_what_cannot_be_read_keeps_nothing_else_back(shop: Shop) -> None:
    good, bad = ({"message": {"mid": "m_good", "text": "Hi"}}, {"message": {"text": "without mid"}})
    await shop.first.post([shop.first.entry([shop.first.item(ANN, each) for each in (bad, good)])])
    [row] = await shop.there("message", 1, inbound=True)
    [refused] = await shop.there("quarantine", 1)
    assert row.external_id == "m_good" and "without mid" in refused.error


async def test_news_of_an_order_goes_out_at_any_time_by_an_approved_template(shop: Shop) -> None:
    shop.first.add_template(Template("order_update", "en_GB", "Hi {{1}}, your order has shipped."))
    await shop.written()
    shop.clock.now += timedelta(days=30)
    known = "order_update"
    for name, purpose in ((known, "transactional"), ("unknown", "transactional"), (known, "marketing")):
        template = TemplateDraft(name=name, language="en_GB", variables={"1": "Ann"})
        await shop.send("", template=template, purpose=purpose)
    await shop.states("delivered", "failed", "denied")
    assert [each.text for each in shop.first.phone(ANN)] == ["Hi Ann, your order has shipped."]


async def test_a_program_shows_that_it_reads_and_types(shop: Shop) -> None:
    await shop.written("Are you there?")
    [row] = await shop.rows("conversation")
    place = f"/api/v1/conversations/{public_id('conversation', row.id)}/seen"
    headers = {"Authorization": f"Bearer {local_token(master_key(shop.hub.settings))}"}
    async with ClientSession(f"http://127.0.0.1:{shop.hub.port}", headers=headers) as web:

        async def show(**body: Any) -> tuple[int, Any]:
            async with web.post(place, json=body) as answer:
                return answer.status, await answer.json()

        assert await show() == (200, {
            "conversation": public_id("conversation", row.id), "channel": "first",
            "address": f"psid:{shop.first.account_id}:{ANN}",
        })  # fmt: skip
        assert shop.first.actions == [(ANN, "mark_seen")]
        assert (await show(typing=True))[0] == 200
        assert shop.first.actions[1:] == [(ANN, "mark_seen"), (ANN, "typing_on")]
        shop.first.access_token = "another"
        status, problem = await show()
        assert (status, problem["code"]) == (502, "not_shown")
        shop.hub.copied = "this is a copy"
        assert (await show())[0] == 409
        assert len(shop.first.actions) == 3


async def test_what_was_unsent_at_instagram_is_nowhere_and_can_be_replayed(shop: Shop) -> None:
    await shop.insta.text(ANN, "My card is 4111…")
    [row] = await shop.there("message", 1, inbound=True)
    await shop.insta.text(ANN, "Never mind")
    await shop.there("message", 2, inbound=True)
    await shop.insta.unsend(ANN, row.external_id)
    await shop.there("amendment", 1)
    rows = [*await shop.rows("inbox"), *await shop.rows("message"), *await shop.rows("conversation")]
    assert "My card" not in " ".join(map(repr, rows)) and "Never mind" in " ".join(map(repr, rows))
    found = await shop.hub.projector.replay([each.id for each in await shop.rows("inbox")])
    assert [each.error for each in found] == [None, None, None]
    assert len(await shop.rows("message", inbound=True)) == 2
