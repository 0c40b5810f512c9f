"""The rules, one story each: what somebody did or where they are, and what may be sent to them then."""

from __future__ import annotations

import json
from typing import Any

import pytest

from hub.cli._policy import answer

ANN = "tel:+447700900123"
NOW = "2026-09-01T12:00:00Z"


def ask(suite: str, case: dict[str, Any]) -> Any:
    return json.loads(answer(json.dumps({"suite": suite, "case": case})))


# --- consent ---


def said(kind: str, day: int, **more: Any) -> dict[str, Any]:
    """An entry of August, by the person themselves, for marketing by SMS, if nothing else is told."""
    entry = {"type": kind, "at": f"2026-08-{day:02}T10:00:00Z", "actor": "subject", "cp": ANN, "id": f"{kind}{day}"}
    scope = {"channel": "sms", "purpose": "marketing"}
    return entry | {"scope": scope, "basis": "express"} | more


ALL = {"channel": "sms", "purpose": "*"}
NEWS = {"channel": "sms", "purpose": "marketing", "topic": "news"}
STOP, START = said("revoke", 10, scope=ALL), said("grant", 12, scope=ALL)

CONSENT: list[tuple[str, list[dict[str, Any]], dict[str, Any], str]] = [
    ("asked for it", [said("grant", 1)], {}, "allow OK"),
    ("never asked", [], {}, "block CONSENT_MISSING"),
    ("START brings back what STOP took", [said("grant", 1), STOP, START], {}, "allow OK"),
    ("what names no topic may be of one they left", [said("grant", 1), said("revoke", 10, scope=NEWS)], {},
     "block CONSENT_REVOKED"),
    ("START opens receipts too", [STOP, START], {"purpose": "transactional"}, "allow OK"),
    ("STOP closes receipts too", [STOP], {"purpose": "transactional"}, "block CONSENT_REVOKED_ALL"),
    ("STOP by SMS closes MMS", [STOP], {"channel": "mms", "purpose": "reply"}, "block CONSENT_REVOKED_ALL"),
    ("STOP by SMS leaves mail alone", [STOP], {"channel": "email", "purpose": "transactional"}, "allow OK"),
    ("an agent cannot undo STOP", [STOP, said("grant", 12, actor="agent")], {}, "block CONSENT_REVOKED_ALL"),
    (
        "a form for one topic opens that topic",
        [said("grant", 1), STOP, said("grant", 12, scope=NEWS)],
        {"topic": "news"},
        "allow OK",
    ),
    (
        "and no other",
        [said("grant", 1), STOP, said("grant", 12, scope=NEWS)],
        {"topic": "sale"},
        "block CONSENT_REVOKED_ALL",
    ),
    (
        "START does not undo a topic that was switched off",
        [said("grant", 1), said("revoke", 5, scope=NEWS), STOP, START],
        {"topic": "news"},
        "block CONSENT_REVOKED",
    ),
    (
        "a no that arrives late counts from when it was said",
        [said("grant", 20), said("revoke", 15, recorded_at="2026-08-30T00:00:00Z")],
        {},
        "allow OK",
    ),
    (
        "a no of the person",
        [said("grant", 1), said("revoke", 5, cp="person:7", scope={})],
        {},
        "block CONSENT_REVOKED_ALL",
    ),
    (
        "an objection of the person",
        [said("grant", 1), said("object", 5, cp="person:7", scope={})],
        {},
        "block CONSENT_REVOKED",
    ),
    (
        "is against advertising",
        [said("object", 5, cp="person:7", scope={})],
        {"purpose": "transactional"},
        "allow OK",
    ),
    ("a yes of the person is for no address", [said("grant", 1, cp="person:7")], {}, "block CONSENT_MISSING"),
    ("someone else's no", [said("grant", 1), said("revoke", 5, cp="person:8", scope={})], {}, "allow OK"),
    (
        "a carrier's block",
        [said("suppress", 5, reason="provider_optout", scope=ALL)],
        {"purpose": "reply"},
        "block SUPP_PROVIDER_OPTOUT",
    ),
    (
        "START from the handset ends it",
        [said("grant", 1), said("suppress", 5, reason="provider_optout"), said("lift", 6, reason="provider_optout")],
        {},
        "allow OK",
    ),
    (
        "START takes back nothing that a colleague has blocked",
        [said("grant", 1), said("suppress", 5, reason="manual"), said("grant", 6, scope=ALL, source="keyword")],
        {},
        "block SUPP_MANUAL",
    ),
    (
        "an agent who checked revives a dead number",
        [
            said("grant", 1),
            said("suppress", 5, reason="hard_bounce"),
            said("lift", 6, reason="hard_bounce", actor="agent", verified=True),
        ],
        {},
        "allow OK",
    ),
    (
        "one who did not check does not",
        [
            said("grant", 1),
            said("suppress", 5, reason="hard_bounce"),
            said("lift", 6, reason="hard_bounce", actor="agent"),
        ],
        {},
        "block SUPP_HARD_BOUNCE",
    ),
    ("forgotten", [said("grant", 1), said("erase", 5)], {"purpose": "transactional"}, "block SUPP_ERASED"),
    ("forgotten, then in a list", [said("erase", 5), said("grant", 9, actor="import")], {}, "block SUPP_ERASED"),
    (
        "forgotten, then back by their own proven word",
        [said("erase", 5), said("grant", 9, verified=True)],
        {},
        "allow OK",
    ),
    (
        "an unclear message holds marketing",
        [said("grant", 1), said("hold", 31, at="2026-09-01T08:00:00Z")],
        {},
        "defer OPT_OUT_REVIEW_HOLD",
    ),
    (
        "which is not kept for a review if it could not go anyway",
        [said("hold", 31, at="2026-09-01T08:00:00Z")],
        {},
        "block CONSENT_MISSING",
    ),
    ("and nothing else", [said("hold", 31, at="2026-09-01T08:00:00Z")], {"purpose": "transactional"}, "allow OK"),
    ("nobody looked for a day", [said("grant", 1), said("hold", 20)], {}, "block CONSENT_REVOKED"),
    (
        "somebody looked",
        [said("grant", 1), said("hold", 20), said("resolve", 21, of="hold20", actor="agent")],
        {},
        "allow OK",
    ),
    ("a permission for a time", [said("grant", 1, expires_at="2026-08-31T00:00:00Z")], {}, "block CONSENT_EXPIRED"),
    ("buying is no permission there", [said("grant", 1, basis="implied_purchase")], {}, "block CONSENT_INSUFFICIENT"),
    ("bought, agreed as a condition", [said("grant", 1, condition_of_purchase=True)], {}, "block CONSENT_INSUFFICIENT"),
    ("a state follows its country", [said("grant", 1)], {"jurisdiction": "US-TX"}, "block CONSENT_INSUFFICIENT"),
    (
        "a mail's answer goes out to whom unsubscribed",
        [said("revoke", 5, scope={"channel": "email"})],
        {"channel": "email", "purpose": "reply"},
        "allow OK",
    ),
    (
        "a complaint stops receipts, unless they are essential",
        [said("suppress", 5, reason="complaint", scope={"channel": "email"})],
        {"channel": "email", "purpose": "transactional", "essential": True},
        "allow OK",
    ),
]


