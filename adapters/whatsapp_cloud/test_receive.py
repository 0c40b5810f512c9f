"""Settings, signatures, and webhooks to events."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from pydantic import ValidationError

from adapters.graph.records import sign
from adapters.whatsapp_cloud import account
from adapters.whatsapp_cloud.adapter import WhatsAppConfig
from adapters.whatsapp_cloud.testing import ACCOUNT_ID, FIXTURES, HOOK, NOON, PLAIN, SECRET, WORD, played, posted
from hub.contract import (
    AccountChanged,
    ConsentChanged,
    MessageDeleted,
    MessageEchoed,
    MessageEdited,
    MessageReceived,
    Reacted,
    Request,
    StatusChanged,
    TemplateNews,
    Unparseable,
    Verified,
)
from hub.model import Address, Attachment, Location, Party, Selection

# --- settings ---

WRONG = [
    ({"phone_number_id": "+15550783881"}, "phone_number_id"),
    ({"access_token": ""}, "empty"),
    ({"app_secret": ""}, "empty"),
    ({"app_secret_previous": "two words"}, "blanks"),
    ({"verify_token": ""}, "empty"),
    ({"business_account_id": "waba"}, "business_account_id"),
    ({"api_version": "25"}, "api_version"),
]


@pytest.mark.parametrize(("change", "words"), WRONG)
def test_wrong_settings_are_explained(change: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        WhatsAppConfig(**(PLAIN | change))


# --- verify ---

META_BODY = rb'{"object":"page","entry":[{"id":"1","time":1,"messaging":[]}],"t":"\u00e9\/x"}'
META_SIGNATURE = "sha256=774a6fbcc2f245a58ec3f7f3b10a79cdde4db9fd1b227318dbb86e4a37eff4a4"  # of secret "appsecret"


def test_the_signature_is_metas() -> None:
    adapter, _ = played(app_secret="appsecret")
    assert adapter.verify(posted(META_BODY, META_SIGNATURE)).accept
    assert not adapter.verify(posted(META_BODY.replace(rb"\/", b"/"), META_SIGNATURE)).accept


FORGED = ["", "sha256=", META_SIGNATURE.upper(), META_SIGNATURE[7:], "sha1=" + META_SIGNATURE[7:], "é", "\ud800"]


@pytest.mark.parametrize("signature", FORGED)
def test_other_signatures_are_refused(signature: str) -> None:
    adapter, _ = played(app_secret="appsecret")
    request = replace(posted(META_BODY), headers={"x-hub-signature-256": signature})
    answer = adapter.verify(request)
    assert (answer.accept, answer.status) == (False, 403) and "app_secret" in answer.body


def test_the_former_secret_holds_while_it_is_rotated() -> None:
    old = sign("the-old-secret", b"{}")
    assert not played()[0].verify(posted(b"{}", old)).accept
    adapter, _ = played(app_secret_previous="the-old-secret")
    assert adapter.verify(posted(b"{}", old)).accept and adapter.verify(posted(b"{}", sign(SECRET, b"{}"))).accept


def handshake(query: str, **config: Any) -> Verified:
    adapter, _ = played(**config)
    return adapter.verify(Request("GET", f"{HOOK}?{query}", {}, b"", NOON))


def test_the_handshake_echoes_the_challenge_as_plain_text() -> None:
    answer = handshake(f"hub.mode=subscribe&hub.challenge=1158201444&hub.verify_token={WORD}")
    assert (answer.accept, answer.status, answer.body) == (False, 200, "1158201444")
    assert answer.headers == {"content-type": "text/plain; charset=utf-8", "x-content-type-options": "nosniff"}


NO_HANDSHAKES = [
    "hub.mode=subscribe&hub.challenge=%3Cscript%3Ealert(1)%3C/script%3E&hub.verify_token=wrong",
    f"hub.mode=unsubscribe&hub.challenge=1&hub.verify_token={WORD}",
    f"hub.mode=subscribe&hub.verify_token={WORD}",
    f"hub.mode=subscribe&hub.challenge={'1' * 201}&hub.verify_token={WORD}",
    "hub.mode=subscribe&hub.challenge=1&hub.verify_token=%ff",
    "hub.mode=subscribe&hub.challenge=1&hub.verify_token=",
    "hub.mode=subscribe&hub.challenge=1",
    "",
]


@pytest.mark.parametrize("query", NO_HANDSHAKES)
@pytest.mark.parametrize("config", [{}, {"verify_token": None}])
def test_other_handshakes_are_refused_and_echo_nothing(query: str, config: dict[str, Any]) -> None:
    answer = handshake(query, **config)
    assert (answer.accept, answer.status) == (False, 403) and "script" not in answer.body


# --- receive ---

AT = datetime(2025, 6, 8, 20, 59, 43, tzinfo=UTC)
SENT_AT, TOLD_AT = AT + timedelta(seconds=17), AT + timedelta(seconds=7)
SHEENA = Party("whatsapp", "US.13491208655302741918", "Sheena Nelson")
SHEENAS_PHONE = Party("tel", "+16505551234", "Sheena Nelson")
KAI = Party("whatsapp", "US.1234", "Kai")


def message(name: str, text: str = "", sender: Party = SHEENA, **more: Any) -> MessageReceived:
    more.setdefault("also", [SHEENAS_PHONE] if sender is SHEENA else [])
    return MessageReceived(f"wamid.{name}", sender, more.pop("at", AT), text, **more)


def file(name: str, kind: Any, ref: str, mime: str, text: str = "", title: str | None = None) -> MessageReceived:
    return message(name, text, attachments=[Attachment(kind, ref=ref, mime=mime, name=title)])


def status(state: Any, detail: str | None = None, **more: Any) -> StatusChanged:
    return StatusChanged("wamid.out1", state, SENT_AT, detail=detail, key="del_0000000000001.0", **more)


def choice(name: str, text: str, id: str, title: str = "", reply_to: str | None = "wamid.parent") -> MessageReceived:
    return message(name, text, selection=Selection(id, title or text), reply_to=reply_to)


def news(
    what: str, state: str, detail: str | None, at: datetime = TOLD_AT, template: TemplateNews | None = None,
    holds: bool | None = None, people: int | None = None,
) -> AccountChanged:  # fmt: skip
    return AccountChanged("", at, what, state, detail, template, holds, people)


def update(status: str | None = None, category: str | None = None) -> TemplateNews:
    return TemplateNews("order_update", "en_US", status, category)


CLOSED = "Message failed to send because more than 24 hours have passed since the customer last replied to this number."
RECEIVED: dict[str, list[Any]] = {
    "text": [message("text", "Does it come in another colour? ✓")],
    "image": [file("image", "image", "1234567890", "image/jpeg", "The lid")],
    "document": [file("document", "file", "2234567890", "application/pdf", "See page 2", "invoice 7.pdf")],
    "voice": [file("voice", "audio", "3234567890", "audio/ogg; codecs=opus")],
    "video": [file("video", "video", "4234567890", "video/mp4")],
    "sticker": [file("sticker", "sticker", "5234567890", "image/webp")],
    "location": [message("location", location=Location(37.4611794, -122.2148, "HQ", "1 Hacker Way"))],
    "contacts": [
        message(
            "contacts",
            "Barbara J. Johnson: +1 (415) 555-0829, barbara@example.com\nCarl",
            attachments=[
                Attachment("contact", ref="contact:0:wamid.contacts", mime="text/vcard", name="Barbara J. Johnson.vcf"),
                Attachment("contact", ref="contact:1:wamid.contacts", mime="text/vcard", name="Carl.vcf"),
            ],
        )
    ],
    "reply": [message("reply", "This one", reply_to="wamid.parent")],
    "forwarded": [message("forwarded", "Have you seen this?", forwarded=True)],
    "product_question": [
        message("product_question", "Is it in stock?\n[about product di9ozbzfi4]", reply_to="wamid.parent")
    ],
    "ad": [message("ad", "Tell me more", subject="Came from an ad “Chat with us”, 120226305854810726")],
    "button_reply": [choice("button_reply", "Yes", "b1")],
    "list_reply": [choice("list_reply", "Priority Mail Express", "priority_express")],
    "flow": [choice("flow", "day: 2026-02-03\nguests: 4\nextras: cot, late", "flow", "Sent")],
    "flow_broken": [choice("flow_broken", "[1, 2", "flow", "Sent")],
    "call_permission": [choice("call_permission", "Calls: accept", "call_permission:accept", reply_to=None)],
    "template_button": [choice("template_button", "No", "P1")],
    "order": [message("order", "Order\n2 × di9ozbzfi4, 30 USD each\n1 × nqryix03ez, 25.5 USD each\nLove these!")],
    "reaction": [Reacted("wamid.parent", SHEENA, AT, "😮", event_id="wamid.reaction")],
    "reaction_removed": [Reacted("wamid.parent", SHEENA, AT, removed=True, event_id="wamid.reaction_removed")],
    "reaction_emptied": [Reacted("wamid.parent", SHEENA, AT, removed=True, event_id="wamid.reaction_emptied")],
    "edit": [MessageEdited("wamid.text", SHEENA, AT, "Does it come in blue?")],
    "edit_caption": [MessageEdited("wamid.image", SHEENA, AT, "The broken lid")],
    "revoke": [MessageDeleted("wamid.text", SHEENA, AT)],
    "new_number": [
        message(
            "new_number",
            "User Sheena Nelson changed from 16505551234 to 12195555358",
            Party("whatsapp", "12195555358"),
            also=[Party("tel", "+12195555358")],
            former=[Address("whatsapp", "16505551234"), Address("tel", "+16505551234")],
            automatic=True,
        )
    ],
    "unsupported": [message("unsupported", unsupported="poll")],
    "of_tomorrow": [message("of_tomorrow", "Look", unsupported="hologram")],
    "username_only": [message("username_only", "Hi", KAI)],
    "id_in_from": [message("id_in_from", "Hi", KAI)],
    "number_only": [
        message("number_only", "Hi", Party("whatsapp", "16505551234", "Sheena Nelson"), also=[SHEENAS_PHONE])
    ],
    "milliseconds": [message("milliseconds", "Hi", at=AT + timedelta(milliseconds=250))],
    "group": [],
    "welcome": [],
    "status_sent": [status("sent", "service, free")],
    "status_delivered": [status("delivered", "utility, billable")],
    "status_read": [status("read")],
    "status_played": [status("read")],
    "status_deleted": [],
    "status_window_closed": [status("failed", CLOSED, code="131047")],
    "status_undeliverable": [status("failed", "Message Undeliverable.", code="131026", bad_address=True)],
    "status_stopped": [status("failed", "User has stopped marketing messages.", code="131050", opted_out=True,
                             covers="marketing")],
    "status_limit": [
        status(
            "failed",
            "this person has had as much marketing as Meta allows: wait 24 hours or longer",
            code="131049",
        )
    ],
    "status_unpaid": [
        status("failed", "Payment issue; check the payment method of the WhatsApp Business account", code="131042",
               error="channel_down")
    ],
    "status_busy": [status("failed", "Something went wrong", code="131000", error="transient")],
    "status_pair_rate": [status("failed", "(Business Account, Consumer Account) pair rate limit hit", code="131056",
                                error="rate_limited")],
    "batch": [
        message("b1", "One"),
        message("b2", "Two", KAI, at=AT + timedelta(seconds=1)),
        StatusChanged("wamid.out1", "delivered", AT + timedelta(seconds=2)),
        message(
            "b3", "Three", replace(SHEENA, name=None), also=[replace(SHEENAS_PHONE, name=None)],
            at=AT + timedelta(seconds=3),
        ),
    ],
    "stop_marketing": [
        ConsentChanged(
            f"{SHEENA.address}@1731705721", SHEENA, "opt_out", datetime.fromtimestamp(1731705721, UTC), "marketing"
        )
    ],
    "resume_marketing": [
        ConsentChanged(
            f"{SHEENA.address}@1731705999", SHEENA, "opt_in", datetime.fromtimestamp(1731705999, UTC), "marketing"
        )
    ],
    "new_user_id": [
        MessageReceived(
            f"user_id_update:US.9999@{AT.timestamp():.0f}", Party("whatsapp", "US.9999", "Kai"), AT,
            "The user id of Kai has changed", former=[KAI.address], automatic=True,
        )
    ],
    "template_status": [
        news(
            "template order_update (en_US)", "PAUSED",
            'reason: NONE, other_info: {"description": "Paused for 3 hours", "title": "FIRST_PAUSE"}',
            template=update("paused"),
        )
    ],
    "template_quality": [
        news("template order_update (en_US)", "YELLOW", "previous_quality_score: GREEN", template=update())
    ],
    "template_category": [
        news(
            "template order_update (en_US)", "MARKETING", "previous_category: UTILITY",
            template=update(category="marketing"),
        )
    ],
    "number_quality": [news("number 15550783881", "FLAGGED", "current_limit: TIER_2K", people=2000)],
    "account_banned": [
        news(
            "account: account_update", "DISABLED_UPDATE",
            'ban_info: {"waba_ban_date": "January 31, 2026", "waba_ban_state": "DISABLE"}', holds=True,
        )
    ],
    "account_of_others": [],
    "error": [
        news(
            "account: error", "130429", "Message failed to send because there were too many messages sent from this "
            "phone number in a short period of time",
        )
    ],
    "typed_on_phone": [
        MessageEchoed(
            "wamid.e", Party("whatsapp", "US.1"), datetime.fromtimestamp(1697043223, UTC), "typed on phone",
            [Party("tel", "+16505551234")],
        )
    ],
    "taken_on_phone": [
        MessageEchoed(
            "wamid.f", Party("whatsapp", "16505551234"), AT, "The lid", [Party("tel", "+16505551234")],
            attachments=[Attachment("image", ref="1234567890", mime="image/jpeg")], reply_to="wamid.parent",
        )
    ],
    "revoked_on_phone": [
        MessageDeleted("wamid.e", Party("whatsapp", "15550783881", "Colleague elsewhere"), AT + timedelta(seconds=60))
    ],
}


def test_every_captured_payload_is_expected() -> None:
    assert sorted(RECEIVED) == sorted(path.stem for path in FIXTURES.iterdir())


@pytest.mark.parametrize("name", RECEIVED)
def test_captured_payloads_become_events(name: str) -> None:
    body = (FIXTURES / f"{name}.json").read_bytes()
    adapter, _ = played(business_account_id=ACCOUNT_ID)
    found = adapter.receive(posted(body))
    for event in found:
        if isinstance(event, AccountChanged):
            assert event.external_id
            event.external_id = ""
    assert found == RECEIVED[name]


def test_news_told_twice_is_the_same_news() -> None:
    adapter, _ = played()
    names = ("template_status", "template_quality", "number_quality")
    ids = [adapter.receive(posted((FIXTURES / f"{name}.json").read_bytes()))[0] for name in names * 2]
    assert len({each.external_id for each in ids if isinstance(each, AccountChanged)}) == 3


HOLDS = [
    ("phone_number_quality_update", {"display_phone_number": "1 555-078-3881", "event": "FLAGGED"}, True),
    ("phone_number_quality_update", {"display_phone_number": "15550783881", "event": "UNFLAGGED"}, False),
    ("phone_number_quality_update", {"display_phone_number": "15550783881", "event": "UPGRADE"}, None),
    ("phone_number_quality_update", {"display_phone_number": "15550000000", "event": "FLAGGED"}, None),
    ("account_update", {"event": "DISABLED_UPDATE", "ban_info": {"waba_ban_state": ["SCHEDULE_FOR_DISABLE"]}}, True),
    ("account_update", {"event": "DISABLED_UPDATE", "ban_info": {"waba_ban_state": "REINSTATE"}}, False),
    ("account_update", {"event": "ACCOUNT_RESTRICTION", "restriction_info": []}, True),
    ("account_update", {"event": "ACCOUNT_VIOLATION"}, None),
]


@pytest.mark.parametrize(("field", "value", "holds"), HOLDS)
def test_news_of_our_own_number_or_account_hold_its_advertising(
    field: str, value: dict[str, Any], holds: bool | None
) -> None:
    entry = {"id": ACCOUNT_ID, "time": 1, "changes": [{"field": field, "value": value}]}
    body = json.dumps({"object": "whatsapp_business_account", "entry": [entry]}).encode()
    [told] = played(phone_number="+15550783881")[0].receive(posted(body))
    assert isinstance(told, AccountChanged) and told.holds is holds


def changed(name: str, **parts: Any) -> bytes:
    """A captured payload with other parts of its first message; None takes one away."""
    document = json.loads((FIXTURES / f"{name}.json").read_bytes())
    raw = document["entry"][0]["changes"][0]["value"]["messages"][0]
    raw |= parts
    for part in [part for part, value in parts.items() if value is None]:
        del raw[part]
    return json.dumps(document).encode()


SYSTEM: list[tuple[dict[str, str], list[str], list[str]]] = [
    (
        {"type": "user_changed_number", "wa_id": "12195555358", "user_id": "US.2"},
        ["whatsapp:US.2", "tel:+12195555358"], ["whatsapp:US.1", "tel:+16505551234", "whatsapp:16505551234"],
    ),
    (
        {"type": "user_changed_user_id", "wa_id": "16505551234", "user_id": "US.2"},
        ["whatsapp:US.2", "tel:+16505551234"], ["whatsapp:US.1"],
    ),
    ({"type": "user_changed_user_id", "user_id": "US.2"}, ["whatsapp:US.2", "tel:+16505551234"], ["whatsapp:US.1"]),
    ({"type": "user_changed_number"}, ["whatsapp:US.1", "tel:+16505551234"], []),
    (
        {"type": "customer_identity_changed", "wa_id": "16505551234"},
        ["whatsapp:US.1", "tel:+16505551234", "whatsapp:16505551234"], [],
    ),
]


@pytest.mark.parametrize(("system", "known", "former"), SYSTEM)
def test_what_whatsapp_itself_says_of_addresses(system: dict[str, str], known: list[str], former: list[str]) -> None:
    [event] = played()[0].receive(posted(changed("new_number", system=system, from_user_id="US.1")))
    assert isinstance(event, MessageReceived) and event.automatic
    assert [str(each.address) for each in (event.sender, *event.also)] == known
    assert [str(each) for each in event.former] == former


UNPARSEABLE = [
    (b"", "not JSON"),
    (b"[]", "not a JSON object"),
    (b'{"object": NaN}', "not JSON"),
    (b"{}", "not a webhook"),
    (b'{"object": "page", "entry": []}', "not a webhook"),
    (b'{"object": "whatsapp_business_account"}', "not a webhook"),
    (changed("text", id=None), "without id"),
    (changed("new_number", **{"from": None}), "neither number"),
    (changed("edit", edit={}), "no original_message_id"),
    (changed("reaction", reaction={"emoji": "x"}), "no message_id"),
]


@pytest.mark.parametrize(("body", "words"), UNPARSEABLE)
def test_what_is_no_message_is_unparseable(body: bytes, words: str) -> None:
    adapter, _ = played()
    with pytest.raises(Unparseable, match=words):
        adapter.receive(posted(body))


def test_what_cannot_be_read_keeps_nothing_else_back() -> None:
    document = json.loads((FIXTURES / "batch.json").read_bytes())
    value = document["entry"][0]["changes"][0]["value"]
    value["messages"] = [{"type": "text", "text": {"body": "of nobody"}}, *value["messages"]]
    adapter, _ = played(business_account_id=ACCOUNT_ID)
    with pytest.raises(Unparseable, match="without id") as refused:
        adapter.receive(posted(json.dumps(document).encode()))
    assert refused.value.events == RECEIVED["batch"]


@pytest.mark.parametrize("parts", [{"text": "Hi"}, {"text": {}}, {"type": "image", "image": {}}, {"type": "image"}])
def test_a_message_that_says_nothing_is_named(parts: dict[str, Any]) -> None:
    [event] = played()[0].receive(posted(changed("text", **parts)))
    assert isinstance(event, MessageReceived) and event.unsupported == parts.get("type", "text")


def test_answers_and_choices_in_other_forms_are_read_too() -> None:
    form = {"type": "nfm_reply", "nfm_reply": {"name": "flow", "response_json": {"flow_token": "t", "day": "Monday"}}}
    pressed = {"type": "button_reply", "button_reply": {"id": "b1"}}
    for interactive, words, chosen in ((form, "day: Monday", "flow"), (pressed, "b1", "b1")):
        [event] = played()[0].receive(posted(changed("flow", interactive=interactive)))
        assert isinstance(event, MessageReceived) and event.selection is not None
        assert (event.text, event.selection.id) == (words, chosen)


def test_a_sender_that_only_the_contacts_name_is_found_there() -> None:
    adapter, _ = played()
    [event] = adapter.receive(posted(changed("text", **{"from": None, "from_user_id": None})))
    assert isinstance(event, MessageReceived) and (event.sender, event.also) == (SHEENA, [SHEENAS_PHONE])


def test_a_user_id_in_place_of_the_number_is_no_number() -> None:
    adapter, _ = played()
    [event] = adapter.receive(posted(changed("new_number", type="text", text={"body": "Hi"}, **{"from": "US.1234"})))
    assert isinstance(event, MessageReceived) and (event.sender, event.also) == (Party("whatsapp", "US.1234"), [])
    [event] = adapter.receive(posted(changed("text", from_user_id=None, **{"from": SHEENA.value})))
    assert isinstance(event, MessageReceived) and (event.sender, event.also) == (SHEENA, [SHEENAS_PHONE])


def test_a_time_that_is_none_is_when_it_came() -> None:
    adapter, _ = played()
    for wrong in ("", "soon", "nan", "1e300", None):
        [event] = adapter.receive(posted(changed("text", timestamp=wrong)))
        assert event.at == NOON


def test_text_holds_nothing_that_a_database_refuses() -> None:
    adapter, _ = played()
    [event] = adapter.receive(posted(changed("text", text={"body": "a\0b\ud800c"})))
    assert isinstance(event, MessageReceived) and event.text == "ab?c"


@pytest.mark.parametrize("depth", [100, 500, 900, 2000])
def test_a_form_that_is_nested_deep_harms_no_other_message(depth: int) -> None:
    answers = '{"a": {"b": ' + "[" * depth + "]" * depth + "}}"
    form = {"type": "nfm_reply", "nfm_reply": {"name": "flow", "body": "Sent", "response_json": answers}}
    adapter, _ = played()
    [event] = adapter.receive(posted(changed("flow", interactive=form)))
    assert isinstance(event, MessageReceived) and "[[[" in event.text


def test_long_lists_are_cut() -> None:
    adapter, _ = played()
    [event] = adapter.receive(posted(changed("contacts", contacts=[{"name": {"formatted_name": "Carl"}}] * 60)))
    assert isinstance(event, MessageReceived) and len(event.attachments) == 50
    assert event.text.splitlines()[49:] == ["Carl", "… and 10 more"]


def test_a_thousand_messages_in_one_webhook_are_all_read() -> None:
    document = json.loads((FIXTURES / "text.json").read_bytes())
    [raw] = document["entry"][0]["changes"][0]["value"]["messages"]
    document["entry"][0]["changes"][0]["value"]["messages"] = [raw | {"id": f"wamid.{n}"} for n in range(1000)]
    adapter, _ = played()
    found = adapter.receive(posted(json.dumps(document).encode()))
    assert [getattr(each, "external_id", "") for each in found] == [f"wamid.{n}" for n in range(1000)]


@pytest.mark.parametrize(
    ("value", "people"),
    [
        ({"max_daily_conversations_per_business": "TIER_250"}, 250),
        ({"max_daily_conversations_per_business": "TIER_100K", "max_phone_numbers_per_business": 25}, 100_000),
        ({"max_daily_conversation_per_phone": 1000}, 1000),
        ({"current_limit": "TIER_UNLIMITED"}, 1_000_000_000),
        ({"current_limit": "TIER_NOT_SET"}, None),
        ({}, None),
    ],
)
def test_whom_the_portfolio_may_write_to_in_a_day(value: dict[str, Any], people: int | None) -> None:
    assert account.event("business_capability_update", value, AT, None).people == people
