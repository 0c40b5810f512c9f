"""``/preferences/<token>``: what somebody wants to get, on one page without a login.

Link scanners follow every link in a mail, so GET and HEAD only show; POST changes, also the one that mail programs
send by themselves (RFC 8058).
"""

from __future__ import annotations

import asyncio
import tomllib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from html import escape
from importlib.resources import files
from typing import TYPE_CHECKING, Literal

import sqlalchemy as sa
import structlog
from aiohttp import web
from sqlalchemy import Connection

from hub import confirmations, consent
from hub.context import Context
from hub.policy import pack
from hub.policy.ledger import ANY, Book, Event, Scope, Target
from hub.policy.mail import unsubscribe
from hub.sending import Unsendable
from hub.store.schema import customer, identity

if TYPE_CHECKING:
    from hub.app import Hub

log = structlog.get_logger(__name__)

Kind = Literal["stop", "nothing", "again"]
_ONE_CLICK = "List-Unsubscribe"
_PATIENCE = 20.0  # seconds for a form
_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; "
    "frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Robots-Tag": "noindex",
    "X-Content-Type-Options": "nosniff",
}
_PAGE = """<!doctype html>
<html lang="{language}"><head><meta charset="utf-8"><title>{title}</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<style>body{{font:1rem/1.5 system-ui,sans-serif;max-width:34rem;margin:2rem auto;padding:0 1rem;color:#1a1a1a;
background:#fff}}button{{font:inherit;padding:.6rem 1rem;margin:.3rem 0;min-height:44px;width:100%}}
button:focus-visible{{outline:3px solid #0b57d0;outline-offset:2px}}</style></head>
<body><main><h1>{title}</h1>{body}</main></body></html>"""


@dataclass(frozen=True, slots=True)
class Wish:
    """``topic``: only this one of advertising."""

    kind: Kind
    topic: str | None = None

    def __str__(self) -> str:
        return f"{self.kind}:{self.topic}" if self.topic else self.kind


_AGAIN = Wish("again")


def mount(app: web.Application, hub: Hub) -> None:
    app.router.add_route("*", "/preferences/{token}", _handler(hub))


def _handler(hub: Hub) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    async def handle(request: web.Request) -> web.StreamResponse:
        named = hub.preferences.read(request.match_info["token"])
        answer = unsubscribe(request.method, named is not None)
        locale = await hub.store.read(lambda connection: _locale(connection, named[0])) if named else None
        language = chosen(locale, request.headers.get("Accept-Language", ""))
        if named is None or answer.status != 200:
            return broken(answer.status, language)
        address, topic = named
        done, asked = None, False
        if answer.effect == "revoke":
            form = await _form(request)
            done = _wish(str(form.get("wish", "")), topic, hub.settings.topics)
            await hub.write(lambda connection, context: _obey(connection, context, address, done, _ONE_CLICK in form))
            if done == _AGAIN:
                asked = await hub.write(lambda connection, context: _ask(connection, context, hub, address))
        standing = await hub.store.read(lambda connection: _standing(connection, hub.context(), address))
        body = _body(address, standing, done, language, hub.settings.topics)
        if asked:
            body = f'<p role="status">{escape(confirmations.texts()[language]["sent"])}</p>{body}'
        return page(200, texts()[language]["title"], body, language)

    return handle


async def _form(request: web.Request) -> Mapping[str, object]:
    """What was sent, empty where nobody can read it: who calls this page wants less, whatever else it says."""
    try:
        async with asyncio.timeout(_PATIENCE):
            return await request.post()
    except web.HTTPException:  # too large
        raise
    except Exception as error:
        log.info("a form could not be read", error=type(error).__name__)
        return {}


def _wish(said: str, topic: str | None, topics: Mapping[str, str]) -> Wish:
    """What is not said is the least that an unsubscription means: no more of the ``topic`` that the link came with."""
    word, _, name = said.partition(":")
    if not word:
        return Wish("stop", topic if topic in topics else None)
    kind: Kind = "nothing" if word == "nothing" else "again" if word == "again" else "stop"
    return Wish(kind, name if name in topics and kind != "nothing" else None)


def _obey(connection: Connection, context: Context, address: str, wish: Wish, one_click: bool) -> None:
    """Append to the ledger what the person wants, unless it says so already, or they were erased."""
    standing = _standing(connection, context, address)
    said = {"by": "one click of a mail program" if one_click else "preference page", "wish": wish.kind}
    if wish not in standing.possible():
        return
    if wish.kind != "again" and consent.kept_out(connection, context.secret, address) is not None:
        return
    wide = wish.kind == "nothing" or (wish == _AGAIN and _closed(standing.transactional))
    covers: Literal["all", "marketing"] = "all" if wide else "marketing"
    consent.record(
        connection,
        address,
        "opt_in" if wish.kind == "again" else "opt_out",
        channel=None,
        source="page",
        evidence=said,
        at=context.now,
        now=context.now,
        covers=covers,
        scope=Scope(purpose="marketing", topic=wish.topic) if wish.topic else None,
    )
    if wish == _AGAIN and covers == "all" and _closed(_standing(connection, context, address).marketing):
        consent.record(
            connection, address, "opt_in", channel=None, source="page", evidence=said, at=context.now, now=context.now,
            covers="marketing",
        )  # fmt: skip


