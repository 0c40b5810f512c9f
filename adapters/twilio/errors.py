"""What Twilio's answers and error codes mean for us.

Source: https://www.twilio.com/docs/api/errors
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from hub.contract import (
    Ambiguous,
    Answer,
    BadAddress,
    ChannelDown,
    OptedOut,
    RateLimited,
    Rejected,
    SendError,
    Transient,
    WindowClosed,
)
from hub.shape import answered, retry_after

# By code, with words for agents where Twilio gives none (status callbacks carry only the code).
# 30003 (switched off, out of range), 30004 (blocked, often for a time) and 30011 (takes no MMS, but may take SMS) fail
# the message, not the address: a bad address is never written to again.
MEANING: Mapping[str, tuple[type[SendError], str]] = {
    "20003": (ChannelDown, "authentication failed: check account_sid, auth_token and the API key"),
    "20005": (ChannelDown, "the Twilio account is not active"),
    "20404": (ChannelDown, "not found: check account_sid and base_url"),
    "20429": (RateLimited, "too many requests at once"),
    "21211": (BadAddress, "not a valid phone number"),
    "21212": (ChannelDown, "the sender is not valid: check from_number"),
    "21214": (BadAddress, "the number cannot be reached"),
    "21215": (Rejected, "geographic permissions of the account do not allow this number"),
    "21217": (BadAddress, "not a valid phone number"),
    "21401": (BadAddress, "not a valid phone number"),
    "21408": (Rejected, "the account may not send to this region: enable it in Twilio's geo permissions"),
    "21421": (BadAddress, "not a valid phone number"),
    "21602": (Rejected, "the message is empty"),
    "21603": (ChannelDown, "no sender: check from_number"),
    "21606": (ChannelDown, "check from_number: the account may not send from it"),
    "21610": (OptedOut, "the recipient opted out"),
    "21611": (RateLimited, "the sender's queue is full"),
    "21612": (BadAddress, "the number cannot be reached from this sender"),
    "21614": (BadAddress, "not a mobile number"),
    "21617": (Rejected, "longer than 1600 characters"),
    "21620": (Rejected, "a media URL is not valid"),
    "21623": (Rejected, "too many media files"),
    "21701": (ChannelDown, "the messaging service does not exist: check messaging_service_sid"),
    "21702": (ChannelDown, "the messaging service is not usable: check messaging_service_sid"),
    "21703": (ChannelDown, "the messaging service has no sender"),
    "21704": (ChannelDown, "the messaging service has no sender for this message"),
    "21705": (ChannelDown, "the messaging service is not valid: check messaging_service_sid"),
    "30001": (Transient, "queue overflow"),
    "30002": (ChannelDown, "the Twilio account is suspended"),
    "30003": (Rejected, "the handset cannot be reached now: off or out of range"),
    "30004": (Rejected, "blocked by the recipient or the carrier"),
    "30005": (BadAddress, "the number does not exist"),
    "30006": (BadAddress, "a landline, or a carrier that cannot be reached"),
    "30007": (Rejected, "filtered as spam by Twilio or the carrier"),
    "30008": (Rejected, "unknown error at the carrier"),
    "30010": (Rejected, "costs more than the price limit"),
    "30011": (Rejected, "the number takes no MMS"),
    "30017": (Transient, "the carrier's network is congested"),
    "30019": (Rejected, "larger than the carrier takes"),
    "30021": (Transient, "internal failure at Twilio"),
    "30022": (RateLimited, "faster than the 10DLC campaign allows"),
    "30023": (RateLimited, "the daily cap of the sender is reached"),
    "30027": (RateLimited, "the carrier's daily cap for the brand is reached"),
    "30032": (ChannelDown, "the toll-free number is not verified"),
    "30034": (ChannelDown, "the number is not registered for 10DLC"),
    "30409": (Rejected, "cancelled"),
    "30410": (Transient, "the provider did not answer in time"),
    "21655": (Rejected, "the content does not exist: check the template's content SID"),
    "21656": (Rejected, "the template's variables are not valid"),
    "63001": (ChannelDown, "the channel could not authenticate: check the WhatsApp sender at Twilio"),
    "63003": (BadAddress, "not reachable by this channel"),
    "63005": (Rejected, "the channel did not take the content"),
    "63007": (ChannelDown, "no such sender: check from_number, and that it is a WhatsApp sender at Twilio"),
    "63009": (Transient, "failure at the channel's provider"),
    "63012": (Transient, "the channel's provider is not available"),
    "63013": (Rejected, "against the channel's policy"),
    "63015": (Rejected, "this person has not joined the sandbox"),
    "63016": (WindowClosed, "more than 24 hours after the customer's last message: only a template can be sent"),
    "63018": (RateLimited, "faster than the sender may"),
    "63019": (Rejected, "the file could not be fetched"),
    "63020": (ChannelDown, "WhatsApp refuses the sender: check it at Twilio"),
    "63021": (Rejected, "the channel does not take this content"),
    "63023": (Transient, "failure at the channel's provider"),
    "63024": (BadAddress, "cannot be reached: no WhatsApp, or it does not take this message"),
    "63027": (Rejected, "the template has no such language"),
    "63028": (Rejected, "the template has another number of variables"),
    "63029": (Rejected, "the recipient could not receive the template"),
    "63032": (Rejected, "WhatsApp does not let this message go to this person now"),
    "63034": (Rejected, "the file could not be delivered"),
    "63038": (RateLimited, "the account's daily limit is reached"),
    "63040": (Rejected, "the template was refused by WhatsApp"),
    "63041": (Rejected, "the template is paused"),
}
_OF_ACCOUNT = {"20429", "30027", "63038"}
_UNTIL_TOMORROW = {"30023", "30027", "63038"}
_DAILY_PAUSE = 3600.0  # seconds; nobody tells when the day of a daily cap ends


def refusal(answer: Answer) -> SendError:
    """What an answer that is no success means: by the code in its body, else by its status.

    Bodies are ``{code, message, …}`` or, from newer services, RFC 9457's ``{code, title, detail, …}``.
    """
    said = answered(answer) or {}
    code = said.get("code")
    code = str(code) if isinstance(code, int | str) and code else None
    words = next((said[key] for key in ("message", "detail", "title") if isinstance(said.get(key), str)), "")
    kind, advice = MEANING.get(code or "", (None, ""))
    detail = " ".join(f"{words or advice or 'no reason given'} (HTTP {answer.status})"[:400].split())
    if kind is None:
        kind = _by_status(answer.status, from_twilio=bool(code or words))
    if kind is ChannelDown:
        detail += f"; {advice or 'check the credentials and base_url'}"
    code = code or str(answer.status)
    if kind is RateLimited:
        scope: Literal["account", "sender"] = "sender"
        if code in _OF_ACCOUNT or code not in MEANING:
            scope = "account"
        return RateLimited(detail, code=code, after=_after(answer, code), scope=scope)
    if kind is Transient:
        return Transient(detail, code=code, after=_after(answer, code))
    return kind(detail, code=code)


def _by_status(status: int, *, from_twilio: bool) -> type[SendError]:
    if status == 429:
        return RateLimited
    if status == 503 and from_twilio:
        return Transient
    # There is no idempotency key, and duplicates after a 5xx are known.
    # https://www.telphiconsulting.com/blog/twilio-retry-failed-messages
    if status >= 500 or status == 408 or 200 <= status < 300:
        return Ambiguous
    return ChannelDown if status < 400 or status in (401, 403, 404, 405) else Rejected


def _after(answer: Answer, code: str) -> float | None:
    """Seconds to wait, as Twilio asks or as the code implies."""
    asked = retry_after(answer)
    return _DAILY_PAUSE if asked is None and code in _UNTIL_TOMORROW else asked
