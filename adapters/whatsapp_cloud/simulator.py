"""Meta's side: the Graph API, signed webhooks, and the phones with WhatsApp behind it."""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import Mapping, Sequence
from typing import Any

from aiohttp import web

from adapters.graph.records import Template
from adapters.graph.simulator import AppSimulator
from adapters.whatsapp_cloud.phones import pressed, said, shown
from adapters.whatsapp_cloud.records import ERRORS, Sent, User, error, status, wamid
from adapters.whatsapp_cloud.rules import hold, objection, pair
from hub.testing.server import disconnect
from hub.testing.simulation import Fault, Faults, Ledger


class Simulator(AppSimulator):
    """One phone number. ``skip`` moves its clock, so that windows close without waiting.

    As at Meta, what the content of a call breaks is refused at once, and what the recipient's side breaks (the window,
    limits, no WhatsApp) is answered 200 and reported as "failed"; with ``late`` False that is refused at once too.
    """

    largest = 110 << 20

    def __init__(
        self, *, ledger: Ledger | None = None, faults: Faults | None = None, number: str = "15550783881"
    ) -> None:
        super().__init__(ledger=ledger, faults=faults)
        self.number = number
        self.phone_number_id = str(10**14 + secrets.randbelow(10**14))
        self.business_account_id = str(10**14 + secrets.randbelow(10**14))
        self.late = True
        self.deliver = True  # False: no statuses
        self.quality = "GREEN"
        self.marketing_limit = 2  # marketing templates to one person in 24 hours, from all businesses together
        self.undeliverable: dict[str, int] = {}  # number: the error code of every message to it
        self.templates: dict[tuple[str, str], Template] = {}
        self.users: dict[str, User] = {}  # by number, as WhatsApp writes it
        self.dialled: dict[str, str] = {}  # other ways to write a number: Brazil's without or with a 9
        self.messages: list[Sent] = []  # as they were taken
        self.written: list[dict[str, Any]] = []  # by phones: id, wa_id, at, text
        self.seen: list[str] = []  # ids of phones' messages that were marked as read
        self.typing: list[str] = []  # and those below which the business was seen typing
        self._media: dict[str, tuple[str, bytes]] = {}

    # --- what who starts it, and the demo, use ---

    def calls(self) -> list[web.RouteDef]:
        return [
            web.post("/{version}/{number}/messages", self._create),
            web.post("/{version}/{number}/media", self._upload),
            web.get("/store/{media}", self._stored),
            web.get("/{version}/{node}", self._node),
        ]

    def config(self) -> dict[str, Any]:
        return {
            "phone_number_id": self.phone_number_id,
            "phone_number": f"+{self.number}",
            "business_account_id": self.business_account_id,
            "access_token": self.access_token,
            "app_secret": self.app_secret,
            "verify_token": self.verify_token,
            "base_url": self.base_url,
        }

    def user(self, number: str, name: str = "Ann Fielding") -> User:
        """Whoever has that number (with or without +)."""
        wa_id = number.removeprefix("+")
        wa_id = self.dialled.get(wa_id, wa_id)
        return self.users.setdefault(wa_id, User(wa_id, name))

    def add_template(self, template: Template) -> Template:
        self.templates[template.name, template.language] = template
        return template

    async def text(self, number: str, body: str, **more: Any) -> int | None:
        """A phone sends a text. The hub's status; None if it gave none."""
        return await self.write(number, {"type": "text", "text": {"body": body}}, **more)

    async def file(self, number: str, kind: str, mime: str, data: bytes, **more: str) -> int | None:
        """A phone sends a picture, a document, a voice note."""
        found = {"id": self._keep(mime, data), "mime_type": mime, **more}
        return await self.write(number, {"type": kind, kind: found})

    async def press(self, number: str, button: str) -> int | None:
        """A phone presses a button, or chooses a row, of the last message that has one with that id or payload."""
        for message in reversed(self.phone(number)):
            if (made := pressed(message, button)) is not None:
                return await self.write(number, made, reply_to=message.id)
        raise LookupError(f"no message on this phone has a button {button!r}")

    async def write(self, number: str, content: Mapping[str, Any], *, reply_to: str | None = None) -> int | None:
        """A phone sends anything: ``content`` is what a webhook says of it beside sender, id and time."""
        user = self.user(number)
        user.last_wrote = self.now()
        raw = {**user.sender(), "id": wamid(), "timestamp": str(int(self.now().timestamp())), **content}
        if reply_to:
            raw["context"] = {"from": self.number, "id": reply_to}
        self.written.append({"id": raw["id"], "wa_id": user.wa_id, "at": self.now(), "text": said(raw)})
        self.ledger.write("deliver", id=raw["id"], **{"from": user.wa_id}, type=raw["type"], text=said(raw))
        answered = await self.tell("messages", {"contacts": [user.contact()], "messages": [raw]})
        self.ledger.write("acked", id=raw["id"], status=answered)
        return answered

    async def answer(self, number: str, text: str) -> int | None:
        """A colleague answers in the WhatsApp Business app, beside the API."""
        user = self.user(number)
        to = {"to_user_id": user.user_id} | ({} if user.hidden else {"to": user.wa_id})
        raw = {"from": self.number, **to, "id": wamid(), "timestamp": str(int(self.now().timestamp()))}
        said = {"type": "text", "text": {"body": text}}
        return await self.tell("smb_message_echoes", {"message_echoes": [raw | said]})

    async def change_number(self, number: str, to: str) -> None:
        """Somebody takes WhatsApp to another number, which has another user id: each is told by itself."""
        old, new = self.user(number), self.user(to)
        new.name, new.hidden = old.name, old.hidden
        del self.users[old.wa_id]
        now = int(self.now().timestamp())
        body = f"User {old.name} changed from {old.wa_id} to {new.wa_id}"
        system = {"type": "user_changed_number", "body": body, "wa_id": new.wa_id}
        raw = {"from": old.wa_id, "id": wamid(), "timestamp": str(now), "type": "system", "system": system}
        await self.tell("messages", {"messages": [raw]})
        ids = {"previous": old.user_id, "current": new.user_id}
        update = {"detail": f"The user id of {old.name} has changed", "user_id": ids, "timestamp": str(now)}
        await self.tell("user_id_update", {"contacts": [new.contact()], "user_id_update": [update]})

    async def read(self, number: str) -> None:
        """A phone is opened: all that it has received is read."""
        for message in self.phone(number):
            if message.state == "delivered":
                message.state = "read"
                await self._tell_status(message, "read")

    async def stop_marketing(self, number: str, *, resume: bool = False) -> int | None:
        """A person presses "stop" under a marketing message, or takes that back."""
        user = self.user(number)
        user.stopped_marketing = not resume
        said = {"category": "marketing_messages", "value": "resume" if resume else "stop",
                "detail": "User requested to stop marketing messages", "timestamp": int(self.now().timestamp())}
        if not user.hidden:
            said["wa_id"] = user.wa_id
        value = {"contacts": [user.contact()], "user_preferences": [said | {"user_id": user.user_id}]}
        return await self.tell("user_preferences", value)

    async def change_template(self, template: Template, event: str) -> int | None:
        template.status = event
        value = {"event": event, "message_template_id": 594425479261596, "message_template_name": template.name,
                 "message_template_language": template.language, "reason": "NONE",
                 "message_template_category": template.category}
        return await self.post([{"field": "message_template_status_update", "value": value}])

    def phone(self, number: str) -> list[Sent]:
        """The messages that phone has received, oldest first."""
        wa_id = number.removeprefix("+")
        return [each for each in self.messages if each.to.wa_id == wa_id and each.state in ("delivered", "read")]

    def said_by(self, number: str) -> list[dict[str, Any]]:
        """What that phone has written, oldest first: id, at, text."""
        return [each for each in self.written if each["wa_id"] == number.removeprefix("+")]

    # --- the Graph API ---

    async def _create(self, request: web.Request) -> web.StreamResponse:
        body = json.loads(await request.read())
        key = body.get("biz_opaque_callback_data")
        to = body.get("to") or body.get("recipient")
        self.ledger.write("request", method="POST", path=request.path, to=to, key=key)
        if refused := self._unauthorized(request):
            return refused
        if body.get("status") == "read":
            return self._mark_read(body)
        fault = self.faults.next()
        if fault is not None:
            self.ledger.write("fault", fault=fault.kind, key=key)
            if (answer := _before(request, fault)) is not None:
                return answer
        user = self._recipient(body)
        wrong = objection(body, self.templates) or pair(user, self.now())
        held = None if wrong else self._hold(user, body)
        if held is not None and not self.late:
            wrong = held, ERRORS[held][2]
        if wrong:
            return _refused(*wrong)
        if fault is not None and fault.kind == "late_accept":
            self.server.spawn(self._late(fault.delay, user, body, held))
            return disconnect(request)
        if fault is not None and fault.kind == "slow":
            await asyncio.sleep(fault.delay)
        message = self._accept(user, body, held)
        if fault is not None and fault.kind == "drop_after":
            return disconnect(request)
        if fault is not None and fault.kind == "error_after":
            return web.Response(status=502, text="<html>Bad Gateway</html>", content_type="text/html")
        contact = {"input": to, "user_id": user.user_id} | ({} if user.hidden else {"wa_id": user.wa_id})
        taken: dict[str, Any] = {"id": message.id}
        if message.type == "template":
            taken["message_status"] = "accepted"
        return web.json_response({"messaging_product": "whatsapp", "contacts": [contact], "messages": [taken]})

    def _recipient(self, body: Mapping[str, Any]) -> User:
        if not body.get("to") and "recipient" in body:
            for user in self.users.values():
                if user.user_id == body["recipient"]:
                    return user
        return self.user(str(body.get("to") or body.get("recipient")))

    def _hold(self, user: User, body: Mapping[str, Any]) -> int | None:
        """The code of what keeps a message from this person."""
        if user.wa_id == self.number:
            return 131021
        if user.wa_id in self.undeliverable:
            return self.undeliverable[user.wa_id]
        return hold(user, body, self.templates, self.marketing_limit, self.now())

    def _accept(self, user: User, body: dict[str, Any], held: int | None) -> Sent:
        text, key = shown(body, self.templates), body.get("biz_opaque_callback_data")
        message = Sent(wamid(), user, body, text, self.now(), key, error=held)
        self.messages.append(message)
        self.ledger.write("accept", id=message.id, key=message.key, to=user.wa_id, type=message.type, text=message.text)
        self.server.spawn(self._carry(message))
        return message

    async def _late(self, delay: float, user: User, body: dict[str, Any], held: int | None) -> None:
        await asyncio.sleep(delay)
        self._accept(user, body, held)

    def _mark_read(self, body: Mapping[str, Any]) -> web.Response:
        if body.get("message_id") not in {each["id"] for each in self.written}:
            return _refused(131009, "Message ID is invalid")
        self.seen.append(body["message_id"])
        if "typing_indicator" in body:
            self.typing.append(body["message_id"])
        return web.json_response({"success": True})

    async def _upload(self, request: web.Request) -> web.Response:
        if refused := self._unauthorized(request):
            return refused
        form = await request.post()
        file = form.get("file")
        if form.get("messaging_product") != "whatsapp" or not isinstance(file, web.FileField):
            return _refused(100, "(#100) The parameter file is required.")
        return web.json_response({"id": self._keep(str(form.get("type")), file.file.read())})

    async def _node(self, request: web.Request) -> web.Response:
        """Our number, or a file."""
        if refused := self._unauthorized(request):
            return refused
        node = request.match_info["node"]
        if node == self.phone_number_id:
            shown = {"id": node, "display_phone_number": f"+{self.number}", "verified_name": "Simulated",
                     "quality_rating": self.quality, "name_status": "APPROVED"}
            return web.json_response(shown)
        if node not in self._media:
            return _refused(100, f"Unsupported get request. Object with ID '{node}' does not exist", 33)
        mime, data = self._media[node]
        return web.json_response({"messaging_product": "whatsapp", "url": f"{self.base_url}/store/{node}", "id": node,
                                  "mime_type": mime, "file_size": len(data)})

    async def _stored(self, request: web.Request) -> web.Response:
        if request.headers.get("Authorization") != f"Bearer {self.access_token}":
            return web.Response(status=401)
        mime, data = self._media[request.match_info["media"]]
        return web.Response(body=data, headers={"Content-Type": mime})

    def _unauthorized(self, request: web.Request) -> web.Response | None:
        if request.headers.get("Authorization") != f"Bearer {self.access_token}":
            return _refused(190)
        number = request.match_info.get("number", self.phone_number_id)
        if number != self.phone_number_id:
            return _refused(100, f"Unsupported post request. Object with ID '{number}' does not exist", 33)
        return None

    # --- what it tells the hub ---

    async def tell(self, field: str, value: Mapping[str, Any]) -> int | None:
        """One change, about our number. The hub's status; None if it gave none."""
        return await self.post([self.change(field, value)])

    def change(self, field: str, value: Mapping[str, Any], number: str | None = None) -> dict[str, Any]:
        """``number``: id of another number than ours."""
        metadata = {"display_phone_number": self.number, "phone_number_id": number or self.phone_number_id}
        return {"field": field, "value": {"messaging_product": "whatsapp", "metadata": metadata, **value}}

    async def post(self, changes: Sequence[Mapping[str, Any]], account: str | None = None) -> int | None:
        """One webhook, again and again until it is taken. The last status."""
        entry = {"id": account or self.business_account_id, "time": int(self.now().timestamp()), "changes": changes}
        return await self.deliver_webhook({"object": "whatsapp_business_account", "entry": [entry]})

    async def _carry(self, message: Sent) -> None:
        """Take a message to the phone, and tell."""
        await asyncio.sleep(0)  # the answer to its creation is written first
        states = ["sent"] if message.type == "reaction" else ["sent", "delivered"]
        if message.error is not None:
            states = ["failed"]
        message.state = "delivered" if message.type == "reaction" else states[-1]
        told = [state for state in states for _ in range(2)] if self.faults.duplicate_callbacks else list(states)
        if self.faults.shuffle_callbacks:
            self.faults.random.shuffle(told)
        for state in told:
            await self._tell_status(message, state)

    async def _tell_status(self, message: Sent, state: str) -> None:
        if not self.deliver or not self.webhook_url:
            return
        value = {"contacts": [message.to.contact()], "statuses": [status(message, state, self.now())]}
        answered = await self.tell("messages", value)
        self.ledger.write("callback", id=message.id, key=message.key, state=state, status=answered)

    def _keep(self, mime: str, data: bytes) -> str:
        name = str(10**15 + len(self._media))
        self._media[name] = (mime, data)
        return name



def _before(request: web.Request, fault: Fault) -> web.Response | None:
    """The answer of faults that take no message."""
    match fault.kind:
        case "throttle":
            return _refused(int(fault.code or 130429))
        case "error":
            if fault.code is None:
                return web.Response(status=500, text="<html>Internal Server Error</html>", content_type="text/html")
            return _refused(int(fault.code))
        case "reject":
            return _refused(int(fault.code or 131009))
        case "drop_before":
            return disconnect(request)
    return None


def _refused(code: int, details: str | None = None, subcode: int | None = None) -> web.Response:
    return web.json_response(error(code, details, subcode), status=ERRORS.get(code, (400,))[0])
