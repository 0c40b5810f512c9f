"""What WhatsApp asks of the core: windows, templates, one webhook for many numbers, refusals of marketing alone."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from adapters.graph.records import Template
from adapters.whatsapp_cloud.simulator import Simulator
from hub import customers, erasure, segments, sending
from hub.app import Hub, running
from hub.campaigns import person
from hub.campaigns.draft import CampaignDraft
from hub.customers import CustomerDraft, IdentityDraft
from hub.model import private_id, public_id
from hub.sending import Draft, TemplateDraft
from hub.settings import Settings
from hub.store.schema import metadata
from hub.testing.simulation import Fault
from hub.web.api.operations import ReplayDraft
from hub.web.api.route import Call
from hub.web.local import preview_replay
from tests.paper import Clock, until

PHONE = "+447700900123"
NEW = "+447700900999"
SHIPPED = TemplateDraft(name="order_update", language="en_GB", variables={"name": "Ann"})


@dataclass
class Shop:
    """A hub with two numbers of one app, and one of another."""

    hub: Hub
    clock: Clock
    first: Simulator
    second: Simulator
    foreign: Simulator

    async def rows(self, table: str, **match: Any) -> Sequence[Any]:
        source = metadata.tables[table]
        query = sa.select(source).where(*(source.c[name] == value for name, value in match.items()))
        ordered = query.order_by(*source.primary_key.columns)
        return await self.hub.store.read(lambda connection: connection.execute(ordered).all())

    async def send(self, text: str = "", **more: Any) -> None:
        usual = {"customer": f"tel:{PHONE}", "channel": "first", "purpose": "reply"}
        draft = Draft(text=text, **(usual | more))
        await self.hub.write(lambda connection, context: sending.accept(connection, context, draft, "script"))

    async def outcomes(self, count: int) -> list[tuple[str, str | None]]:
        """State and code of what went to the customer, once that many messages are through."""
        found: list[tuple[str, str | None]] = []

        async def through() -> bool:
            nonlocal found
            rows = await self.rows("delivery", kind="contact")
            found = [(row.state, row.code) for row in rows]
            return len(rows) == count and not {"queued", "sending", "indoubt", "sent"} & {row.state for row in rows}

        try:
            await until(through)
        except TimeoutError:
            raise TimeoutError(f"{found} {await self.rows('receipt')} {await self.rows('delivery')}") from None
        return found

    async def projected(self, table: str, count: int, **match: Any) -> Sequence[Any]:
        async def there() -> bool:
            return len(await self.rows(table, **match)) >= count

        await until(there)
        return await self.rows(table, **match)


@pytest.fixture
async def shop(database_url: str, tmp_path: Path) -> AsyncIterator[Shop]:
    clock = Clock()
    meta = [Simulator(), Simulator(), Simulator()]
    meta[1].app_secret, meta[1].verify_token = meta[0].app_secret, meta[0].verify_token
    async with AsyncExitStack() as stack:
        for each in meta:
            each.now = clock  # type: ignore[method-assign]  # the provider's clock is the test's
            await each.start()
            stack.push_async_callback(each.stop)
        settings = Settings.model_validate(
            {
                "data": tmp_path,
                "database_url": database_url,
                "listen": {"port": 0},
                "channels": {
                    name: {"adapter": "whatsapp_cloud", **each.config()}
                    for name, each in zip(("first", "second", "foreign"), meta, strict=True)
                },
            }
        )
        hub = await stack.enter_async_context(running(settings, clock=clock))
        for name, each in zip(("first", "first", "foreign"), meta, strict=True):
            each.webhook_url = f"http://127.0.0.1:{hub.port}/hooks/{name}"
        yield Shop(hub, clock, *meta)


async def test_one_webhook_serves_all_numbers_of_an_app_and_no_others(shop: Shop) -> None:
    await shop.first.text(PHONE, "one")
    await shop.second.text(PHONE, "two")
    shop.foreign.phone_number_id = shop.second.phone_number_id
    assert await shop.foreign.text(PHONE, "forged") == 200
    shop.foreign.business_account_id = shop.first.business_account_id
    await shop.first.text(PHONE, "three")
    messages = await shop.projected("message", 3, inbound=True)
    assert [row.channel for row in messages] == ["first", "second", "first"]
    assert len(await shop.rows("customer")) == 1
    assert await shop.rows("quarantine") == []
    wanted = ReplayDraft(inbox_ids=[row.id for row in await shop.rows("inbox")])
    told = await preview_replay(Call(shop.hub, None, {}, None, wanted, b"", None))
    assert [each["events"] for each in json.loads(told.body)["items"]] == [1, 1, 0, 1]


async def test_after_a_day_of_silence_only_a_template_goes_out(shop: Shop) -> None:
    shop.first.add_template(Template("order_update", "en_GB", "Hi {{name}}, your order has shipped."))
    await shop.first.text(PHONE, "Hi")
    await shop.projected("message", 1)
    await shop.send("Hello")
    assert (await shop.outcomes(1))[0][0] == "delivered"
    shop.clock.now += timedelta(hours=24)
    await shop.send("Still there?")
    await shop.send(template=SHIPPED, purpose="transactional")
    assert (await shop.outcomes(3))[1:] == [("denied", "WINDOW_CLOSED"), ("delivered", None)]
    assert [each.text for each in shop.first.phone(PHONE)] == ["Hello", "Hi Ann, your order has shipped."]


async def _move(shop: Shop) -> str:
    """Ann takes a new number. Returns her public id."""
    seen = len(await shop.rows("message", inbound=True))
    await shop.first.change_number(PHONE, NEW)
    await shop.projected("message", seen + 2, inbound=True)
    [ann] = {row.customer_id for row in await shop.rows("conversation")}
    return public_id("customer", ann)


async def test_after_a_new_number_nothing_goes_to_the_old_one(shop: Shop) -> None:
    shop.first.add_template(Template("order_update", "en_GB", "Hi {{name}}, your order has shipped."))
    await shop.first.text(PHONE, "Where is my order?")
    await shop.projected("message", 1)
    ann = await _move(shop)
    told = [row.content for row in await shop.rows("message", channel="hub")]
    assert len(told) == 2 and f"Nothing more goes to tel:{PHONE}" in told[0] and "They are at whatsapp:GB." in told[1]
    await shop.send(template=SHIPPED, purpose="transactional", customer=ann)
    await shop.send(template=SHIPPED, purpose="transactional", customer=f"tel:{NEW}")
    await shop.send(template=SHIPPED, purpose="transactional")
    assert await shop.outcomes(3) == [("delivered", None), ("delivered", None), ("denied", "NUMBER_REASSIGNED")]
    assert (len(shop.first.phone(NEW)), shop.first.phone(PHONE)) == (2, [])


async def test_who_writes_from_an_address_that_was_left_is_somebody_new(shop: Shop) -> None:
    await shop.first.text(PHONE, "Where is my order?")
    await shop.projected("message", 1)
    await _move(shop)
    await shop.first.text(NEW, "It is still me")
    shop.first.user(PHONE, "Bob").last_wrote = None
    await shop.first.text(PHONE, "Who are you?")
    await shop.projected("message", 5, inbound=True)
    assert [row.conversation_id for row in await shop.rows("message", inbound=True)][-2:] == [
        row.id for row in await shop.rows("conversation")
    ]
    await shop.send("I am Zoe")
    assert await shop.outcomes(1) == [("delivered", None)]
    assert [each.text for each in shop.first.phone(PHONE)] == ["I am Zoe"]


async def test_an_answer_that_waits_follows_to_the_new_number(shop: Shop) -> None:
    await shop.first.text(PHONE, "Where is my order?")
    await shop.projected("message", 1)
    shop.clock.now += timedelta(hours=25)
    await shop.send("It has shipped", author={"kind": "agent", "name": "Zoe"})
    await shop.projected("delivery", 1, code="WINDOW_CLOSED")
    await _move(shop)
    await shop.first.text(NEW, "Hello?")
    assert await shop.outcomes(1) == [("delivered", None)]
    assert [each.text for each in shop.first.phone(NEW)] == ["It has shipped"]


async def test_a_no_goes_along_to_the_new_number_and_a_permission_does_not(shop: Shop) -> None:
    shop.first.add_template(Template("sale", "en_GB", "Sale!", category="MARKETING"))
    await shop.first.text(PHONE, "Hi")
    await shop.first.stop_marketing(PHONE)
    await shop.projected("consent_event", 1)
    await _move(shop)
    sale: dict[str, Any] = {"template": TemplateDraft(name="sale", language="en_GB"), "purpose": "marketing"}
    await shop.send(customer=f"tel:{NEW}", **sale)
    assert (await shop.outcomes(1))[0] == ("denied", "CONSENT_REVOKED")
    shop.clock.now += timedelta(seconds=1)  # whole seconds are told, and within one the no counts
    await shop.first.stop_marketing(NEW, resume=True)
    await shop.projected("consent_event", 1, kind="grant")
    await shop.send(customer=f"tel:{NEW}", **sale)
    assert (await shop.outcomes(2))[1] == ("delivered", None)
    await shop.first.change_number(NEW, "+447700900555")
    await shop.projected("message", 5, inbound=True)
    await shop.send(customer="tel:+447700900555", **sale)
    assert (await shop.outcomes(3))[2] == ("denied", "CONSENT_MISSING")


async def test_who_is_erased_is_forgotten_at_the_numbers_they_left_too(shop: Shop) -> None:
    await shop.first.text(PHONE, "Hi")
    await shop.projected("message", 1)
    ann = private_id("customer", await _move(shop))
    gone, _ = await shop.hub.write(lambda connection, context: erasure.erase(connection, context, ann))
    assert {f"tel:{PHONE}", f"tel:{NEW}"} <= set(gone)
    assert [await shop.rows(table) for table in ("customer", "identity", "link", "message", "inbox")] == [[]] * 5


@pytest.mark.parametrize("proof", ["claimed", "verified"])
async def test_who_answers_from_a_number_as_whatsapp_writes_it_is_who_was_written_to(shop: Shop, proof: str) -> None:
    shop.first.add_template(Template("order_update", "en_GB", "Hi {{name}}, your order has shipped."))
    dialled, wa_id = "tel:+5511987654321", "+551187654321"
    shop.first.dialled["5511987654321"] = "551187654321"
    if proof == "verified":
        known = CustomerDraft(name="Ana", identities=[IdentityDraft(address=dialled, proof="verified")])
        await shop.hub.write(lambda connection, context: customers.upsert(connection, context, known))
    await shop.send(template=SHIPPED, purpose="transactional", customer=dialled)
    await shop.outcomes(1)
    await shop.first.text(wa_id, "Thanks")
    await shop.projected("message", 1, inbound=True)
    assert len({row.conversation_id for row in await shop.rows("message")}) == 1
    assert len({row.customer_id for row in await shop.rows("identity")}) == 1


async def test_who_is_known_as_whatsapp_writes_their_number_is_joined_by_whom_we_dial(shop: Shop) -> None:
    shop.first.add_template(Template("order_update", "en_GB", "Hi {{name}}, your order has shipped."))
    shop.first.dialled["5511987654321"] = "551187654321"
    await shop.first.text("551187654321", "Hi")
    await shop.projected("message", 1)
    await shop.send(template=SHIPPED, purpose="transactional", customer="tel:+5511987654321")
    await shop.outcomes(1)
    assert {row.customer_id for row in await shop.rows("identity")} == {(await shop.rows("customer"))[0].id}


async def test_what_whatsapp_itself_says_opens_no_window(shop: Shop) -> None:
    await shop.first.text(PHONE, "Hi")
    await shop.projected("message", 1)
    shop.clock.now += timedelta(hours=25)
    said = {"type": "customer_identity_changed", "body": "Ann has a new device", "wa_id": PHONE.lstrip("+")}
    raw = {**shop.first.user(PHONE).sender(), "id": "wamid.s", "timestamp": str(int(shop.clock.now.timestamp()))}
    await shop.first.tell("messages", {"messages": [raw | {"type": "system", "system": said}]})
    await shop.projected("message", 2, inbound=True)
    await shop.send("Still there?")
    assert await shop.outcomes(1) == [("denied", "WINDOW_CLOSED")]


async def test_a_stop_that_is_passed_on_is_somebody_elses(shop: Shop) -> None:
    said = {"type": "text", "text": {"body": "STOP"}}
    await shop.first.write(PHONE, said | {"context": {"forwarded": True}})
    await shop.projected("message", 1)
    await shop.first.write(PHONE, said)
    passed_on, own = await shop.projected("message", 2, inbound=True)
    [no] = await shop.rows("consent_event")
    assert json.loads(no.evidence)["external_id"] == own.external_id
    assert [json.loads(row.content).get("subject") for row in (passed_on, own)] == ["Forwarded", None]


async def test_a_place_goes_out_as_one(shop: Shop) -> None:
    await shop.first.text(PHONE, "Where are you?")
    await shop.projected("message", 1)
    await shop.send("Here:", location={"latitude": 51.5, "longitude": -0.1, "name": "Shop"})
    await shop.outcomes(1)
    [text, place] = shop.first.messages
    assert (text.text, place.body["location"]) == ("Here:", {"latitude": 51.5, "longitude": -0.1, "name": "Shop"})


async def test_what_an_agent_answers_is_shown_as_read(shop: Shop) -> None:
    await shop.first.text(PHONE, "Hi")
    await shop.first.text(PHONE, "Anybody there?")
    await shop.projected("message", 2)
    await shop.send("We are on holiday.")
    await shop.outcomes(1)
    assert shop.first.seen == []
    shop.first.written.pop()  # Meta refuses to mark it, and that keeps nothing back
    await shop.send("Hello", author={"kind": "agent", "name": "Zoe"})
    assert [state for state, _ in await shop.outcomes(2)] == ["delivered", "delivered"]
    await shop.first.text(PHONE, "Oh")
    await shop.projected("message", 5)
    await shop.send("Yes", author={"kind": "agent", "name": "Zoe"})
    await shop.outcomes(3)
    assert shop.first.seen == [shop.first.written[-1]["id"]]


async def test_a_message_to_one_number_opens_no_window_at_another(shop: Shop) -> None:
    await shop.first.text(PHONE, "Hi")
    await shop.projected("message", 1)
    await shop.send("Hello", channel="second")
    assert await shop.outcomes(1) == [("denied", "WINDOW_CLOSED")]


async def test_who_is_known_by_a_phone_number_alone_gets_a_template(shop: Shop) -> None:
    shop.first.add_template(Template("welcome", "en", "Welcome!"))
    await shop.send(template=TemplateDraft(name="welcome", language="en"), purpose="transactional")
    assert await shop.outcomes(1) == [("delivered", None)]
    assert shop.first.messages[0].body["to"] == PHONE[1:]
    await shop.first.text(PHONE, "Thanks")
    await shop.projected("message", 1, inbound=True)
    await shop.send("You are welcome.")
    assert (await shop.outcomes(2))[1] == ("delivered", None)
    assert shop.first.messages[1].body["recipient"] == shop.first.user(PHONE).user_id


async def test_campaigns_and_segments_find_who_has_only_a_phone_number(shop: Shop) -> None:
    await shop.first.text(PHONE, "Hi")
    [writer] = await shop.projected("customer", 1)
    only_a_number = CustomerDraft(name="Bob", identities=[IdentityDraft(address="tel:+447700900456", proof="verified")])
    await shop.hub.write(lambda connection, context: customers.upsert(connection, context, only_a_number))
    [_, bob] = await shop.rows("customer")
    draft = CampaignDraft.model_validate(
        {"name": "x", "audience": {"list": True}, "channels": ["first"], "messages": [{"text": "x"}]}
    )

    def work(connection: sa.Connection) -> tuple[list[int], dict[int, list[str]]]:
        context = shop.hub.context()
        found = person.load(connection, [writer.id, bob.id])
        ways = {each.id: [address for *_, address in person.ways(draft, context, each)] for each in found.values()}
        return segments.people(connection, context, segments.parse({"reach": "first"})), ways

    people, ways = await shop.hub.store.read(work)
    assert set(people) == {writer.id, bob.id}
    assert ways == {writer.id: [f"whatsapp:{shop.first.user(PHONE).user_id}"], bob.id: ["tel:+447700900456"]}


async def test_stopping_marketing_stops_nothing_else(shop: Shop) -> None:
    await shop.first.text(PHONE, "START")
    await shop.first.stop_marketing(PHONE)
    assert [row.change for row in await shop.projected("consent_event", 2)] == ["opt_in", "opt_out_marketing"]
    await shop.send("Sale!", purpose="marketing")
    await shop.send("Your order has shipped.")
    assert [state for state, _ in await shop.outcomes(2)] == ["denied", "delivered"]
    shop.clock.now += timedelta(seconds=1)  # whole seconds are told, and within one the no counts
    await shop.first.stop_marketing(PHONE, resume=True)
    await shop.projected("consent_event", 3)
    await shop.send("Sale!", purpose="marketing")
    assert (await shop.outcomes(3))[2][0] == "delivered"


async def test_a_refusal_of_marketing_by_the_provider_stops_nothing_else(shop: Shop) -> None:
    await shop.first.text(PHONE, "START")
    await shop.projected("consent_event", 1)
    shop.first.faults.queued.append(Fault("reject", code="131050"))
    await shop.send("Sale!", purpose="marketing")
    await shop.projected("consent_event", 2)
    await shop.send("Your order has shipped.")
    assert await shop.outcomes(2) == [("failed", "131050"), ("delivered", None)]


async def test_a_status_settles_a_send_whose_answer_was_lost(shop: Shop) -> None:
    await shop.first.text(PHONE, "Hi")
    await shop.projected("message", 1)
    shop.first.faults.queued.append(Fault("drop_after"))
    await shop.send("Hello")
    assert [state for state, _ in await shop.outcomes(1)] == ["delivered"]
    assert [each.text for each in shop.first.phone(PHONE)] == ["Hello"]


async def test_news_of_the_account_are_alerts_told_once(shop: Shop) -> None:
    sale = shop.first.add_template(Template("sale", "en", "Sale!"))
    for _ in range(2):
        await shop.first.change_template(sale, "PAUSED")
    await shop.first.text(PHONE, "Hi")
    await shop.projected("message", 1)
    told = [(row.channel, row.detail) for row in await shop.rows("alert", kind="account")]
    assert told == [("first", "template sale (en): PAUSED (reason: NONE)")]


async def test_what_a_colleague_answers_on_the_phone_is_in_the_thread(shop: Shop) -> None:
    await shop.first.text(PHONE, "Hi")
    assert await shop.first.answer(PHONE, "Hello from the shop") == 200
    [said] = await shop.projected("message", 1, inbound=False)
    assert (said.author_kind, said.author_name) == ("agent", "Colleague elsewhere")
    assert [row.state for row in await shop.rows("delivery", kind="contact")] == ["sent"]
    assert len(await shop.rows("customer")) == 1 and shop.first.messages == []


async def test_a_number_that_is_flagged_sends_no_advertising_until_it_is_not(shop: Shop) -> None:
    async def told(event: str, count: int) -> list[str]:
        value = {"display_phone_number": shop.first.number, "event": event, "current_limit": "TIER_1K"}
        assert await shop.first.post([{"field": "phone_number_quality_update", "value": value}]) == 200
        await shop.projected("alert", count)
        return [row.key for row in await shop.rows("hold")]

    assert await told("FLAGGED", 1) == ["sender:first"]
    assert await told("UNFLAGGED", 2) == []
