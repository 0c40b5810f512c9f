"""Meta's side of a page's or an account's conversations: the Graph API, signed webhooks, and the people behind it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import secrets
from abc import abstractmethod
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar

import aiohttp
from aiohttp import web

from adapters.graph import rules
from adapters.graph.records import Person, Refusal, Sent, Template, dump, error, milliseconds, sign, status_of
from adapters.graph.webhook import digest
from hub.testing.server import Server, disconnect
from hub.testing.simulation import Fault, Faults, Ledger
from hub.testing.simulation import Simulator as Base


class AppSimulator(Base):
    """An app at Meta: the Graph API it calls, and its signed webhooks. ``skip`` moves its clock."""

    largest: ClassVar[int] = 1 << 20  # bytes of a call

    def __init__(self, *, ledger: Ledger | None = None, faults: Faults | None = None) -> None:
        super().__init__(ledger=ledger, faults=faults)
        self.access_token = "EAA" + secrets.token_hex(24)
        self.app_secret = secrets.token_hex(16)
        self.verify_token = secrets.token_hex(8)
        self.repeats: Sequence[float] = (0.05, 0.2, 1.0, 5.0)  # seconds until a webhook is sent again; days at Meta
        self.server = Server()
        self.base_url = ""
        self._skipped = timedelta()

    @abstractmethod
    def calls(self) -> list[web.RouteDef]:
        """The part of the Graph API that there is."""

    async def start(self, port: int = 0) -> None:
        app = web.Application(client_max_size=self.largest)
        app.add_routes(self.calls())
        self.base_url = await self.server.listen(app, port)

    async def stop(self) -> None:
        await self.server.close()

    def now(self) -> datetime:
        return datetime.now(UTC) + self._skipped

    def skip(self, span: timedelta) -> None:
        self._skipped += span

    async def register(self) -> bool:
        """The handshake when a webhook is entered at Meta: does the hub know the token, and echo the challenge?"""
        challenge = str(secrets.randbelow(10**10))
        query = {"hub.mode": "subscribe", "hub.challenge": challenge, "hub.verify_token": self.verify_token}
        async with self.server.session.get(self._hook, params=query) as answer:
            return answer.status == 200 and await answer.text() == challenge

    async def settle(self) -> None:
        """Wait until everything that is to be told is told, and all late messages are taken."""
        await self.server.settle()

    async def deliver_webhook(self, document: Mapping[str, Any]) -> int | None:
        """Again and again until it is taken. The last status; None if there was none."""
        body = dump(document)
        for pause in (*self.repeats, None):
            answered = await self._once(body)
            if answered == 200 or pause is None:
                break
            await asyncio.sleep(pause)
        return answered

    async def _once(self, body: bytes) -> int | None:
        headers = {
            "X-Hub-Signature-256": sign(self.app_secret, body),
            "Content-Type": "application/json",
            "User-Agent": "facebookexternalua",
        }
        with contextlib.suppress(aiohttp.ClientError, TimeoutError):
            session = self.server.session
            async with session.post(self._hook, data=body, headers=headers, allow_redirects=False) as answer:
                await answer.read()
                return answer.status
        return None

    @property
    def _hook(self) -> str:
        if self.webhook_url is None:
            raise RuntimeError("set webhook_url first: http://127.0.0.1:8080/hooks/<channel>")
        return self.webhook_url


class MessagingSimulator(AppSimulator):
    """One page or account. ``skip`` moves its clock, so that windows close without waiting."""

    object: ClassVar[str]  # of its webhooks
    closed: ClassVar[Refusal]  # what it answers once the window has closed
    nobody: ClassVar[Refusal]  # and to an id of nobody
    prefix: ClassVar[str]  # of message ids

    def __init__(self, *, ledger: Ledger | None = None, faults: Faults | None = None) -> None:
        super().__init__(ledger=ledger, faults=faults)
        self.account_id = str(10**14 + secrets.randbelow(10**14))
        self.name = "Simulated"
        self.app_id = 10**14 + secrets.randbelow(10**14)
        self.deliver = True  # False: no echoes and receipts
        self.withheld: dict[str, Refusal] = {}  # by person: the answer to whoever asks for their profile
        self.human_agent = True  # False: the app was not granted that permission
        self.before_answer: Callable[[Sent], Awaitable[object]] | None = None  # what happens in that moment
        self.templates: dict[tuple[str, str], Template] = {}
        self.people: dict[str, Person] = {}
        self.messages: list[Sent] = []  # as they were taken
        self.written: list[dict[str, Any]] = []  # by people: id, person, at, text
        self.actions: list[tuple[str, str]] = []  # person, and "mark_seen" or "typing_on"

    @abstractmethod
    def account(self) -> dict[str, Any]:
        """What GET /me says."""

    @abstractmethod
    def profile(self, person: Person) -> dict[str, Any]:
        """What a person lets us know of them."""

    @abstractmethod
    def fits(self, text: str) -> bool: ...

    @abstractmethod
    def receipts(self, message: Sent) -> list[dict[str, Any]]:
        """The items that tell that it arrived, none where Meta tells nothing."""

    @abstractmethod
    def was_read(self, message: Sent) -> dict[str, Any]:
        """The item that tells that all up to this message was read."""

    # --- what who starts it, and the demo, use ---

    def calls(self) -> list[web.RouteDef]:
        return [web.post("/{version}/{node}/messages", self._create), web.get("/{version}/{node}", self._node)]

    def config(self) -> dict[str, Any]:
        return {
            "access_token": self.access_token,
            "app_secret": self.app_secret,
            "verify_token": self.verify_token,
            "base_url": self.base_url,
        }

    def person(self, number: str, name: str = "Ann Fielding") -> Person:
        return self.people.setdefault(number, Person(number, name))

    def add_template(self, template: Template) -> Template:
        self.templates[template.name, template.language] = template
        return template

    async def text(self, person: str, words: str, **more: Any) -> int | None:
        """Somebody writes. The hub's status; None if it gave none."""
        return await self.write(person, {"text": words, **more})

    async def file(self, person: str, kind: str, url: str) -> int | None:
        return await self.write(person, {"attachments": [{"type": kind, "payload": {"url": url}}]})

    async def write(self, person: str, message: Mapping[str, Any]) -> int | None:
        """Somebody sends anything: ``message`` is what a webhook says of it beside its id."""
        who = self.person(person)
        who.last_wrote, who.blocked = self.now(), False
        mid = self._mid()
        self.written.append({"id": mid, "person": person, "at": self.now(), "text": message.get("text", "")})
        self.ledger.write("deliver", id=mid, **{"from": person}, text=message.get("text", ""))
        answered = await self.tell(person, {"message": {"mid": mid, **message}})
        self.ledger.write("acked", id=mid, status=answered)
        return answered

    async def press(self, person: str, payload: str) -> int | None:
        """Somebody chooses a quick reply of the last message they got: it is gone once they have."""
        last = next(iter(reversed(self.phone(person))), None)
        title = {each["id"]: each["title"] for each in last.buttons}.get(payload) if last else None
        if title is None:
            raise LookupError(f"the last message offers no choice {payload!r}")
        return await self.text(person, title, quick_reply={"payload": payload})

    async def answer(self, person: str, text: str) -> int | None:
        """A colleague answers in Meta's own app, beside the API."""
        message = {"mid": self._mid(), "is_echo": True, "app_id": self.app_id + 1, "text": text}
        ends = {"sender": {"id": self.account_id}, "recipient": {"id": person}}
        return await self.post([self.entry([self.item(person, {"message": message}) | ends])])

    async def read(self, person: str) -> int | None:
        """Somebody opens the conversation: all that it holds is read."""
        unread = [each for each in self.phone(person) if each.state != "read"]
        for message in unread:
            message.state = "read"
        return await self.tell(person, self.was_read(unread[-1])) if unread else None

    def phone(self, person: str) -> list[Sent]:
        """What that person received, oldest first."""
        return [each for each in self.messages if each.to.id == person]

    def said_by(self, person: str) -> list[dict[str, Any]]:
        return [each for each in self.written if each["person"] == person]

    # --- the Graph API ---

    async def _create(self, request: web.Request) -> web.StreamResponse:
        body = json.loads(await request.read())
        to = body.get("recipient", {}).get("id")
        key = body.get("message", {}).get("metadata")
        self.ledger.write("request", method="POST", path=request.path, to=to, key=key)
        if refused := self._unauthorized(request):
            return refused
        if action := body.get("sender_action"):
            self.actions.append((to, action))
            return web.json_response({"recipient_id": to})
        fault = self.faults.next()
        if fault is not None:
            self.ledger.write("fault", fault=fault.kind, key=key)
            if (answer := _before(request, fault)) is not None:
                return answer
        wrong = self._objection(to, body)
        if wrong is not None:
            return _refused(*wrong)
        if fault is not None and fault.kind == "late_accept":
            self.server.spawn(self._late(fault.delay, to, body))
            return disconnect(request)
        if fault is not None and fault.kind == "slow":
            await asyncio.sleep(fault.delay)
        message = self._accept(to, body)
        if self.before_answer is not None:
            await self.before_answer(message)
        if fault is not None and fault.kind == "drop_after":
            return disconnect(request)
        if fault is not None and fault.kind == "error_after":
            return web.Response(status=502, text="<html>Bad Gateway</html>", content_type="text/html")
        return web.json_response({"recipient_id": to, "message_id": message.id})

    def _objection(self, to: Any, body: Mapping[str, Any]) -> tuple[int, int | None, str | None] | None:
        """Code, subcode and words of what is wrong with a message."""
        wrong = rules.content(body.get("message", {}), self.fits, self.templates)
        wrong = wrong or rules.kind(body, human_agent=self.human_agent)
        if wrong is not None:
            return wrong
        person = self.people.get(str(to))
        if person is None:
            return *self.nobody, None
        if person.blocked:
            return 551, 1545041, None
        return None if rules.is_open(person, body, self.now()) else (*self.closed, None)

    def _accept(self, to: str, body: dict[str, Any]) -> Sent:
        message = Sent(self._mid(), self.people[to], body, self.now(), shown=self._filled_in(body["message"]))
        self.messages.append(message)
        self.ledger.write("accept", id=message.id, key=message.key, to=to, text=message.text, tag=body.get("tag"))
        self.server.spawn(self._carry(message))
        return message

    def _filled_in(self, message: Mapping[str, Any]) -> str | None:
        """What a template says."""
        if (said := message.get("template")) is None:
            return None
        bodies = [part["parameters"] for part in said.get("components", []) if part["type"] == "body"]
        return self.templates[said["name"], said["language"]["code"]].shown(bodies[0] if bodies else [])

    async def _late(self, delay: float, to: str, body: dict[str, Any]) -> None:
        await asyncio.sleep(delay)
        self._accept(to, body)

    async def _node(self, request: web.Request) -> web.Response:
        """Our own account, or somebody's profile."""
        if refused := self._unauthorized(request):
            return refused
        node = request.match_info["node"]
        self.ledger.write("query", path=request.path)
        if node == "me":
            return web.json_response(self.account())
        person = self.people.get(node)
        if node in self.withheld:
            return _refused(*self.withheld[node])
        if person is None:
            return _refused(100, 33)
        if person.last_wrote is None:
            return _refused(230)
        return web.json_response({**self.profile(person), "id": person.id})

    def _unauthorized(self, request: web.Request) -> web.Response | None:
        if request.headers.get("Authorization") != f"Bearer {self.access_token}":
            return _refused(190)
        if request.query.get("appsecret_proof") != digest(self.app_secret, self.access_token.encode()):
            return _refused(100, None, "Invalid appsecret_proof provided in the API argument")
        if request.method == "POST" and request.match_info["node"] not in ("me", self.account_id):
            return _refused(100, 33)
        return None

    # --- what it tells the hub ---

    async def tell(self, person: str, item: Mapping[str, Any]) -> int | None:
        """Something that a person did. The hub's status; None if it gave none."""
        return await self.post([self.entry([self.item(person, item)])])

    def item(self, person: str, said: Mapping[str, Any]) -> dict[str, Any]:
        ends = {"sender": {"id": person}, "recipient": {"id": self.account_id}}
        return {**ends, "timestamp": milliseconds(self.now()), **said}

    def entry(self, items: Sequence[Mapping[str, Any]], account: str | None = None) -> dict[str, Any]:
        """``account``: id of another page or account than ours."""
        return {"id": account or self.account_id, "time": milliseconds(self.now()), "messaging": list(items)}

    async def post(self, entries: Sequence[Mapping[str, Any]]) -> int | None:
        """One webhook, again and again until it is taken. The last status."""
        return await self.deliver_webhook({"object": self.object, "entry": list(entries)})

    async def _carry(self, message: Sent) -> None:
        """Show what we sent to whoever listens to the account, then take it to the person, and tell."""
        await asyncio.sleep(0)  # the answer to its creation is written first
        if not self.deliver or not self.webhook_url:
            return
        shown = {name: value for name, value in message.message.items() if name in ("text", "metadata")}
        echo = {"message": {"mid": message.id, "is_echo": True, "app_id": self.app_id, **shown}}
        ends = {"sender": {"id": self.account_id}, "recipient": {"id": message.to.id}}
        items = [{**self.item(message.to.id, echo), **ends}]
        items += [self.item(message.to.id, each) for each in self.receipts(message)]
        told = [item for item in items for _ in range(2)] if self.faults.duplicate_callbacks else items
        if self.faults.shuffle_callbacks:
            self.faults.random.shuffle(told)
        for item in told:
            answered = await self.post([self.entry([item])])
            kind = next(name for name in item if name not in ("sender", "recipient", "timestamp"))
            self.ledger.write("callback", id=message.id, key=message.key, state=kind, status=answered)

    def _mid(self) -> str:
        return self.prefix + secrets.token_urlsafe(24)



def _before(request: web.Request, fault: Fault) -> web.Response | None:
    """The answer of faults that take no message. A fault's code is ``551`` or ``10/2018278``."""
    code, _, subcode = (fault.code or "").partition("/")
    named = (int(code), int(subcode) if subcode else None) if code else None
    match fault.kind:
        case "throttle":
            return _refused(*(named or (613, None)))
        case "error":
            if named is None:
                return web.Response(status=500, text="<html>Internal Server Error</html>", content_type="text/html")
            return _refused(*named)
        case "reject":
            return _refused(*(named or (100, None)))
        case "drop_before":
            return disconnect(request)
    return None


def _refused(code: int, subcode: int | None = None, said: str | None = None) -> web.Response:
    return web.json_response(error(code, subcode, said), status=status_of(code, subcode))
