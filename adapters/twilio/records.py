"""What the simulated Twilio keeps, and how the real one writes it down.

Source: https://www.twilio.com/docs/messaging/api/message-resource and https://www.twilio.com/docs/api/errors
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Any

# HTTP status and words of the errors it answers with.
ERRORS: Mapping[int, tuple[int, str]] = {
    20003: (401, "Authenticate"),
    20404: (404, "The requested resource {path} was not found"),
    20429: (429, "Too Many Requests"),
    20500: (500, "An internal server error has occurred"),
    20503: (503, "Service is temporarily unavailable"),
    21211: (400, "Invalid 'To' Phone Number: {to}"),
    21212: (400, "Invalid From Number (caller ID): {from_}"),
    21408: (400, "Permission to send an SMS has not been enabled for the region indicated by the 'To' number: {to}"),
    21602: (400, "Message body is required."),
    21603: (400, "A 'From' phone number is required."),
    21604: (400, "A 'To' phone number is required."),
    21606: (400, "The 'From' phone number {from_} is not a valid, SMS-capable inbound phone number for your account."),
    21610: (400, "Attempt to send to unsubscribed recipient"),
    21611: (429, "This 'From' number has exceeded the maximum number of queued messages"),
    21612: (400, "Message cannot be sent with the current combination of 'To' ({to}) and 'From' ({from_}) parameters"),
    21614: (400, "'To' number {to} is not a valid mobile number"),
    21617: (400, "The concatenated message body exceeds the 1600 character limit"),
    21620: (400, "Invalid media URL(s)"),
    21623: (400, "Number of media files exceeds allowed limit"),
    21655: (400, "The ContentSid is Invalid"),
    21656: (400, "The ContentVariables Parameter is invalid"),
    63007: (400, "Twilio could not find a Channel with the specified From address"),
}
# Numbers that Twilio's own test credentials answer like this.
MAGIC = {"+15005550001": 21211, "+15005550002": 21612, "+15005550003": 21408, "+15005550004": 21610,
         "+15005550009": 21614}
STOP = {"STOP", "UNSUBSCRIBE", "END", "QUIT", "STOPALL", "REVOKE", "OPTOUT", "CANCEL"}
START = {"START", "YES", "UNSTOP"}
HELP = {"HELP", "INFO"}
ANSWERS = {
    "STOP": "You have successfully been unsubscribed. You will not receive any more messages from this number. "
            "Reply START to resubscribe.",
    "START": "You have successfully been re-subscribed to messages from this number. Reply HELP for help. "
             "Reply STOP to unsubscribe. Msg&Data Rates May Apply.",
    "HELP": "Reply STOP to unsubscribe. Msg&Data Rates May Apply.",
}
_GSM = frozenset(
    "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿"
    "abcdefghijklmnopqrstuvwxyzäöñüà"
)
_GSM_TWICE = frozenset("\f^{}\\[~]|€")


def sign(token: str, url: str, form: Mapping[str, str]) -> str:
    """The X-Twilio-Signature of a form posted to that URL."""
    text = url + "".join(name + form[name] for name in sorted(form))
    return base64.b64encode(hmac.new(token.encode(), text.encode(), hashlib.sha1).digest()).decode()


def segments(text: str) -> int:
    if all(letter in _GSM or letter in _GSM_TWICE for letter in text):
        size, lone, joined = sum(1 + (letter in _GSM_TWICE) for letter in text), 160, 153
    else:
        size, lone, joined = len(text.encode("utf-16-be")) // 2, 70, 67
    return 1 if size <= lone else -(-size // joined)


@dataclass(slots=True)
class Sms:
    """A message in Twilio's records, or as a phone shows it. ``media``: URLs."""

    sid: str
    from_: str
    to: str
    body: str
    media: list[str] = field(default_factory=list)
    direction: str = "outbound-api"
    status: str = "queued"
    service: str | None = None
    callback: str | None = None
    error_code: int | None = None
    created: datetime = field(default_factory=lambda: datetime.now(UTC))
    sent: datetime | None = None


def row(account: str, message: Sms, *, new: bool = False) -> dict[str, Any]:
    """The message as JSON; ``new``: as the answer to its creation."""
    uri = f"/2010-04-01/Accounts/{account}/Messages/{message.sid}"
    return {
        "account_sid": account,
        "api_version": "2010-04-01",
        "body": message.body,
        "date_created": format_datetime(message.created),
        "date_sent": format_datetime(message.sent) if message.sent and not new else None,
        "date_updated": format_datetime(message.sent or message.created),
        "direction": message.direction,
        "error_code": None if new else message.error_code,
        "error_message": None,
        "from": None if new and message.service else message.from_,
        "messaging_service_sid": message.service,
        "num_media": str(len(message.media)),
        "num_segments": "0" if new and message.service else str(segments(message.body)),
        "price": None,
        "price_unit": "USD",
        "sid": message.sid,
        "status": message.status,
        "subresource_uris": {"media": f"{uri}/Media.json"},
        "to": message.to,
        "uri": f"{uri}.json",
    }


def matches(message: Sms, query: Mapping[str, str]) -> bool:
    """The filters of the list. What has not been sent yet has no DateSent, so it is in no list by DateSent."""
    if query.get("To", message.to) != message.to or query.get("From", message.from_) != message.from_:
        return False
    day = message.sent.date().isoformat() if message.sent else ""
    tests = {"DateSent": day.__eq__, "DateSent>": day.__ge__, "DateSent<": day.__le__}
    return all(day and test(query[name][:10]) for name, test in tests.items() if name in query)


def inbound(account: str, message: Sms, mimes: Sequence[str]) -> dict[str, str]:
    form = {
        "ToCountry": "US", "ToState": "DC", "SmsMessageSid": message.sid, "NumMedia": str(len(mimes)), "ToCity": "",
        "FromZip": "", "SmsSid": message.sid, "FromState": "", "SmsStatus": "received", "FromCity": "",
        "Body": message.body, "FromCountry": "", "To": message.to, "ToZip": "",
        "NumSegments": str(segments(message.body)), "MessageSid": message.sid, "AccountSid": account,
        "From": message.from_, "ApiVersion": "2010-04-01",
    }
    for number, (mime, url) in enumerate(zip(mimes, message.media, strict=True)):
        form |= {f"MediaUrl{number}": url, f"MediaContentType{number}": mime}
    return form


def status_form(account: str, message: Sms, status: str) -> dict[str, str]:
    form = {
        "SmsSid": message.sid, "SmsStatus": status, "MessageStatus": status, "To": message.to,
        "MessageSid": message.sid, "AccountSid": account, "From": message.from_, "ApiVersion": "2010-04-01",
    }
    if message.service:
        form["MessagingServiceSid"] = message.service
    if message.error_code and status == "undelivered":
        form["ErrorCode"] = str(message.error_code)
    return form
