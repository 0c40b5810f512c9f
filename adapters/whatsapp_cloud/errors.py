"""What Meta's answers and error codes mean for us.

Source: https://developers.facebook.com/documentation/business-messaging/whatsapp/support/error-codes
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from adapters.graph.answers import by_status, error_of, number, pause, words
from hub.contract import (
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

# By code, with what to do about it. The same codes come in answers to calls and, mostly later, in statuses: a call
# that was answered 200 may still fail there.
MEANING: Mapping[int, tuple[type[SendError], str]] = {
    0: (ChannelDown, "check access_token: Meta cannot authenticate it"),
    1: (Transient, "unknown error at Meta"),
    2: (Transient, "Meta's service is not available now"),
    3: (ChannelDown, "check access_token: it lacks a permission, whatsapp_business_messaging"),
    4: (RateLimited, "too many calls of this app"),
    10: (ChannelDown, "check access_token: it lacks a permission, whatsapp_business_messaging"),
    33: (ChannelDown, "check phone_number_id: the number no longer exists at Meta"),
    100: (Rejected, "a parameter is wrong"),
    190: (ChannelDown, "check access_token: it has expired or was revoked"),
    368: (ChannelDown, "Meta has restricted the account for breaking its policy"),
    470: (WindowClosed, "24 hours have passed since the customer last wrote: use a template"),
    613: (RateLimited, "too many calls"),
    80007: (RateLimited, "too many calls for the WhatsApp Business account"),
    80008: (RateLimited, "too many calls for the WhatsApp Business account"),
    130429: (RateLimited, "more messages a second than the number may send"),
    130472: (Rejected, "Meta holds marketing back from this person, as part of an experiment"),
    130497: (Rejected, "the account may not write to this country"),
    131000: (Transient, "something went wrong at Meta"),
    131005: (ChannelDown, "check access_token: access denied"),
    131008: (Rejected, "a parameter is missing"),
    131009: (Rejected, "a parameter's value is not valid"),
    131016: (Transient, "Meta's service is not available now"),
    131021: (BadAddress, "the recipient is the sender itself"),
    131026: (BadAddress, "cannot be reached: no WhatsApp, an old version, or its terms are not accepted"),
    131030: (BadAddress, "a test number only reaches recipients that are on its list at Meta"),
    131031: (ChannelDown, "Meta has locked the account"),
    131037: (ChannelDown, "the number's display name is not approved yet"),
    131042: (ChannelDown, "check the payment method of the WhatsApp Business account"),
    131044: (ChannelDown, "check the payment method of the WhatsApp Business account"),
    131045: (ChannelDown, "register the number first (Meta's /register call)"),
    131047: (WindowClosed, "24 hours have passed since the customer last wrote: use a template"),
    131048: (RateLimited, "too many people blocked the number or reported it as spam"),
    131049: (Rejected, "this person has had as much marketing as Meta allows: wait 24 hours or longer"),
    131050: (OptedOut, "the person stopped marketing messages from this business"),
    131051: (Rejected, "a kind of message that Meta does not know"),
    131052: (Rejected, "Meta could not download the file that the customer sent"),
    131053: (Transient, "Meta could not take the file: check that its address can be reached, and its type"),
    131056: (RateLimited, "too many messages to this person in a short time"),
    131057: (Transient, "the account is under maintenance"),
    131062: (Rejected, "this message needs a phone number, and only a user id is known"),
    131063: (Rejected, "the message breaks Meta's policy"),
    131064: (RateLimited, "the account's messaging limit is reached"),
    132000: (Rejected, "the template has another number of variables"),
    132001: (Rejected, "no approved template of this name in this language"),
    132005: (Rejected, "the template is too long with these variables"),
    132007: (Rejected, "the template breaks Meta's policy"),
    132008: (Rejected, "a variable's format is wrong"),
    132012: (Rejected, "a variable is formatted in another way than in the template"),
    132015: (Rejected, "the template is paused for low quality"),
    132016: (Rejected, "the template is disabled for low quality"),
    132068: (Rejected, "the flow is blocked"),
    132069: (Rejected, "the flow is throttled"),
    133010: (ChannelDown, "register the number first (Meta's /register call)"),
    133016: (RateLimited, "too many calls to register the number"),
    135000: (Rejected, "Meta does not say what is wrong with the message"),
    137000: (Rejected, "the person's identity has changed, and the account checks for that"),
}
_OF_ACCOUNT = {4, 613, 80007, 80008, 131064}
# Seconds to wait where Meta says nothing; 1 message in 6 s may go to one person.
_PAUSES: Mapping[int, float] = {
    4: 60.0, 80007: 60.0, 80008: 60.0, 130429: 1.0, 131048: 3600.0, 131056: 6.0, 131064: 3600.0,
}


def meaning(code: int) -> tuple[type[SendError] | None, str]:
    """The error of a code and what to do about it; None where it is not known."""
    if 200 <= code <= 299:
        return ChannelDown, "check access_token: it lacks a permission, whatsapp_business_messaging"
    return MEANING.get(code, (None, ""))


def refusal(answer: Answer) -> SendError:
    """What an answer that is no success means: by the code in its body, else by its status."""
    error = error_of(answer)
    code = number(error)
    kind, advice = meaning(code) if code is not None else (None, "")
    if code == 100 and error.get("error_subcode") == 33:
        kind, advice = ChannelDown, "check phone_number_id, and that access_token may use it"
    if kind is None:
        kind = by_status(answer.status, transient=error.get("is_transient") is True)
    detail = f"{words(error) or advice or 'no reason given'} (HTTP {answer.status})"
    if kind in (ChannelDown, WindowClosed) and advice:
        detail += f"; {advice}"
    elif kind is ChannelDown:
        detail += "; check access_token, phone_number_id and base_url"
    shown = str(answer.status if code is None else code)
    after = _after(answer, code)
    if kind is RateLimited:
        return RateLimited(detail, code=shown, after=after, scope="account" if code is None else _scope(code))
    if kind is Transient:
        return Transient(detail, code=shown, after=after)
    if kind is OptedOut:
        return OptedOut(detail, code=shown, covers="marketing")
    return kind(detail, code=shown)


def _scope(code: int) -> Literal["account", "sender", "pair"]:
    return "pair" if code == 131056 else "account" if code in _OF_ACCOUNT else "sender"


def _after(answer: Answer, code: int | None) -> float | None:
    """Seconds to wait, as Meta asks or as the code implies."""
    asked = pause(answer)
    return _PAUSES.get(-1 if code is None else code) if asked is None else asked
