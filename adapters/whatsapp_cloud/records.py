"""What the simulated Meta keeps, and how the real one writes it down.

Source: https://developers.facebook.com/documentation/business-messaging/whatsapp/webhooks/overview and
https://developers.facebook.com/documentation/business-messaging/whatsapp/support/error-codes
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

# HTTP status, title and details of the errors it answers with, or reports in a status.
ERRORS: Mapping[int, tuple[int, str, str]] = {
    2: (503, "Service temporarily unavailable", "An unexpected error has occurred. Please retry your request later."),
    4: (400, "Application request limit reached", "The app has reached its API call rate limit."),
    10: (403, "Application does not have permission for this action", "Permission is either not granted or removed."),
    100: (400, "Invalid parameter", "One or more parameters are invalid."),
    190: (401, "Error validating access token", "Session has expired or the token is malformed."),
    80007: (400, "Rate limit issues", "The WhatsApp Business Account has reached its rate limit."),
    130429: (400, "Rate limit hit", "Cloud API message throughput has been reached."),
    131000: (500, "Something went wrong", "Message failed to send due to an unknown error."),
    131008: (400, "Required parameter is missing", "The request is missing a required parameter."),
    131009: (400, "Parameter value is not valid", "One or more parameter values are invalid."),
    131016: (500, "Service unavailable", "A service is temporarily unavailable."),
    131021: (400, "Recipient cannot be sender", "Sender and recipient phone number is the same."),
    131026: (400, "Message undeliverable", "Unable to deliver message."),
    131030: (400, "Recipient phone number not in allowed list", "Add recipient phone number to recipient list."),
    131031: (403, "Business Account locked", "The account has been restricted or disabled."),
    131042: (400, "Business eligibility payment issue", "There was an error related to your payment method."),
    131047: (400, "Re-engagement message", "Message failed to send because more than 24 hours have passed since the "
             "customer last replied to this number."),
    131048: (400, "Spam rate limit hit", "Message failed to send because there are restrictions on how many messages "
             "can be sent from this phone number."),
    131049: (400, "This message was not delivered to maintain healthy ecosystem engagement.",
             "In order to maintain a healthy ecosystem engagement, the message failed to be delivered."),
    131050: (400, "Unable to deliver the message. This recipient has chosen to stop receiving marketing messages",
             "User has stopped marketing messages from this business."),
    131053: (400, "Media upload error", "Unable to upload the media used in the message."),
    131056: (400, "(Business Account, Consumer Account) pair rate limit hit", "Message failed to send because there "
             "were too many messages sent from this phone number to the same phone number in a short period of time."),
    131057: (500, "Account in maintenance mode", "Business Account is in maintenance mode."),
    132000: (400, "Number of parameters does not match the expected number of params", "body: number of parameters "
             "does not match the expected number of params"),
    132001: (404, "Template name does not exist in the translation", "template name does not exist in the language"),
    132012: (400, "Parameter format does not match format in the created template", "Parameter format does not match"),
    132015: (400, "Template is paused", "Template is paused due to low quality."),
    132016: (400, "Template is disabled", "Template is disabled due to low quality."),
    133010: (400, "Phone number not registered", "Phone number is not registered on the platform."),
}


def error(code: int, details: str | None = None, subcode: int | None = None) -> dict[str, Any]:
    """The body of a refusal."""
    _, title, usual = ERRORS.get(code, (400, "Refused", "Refused"))
    said: dict[str, Any] = {
        "message": f"(#{code}) {title}",
        "type": "OAuthException",
        "code": code,
        "error_data": {"messaging_product": "whatsapp", "details": details or usual},
        "fbtrace_id": secrets.token_urlsafe(8),
    }
    if subcode is not None:
        said["error_subcode"] = subcode
    return {"error": said}


def wamid() -> str:
    return "wamid." + secrets.token_hex(16).upper()


@dataclass(slots=True)
class User:
    """Somebody with WhatsApp. ``hidden``: they have a user name, and businesses do not see their number."""

    wa_id: str
    name: str
    hidden: bool = False
    last_wrote: datetime | None = None
    stopped_marketing: bool = False
    marketing: list[datetime] = field(default_factory=list)  # when they were sent some
    tokens: float = 0.0  # of the pair rate, used up
    tokens_at: datetime | None = None

    @property
    def user_id(self) -> str:
        return "GB." + str(int(hashlib.sha256(self.wa_id.encode()).hexdigest()[:15], 16))

    def contact(self) -> dict[str, Any]:
        profile = {"name": self.name} | ({"username": self.name.lower().replace(" ", ".")} if self.hidden else {})
        return {"profile": profile, "user_id": self.user_id} | ({} if self.hidden else {"wa_id": self.wa_id})

    def sender(self) -> dict[str, Any]:
        return {"from_user_id": self.user_id} | ({} if self.hidden else {"from": self.wa_id})


@dataclass(slots=True)
class Sent:
    """A message as it was taken from the hub, and as a phone shows it."""

    id: str
    to: User
    body: dict[str, Any]  # of the call
    text: str
    at: datetime
    key: str | None
    state: str = "accepted"
    error: int | None = None

    @property
    def type(self) -> str:
        return str(self.body["type"])


def status(message: Sent, state: str, at: datetime) -> dict[str, Any]:
    made: dict[str, Any] = {
        "id": message.id,
        "status": state,
        "timestamp": str(int(at.timestamp())),
        "recipient_user_id": message.to.user_id,
    }
    if not message.to.hidden:
        made["recipient_id"] = message.to.wa_id
    if message.key:
        made["biz_opaque_callback_data"] = message.key
    if state == "failed" and message.error is not None:
        _, title, details = ERRORS.get(message.error, (400, "Refused", "Refused"))
        made["errors"] = [{"code": message.error, "title": title, "message": title, "error_data": {"details": details},
                           "href": "https://developers.facebook.com/docs/whatsapp/cloud-api/support/error-codes/"}]
    elif state in ("sent", "delivered"):
        category = "utility" if message.type == "template" else "service"
        made["pricing"] = {"billable": message.type == "template", "pricing_model": "PMP", "category": category,
                           "type": "regular" if message.type == "template" else "free_customer_service"}
    return made
