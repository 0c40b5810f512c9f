"""Quotas through the whole hub: people of a day, messages of a month, a new sender's first days."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp
import asyncpg
import pytest
import sqlalchemy as sa
from pydantic import ValidationError

from hub import consent, feedback, sending
from hub.app import running
from hub.campaigns import check, engine
from hub.campaigns.check import Outlook
from hub.campaigns.draft import CampaignDraft, read
from hub.campaigns.record import Campaign
from hub.contract import AccountChanged, ChannelConfig, RateLimited, Receipt, Rejected, Transient
from hub.customers import CustomerDraft, IdentityDraft, upsert
from hub.policy.ledger import Event, Scope
from hub.registry import Adapters
from hub.settings import Settings
from hub.store.schema import delivery, micros, quota_use
from tests.paper import Board, Clock, Office, Paper, Post, until

Open = Callable[..., AbstractAsyncContextManager[Office]]


@pytest.fixture
def opened(database_url: str, tmp_path: Path) -> Open:
    return opening(database_url, tmp_path)


def opening(database_url: str, tmp_path: Path) -> Open:
    """A hub with the channels ``paper`` and ``fax``, which have these settings."""

    @asynccontextmanager
    async def open_(medium: str = "paper", scheme: str = "paper", **quotas: Any) -> AsyncIterator[Office]:
        letters, faxes, board = Post(), Post(), Post()
        window = timedelta(hours=24) if medium == "whatsapp" else None
        can = replace(Paper.capabilities, codes=medium, window=window)
        alike = {"medium": medium, "scheme": scheme, "capabilities": can}
        kinds: dict[str, Any] = {
            "letters": type("Letters", (Paper,), {"post": letters, **alike}),
            "faxes": type("Faxes", (Paper,), {"post": faxes, **alike}),
            "desk": type("Desk", (Board,), {"post": board}),
        }
        channels = {
            "paper": {"adapter": "letters", **quotas},
            "fax": {"adapter": "faxes", **quotas},
            "board": {"adapter": "desk"},
        }
        settings = Settings.model_validate(
            {
                "data": tmp_path,
                "database_url": database_url,
                "listen": {"port": 0},
                "postal_address": "12 Mill Lane, Leeds LS1 4AB",
                "channels": channels,
            }
        )
        clock = Clock()
        async with running(settings, clock=clock, adapters=Adapters(kinds)) as hub, aiohttp.ClientSession() as session:
            yield Office(hub, clock, letters, faxes, board, session)

    return open_


async def send(shop: Office, *to: str, channel: str = "paper", purpose: Any = "transactional", text: str = "x") -> None:
    def work(connection: sa.Connection, context: Any) -> None:
        for each in to:
            if purpose == "marketing":
                _allow(connection, context, each)
            draft = sending.Draft(customer=each, text=text, purpose=purpose, channel=channel)
            sending.accept(connection, context, draft, "me")

    await shop.hub.write(work)
    await shop.settled()


def _allow(connection: sa.Connection, context: Any, address: str) -> None:
    at = context.now - timedelta(days=1)
    entry = Event("grant", at, address, basis="express", scope=Scope("*", "marketing"))
    consent.append(connection, entry, change="opt_in_marketing", channel=None, source="page", now=context.now)


async def waiting(shop: Office) -> list[tuple[str | None, datetime]]:
    rows = await shop.rows("delivery", kind="contact", state="queued")
    return [((row.reason or "").partition(":")[0], row.due_at) for row in rows]


def people(count: int, start: int = 0) -> list[str]:
    return [f"paper:p{number}" for number in range(start, start + count)]


# --- people of a day ---


async def test_two_channels_of_an_account_write_to_so_many_people_a_day_together(opened: Open) -> None:
    async with opened(shares="acme", people_per_day=5) as shop:

        def both(connection: sa.Connection, context: Any) -> None:
            for number, to in enumerate(people(12)):
                draft = sending.Draft(
                    customer=to, text="x", purpose="transactional", channel="fax" if number % 2 else "paper"
                )
                sending.accept(connection, context, draft, "me")

        await shop.hub.write(both)
        await shop.settled()
        await keep_waiting(shop)
        assert len(shop.letters.accepted) + len(shop.faxes.accepted) == 5
        assert {reason for reason, _ in await waiting(shop)} == {"QUOTA_UNIQUE_24H"}
        await shop.advance(hours=24, minutes=1)
        assert len(shop.letters.accepted) + len(shop.faxes.accepted) == 10
        assert len(await shop.rows("quota_use")) == 5  # who counts no more is forgotten


async def test_channels_that_share_nothing_count_apart(opened: Open) -> None:
    async with opened(people_per_day=1) as shop:
        await send(shop, *people(2))
        await send(shop, *people(2), channel="fax")
        assert (len(shop.letters.accepted), len(shop.faxes.accepted)) == (1, 1)


async def test_whoever_counts_already_costs_nothing_and_who_waits_is_told_when_a_place_is_free(opened: Open) -> None:
    async with opened(people_per_day=2) as shop:
        await send(shop, "paper:ann")
        await shop.advance(hours=1)
        await send(shop, "paper:bob", "paper:ann")
        first, second = shop.clock.now - timedelta(hours=1), shop.clock.now
        assert len(shop.letters.accepted) == 3  # so Ann counts until tomorrow at this hour
        await send(shop, "paper:cat", "paper:dan")
        assert len(shop.letters.accepted) == 3
        (_, cat), (_, dan) = await waiting(shop)
        assert abs(cat - (second + timedelta(hours=24))) < timedelta(minutes=1) > abs(dan - cat)
        assert cat > first + timedelta(hours=24, minutes=30)
        [row] = [each for each in await shop.rows("decision") if each.reason == "QUOTA_UNIQUE_24H"][:1]
        assert '"2 of 2 people"' in row.detail


async def test_an_answer_counts_for_nobody(opened: Open) -> None:
    async with opened(people_per_day=1) as shop:
        await send(shop, *people(3), purpose="reply")
        await send(shop, *people(1, 7))
        assert len(shop.letters.accepted) == 4


async def test_inside_a_window_nothing_counts(opened: Open) -> None:
    async with opened("whatsapp", people_per_day=0) as shop:
        await shop.write("hello")
        await send(shop, "paper:ann")
        assert shop.letters.texts == ["x"]
        assert await shop.rows("quota_use") == []
        await send(shop, "paper:bob")
        [refused] = await shop.rows("decision", verdict="needs_template")
        assert "QUOTA_UNIQUE_24H" in refused.detail  # also: which a template would not mend


async def test_what_was_not_sent_gives_its_place_back(opened: Open) -> None:
    async with opened(people_per_day=1) as shop:
        shop.letters.answers = [Rejected("no"), Transient("later")]
        await send(shop, "paper:ann")
        await send(shop, "paper:bob")
        await send(shop, "paper:cat")
        assert shop.letters.texts == ["x"]
        assert len(await shop.rows("quota_use")) == 1


async def test_who_decides_waits_for_whoever_decides_by_the_same_quota(postgres_dsn: str, tmp_path: Path) -> None:
    async with opening(postgres_dsn, tmp_path)(shares="acme", people_per_day=1) as shop:
        other, watch = await asyncpg.connect(postgres_dsn), await asyncpg.connect(postgres_dsn)
        await other.execute("INSERT INTO quota (key) VALUES ('people:acme')")
        another = other.transaction()
        await another.start()
        await other.execute("SELECT * FROM quota WHERE key = 'people:acme' FOR UPDATE")
        used = "INSERT INTO quota_use (key, delivery_id, identity_id, at) VALUES ('people:acme', 1, 99, $1)"
        await other.execute(used, micros(shop.clock.now))
        draft = sending.Draft(customer="paper:ann", text="x", purpose="transactional", channel="paper")
        await shop.hub.write(lambda connection, context: sending.accept(connection, context, draft, "me"))
        waits = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"

        async def waiting_for_us() -> bool:
            return bool(await watch.fetchval(waits))

        await until(waiting_for_us)
        assert shop.letters.handed == []
        await another.commit()
        await shop.settled()
        assert shop.letters.handed == []
        assert [reason for reason, _ in await waiting(shop)] == ["QUOTA_UNIQUE_24H"]
        await other.close()
        await watch.close()


async def test_what_was_counted_and_is_refused_after_all_gives_its_place_back(opened: Open) -> None:
    async with opened(people_per_day=1, messages_per_month=1) as shop:

        def counted_before_a_crash(connection: sa.Connection, context: Any) -> None:
            draft = sending.Draft(customer="paper:ann", text="x", purpose="transactional", channel="paper")
            accepted = sending.accept(connection, context, draft, "me")
            for key in ("people:paper", "month:paper"):
                row = {"key": key, "delivery_id": accepted.delivery, "identity_id": 1, "at": context.now, "amount": 1}
                connection.execute(sa.insert(quota_use).values(row))
            entry = Event("revoke", context.now, "paper:ann")
            consent.append(connection, entry, change="opt_out", channel=None, source="page", now=context.now)

        await shop.hub.write(counted_before_a_crash)
        await shop.settled()
        assert await shop.rows("quota_use") == []
        await send(shop, "paper:bob")
        assert len(shop.letters.accepted) == 1


async def test_the_provider_may_allow_fewer_than_the_settings(opened: Open) -> None:
    async with opened(shares="acme", people_per_day=5) as shop:
        for number in (10, 1):
            news = AccountChanged(f"n{number}", shop.clock.now, "account", "changed", people=number)
            await shop.hub.write(
                lambda connection, context, news=news: feedback.told(
                    connection, context, shop.hub.channels["fax"], news
                )
            )
            await send(shop, *people(4))
        assert len(shop.letters.accepted) == 8  # the second time they count already
        await send(shop, "paper:zoe")
        assert [reason for reason, _ in await waiting(shop)] == ["QUOTA_UNIQUE_24H"]


# --- messages of a month ---


async def test_the_month_ends_where_the_account_is(opened: Open) -> None:
    async with opened(shares="acme", messages_per_month=2, zone="Asia/Tokyo") as shop:
        shop.clock.now = datetime(2026, 3, 31, 14, 0, tzinfo=UTC)  # 23:00 in Tokyo
        await send(shop, *people(2))
        await send(shop, "paper:ann", channel="fax")
        [(reason, due)] = await waiting(shop)
        assert (reason, due) == ("QUOTA_MONTHLY", datetime(2026, 3, 31, 15, tzinfo=UTC))
        await shop.advance(hours=1, minutes=1)
        assert len(shop.faxes.accepted) == 1


async def test_what_cannot_wait_for_the_month_is_refused_with_the_day(opened: Open) -> None:
    async with opened(messages_per_month=1) as shop:
        await send(shop, *people(2), purpose="marketing")
        [row] = await shop.rows("delivery", kind="contact", state="denied")
        assert row.code == "QUOTA_MONTHLY"
        assert row.reason == "QUOTA_MONTHLY: 1 of 1 messages of March (UTC); more from 2026-04-01 00:00 UTC"


async def test_every_part_is_paid_for(opened: Open) -> None:
    async with opened(messages_per_month=4) as shop:
        await send(shop, "paper:ann", text="y" * 2500)  # three parts
        await send(shop, *people(2))
        assert len(shop.letters.accepted) == 4
        assert [row.code for row in await shop.rows("delivery", state="denied")] == ["QUOTA_MONTHLY"]


async def test_answers_that_cost_nothing_do_not_count_and_others_do(opened: Open) -> None:
    async with opened("line", messages_per_month=1) as shop:
        taken = shop.letters.take

        async def free_for_ann(out: Any) -> Receipt:
            return replace(await taken(out), free=out.to.value == "ann")

        shop.letters.take = free_for_ann  # type: ignore[method-assign]  # what the provider charges
        await send(shop, "paper:ann", purpose="reply")
        assert await shop.rows("quota_use") == []
        await send(shop, "paper:bob", purpose="reply")
        [row] = await shop.rows("quota_use")
        assert (row.key, row.amount) == ("month:paper", 1)
        await send(shop, "paper:cat")
        assert len(await shop.rows("delivery", code="QUOTA_MONTHLY")) == 1
        await send(shop, "paper:dan", purpose="reply")
        assert len(shop.letters.accepted) == 3


async def test_what_the_provider_calls_spent_is_spent_until_the_month_is_over(opened: Open) -> None:
    async with opened("line", messages_per_month=100) as shop:
        shop.letters.answers = [RateLimited("monthly limit", code="429 monthly", after=0.0, scope="account")]
        await send(shop, "paper:ann")
        await shop.advance(seconds=1)
        assert len(shop.letters.handed) == 1
        denied = await shop.rows("delivery", state="denied", code="QUOTA_MONTHLY")
        assert "the provider says that all are spent; more from 2026-04-01 00:00 UTC" in denied[0].reason
        shop.clock.now = datetime(2026, 4, 1, 0, 0, 1, tzinfo=UTC)
        await send(shop, "paper:zoe")
        assert len(shop.letters.accepted) == 1


# --- warming up ---


async def test_a_new_sender_grows_day_by_day_from_its_first(opened: Open) -> None:
    async with opened(warm_up="2026-03-03", warm_up_first=2, warm_up_to=4) as shop:
        await send(shop, *people(8), purpose="marketing")
        assert shop.letters.accepted == []
        assert {reason for reason, _ in await waiting(shop)} == {"WARMUP_DAY"}
        await send(shop, "paper:zoe")
        assert len(shop.letters.accepted) == 1  # only advertising waits
        await keep_waiting(shop)
        for day, count in ((3, 2), (4, 3)):
            shop.clock.now = datetime(2026, 3, day, 9, tzinfo=UTC)
            await shop.settled()
            advertised = [out for _, out in shop.letters.accepted if out.to.value != "zoe"]
            assert len(advertised) == (2 if day == 3 else 2 + count)
        [row] = await shop.rows("quota")
        assert (row.key, row.allowed) == ("warm:paper", 3)
        shop.clock.now = datetime(2026, 3, 5, 9, tzinfo=UTC)
        await shop.settled()
        assert len(shop.letters.accepted) == 9  # four a day: it is warm, and nothing is held back


async def keep_waiting(shop: Office) -> None:
    later = (
        sa.update(delivery).where(delivery.c.state == "queued").values(expires_at=shop.clock.now + timedelta(days=9))
    )
    await shop.hub.write(lambda connection, _: connection.execute(later))


async def test_a_day_that_was_received_badly_halves_the_next(opened: Open) -> None:
    async with opened(warm_up="2026-03-02", warm_up_first=10, warm_up_to=1000) as shop:
        await send(shop, *people(10), purpose="marketing")

        def complaints(connection: sa.Connection, context: Any) -> None:
            for each in people(120, 100):  # as many as make a rate mean something
                entry = Event("suppress", context.now, each, "provider", reason="hard_bounce")
                consent.append(connection, entry, change="bounced", channel="paper", source="provider", now=context.now)

        await shop.hub.write(complaints)
        await shop.advance(days=1)
        await send(shop, *people(10, 50), purpose="marketing")
        [row] = await shop.rows("quota")
        assert row.allowed == 5
        assert len(shop.letters.accepted) == 15


async def test_each_mailbox_provider_gets_to_know_a_sender_by_itself(opened: Open) -> None:
    async with opened("email", "mailto", warm_up="2026-03-02", warm_up_first=1) as shop:
        to = ["a@gmail.com", "b@googlemail.com", "c@hotmail.com", "d@example.com"]
        await send(shop, *(f"mailto:{each}" for each in to), purpose="marketing")
        assert [out.to.value for _, out in shop.letters.accepted] == ["a@gmail.com", "c@hotmail.com", "d@example.com"]
        [row] = await shop.rows("delivery", kind="contact", state="queued")
        assert row.reason == (
            "WARMUP_DAY: 1 of 1 messages to gmail today, while the sender is warmed up to 20000 a day"
        )


async def test_a_mailbox_provider_that_has_enough_keeps_up_no_other_mail(opened: Open) -> None:
    async with opened("email", "mailto") as shop:
        shop.letters.answers = [RateLimited("unusual rate", code="4.7.28", after=60.0, scope="domain")]
        await send(shop, "mailto:a@gmail.com")
        await send(shop, "mailto:b@gmail.com", "mailto:c@hotmail.com")
        assert [out.to.value for out in shop.letters.handed] == ["a@gmail.com", "c@hotmail.com"]
        _, later = await shop.rows("delivery", kind="contact", state="queued")
        assert later.reason == "RATE_DOMAIN: as fast as gmail takes mail"


# --- settings ---


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"zone": "Europe/Londn"}, "unknown time zone 'Europe/Londn': write a name such as Europe/Paris"),
        ({"people_per_day": -1}, "greater than or equal to 0"),
        ({"warm_up": "soon"}, "valid date"),
    ],
)
def test_a_quota_that_means_nothing_is_refused(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        ChannelConfig.model_validate(settings)


# --- foreseen ---


async def audience(shop: Office, count: int) -> None:
    """Who allowed advertising, and is in no conversation."""

    def work(connection: sa.Connection, context: Any) -> None:
        for number, to in enumerate(people(count)):
            draft = CustomerDraft(external_id=f"c{number:02}", tier="all", identities=[IdentityDraft(address=to)])
            upsert(connection, context, draft)
            _allow(connection, context, to)

    await shop.hub.write(work)


def campaign(**more: Any) -> CampaignDraft:
    values: dict[str, Any] = {
        "name": "Spring", "purpose": "transactional", "audience": {"segment": {"field": "tier", "is": "all"}},
        "channels": ["paper"], "messages": [{"text": "{{ customer.external_id }}"}], "expires_after": "80d",
    }  # fmt: skip
    return read(values | more)


async def foreseen(shop: Office, made: Campaign, size: int = 3) -> list[Outlook]:
    """The check, page by page."""
    found: list[Outlook] = []
    after, ahead, more = 0, {}, True
    while more:
        page = await check.check(shop.hub.store, shop.hub.context, made, "on", after, size, ahead)
        found += page.people
        after, ahead, more = found[-1].customer, dict(page.ahead), page.more
    return found


@pytest.mark.parametrize(
    ("quotas", "more", "reason", "days"),
    [
        ({"people_per_day": 4}, {}, "QUOTA_UNIQUE_24H", [3, 4, 4, 2]),
        ({"messages_per_month": 6}, {}, "QUOTA_MONTHLY", [5, 6, 2]),
        (
            {"warm_up": "2026-03-02", "warm_up_first": 3, "warm_up_to": 6},
            {"purpose": "marketing", "stop": {"opt_outs": 1.0}},
            "WARMUP_DAY",
            [3, 4, 6],
        ),
    ],
    ids=["people", "messages", "warming up"],
)
async def test_a_check_foresees_when_each_is_sent(
    opened: Open, quotas: dict[str, Any], more: dict[str, Any], reason: str, days: list[int]
) -> None:
    async with opened(**quotas) as shop:
        await audience(shop, 13)
        await send(shop, "paper:early")  # counts before anybody of the campaign
        made = await shop.hub.write(lambda c, context: engine.create(c, context, campaign(**more)))
        found = await foreseen(shop, made)
        assert {each.verdict for each in found} == {"allow", "defer"}
        assert next(each.reason for each in found if each.verdict == "defer") == reason
        at = {each.external_id: each.at.replace(second=0, microsecond=0) for each in found if each.at is not None}
        moments = sorted(set(at.values()))
        assert [sum(each == moment for each in at.values()) for moment in moments] == days
        assert {each.external_id for each in found if each.verdict == "allow"} == {
            name for name, each in at.items() if each == moments[0]
        }

        await shop.hub.write(lambda c, context: engine.start(c, context, made))
        for moment in moments:
            await shop.advance(seconds=(moment - shop.clock.now).total_seconds() + 60)
            wanted = {name for name, each in at.items() if each <= moment}

            async def sent(wanted: set[str | None] = wanted) -> bool:
                shop.hub.topics.publish("campaigns")
                return len(shop.letters.texts) > len(wanted)

            await until(sent)
            await shop.settled()
            assert set(shop.letters.texts) == {"x", *wanted}


async def test_who_would_wait_too_long_is_told_so(opened: Open) -> None:
    async with opened(people_per_day=2) as shop:
        await audience(shop, 4)
        draft = campaign(expires_after="1d")
        made = await shop.hub.write(lambda c, context: engine.create(c, context, draft))
        found = await foreseen(shop, made)
        assert [each.verdict for each in found] == ["allow", "allow", "block", "block"]
        assert {each.reason for each in found[2:]} == {"QUOTA_UNIQUE_24H"}
        assert found[3].detail == "2 of 2 people; expires before it may go (expires_after)"
        await shop.hub.write(lambda c, context: engine.start(c, context, made))
        await shop.advance(hours=25)

        async def ended() -> bool:
            await shop.advance(hours=1)
            rows = await shop.rows("delivery", kind="contact")
            return Counter(row.code for row in rows) == {None: 2, "MSG_EXPIRED": 2}

        await until(ended)


async def test_without_quotas_nothing_is_read_or_written(opened: Open) -> None:
    async with opened() as shop:
        assert shop.hub.channels["paper"].quotas is None
        await send(shop, *people(2))
        assert await shop.rows("quota") == await shop.rows("quota_use") == []
