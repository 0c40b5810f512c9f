"""`hub policy try`: cases in, verdicts out."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from hub.cli._policy import SUITES, answer
from tests import shared

ROOT = Path(__file__).parent.parent.parent


def ask(suite: str, case: dict[str, Any], policy: dict[str, Any] | None = None) -> Any:
    return json.loads(answer(json.dumps({"suite": suite, "case": case, "policy": policy or {}})))


def run(lines: list[dict[str, Any]]) -> list[Any]:
    text = "".join(json.dumps(line) + "\n" for line in lines)
    command = [sys.executable, "-c", "from hub.cli import main; raise SystemExit(main(['policy', 'try']))"]
    done = subprocess.run(command, input=text, capture_output=True, text=True, cwd=ROOT, check=True)
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.mark.parametrize("with_policy", [True, False], ids=["their pack", "our pack"])
def test_the_agreed_cases(with_policy: bool) -> None:
    agreed = shared.read("consent_vectors.json")
    cases = [(suite, case) for suite, found in agreed["suites"].items() for case in found]
    lines = [
        {"suite": suite, "case": {key: value for key, value in case.items() if key != "expect"}}
        | ({"policy": agreed["policy"]} if with_policy else {})
        for suite, case in cases
    ]
    answers = run(lines)
    wrong = [
        f"{case['id']}: expected {case['expect']}, got {given}"
        for (_, case), given in zip(cases, answers, strict=True)
        if given != case["expect"]
    ]
    assert wrong == []


def test_one_answer_a_line_in_order_whatever_the_line() -> None:
    case = {"delivered": 20000, "complaints": 60}
    lines = [{"suite": "breaker", "case": case}, {"suite": "nothing", "case": {}}, {"suite": "breaker", "case": case}]
    first, second, third = run(lines)
    assert first == third == "PAUSE_COMPLAINT_RATE"
    assert second["error"]["detail"].startswith("unknown suite 'nothing' (known: keyword, quiet")


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("{", "Expecting property name"),
        ("[]", "expected an object"),
        ('{"suite": "quiet", "case": {"candidates": []}}', "'now' is missing"),
        ('{"suite": "retry_after", "case": {"now": "2026-01-01T00:00:00", "header": null}}', "no offset from UTC"),
        ('{"suite": "breaker", "case": {}, "policy": {"colour": 1}}', "unknown field colour"),
        ('{"suite": "rate", "case": {"buckets": {}, "ops": [{"t": NaN, "keys": []}]}}', "NaN is no number"),
        ('{"suite": "rate", "case": {"buckets": {}, "ops": [{"t": 1e999, "keys": []}]}}', "1e999 is no number"),
        ('{"suite": "rate", "case": {"buckets": {"s": {"count": 0}}, "ops": []}}', "must be more than 0"),
        ('{"suite": "deadline", "case": {"received": "2026-01-01", "business_days": 1e300}}', "is not from 0 to 3660"),
        ('{"suite": "breaker", "case": {}, "policy": {"breaker": {"minimum": "many"}}}', "breaker.minimum"),
        (
            '{"suite": "quiet", "case": {"now": "2026-01-01T00:00:00Z", "candidates": [{"tz": "Mars/Base", '
            '"rules": ["US"]}]}}',
            "unknown time zone 'Mars/Base'",
        ),
        (
            '{"suite": "quiet", "case": {"now": "2026-01-01T00:00:00Z", "candidates": [{"tz": "UTC", '
            '"rules": ["XX"]}]}}',
            "unknown quiet rule 'XX'",
        ),
    ],
)
def test_a_bad_case_is_told_what_is_wrong(line: str, words: str) -> None:
    given = json.loads(answer(line))
    assert given["error"]["kind"] == "bad_case"
    assert words in given["error"]["detail"]


def test_an_answer_is_valid_text_whatever_was_asked() -> None:
    facts = {"x": {"verdict": "block", "reason": "\ud800"}}
    line = json.dumps({"suite": "pipeline", "case": {"purpose": "marketing", "facts": facts}})
    assert json.loads(answer(line).encode())["reason"] == "\ud800"


def test_a_policy_in_the_line_replaces_ours_field_by_field() -> None:
    case = {"delivered": 100, "complaints": 1}
    assert ask("breaker", case) == "OK_LOW_VOLUME"
    assert ask("breaker", case, {"breaker": {"minimum": 10}}) == "PAUSE_COMPLAINT_RATE"


def test_every_suite_answers() -> None:
    assert set(SUITES) >= {"keyword", "quiet", "window", "consent", "rate", "cap", "pipeline"}
