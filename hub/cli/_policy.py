"""`hub policy try`: cases as JSON, through the same functions that decide about real messages."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from typing import Any, cast

from hub.policy import limits, mail, order, pack, quiet, replies, window
from hub.policy.address import canonical_address, same
from hub.policy.classify import Asked, Surroundings, classify
from hub.policy.feedback import effect_of
from hub.policy.ledger import Actor, Event, Scope, Target, resolve
from hub.policy.pack import CapRule, Policy, QuietRule
from hub.policy.rates import Bucket, Learned, Learning, Rates, retry_after
from hub.policy.verdict import Verdict

Case = Mapping[str, Any]
_LONGEST_DEADLINE = 3660  # business days


def answer(line: str | bytes) -> str:
    """One JSON line for one JSON line: the verdict in the shape of its suite, or ``{"error": …}``."""
    try:
        read = json.loads(line, parse_float=_number, parse_constant=_number)
        if not isinstance(read, dict) or not isinstance(read.get("case"), dict):
            raise ValueError('expected an object {"suite": …, "case": {…}}')
        suite = str(read.get("suite"))
        if suite not in SUITES:
            raise ValueError(f"unknown suite {suite!r} (known: {', '.join(SUITES)})")
        result = SUITES[suite](read["case"], _policy(json.dumps(read.get("policy") or {})))
    except KeyError as error:
        result = {"error": {"kind": "bad_case", "detail": f"{error.args[0]!r} is missing"}}
    except (ValueError, TypeError, AttributeError, IndexError, ArithmeticError, RecursionError) as error:
        result = {"error": {"kind": "bad_case", "detail": str(error)}}
    return json.dumps(result, ensure_ascii=False).encode(errors="backslashreplace").decode()


def _number(text: str) -> float:
    """Raises: ValueError for what JSON has no number for, which Python would read."""
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text} is no number to reckon with")
    return value


@lru_cache(maxsize=64)
def _policy(changes: str) -> Policy:
    """The packs of this installation, with the given fields replaced."""
    found = json.loads(changes)
    known = {key: value for key, value in found.items() if key in Policy.model_fields}
    unknown = found.keys() - known.keys() - {"version", "generated"}
    if unknown:
        raise ValueError(f"policy: unknown field {', '.join(sorted(unknown))}")
    return pack.over(pack.default(), known)


# --- reading and writing values ---


def moment(text: str | None) -> datetime | None:
    if text is None:
        return None
    at = datetime.fromisoformat(text)
    if at.tzinfo is None:
        raise ValueError(f"{text!r} has no offset from UTC (write 2026-01-31T12:00:00Z)")
    return at


def _moment(text: str) -> datetime:
    at = moment(text)
    if at is None:
        raise ValueError("a time is missing")
    return at


def shown(at: datetime) -> str:
    return at.astimezone(UTC).isoformat().replace("+00:00", "Z")


def _seconds(case: Case, name: str) -> timedelta:
    return timedelta(seconds=case.get(name) or 0)


def _purpose(case: Case) -> str:
    """Whatever does not say what it is counts as marketing."""
    return case.get("purpose") or "marketing"


def _verdict(found: Verdict) -> dict[str, Any]:
    result: dict[str, Any] = {"verdict": found.word, "reason": found.reason}
    if found.not_before is not None:
        result["not_before"] = shown(found.not_before)
    if found.notes:
        result["notes"] = list(found.notes)
    return result


# --- suites ---


def _keyword(case: Case, policy: Policy) -> Any:
    said = case.get("context") or {}
    asked = Asked(
        last_outbound=said.get("last_outbound_purpose"),
        pending=bool(said.get("pending_opt_in")),
        provider_opted_out=bool(said.get("provider_opted_out")),
    )
    medium = case.get("channel", "sms")
    words = {name: rules.words for name, rules in policy.channels.items()}
    here = Surroundings(medium, policy.channel(medium).carrier, words)
    languages = case.get("locales") or ["en"]
    found = classify(case["text"] or "", languages, asked, here, case.get("topics") or (), policy.keywords)
    return {"class": found.kind} | ({"scope": found.scope} if found.scope else {})


def _quiet(case: Case, policy: Policy) -> Any:
    if _purpose(case) != "marketing":
        return _verdict(Verdict())
    extra = {name: QuietRule.model_validate(rule) for name, rule in (case.get("extra_rules") or {}).items()}
    if extra:
        policy = policy.model_copy(update={"quiet_rules": {**policy.quiet_rules, **extra}})
    found = quiet.check(
        [quiet.Place(each["tz"], tuple(each["rules"])) for each in case["candidates"]],
        _moment(case["now"]),
        policy,
        expires_at=moment(case.get("expires_at")),
        guard=_seconds(case, "guard_s"),
        holidays=[date.fromisoformat(day) for day in case.get("holidays") or ()],
    )
    return _verdict(found)


def _window(case: Case, policy: Policy) -> Any:
    template = case.get("template")
    how = window.Approach(
        purpose=_purpose(case),
        last_inbound=moment(case.get("last_inbound")),
        actor="human" if case.get("actor") == "human" else "bot",
        template=window.TemplateState(template.get("status", "none"), template.get("category")) if template else None,
        tag=case.get("tag"),
        session_open=bool(case.get("session_open")),
    )
    rules = policy.channel(case["channel"])
    return _verdict(window.check(how, rules, _moment(case["now"]), policy, _seconds(case, "guard_s")))


_EVIDENCE = ("opt_out_offered", "similar_products", "own_customer", "condition_of_purchase")


def _scope(given: Mapping[str, Any]) -> Scope:
    return Scope(*(given.get(name) or "*" for name in ("channel", "purpose", "topic", "sender")))


def _event(given: Mapping[str, Any]) -> Event:
    scope = given.get("scope") or {}
    recorded = given.get("recorded_at") or scope.get("recorded_at")
    actor, verified = str(given.get("actor", "system")), bool(given.get("verified"))
    if actor.endswith("_verified"):
        actor, verified = actor.removesuffix("_verified"), True
    return Event(
        type=_TYPES.get(given["type"], given["type"]),
        at=_moment(given["at"]),
        subject=_who(given),
        actor=cast(Actor, actor),
        scope=_scope(scope),
        id=given.get("id", ""),
        basis=given.get("basis"),
        reason=given.get("reason"),
        verified=verified,
        source=given.get("source"),
        recorded_at=moment(recorded),
        of=given.get("of"),
        until=moment(given.get("expires_at") or given.get("until")),
        evidence={name: given[name] for name in _EVIDENCE if name in given},
    )


def _who(given: Mapping[str, Any]) -> str:
    person = given.get("person")
    if person is not None and not given.get("cp"):
        return f"person:{str(person).removeprefix('person:')}"
    return canonical_address(given.get("cp") or given["subject"])


_TYPES: dict[str, Any] = {
    "granted": "grant", "confirmed": "confirm", "revoked": "revoke", "objected": "object", "objection": "object",
    "suppressed": "suppress", "lifted": "lift", "erased": "erase", "reassigned": "reassign", "held": "hold",
    "hold_resolved": "resolve", "resolved": "resolve",
}  # fmt: skip


def _consent(case: Case, policy: Policy) -> Any:
    wanted = case["target"]
    target = Target(
        address=canonical_address(wanted["cp"]),
        channel=wanted["channel"],
        purpose=_purpose(wanted),
        topic=wanted.get("topic"),
        sender=wanted.get("sender"),
        jurisdiction=wanted.get("jurisdiction"),
        persons=tuple(_who({"person": each}) for each in case.get("person_links") or ()),
        essential=bool(wanted.get("essential")),
    )
    return _verdict(resolve([_event(each) for each in case["events"]], target, _moment(case["now"]), policy))


def _feedback(case: Case, policy: Policy) -> Any:
    effect = effect_of(case["provider"], str(case["code"]), policy).model_dump(exclude_none=True)
    return {name: _whole(value) for name, value in effect.items()}


def _whole(value: Any) -> Any:
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _rate(case: Case, policy: Policy) -> Any:
    buckets = {name: _bucket(name, each) for name, each in case["buckets"].items()}
    rates = Rates()
    results: list[Any] = []
    for op in case["ops"]:
        at = float(op["t"])
        if "freeze" in op:
            rates.freeze(op["freeze"], at + op["for_s"])
            continue
        wanted = {name: buckets[name] for name in op["keys"]}
        cost = op.get("cost", op.get("segments", 1))
        turn = rates.admit(wanted, at, cost)[1] if case.get("mode") == "police" else rates.reserve(wanted, at, cost)
        results.append(["allow" if turn <= at + 1e-9 else "defer", round(turn, 4)])
    return results


def _bucket(name: str, given: Mapping[str, Any]) -> Bucket:
    found = Bucket(given["count"], given.get("period_s", 1), given.get("burst", 1))
    if min(found.count, found.period_s, found.burst) <= 0:
        raise ValueError(f"bucket {name!r}: count, period_s and burst must be more than 0")
    return found


def _adaptive(case: Case, policy: Policy) -> Any:
    given = case.get("config") or {}
    how = Learning(
        minimum=given.get("min", 1),
        maximum=float(given["max"] if "max" in given else case["start_rate"]),
        beta=given.get("beta", 0.7),
        step=given.get("step", 1),
        step_s=given.get("step_s", 10),
        default_hold_s=given.get("default_hold_s", 10),
        cut_cooldown_s=given.get("cut_cooldown_s", 2),
        longest_hold_s=given.get("max_hold_s", policy.max_retry_after_s),
    )
    learned = Learned(float(case["start_rate"]))
    results: list[Any] = []
    for each in case["events"]:
        if each["type"] == "throttle":
            learned.throttled(each["t"], how, each.get("retry_after", each.get("retry_after_s")))
        else:
            learned.went_well(each["t"], how)
        results.append([round(learned.rate, 4), learned.may_send(each["t"])])
    return results


def _retry_after(case: Case, policy: Policy) -> Any:
    delay, source = retry_after(case.get("header"), _moment(case["now"]), case.get("attempt", 1), policy)
    return {"delay_s": delay, "source": source}


def _unique_quota(case: Case, policy: Policy) -> Any:
    sent = [(each["to"], _moment(each["at"])) for each in case["sent"]]
    length = timedelta(hours=policy.quota_hours)
    inside = bool(case.get("in_window"))
    return _verdict(limits.unique_recipients(sent, case["to"], case["limit"], _moment(case["now"]), length, inside))


def _cap(case: Case, policy: Policy) -> Any:
    history = [
        limits.Sent(
            _moment(each["at"]), each.get("channel", "*"), _purpose(each), each.get("status", "sent"), each.get("topic")
        )
        for each in case.get("history") or ()
    ]
    one = limits.Candidate(
        case["channel"], _purpose(case), case.get("topic"), case.get("jurisdiction"), moment(case.get("expires_at"))
    )
    rules = [CapRule.model_validate(each) for each in case["rules"]] if "rules" in case else policy.caps
    return _verdict(limits.caps(rules, history, one, _moment(case["now"])))


def _email_headers(case: Case, policy: Policy) -> Any:
    dkim = case.get("dkim") or {}
    return mail.check(
        mail.Mail(
            _purpose(case),
            case["from_domain"],
            case.get("headers") or {},
            dkim.get("d"),
            (dkim.get("h") or "").split(":"),
            bool(case.get("postal_address")),
        )
    )


def _unsubscribe_endpoint(case: Case, policy: Policy) -> Any:
    already = any(case.get(name) for name in ("already", "already_revoked", "already_unsubscribed"))
    found = mail.unsubscribe(case["method"].upper(), bool(case.get("token_valid")), already)
    return {"status": found.status, "effect": found.effect}


def _breaker(case: Case, policy: Policy) -> Any:
    delivered, complaints, bounced = (case.get(name) or 0 for name in ("delivered", "complaints", "hard_bounces"))
    return limits.health(delivered, complaints, bounced, policy.breaker)


def _deadline(case: Case, policy: Policy) -> Any:
    free = [date.fromisoformat(day) for day in case.get("holidays") or ()]
    days = int(case["business_days"])
    if not 0 <= days <= _LONGEST_DEADLINE:
        raise ValueError(f"business_days: {days} is not from 0 to {_LONGEST_DEADLINE}")
    return limits.deadline(date.fromisoformat(case["received"]), days, free).isoformat()


def _normalize(case: Case, policy: Policy) -> Any:
    return same(case["kind"], case["a"], case["b"])


def _auto_reply(case: Case, policy: Policy) -> Any:
    replied = any(case.get(name) for name in ("provider_replied", "provider_already_replied", "provider_confirmed"))
    found = replies.auto_reply(
        case["class"],
        case.get("delay_s") or 0,
        already_confirmed=bool(case.get("already_confirmed")),
        provider_replied=replied,
        marketing_content=bool(case.get("marketing_content")),
    )
    return {"send": found.send, "reason": found.reason}


def _warmup(case: Case, policy: Policy) -> Any:
    return limits.warm_up(case["start"], case["target"], case["days"], policy.warmup)


def _pipeline(case: Case, policy: Policy) -> Any:
    verdicts: list[Verdict] = []
    for name, fact in (case.get("facts") or {}).items():
        if isinstance(fact, Mapping):
            reason = fact.get("reason", "OK")
            verdicts.append(Verdict(fact["verdict"], reason, moment(fact.get("not_before"))))
        elif fact and (found := order.flag(name)):
            verdicts.append(found)
    return _verdict(order.first(verdicts, _purpose(case), bool(case.get("fallback_available")), policy))


SUITES: Mapping[str, Callable[[Case, Policy], Any]] = {
    "keyword": _keyword,
    "quiet": _quiet,
    "window": _window,
    "consent": _consent,
    "feedback": _feedback,
    "rate": _rate,
    "adaptive": _adaptive,
    "retry_after": _retry_after,
    "unique_quota": _unique_quota,
    "cap": _cap,
    "email_headers": _email_headers,
    "unsubscribe_endpoint": _unsubscribe_endpoint,
    "breaker": _breaker,
    "deadline": _deadline,
    "normalize": _normalize,
    "auto_reply": _auto_reply,
    "warmup": _warmup,
    "pipeline": _pipeline,
}


def answers(lines: Iterable[bytes]) -> Iterable[str]:
    for line in lines:
        if line.strip():
            yield answer(line)
