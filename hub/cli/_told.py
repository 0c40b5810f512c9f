"""Timelines and explanations for people."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any

from hub.cli._text import content, indented, line, moment
from hub.clock import system_clock

_ARROWS = {"in": "→", "out": "←", "note": "·"}


def timeline(found: dict[str, Any], limit: int) -> str:
    """``found``: a customer, and messages, oldest first."""
    customer, messages = found["customer"], found["messages"]
    lines = [_customer(customer)]
    lines += [f"  {address(each)}" for each in customer["identities"]]
    if not messages:
        hint = f"no messages yet; send one: hub send {customer['id']} \"Hello\" --purpose reply"
        return "\n".join([*lines, "", hint])
    if len(messages) == limit:
        lines += ["", f"(the newest {limit}; more with --limit)"]
    for each in messages:
        lines += ["", head(each), indented(content(each), 4)]
        if "deliveries" in each:
            lines += [f"    {told}" for told in _decided(each)]
    return "\n".join(lines)


def _customer(customer: dict[str, Any]) -> str:
    facts = [customer["id"], customer["external_id"] and f"your id {customer['external_id']}", customer["country"],
             customer["time_zone"], customer["tier"]]
    return line(f"{customer['name'] or 'Unknown customer'} ({', '.join(filter(None, facts))})")


def address(identity: dict[str, Any]) -> str:
    held = f", nothing is sent there: {', '.join(identity['suppressed'])}" if identity["suppressed"] else ""
    return line(f"{identity['address']} ({identity['proof']}{held})")


def head(message: dict[str, Any]) -> str:
    """When, which way, by whom, where, how it stands."""
    author = message["author"]
    who = author["name"] if author["kind"] == "customer" else f"{author['name']} ({author['kind']})"
    where = message["via"] or message["channel"]
    marks = ["note, stays inside"] if message["direction"] == "note" else []
    if message["direction"] == "out":
        marks.append(f"{message['state']} – {message['reason']}" if message["reason"] else message["state"])
    if message["automatic"]:
        marks.insert(0, "automatic")
    words = [moment(message["at"]), _ARROWS[message["direction"]], where, who, f"[{message['id']}]", ", ".join(marks)]
    return line(" ".join(words))


def _decided(message: dict[str, Any]) -> Iterator[str]:
    for delivery in message["deliveries"]:
        for made in delivery["decisions"]:
            failed = [check["detail"] for check in made["checks"] if not check["ok"]]
            yield line(f"decided {moment(made['at'])}: {made['verdict']} {made['reason']} {'; '.join(failed)}")


def why(found: dict[str, Any]) -> str:
    lines = [head(found), indented(content(found), 4), "", f"customer      {found['customer']}",
             f"conversation  {found['conversation']}", f"purpose       {found['purpose']}"]
    if found["address"]:
        lines.append(f"{'from' if found['direction'] == 'in' else 'to':<14}{line(found['address'])}")
    to_customer = [each for each in found["deliveries"] if each["kind"] == "contact"]
    if found["direction"] == "in":
        lines.append("a customer wrote it, so nothing was decided")
    elif found["direction"] == "note":
        lines.append("a note: it never leaves the business, so nothing was decided")
    elif not to_customer:
        lines.append("it was not put on its way to anybody")
    for each in found["deliveries"]:
        lines += ["", *_delivery(each)]
    return "\n".join(lines)


def _delivery(each: dict[str, Any]) -> Iterator[str]:
    what = "to the customer" if each["kind"] == "contact" else "to the desk"
    target = f" {each['address']}" if each["address"] else ""
    yield line(f"{each['id']} {what} by {each['channel']}{target}: {each['state']}{_because(each)}")
    if each["next_try_at"]:
        due = datetime.fromisoformat(each["next_try_at"]) <= system_clock()
        when = "as soon as its turn comes" if due else f"at {moment(each['next_try_at'])}"
        yield f"  looked at next {when}, given up at {moment(each['expires_at'])}"
    for made in each["decisions"]:
        later = f", not before {moment(made['not_before'])}" if made["not_before"] else ""
        version = f" (policy {made['policy_version']})" if made["policy_version"] else ""
        yield "  " + line(f"decided {moment(made['at'])}: {made['verdict']}, {made['reason']}{later}{version}")
        for check in made["checks"]:
            yield f"    {'ok ' if check['ok'] else 'NO '} {check['name']:<22} {line(check['detail'])}"
    for tried in each["attempts"]:
        said = " ".join(filter(None, (tried["code"], tried["detail"])))
        outcome = tried["outcome"] or "not finished"
        yield "  " + line(f"attempt {tried['number']} {moment(tried['started_at'])}: {outcome} {said}")
    for taken in each["receipts"]:
        detail = taken["detail"]
        facts = ", ".join(f"{name} {value}" for name, value in detail.items()) if isinstance(detail, dict) else detail
        said = f"{taken['state']}, provider id {taken['external_id']} {facts}"
        yield "  " + line(f"part {taken['part'] + 1} {moment(taken['at'])}: {said}")


def _because(each: dict[str, Any]) -> str:
    code = f" [{each['code']}]" if each["code"] and not str(each["reason"]).startswith(each["code"]) else ""
    return f" – {each['reason']}{code}" if each["reason"] else code