@pytest.mark.parametrize(
    ("events", "target", "expected"), [row[1:] for row in CONSENT], ids=[row[0] for row in CONSENT]
)
def test_consent(events: list[dict[str, Any]], target: dict[str, Any], expected: str) -> None:
    wanted = {"cp": ANN, "channel": "sms", "purpose": "marketing", "sender": "shop", "jurisdiction": "GB"} | target
    found = ask("consent", {"now": NOW, "target": wanted, "events": events, "person_links": ["person:7"]})
    assert f"{found['verdict']} {found['reason']}" == expected


def test_a_rejected_permission_is_named() -> None:
    events = [STOP, said("grant", 12, actor="import")]
    found = ask("consent", {"now": NOW, "target": {"cp": ANN, "channel": "sms"}, "events": events})
    assert found["notes"] == ["GRANT_REJECTED_PRIOR_REVOKE"]


# --- quiet hours ---


def quiet(now: str, *places: tuple[str, str], **more: Any) -> str:
    where = [{"tz": zone, "rules": rules.split()} for zone, rules in places]
    found = ask("quiet", {"now": now, "candidates": where} | more)
    return " ".join([found["verdict"], found["reason"], *([found["not_before"]] if "not_before" in found else [])])


NEW_YORK, LA = ("America/New_York", "US"), ("America/Los_Angeles", "US")


