"""Logins by OAuth 2: tokens are asked for, kept, made anew; and what is said where there is none."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from pydantic import ValidationError

from adapters.email.adapter import EmailConfig
from adapters.email.testing import ANN, PLAIN, World, out
from adapters.email.token_server import TokenServer
from hub.contract import ChannelDown, Transient
from hub.testing.simulation import Fault

OAUTH = {"user": "support@example.com", "oauth_token_url": "https://login.example.com/token", "oauth_client_id": "hub"}


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with World(oauth=True) as one:
        yield one


def tokens(world: World) -> TokenServer:
    assert world.provider.tokens is not None
    return world.provider.tokens


def grants(world: World) -> list[Any]:
    return [line.data["grant"] for line in world.provider.ledger.of("token")]


async def test_one_token_is_good_for_both_servers(world: World) -> None:
    async with world.pulling():
        await world.provider.write(ANN, "Where is my order?")
        await world.until(lambda: world.texts() == ["Where is my order?"])
    for number in range(3):
        await world.adapter.send(out(number=number))
        world.provider.hang_up()
    assert len(world.inbox()) == 4 and world.provider.connections == 3
    assert grants(world) == ["refresh_token"] * 2  # the adapter that pulled is another
    assert (await world.adapter.check()).ok and len(grants(world)) == 2
    assert world.provider.ledger.of("token")[0].data["scope"] == "https://mail.example.com/"


async def test_an_application_logs_in_for_itself_without_a_refresh_token(world: World) -> None:
    adapter = world.build(oauth_refresh_token=None)
    assert (await adapter.check()).ok
    assert grants(world) == ["client_credentials"]


async def test_a_token_is_made_anew_when_its_time_is_over(world: World) -> None:
    tokens(world).life = 0
    await world.adapter.send(out(number=1))
    world.provider.hang_up()
    await world.adapter.send(out(number=2))
    assert len(world.inbox()) == 2 and len(grants(world)) == 2


async def test_a_token_that_was_revoked_is_replaced_at_once(world: World) -> None:
    assert (await world.adapter.check()).ok
    tokens(world).revoke()
    world.provider.hang_up()
    await world.adapter.send(out())
    tokens(world).revoke()
    assert (await world.adapter.check()).ok
    assert len(world.inbox()) == 1 and len(grants(world)) == 3


async def test_the_mailbox_is_read_on_when_its_token_was_revoked(world: World) -> None:
    async with world.pulling():
        await world.provider.write(ANN, "One")
        await world.until(lambda: world.texts() == ["One"])
        tokens(world).revoke()
        world.provider.imap.drop()
        await world.provider.write(ANN, "Two")
        await world.until(lambda: world.texts() == ["One", "Two"])


async def test_the_refresh_token_that_follows_outlives_a_restart(world: World) -> None:
    await world.adapter.send(out(number=1))
    restarted = world.build(oauth_refresh_token="refresh-0")
    await restarted.send(out(number=2))
    assert len(world.inbox()) == 2 and tokens(world).refresh_token == "refresh-2"
    # Whoever configures a new one means it, whatever followed the old one.
    tokens(world).refresh_token = "by hand"
    await world.build(oauth_refresh_token="by hand").send(out(number=3))
    assert len(world.inbox()) == 3


async def test_without_consent_the_channel_is_down_and_says_what_to_do(world: World) -> None:
    adapter = world.build(oauth_refresh_token="withdrawn")
    with pytest.raises(ChannelDown, match=r"invalid_grant: Token has been expired or revoked.*make a new one"):
        await adapter.send(out())
    said = await adapter.check()
    assert not said.ok and said.detail.startswith("smtp: http://127.0.0.1") and "invalid_grant" in said.detail
    said = await world.build(oauth_client_secret="wrong", smtp_password="a simulated password").check()
    assert not said.ok and "smtp" in said.detail
    with pytest.raises(ChannelDown, match=r"invalid_client.*check the oauth_… settings"):
        await world.build(oauth_client_secret="wrong").send(out())
    assert world.inbox() == []


async def test_a_token_endpoint_that_is_away_is_asked_again(world: World) -> None:
    tokens(world).answers = [Fault("error"), Fault("throttle")]
    with pytest.raises(Transient, match="HTTP 503") as first:
        await world.adapter.send(out())
    with pytest.raises(Transient, match="HTTP 429") as second:
        await world.adapter.send(out())
    assert (first.value.after, second.value.after) == (None, 7.0)
    await world.adapter.send(out())
    with pytest.raises(Transient, match=r"no answer from http://127\.0\.0\.1:9/token"):
        await world.build(oauth_token_url="http://127.0.0.1:9/token").send(out())
    tokens(world).answers = [Fault("error")]
    said = await world.build().check()
    assert not said.ok and "HTTP 503" in said.detail
    assert len(world.inbox()) == 1


async def test_the_mailbox_is_read_once_the_token_endpoint_is_back(world: World) -> None:
    tokens(world).answers = [Fault("error")]
    await world.provider.write(ANN, "Hello")
    async with world.pulling():
        await world.until(lambda: world.texts() == ["Hello"])
    assert len(grants(world)) == 2


async def test_a_server_that_takes_passwords_only_is_named() -> None:
    async with World(oauth=True) as other, World() as world:
        adapter = world.build(password=None, **tokens(other).config())
        with pytest.raises(ChannelDown, match="offers no XOAUTH2"):
            await adapter.send(out())


async def test_one_server_may_have_a_password_of_its_own() -> None:
    async with World(oauth=True) as reads, World() as sends:
        mailbox = {name: value for name, value in reads.provider.config().items() if not name.startswith("smtp")}
        post = {name: value for name, value in sends.provider.config().items() if name.startswith("smtp")}
        adapter = reads.build(**mailbox, **post, smtp_password=sends.provider.password)
        assert (await adapter.check()).ok
        await adapter.send(out())
        assert len(sends.inbox()) == 1


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"oauth_client_secret": "s"}, "oauth_client_secret needs oauth_token_url and oauth_client_id"),
        (OAUTH, "oauth_client_id needs oauth_client_secret or oauth_refresh_token"),
        (OAUTH | {"oauth_client_secret": "s", "password": "p"}, "two ways to log in"),
        (OAUTH | {"oauth_client_secret": "s", "user": None}, "needs user"),
        (OAUTH | {"oauth_client_secret": "s", "oauth_token_url": "http://login.example.com/token"}, "oauth_token_url"),
    ],
)
def test_half_of_it_is_refused(config: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        EmailConfig(**PLAIN | config)
