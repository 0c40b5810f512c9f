"""From what a customer did to events, by type of message.

Source: https://developers.facebook.com/documentation/business-messaging/whatsapp/webhooks/reference/messages
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from typing import Any, Literal

from adapters.graph.echoes import echo_of
from adapters.whatsapp_cloud import cards, people
from hub.contract import Event, MessageDeleted, MessageEdited, MessageReceived, Reacted, Unparseable
from hub.model import Address, Attachment, Location, Party, Selection, clean
from hub.shape import moment, number, part, parts, text

Fill = Callable[[MessageReceived, dict[str, Any]], None]
_FILES: Mapping[str, Literal["image", "audio", "video", "file", "sticker"]] = {
    "image": "image", "audio": "audio", "voice": "audio", "video": "video", "document": "file", "sticker": "sticker",
}
_MOVES = {"user_changed_number", "customer_changed_number", "user_changed_user_id"}
_QUIET = {"request_welcome"}  # somebody opened the chat, and said nothing yet
_WORDS = 300  # characters of what is said beside a message
_MOST = 50  # lines of a list: contacts, things ordered


def events(contacts: people.Contacts, raw: dict[str, Any], received_at: datetime) -> Iterator[Event]:
    """The events of one message. Raises: Unparseable."""
    if text(raw, "group_id") or text(raw, "type") in _QUIET:
        return  # a group is no conversation with one customer
    known = people.person(contacts, text(raw, "from"), text(raw, "from_user_id"))
    yield _event(raw, known, moment(raw, "timestamp", received_at))


def echoes(contacts: people.Contacts, raw: dict[str, Any], received_at: datetime) -> Iterator[Event]:
    """What was written to somebody in the WhatsApp Business app, beside the API. Raises: Unparseable."""
    if text(raw, "group_id"):
        return
    known = people.person(contacts, text(raw, "to"), text(raw, "to_user_id"))
    yield echo_of(_event(raw, known, moment(raw, "timestamp", received_at)), people.SCHEME, text(raw, "from"))


def _event(raw: dict[str, Any], known: list[Party], at: datetime) -> Event:
    """``known``: the customer."""
    external_id = text(raw, "id")
    if not external_id or not known:
        raise Unparseable("a message without id, or with neither number nor user id of a person")
    sender, *also = known
    match text(raw, "type"):
        case "reaction":
            return _reaction(part(raw, "reaction"), sender, at, external_id)
        case "edit":
            edit = part(raw, "edit")
            return MessageEdited(_target(edit, "original_message_id"), sender, at, _words(part(edit, "message")))
        case "revoke":
            return MessageDeleted(_target(part(raw, "revoke"), "original_message_id"), sender, at)
    message = MessageReceived(external_id, sender, at, also=also)
    context = part(raw, "context")
    message.reply_to = text(context, "id") or None
    message.forwarded = context.get("forwarded") is True or context.get("frequently_forwarded") is True
    fill(message, raw)
    return message


def fill(message: MessageReceived, raw: dict[str, Any]) -> None:
    """What the message says; a kind that nobody knows yet, or that says nothing, is named."""
    kind = text(raw, "type")
    if kind in _FILES:
        _file(message, raw, kind)
    elif kind in _FILLS:
        _FILLS[kind](message, raw)
    else:
        _unsupported(message, raw)
    if product := part(part(raw, "context"), "referred_product"):
        about = f"[about product {text(product, 'product_retailer_id') or '?'}]"
        message.text = f"{message.text}\n{about}".strip()
    if referral := part(raw, "referral"):
        message.subject = _came_from(referral)
    if not (message.text or message.attachments or message.location or message.selection or message.unsupported):
        message.unsupported = kind


def _came_from(referral: dict[str, Any]) -> str:
    """``Came from an ad “Summer sale”, 120210000000000000``."""
    kind, title = text(referral, "source_type") or "ad", text(referral, "headline")
    words = f"Came from a{'n' if kind == 'ad' else ''} {kind}" + (f" “{title}”" if title else "")
    where = text(referral, "source_id") or text(referral, "source_url")
    return " ".join(f"{words}, {where}".rstrip(", ").split())[:_WORDS]


def _text(message: MessageReceived, raw: dict[str, Any]) -> None:
    message.text = text(part(raw, "text"), "body")


def _file(message: MessageReceived, raw: dict[str, Any], kind: str) -> None:
    found = part(raw, kind)
    message.text = text(found, "caption")
    mime, name = text(found, "mime_type") or None, text(found, "filename") or None
    if ref := text(found, "id"):
        message.attachments = [Attachment(_FILES[kind], ref=ref, mime=mime, name=name)]
    else:
        message.unsupported = kind


def _location(message: MessageReceived, raw: dict[str, Any]) -> None:
    place = part(raw, "location")
    latitude, longitude = number(place, "latitude"), number(place, "longitude")
    if latitude is None or longitude is None:
        message.unsupported = "location"
        return
    message.location = Location(latitude, longitude, text(place, "name") or None, text(place, "address") or None)


def _contacts(message: MessageReceived, raw: dict[str, Any]) -> None:
    """Each as a line, and as a vCard that ``fetch`` writes from the payload."""
    found = parts(raw, "contacts")
    message.text = _lines([cards.line(contact) for contact in found[: _MOST + 1]], len(found))
    message.attachments = [
        Attachment("contact", ref=cards.ref(message.external_id, place), mime=cards.MIME, name=cards.file_name(contact))
        for place, contact in enumerate(found[:_MOST])
    ]


def _button(message: MessageReceived, raw: dict[str, Any]) -> None:
    """A quick-reply button of a template."""
    button = part(raw, "button")
    message.text = text(button, "text") or text(button, "payload")
    message.selection = Selection(text(button, "payload") or message.text, message.text)


def _interactive(message: MessageReceived, raw: dict[str, Any]) -> None:
    interactive = part(raw, "interactive")
    kind = text(interactive, "type")
    chosen = part(interactive, kind)
    match kind:
        case "button_reply" | "list_reply":
            message.text = text(chosen, "title") or text(chosen, "id")
            message.selection = Selection(text(chosen, "id") or message.text, message.text)
        case "nfm_reply":
            filled = part(chosen, "response_json")  # mostly as text
            message.text = _lines_of(filled) or _form(text(chosen, "response_json")) or text(chosen, "body")
            name = text(chosen, "name") or "flow"
            message.selection = Selection(name, text(chosen, "body") or name)
        case "call_permission_reply":
            answer = text(chosen, "response") or "answered"
            message.text = f"Calls: {answer}"
            message.selection = Selection(f"call_permission:{answer}", message.text)
        case _:
            message.unsupported = f"interactive {kind}".strip()


def _form(answers: str) -> str:
    """A filled-in flow as lines, or as it came where it is no object in JSON, which happens."""
    try:
        found = json.loads(answers)
        return _lines_of(found) if isinstance(found, dict) else answers
    except (ValueError, RecursionError):
        return answers


def _lines_of(form: dict[str, Any]) -> str:
    given = {name: value for name, value in form.items() if name != "flow_token"}
    filled = [f"{name}: {_flat(value)}" for name, value in given.items() if value not in (None, "", [])]
    return clean("\n".join(filled))


def _flat(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(each if isinstance(each, str) else json.dumps(each, ensure_ascii=False) for each in value)
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _order(message: MessageReceived, raw: dict[str, Any]) -> None:
    """A cart, one line an item: ``2 × SKU-7, 12.5 EUR each``."""
    order = part(raw, "order")
    items = parts(order, "product_items")
    lines = [
        f"{text(item, 'quantity') or '1'} × {text(item, 'product_retailer_id') or '?'}"
        + (f", {text(item, 'item_price')} {text(item, 'currency')} each".rstrip() if text(item, "item_price") else "")
        for item in items[:_MOST]
    ]
    message.text = "\n".join(filter(None, ("Order", _lines(lines, len(items)), text(order, "text"))))


def _lines(lines: list[str], count: int) -> str:
    """``count``: how many there would be."""
    return "\n".join([*lines[:_MOST], *([f"… and {count - _MOST} more"] if count > _MOST else [])])


def _system(message: MessageReceived, raw: dict[str, Any]) -> None:
    """WhatsApp itself speaks: a new number, a new id, a new device."""
    system = part(raw, "system")
    kind = text(system, "type")
    message.text = text(system, "body") or f"WhatsApp: {kind or 'system message'}"
    message.automatic = True
    phone = text(system, "wa_id") or text(system, "new_wa_id")
    found = people.addresses(text(system, "user_id"), phone, message.sender.name)
    if kind in _MOVES:
        moved(message, found, [message.sender, *message.also])
    else:
        known = {message.sender.address, *(each.address for each in message.also)}
        message.also += [each for each in found if each.address not in known]


def moved(message: MessageReceived, found: list[Party], known: list[Party]) -> None:
    """The person has these addresses now, in place of the known ones of the same scheme."""
    now = {each.address for each in found}
    gone = [each for each in known if each.address not in now and each.scheme in {party.scheme for party in found}]
    if not found or not gone:
        return
    message.sender, *also = found
    message.also = also + [each for each in known if each not in gone and each.address not in now]
    # A number is an address twice, and either may be what we know somebody by.
    numbers = [Address(people.SCHEME, each.value.lstrip("+")) for each in gone if each.scheme == "tel"]
    message.former = list(dict.fromkeys([*(each.address for each in gone), *numbers]))


def _unsupported(message: MessageReceived, raw: dict[str, Any]) -> None:
    kind = text(raw, "type")
    named = text(part(raw, "unsupported"), "type")
    message.unsupported = (named or "message") if kind in ("unsupported", "unknown", "") else kind
    message.text = text(part(raw, kind), "caption") if kind else ""


_FILLS: Mapping[str, Fill] = {
    "text": _text, "location": _location, "contacts": _contacts, "button": _button, "interactive": _interactive,
    "order": _order, "system": _system,
}


def _reaction(reaction: dict[str, Any], sender: Party, at: datetime, event_id: str) -> Event:
    """Taken back: without an emoji, or with an empty one."""
    emoji = text(reaction, "emoji")
    return Reacted(_target(reaction, "message_id"), sender, at, emoji, removed=not emoji, event_id=event_id)


def _words(raw: dict[str, Any]) -> str:
    """The text of an edited message, or the caption of an edited file."""
    return text(part(raw, "text"), "body") or text(part(raw, text(raw, "type")), "caption")


def _target(value: dict[str, Any], name: str) -> str:
    found = text(value, name)
    if not found:
        raise Unparseable(f"no {name}: it is not said which message is meant")
    return found