@pytest.mark.parametrize(
    ("expected", "found"),
    [
        ("allow OK", quiet("2026-06-10T12:00:00-04:00", NEW_YORK, LA)),
        ("defer QUIET_HOURS 2026-06-10T15:00:00Z", quiet("2026-06-10T09:00:00-04:00", NEW_YORK, LA)),
        ("defer QUIET_HOURS 2026-06-15T13:00:00Z", quiet("2026-06-13T20:30:00-05:00", ("America/Chicago", "US US-AL"))),
        ("defer NO_SEND_DAY 2026-06-15T13:00:00Z", quiet("2026-06-14T12:00:00-05:00", ("America/Chicago", "US US-AL"))),
        ("block NO_SEND_WINDOW", quiet("2026-06-10T12:00:00Z")),
        ("allow OK", quiet("2026-06-10T03:00:00-04:00", NEW_YORK, purpose="reply")),
    ],
)
def test_quiet_hours(expected: str, found: str) -> None:
    assert found == expected


def test_a_closing_time_that_comes_twice_closes_at_the_first() -> None:
    rule = {"EARLY": {"windows": {"*": ["00:00", "01:30"]}}}
    place = ("America/New_York", "EARLY")
    assert quiet("2026-11-01T01:29:00-04:00", place, extra_rules=rule) == "allow OK"
    assert quiet("2026-11-01T01:10:00-05:00", place, extra_rules=rule).startswith("defer QUIET_HOURS 2026-11-02")


def test_places_that_are_never_awake_together_get_nothing() -> None:
    rule = {"MORNING": {"windows": {"*": ["06:00", "09:00"]}}}
    places = [("Asia/Tokyo", "MORNING"), ("Europe/Paris", "MORNING")]
    assert quiet("2026-06-10T12:00:00Z", *places, extra_rules=rule) == "block NO_SEND_WINDOW"


def test_a_rule_without_sense_is_refused() -> None:
    case = {"now": NOW, "candidates": [], "extra_rules": {"X": {"windows": {"*": ["22:00", "08:00"]}}}}
    assert "opens at 22:00 but closes at 08:00" in ask("quiet", case)["error"]["detail"]


# --- caps ---

RULES = [{"channel": "sms", "max": 2, "hours": 24, "code": "CAP_X"}]


def capped(history: list[tuple[int, str, str]], **more: Any) -> str:
    sent = [
        {"at": f"2026-09-01T{hour:02}:00:00Z", "channel": "sms", "status": status, "purpose": purpose}
        for hour, status, purpose in history
    ]
    case = {"now": NOW, "channel": "sms", "purpose": "marketing", "rules": RULES, "history": sent}
    found = ask("cap", case | more)
    return " ".join([found["verdict"], found["reason"], *([found["not_before"]] if "not_before" in found else [])])


@pytest.mark.parametrize(
    ("expected", "found"),
    [
        ("allow OK", capped([(9, "sent", "marketing")])),
        ("defer CAP_X 2026-09-02T03:00:00Z", capped([(3, "sent", "marketing"), (9, "sent", "marketing")])),
        ("defer CAP_X 2026-09-02T03:00:00Z", capped([(3, "reserved", "marketing"), (9, "sent", "marketing")])),
        ("allow OK", capped([(3, "failed", "marketing"), (9, "sent", "marketing")])),
        ("allow OK", capped([(3, "sent", "transactional"), (9, "sent", "reply")])),
        ("allow OK", capped([(3, "sent", "marketing"), (9, "sent", "marketing")], purpose="reply")),
        ("allow OK", capped([(3, "sent", "marketing"), (9, "sent", "marketing")], channel="email")),
        ("defer CAP_X 2026-09-02T09:00:00Z", capped([(hour, "sent", "marketing") for hour in (3, 9, 11)])),
        (
            "block CAP_X",
            capped([(3, "sent", "marketing"), (9, "sent", "marketing")], expires_at="2026-09-02T00:00:00Z"),
        ),
    ],
)
def test_caps_roll(expected: str, found: str) -> None:
    assert found == expected


