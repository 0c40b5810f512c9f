"""The rules' own cases: what somebody wrote, granted or refused, and what must come of it.

``cases.json`` has a list per suite of `hub policy try`, with the expected answer in each row. What most cases share is
left out of it and filled in here.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hub.cli._policy import SUITES, answer

CASES: dict[str, list[list[Any]]] = json.loads(Path(__file__).with_name("cases.json").read_text(encoding="utf-8"))
ANN = "tel:+13055550100"
Case = dict[str, Any]
TARGET: Case = {"channel": "sms", "purpose": "marketing", "topic": "news", "sender": "brandA", "jurisdiction": "US"}
EVENT: Case = {"actor": "subject", "cp": ANN, "scope": {"channel": "sms", "purpose": "marketing"}}


def verdict(words: Any) -> Any:
    """``"defer QUIET_HOURS 2026-06-11T12:00:00Z"`` as an answer; what is no text stays as it is."""
    if not isinstance(words, str):
        return words
    return dict(zip(("verdict", "reason", "not_before"), words.split(), strict=False))


def keyword(languages: str, medium: str, text: str, expected: str, more: Case | None = None) -> tuple[Case, Any]:
    kind, _, scope = expected.partition(" ")
    case = {"channel": medium, "locales": languages.split(","), "text": text} | (more or {})
    return case, {"class": kind} | ({"scope": scope} if scope else {})


def consent(expected: Any, case: Case) -> tuple[Case, Any]:
    events = [EVENT | each | {"at": _instant(each["at"])} for each in case["events"]]
    target = {"cp": ANN} | TARGET | case.get("target", {})
    return {"now": "2026-06-01T15:00:00Z"} | case | {"target": target, "events": events}, verdict(expected)


def quiet(expected: Any, case: Case) -> tuple[Case, Any]:
    places = [{"tz": zone, "rules": rules} for zone, *rules in (each.split() for each in case["places"])]
    return {**case, "candidates": places}, verdict(expected)


def pipeline(expected: Any, case: Case) -> tuple[Case, Any]:
    facts = {name: verdict(fact) for name, fact in case["facts"].items()}
    return {"purpose": "marketing", "channel": "sms", "fallback_available": False} | case | {"facts": facts}, verdict(
        expected
    )


def judged(expected: Any, case: Case) -> tuple[Case, Any]:
    return case, verdict(expected)


def plain(expected: Any, case: Case) -> tuple[Case, Any]:
    return case, expected


def _instant(at: str) -> str:
    return at if "T" in at else f"{at}T00:00:00Z"


FULL: dict[str, Callable[..., tuple[Case, Any]]] = {
    "keyword": keyword,
    "consent": consent,
    "quiet": quiet,
    "pipeline": pipeline,
    "window": judged,
    "cap": judged,
    "unique_quota": judged,
}


@pytest.mark.parametrize("suite", sorted(CASES))
def test_the_rules_own_cases(suite: str) -> None:
    wrong = []
    for row in CASES[suite]:
        case, expected = FULL.get(suite, plain)(*row)
        given = json.loads(answer(json.dumps({"suite": suite, "case": case})))
        if given != expected:
            wrong.append(f"{json.dumps(row, ensure_ascii=False)}: got {given}")
    assert wrong == []


def test_every_suite_has_cases() -> None:
    assert set(CASES) == set(SUITES)