def _ask(connection: Connection, context: Context, hub: Hub, address: str) -> bool:
    """Ask for a confirmation where a click on this page is not enough of a permission. Whether it was asked for."""
    wish = confirmations.Wish(address, "preference page", evidence={"says": "again"}, way="page", own=True)
    try:
        return not confirmations.ask(connection, context, hub.confirmations, wish).already
    except (confirmations.Refused, Unsendable):  # asked a moment ago, say
        return False


@dataclass(frozen=True, slots=True)
class _Standing:
    """What the ledger says of messages to the address. ``topics``: of advertising, by name."""

    marketing: Book
    transactional: Book
    topics: Mapping[str, Book]

    def state(self) -> str:
        if self.transactional.suppressed() or self.transactional.revoked():
            return "nothing"
        return "no_advertising" if self.marketing.suppressed() or self.marketing.revoked() else "everything"

    def possible(self) -> list[Wish]:
        """What would change something. Whatever else keeps us from writing there, their own no outlasts it."""
        wishes: list[Wish] = []
        if not self.marketing.refused(Scope(purpose="marketing")):
            wishes += [Wish("again" if book.revoked() else "stop", name) for name, book in self.topics.items()]
            wishes.append(Wish("stop"))
        if not self.transactional.refused(Scope()):
            wishes.append(Wish("nothing"))
        if _closed(self.marketing):
            wishes.append(_AGAIN)
        return wishes


def _standing(connection: Connection, context: Context, address: str) -> _Standing:
    known, policy = consent.concerning(connection, context.secret, address), pack.default()
    # Without topics of ours a no to one counts for all that we send.
    general = [each for each in known if each.scope.topic == ANY] if context.topics else known

    def book(entries: Sequence[Event], purpose: str, topic: str | None = None) -> Book:
        return Book(entries, Target(address, ANY, purpose, topic), context.now, policy)

    topics = {name: book(known, "marketing", name) for name in context.topics}
    return _Standing(book(general, "marketing"), book(known, "transactional"), topics)


def _closed(book: Book) -> bool:
    """By something that the person themselves takes back, here."""
    against = book.suppressed()
    return book.revoked() is not None or (against is not None and against.reason == "SUPP_ERASED")


def _body(address: str, standing: _Standing, done: Wish | None, language: str, topics: Mapping[str, str]) -> str:
    words = texts()[language]
    state = words[standing.state()]
    shown = f"<strong>{escape(address.partition(':')[2])}</strong>"
    said = f'<p role="status"><strong>{words["done"]}</strong></p>' if done else ""
    forms = "".join(
        f'<form method="post"><input type="hidden" name="wish" value="{wish}"><button>{_label(wish, words, topics)}'
        "</button></form>"
        for wish in standing.possible()
    )
    return f"{said}<p>{state.format(address=shown)}</p>{forms}"


def _label(wish: Wish, words: Mapping[str, str], topics: Mapping[str, str]) -> str:
    if wish.topic is not None:
        return words[f"topic_{wish.kind}"].format(topic=escape(topics[wish.topic]))
    return words["stop_all" if wish.kind == "nothing" else wish.kind]


def broken(status: int, language: str) -> web.Response:
    words = texts()[language]
    return page(status, words["broken_title"], f"<p>{words['broken']}</p>", language)


def page(status: int, title: str, body: str, language: str) -> web.Response:
    """``title`` and ``body`` are HTML."""
    text = _PAGE.format(language=language, title=title, body=body)
    return web.Response(status=status, text=text, content_type="text/html", headers=_HEADERS)


# --- languages ---


@cache
def texts() -> dict[str, dict[str, str]]:
    """By language, those of ``config/preferences.toml``."""
    found = tomllib.loads(files("config").joinpath("preferences.toml").read_text(encoding="utf-8"))
    return {language: {key: escape(words) for key, words in each.items()} for language, each in found.items()}


def chosen(locale: str | None, accepted: str) -> str:
    """The customer's own language, else the first that their browser asks for and we have, else English."""
    asked = [part.partition(";")[0] for part in accepted.split(",")]
    languages = [tag.strip().replace("_", "-").partition("-")[0].lower() for tag in (locale or "", *asked)]
    return next((each for each in languages if each in texts()), "en")


def _locale(connection: Connection, address: str) -> str | None:
    query = (
        sa.select(customer.c.locale)
        .join(identity, identity.c.customer_id == customer.c.id)
        .where(identity.c.address == address)
    )
    return connection.execute(query).scalar_one_or_none()