# --- windows ---


@pytest.mark.parametrize(
    ("case", "expected"),
    [
        ({"last_inbound": "2026-08-31T12:00:01Z"}, "allow OK"),
        ({"last_inbound": "2026-08-31T12:00:00Z"}, "needs_template WINDOW_CLOSED"),
        ({"template": {"status": "approved", "category": "utility"}}, "allow OK_TEMPLATE"),
        ({"template": {"status": "pending", "category": "utility"}}, "block TEMPLATE_NOT_APPROVED"),
        ({"last_inbound": NOW, "template": {"status": "approved", "category": "utility"}}, "allow OK"),
        (
            {"last_inbound": NOW, "purpose": "marketing", "template": {"status": "approved", "category": "utility"}},
            "block TEMPLATE_CATEGORY_MISMATCH",
        ),
        ({"last_inbound": NOW, "template": {"status": "paused", "category": "utility"}}, "defer TEMPLATE_PAUSED"),
        ({"last_inbound": NOW, "template": {"status": "rejected"}}, "block TEMPLATE_NOT_APPROVED"),
        (
            {"channel": "messenger", "last_inbound": NOW, "template": {"status": "approved", "category": "utility"}},
            "allow OK",
        ),
        ({"channel": "messenger", "last_inbound": "2026-08-25T12:00:01Z", "actor": "human"}, "allow OK_HUMAN_AGENT"),
        ({"channel": "messenger", "last_inbound": "2026-08-25T12:00:00Z", "actor": "human"}, "fallback WINDOW_CLOSED"),
        ({"channel": "messenger", "tag": "ACCOUNT_UPDATE", "last_inbound": NOW}, "block TAG_DEPRECATED"),
        ({"channel": "telegram"}, "allow OK"),
        ({"channel": "webchat", "session_open": True}, "allow OK"),
    ],
)
def test_windows(case: dict[str, Any], expected: str) -> None:
    found = ask("window", {"channel": "whatsapp", "purpose": "reply", "last_inbound": None, "now": NOW} | case)
    assert f"{found['verdict']} {found['reason']}" == expected


# --- order, and other ways ---


@pytest.mark.parametrize(
    ("facts", "fallback", "expected"),
    [
        ({"consent": ("block", "CONSENT_MISSING"), "quiet": ("defer", "QUIET_HOURS")}, True, "block CONSENT_MISSING"),
        (
            {"held": ("defer", "OPT_OUT_REVIEW_HOLD"), "consent": ("block", "CONSENT_MISSING")},
            False,
            "block CONSENT_MISSING",
        ),
        (
            {"held": ("defer", "OPT_OUT_REVIEW_HOLD"), "quiet": ("defer", "QUIET_HOURS")},
            False,
            "defer OPT_OUT_REVIEW_HOLD",
        ),
        ({"window": ("fallback", "WINDOW_CLOSED")}, True, "fallback WINDOW_CLOSED"),
        ({"window": ("fallback", "WINDOW_CLOSED")}, False, "block WINDOW_CLOSED"),
        ({"window": ("needs_template", "WINDOW_CLOSED")}, True, "fallback WINDOW_CLOSED"),
        ({"window": ("needs_template", "WINDOW_CLOSED")}, False, "needs_template WINDOW_CLOSED"),
        ({"quota": ("defer", "QUOTA_MONTHLY")}, True, "fallback QUOTA_MONTHLY"),
        ({"quota": ("defer", "QUOTA_MONTHLY")}, False, "defer QUOTA_MONTHLY"),
        ({"cap": ("block", "CAP_CUSTOMER_WEEK")}, True, "block CAP_CUSTOMER_WEEK"),
        ({"rate": ("defer", "RATE_PAIR"), "breaker": ("defer", "BREAKER_COMPLAINT")}, False, "defer BREAKER_COMPLAINT"),
    ],
)
def test_the_first_check_that_fails_counts(facts: dict[str, Any], fallback: bool, expected: str) -> None:
    made = {name: {"verdict": verdict, "reason": reason} for name, (verdict, reason) in facts.items()}
    found = ask("pipeline", {"purpose": "marketing", "facts": made, "fallback_available": fallback})
    assert f"{found['verdict']} {found['reason']}" == expected


