"""From a webhook's fields to events.

Sources: https://developer.vonage.com/en/messaging/sms/guides/inbound-sms and …/delivery-receipts
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Literal

from adapters.vonage_sms.errors import DEAD, FAILURES, OPTED_OUT
from hub.contract import Event, MessageReceived, StatusChanged, Unparseable
from hub.model import Party
from hub.shape import text

_STATES: Mapping[str, Literal["sent", "delivered", "failed"]] = {
    "accepted": "sent",
    "buffered": "sent",
    "delivered": "delivered",
    "expired": "failed",
    "failed": "failed",
    "rejected": "failed",
}
_SHORT = 6  # digits; longer ones are international numbers, which Vonage writes without "+"


def events(fields: Mapping[str, str], received_at: datetime) -> list[Event]:
    """A message, or a receipt. Raises: Unparseable."""
    told = {name: text(fields, name) for name in fields}
    number = told.get("messageId", "")
    if not number:
        raise Unparseable("no messageId: this is no message or receipt of Vonage's SMS API")
    at = _moment(told.get("message-timestamp", ""), received_at)
    return _receipt(number, told, at) if "status" in told else [_message(number, told, at)]


def _message(number: str, told: Mapping[str, str], at: datetime) -> MessageReceived:
    sender = told.get("msisdn", "")
    if not sender:
        raise Unparseable(f"message {number} has no msisdn")
    part = told.get("concat-part", "")
    binary = told.get("type") == "binary"
    return MessageReceived(
        f"{number}.{part}" if part else number,
        Party("tel", _international(sender)),
        at,
        told.get("text", ""),
        unsupported="binary" if binary else None,
    )


def _receipt(number: str, told: Mapping[str, str], at: datetime) -> list[Event]:
    """[] for a state that says nothing."""
    state = _STATES.get(told["status"])
    if state is None:
        return []
    code = told.get("err-code", "").removeprefix("0") or None
    failed = state == "failed"
    return [
        StatusChanged(
            number,
            state,
            at,
            code=code,
            detail=FAILURES.get(code or "", told["status"]) if failed else None,
            key=told.get("client-ref") or None,
            bad_address=failed and code in DEAD,
            opted_out=failed and code == OPTED_OUT,
        )
    ]


def _international(number: str) -> str:
    digits = number.isascii() and number.isdigit()
    return f"+{number}" if digits and len(number) > _SHORT and number[0] != "0" else number


def _moment(stamp: str, otherwise: datetime) -> datetime:
    """``2018-10-25 12:10:29``, UTC."""
    try:
        return datetime.strptime(stamp, "%Y-%m-%d %H:%M:%S").replace(tzinfo=UTC)
    except ValueError:
        return otherwise
