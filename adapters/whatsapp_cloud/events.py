"""From a webhook to events: every entry, every change, every message in it.

Source: https://developers.facebook.com/documentation/business-messaging/whatsapp/webhooks/overview
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any, Literal

from adapters.graph.answers import number, words
from adapters.whatsapp_cloud import account, messages, people
from adapters.whatsapp_cloud.errors import meaning
from hub.contract import (
    PASSING,
    BadAddress,
    ChannelDown,
    ConsentChanged,
    Event,
    MessageReceived,
    OptedOut,
    Request,
    StatusChanged,
    Unparseable,
)
from hub.shape import all_of, document, moment, part, parts, text

State = Literal["queued", "sent", "delivered", "read", "failed"]
STATES: Mapping[str, State] = {
    "sent": "sent", "delivered": "delivered", "read": "read", "played": "read", "failed": "failed",
}
_CHANGES: Mapping[str, Literal["opt_out", "opt_in"]] = {"stop": "opt_out", "resume": "opt_in", "signup": "opt_in"}


def events(
    request: Request, phone_number_id: str, business_account_id: str | None, phone_number: str | None
) -> list[Event]:
    """The events of this number and account; an app's webhook may carry those of others. Raises: Unparseable."""
    body = document(request.body)
    if body.get("object") != "whatsapp_business_account" or not isinstance(body.get("entry"), list):
        raise Unparseable("not a webhook of a WhatsApp Business account")
    received_at = request.received_at
    return all_of(
        reading
        for change, told_at in _ours(body, phone_number_id, business_account_id, received_at)
        for reading in _readings(text(change, "field"), part(change, "value"), told_at, received_at, phone_number)
    )


def _ours(
    body: dict[str, Any], phone_number_id: str, business_account_id: str | None, received_at: datetime
) -> Iterator[tuple[dict[str, Any], datetime]]:
    """Changes, with the time at which Meta told of them."""
    for entry in parts(body, "entry"):
        foreign = business_account_id is not None and text(entry, "id") not in ("", business_account_id)
        for change in parts(entry, "changes"):
            number_id = text(part(part(change, "value"), "metadata"), "phone_number_id")
            if number_id == phone_number_id if number_id else not foreign:
                yield change, moment(entry, "time", received_at)


def _readings(
    field: str, value: dict[str, Any], entry_at: datetime, received_at: datetime, phone_number: str | None
) -> Iterator[Iterator[Event]]:
    """The events of each thing that a change tells of."""
    contacts = people.contacts(value)
    if field == "messages":
        for raw in parts(value, "messages"):
            yield messages.events(contacts, raw, received_at)
        for raw in parts(value, "statuses"):
            yield _status(raw, received_at)
        for error in parts(value, "errors"):
            yield iter([account.failure(error, entry_at)])
    elif field == "smb_message_echoes":
        for raw in parts(value, "message_echoes"):
            yield messages.echoes(contacts, raw, received_at)
    elif field == "user_preferences":
        for raw in parts(value, "user_preferences"):
            yield _preference(contacts, raw, received_at)
    elif field == "user_id_update":
        for raw in parts(value, "user_id_update"):
            yield _new_id(contacts, raw, received_at)
    elif field in account.FIELDS:
        yield iter([account.event(field, value, entry_at, phone_number)])


def _status(raw: dict[str, Any], received_at: datetime) -> Iterator[Event]:
    """A receipt. Its pricing is told beside it; "deleted" and what is not known yet are of no interest."""
    state, external_id = STATES.get(text(raw, "status")), text(raw, "id")
    if state is None:
        return
    if not external_id:
        raise Unparseable("a status without the id of its message")
    error = next(iter(parts(raw, "errors")), {}) if state == "failed" else {}
    code = number(error)
    kind, advice = meaning(code) if code is not None else (None, "")
    detail = words(error) if state == "failed" else _price(part(raw, "pricing"))
    if advice and (kind is ChannelDown or not detail):
        detail = "; ".join(filter(None, (detail, advice)))
    yield StatusChanged(
        external_id,
        state,
        moment(raw, "timestamp", received_at),
        code=text(error, "code") or None,
        detail=detail or None,
        key=text(raw, "biz_opaque_callback_data") or None,
        bad_address=kind is BadAddress,
        opted_out=kind is OptedOut,
        covers="marketing" if kind is OptedOut else "all",
        error=PASSING.get(kind),
    )


def _price(pricing: dict[str, Any]) -> str:
    """``utility, billable``."""
    category, billable = text(pricing, "category"), pricing.get("billable")
    cost = "billable" if billable is True else "free" if billable is False else ""
    return ", ".join(filter(None, (category, cost)))


def _preference(contacts: people.Contacts, raw: dict[str, Any], received_at: datetime) -> Iterator[Event]:
    """The button under marketing messages that stops them, or takes them up again."""
    change = _CHANGES.get(text(raw, "value"))
    if change is None:
        return
    known = people.person(contacts, text(raw, "wa_id"), text(raw, "user_id"))
    if not known:
        raise Unparseable("a preference of nobody: neither wa_id nor user_id")
    at = moment(raw, "timestamp", received_at)
    yield ConsentChanged(f"{known[0].address}@{at.timestamp():.0f}", known[0], change, at, covers="marketing")


def _new_id(contacts: people.Contacts, raw: dict[str, Any], received_at: datetime) -> Iterator[Event]:
    """A person has a new user id in place of the old one, mostly with a new number."""
    ids = part(raw, "user_id")
    old, new = text(ids, "previous"), text(ids, "current")
    if not old or not new:
        return
    at = moment(raw, "timestamp", received_at)
    sender, *also = people.person(contacts, text(raw, "wa_id"), new)
    said = text(raw, "detail") or "WhatsApp gave this person a new id."
    message = MessageReceived(f"user_id_update:{new}@{at.timestamp():.0f}", sender, at, said, also, automatic=True)
    messages.moved(message, [sender, *also], people.addresses(old, ""))
    yield message