# --- the rest ---


def test_a_learned_rate_falls_at_once_and_rises_slowly() -> None:
    config = {"beta": 0.5, "min": 1, "max": 10, "step": 1, "step_s": 10, "default_hold_s": 5, "cut_cooldown_s": 2}
    events = [
        {"t": 0, "type": "throttle", "retry_after": 20},
        {"t": 19, "type": "tick_ok"},
        {"t": 30, "type": "tick_ok"},
        {"t": 50, "type": "tick_ok"},
    ]
    found = ask("adaptive", {"config": config, "start_rate": 8, "events": events})
    assert found == [[4.0, False], [4.0, False], [5.0, True], [7.0, True]]


@pytest.mark.parametrize(
    ("kind", "one", "other", "same"),
    [
        ("email", "ann+shop@example.com", "ann@example.com", False),
        ("tel", "+52 1 55 1234 5678", "+52 55 1234 5678", True),
        ("tel", "0044 7700 900123", "+44 7700 900123", True),
        ("tel", "+44 7700 900123", "+44 7700 900124", False),
        ("telegram", "12345", "12345 ", True),
    ],
)
def test_one_address_is_one(kind: str, one: str, other: str, same: bool) -> None:
    assert ask("normalize", {"kind": kind, "a": one, "b": other}) is same


@pytest.mark.parametrize(
    ("case", "expected"),
    [
        ({"method": "GET", "body": "", "token_valid": True}, (200, "none")),
        ({"method": "POST", "body": "", "token_valid": True}, (200, "revoke")),
        ({"method": "GET", "body": "", "token_valid": False}, (404, "none")),
        ({"method": "DELETE", "body": "", "token_valid": True}, (405, "none")),
    ],
)
def test_only_a_form_that_is_sent_unsubscribes(case: dict[str, Any], expected: tuple[int, str]) -> None:
    found = ask("unsubscribe_endpoint", case)
    assert (found["status"], found["effect"]) == expected


def test_a_warm_up_stops_at_its_target_and_grows_from_small_beginnings() -> None:
    assert ask("warmup", {"start": 50, "target": 100, "days": ["OK"] * 5}) == 100
    assert ask("warmup", {"start": 1, "target": 100, "days": ["OK_LOW_VOLUME", "OK_LOW_VOLUME"]}) == 3


@pytest.mark.parametrize(
    ("delivered", "bounced", "expected"),
    [(950, 50, "OK_LOW_VOLUME"), (999, 900, "OK_LOW_VOLUME"), (1000, 53, "PAUSE_BOUNCE_RATE"), (1000, 52, "OK")],
)
def test_rates_mean_nothing_before_enough_was_delivered(delivered: int, bounced: int, expected: str) -> None:
    assert ask("breaker", {"delivered": delivered, "complaints": 0, "hard_bounces": bounced}) == expected


def test_help_is_answered_whoever_asks() -> None:
    assert ask("auto_reply", {"class": "help"})["send"] is True
    assert ask("auto_reply", {"class": "opt_out", "delay_s": 301})["send"] is False
    assert ask("auto_reply", {"class": "opt_out", "delay_s": 1, "provider_replied": True})["send"] is False
    assert ask("auto_reply", {"class": "none"})["send"] is False
