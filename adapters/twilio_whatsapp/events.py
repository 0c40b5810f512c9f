"""From a webhook's fields to events.

Source: https://www.twilio.com/docs/messaging/guides/webhook-request
"""

from __future__ import annotations

from collections.abc import Mapping

from adapters.twilio.statuses import CHANGES, clean, media, sid_of, status
from adapters.twilio_whatsapp.people import parties
from hub.contract import ConsentChanged, Event, MessageReceived, Request, Unparseable
from hub.model import Location, Selection


def events(form: Mapping[str, str], request: Request) -> list[Event]:
    """A message (and what it means for consent), or a status. Raises: Unparseable."""
    sid = sid_of(form)
    told = status(sid, form, request)
    if told is not None:
        return [*told]
    people = parties(form)
    if not people:
        raise Unparseable(f"message {sid} does not say who it is from")
    sender, *also = people
    message = MessageReceived(
        sid,
        sender,
        request.received_at,
        clean(form.get("Body", "")),
        also,
        subject=_advertisement(form),
        attachments=media(form),
        location=_location(form),
        selection=_selection(form),
        reply_to=clean(form.get("OriginalRepliedMessageSid", "")) or None,
        forwarded="true" in (form.get("Forwarded"), form.get("FrequentlyForwarded")),
    )
    kind = clean(form.get("MessageType", "")).lower()
    if kind == "sticker":
        for each in message.attachments:
            each.kind = "sticker"
    if kind and not (message.text or message.attachments or message.location or message.selection):
        message.unsupported = kind
    change = CHANGES.get(form.get("OptOutType", ""))
    return [message, ConsentChanged(sid, sender, change, request.received_at)] if change else [message]


def _selection(form: Mapping[str, str]) -> Selection | None:
    """What was pressed or picked; a button of a template may have no payload of its own."""
    title = clean(form.get("ButtonText", "")) or clean(form.get("ListTitle", "")) or clean(form.get("Body", ""))
    chosen = clean(form.get("ButtonPayload", "")) or clean(form.get("ListId", "")) or clean(form.get("ButtonText", ""))
    return Selection(chosen, title or chosen) if chosen else None


def _location(form: Mapping[str, str]) -> Location | None:
    try:
        latitude, longitude = float(form["Latitude"]), float(form["Longitude"])
    except (KeyError, ValueError):
        return None
    if not (-90 <= latitude <= 90 and -180 <= longitude <= 180):
        return None
    return Location(latitude, longitude, clean(form.get("Label", "")) or None, clean(form.get("Address", "")) or None)


def _advertisement(form: Mapping[str, str]) -> str | None:
    """``Came from an ad “Summer sale”, 120210000000000000``."""
    headline, source = clean(form.get("ReferralHeadline", "")), clean(form.get("ReferralSourceId", ""))
    if not headline and not source:
        return None
    kind = clean(form.get("ReferralSourceType", "")) or "ad"
    return f"Came from a{'n' if kind == 'ad' else ''} {kind}" + (f" “{headline}”" if headline else "") + (
        f", {source}" if source else ""
    )
