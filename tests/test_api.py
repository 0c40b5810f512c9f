"""The API as a whole: who may ask, what a request must look like, how a refusal reads, what a key stands for."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
import sqlalchemy as sa

from hub import keys
from hub.keys import local_token
from hub.settings import master_key
from hub.web.api import ROUTES
from tests.rest import Api, api

SENDABLE = {"customer": "paper:ann", "text": "Your parcel is on its way.", "purpose": "reply"}


@pytest.fixture
async def rest(database_url: str, tmp_path: Path) -> AsyncIterator[Api]:
    async with api(database_url, tmp_path) as client:
        yield client


@pytest.fixture
async def light(sqlite_url: str, tmp_path: Path) -> AsyncIterator[Api]:
    """For what never gets as far as the database."""
    async with api(sqlite_url, tmp_path) as client:
        yield client


async def test_a_message_is_taken_sent_and_explained(rest: Api) -> None:
    reply = await rest.send(**SENDABLE)
    assert reply.status == 202
    assert reply.headers["location"] == f"/api/v1/messages/{reply.json['id']}"
    assert rest.office.letters.texts == ["Your parcel is on its way."]
    found = await rest.ask("GET", reply.headers["location"], root="")
    assert found.json["state"] == "sent"
    [delivery] = [each for each in found.json["deliveries"] if each["kind"] == "contact"]
    assert (delivery["id"], delivery["channel"]) == (reply.json["delivery"], "paper")
    assert [each["verdict"] for each in delivery["decisions"]] == ["allow"]
    assert [each["outcome"] for each in delivery["attempts"]] == ["sent"]
    assert [each["external_id"] for each in delivery["receipts"]] == ["paper-1"]
    by_delivery = await rest.get(f"/messages/{reply.json['delivery']}")
    assert by_delivery.json == found.json


# --- one key, one effect ---


async def test_25_requests_at_once_with_one_key_are_one_message(rest: Api) -> None:
    replies = await asyncio.gather(*(rest.post("/messages", SENDABLE, key="same") for _ in range(25)))
    await rest.office.settled()
    assert {reply.status for reply in replies} == {202}
    assert len({reply.text for reply in replies}) == 1
    assert len({reply.headers["location"] for reply in replies}) == 1
    assert len(await rest.office.rows("message")) == 1
    assert rest.office.letters.texts == [SENDABLE["text"]]


async def test_25_requests_at_once_with_their_own_keys_to_a_stranger_are_25_messages_to_one_customer(
    rest: Api,
) -> None:
    replies = await asyncio.gather(*(rest.post("/messages", SENDABLE, key=f"key-{n}") for n in range(25)))
    await rest.office.settled()
    assert [reply.status for reply in replies] == [202] * 25
    assert len(rest.office.letters.accepted) == 25
    assert len(await rest.office.rows("customer")) == 1
    assert len(await rest.office.rows("conversation")) == 1


async def test_a_key_used_for_another_body_is_refused_and_has_no_effect(rest: Api) -> None:
    first = await rest.send(key="same", **SENDABLE)
    other = await rest.send(key="same", **SENDABLE | {"text": "Something else."})
    assert other.problem == (422, "idempotency_key_reused")
    again = await rest.send(key="same", **SENDABLE)
    assert again.text == first.text
    assert rest.office.letters.texts == [SENDABLE["text"]]


async def test_the_same_body_written_otherwise_is_the_same_request(rest: Api) -> None:
    first = await rest.send(key="same", **SENDABLE)
    spaced = json.dumps(dict(reversed(SENDABLE.items())), indent=4).encode()
    again = await rest.post("/messages", data=spaced, key="same")
    assert (again.status, again.text) == (202, first.text)


async def test_two_callers_with_the_same_key_do_not_see_each_other(rest: Api) -> None:
    first = await rest.send(key="same", **SENDABLE)
    theirs = await rest.post("/messages", SENDABLE, key="same", token=await rest.key("send"))
    await rest.office.settled()
    assert theirs.status == 202
    assert theirs.json["id"] != first.json["id"]
    assert len(rest.office.letters.accepted) == 2


async def test_what_was_refused_does_not_use_the_key_up(rest: Api) -> None:
    refused = await rest.send(key="same", customer="nobody", text="hi")
    assert refused.problem == (422, "unsendable")
    assert [each["field"] for each in refused.json["errors"]] == ["customer"]
    assert (await rest.send(key="same", **SENDABLE)).status == 202


async def test_a_key_is_forgotten_after_a_week(rest: Api) -> None:
    first = await rest.send(key="same", **SENDABLE)
    await rest.office.advance(days=6, hours=23)
    assert (await rest.send(key="same", **SENDABLE)).text == first.text
    await rest.office.advance(hours=2)
    again = await rest.send(key="same", **SENDABLE)
    assert (again.status, again.json["id"] == first.json["id"]) == (202, False)


async def test_a_note_and_a_customer_are_made_once_per_key_too(rest: Api) -> None:
    sent = await rest.send(**SENDABLE)
    notes = f"/conversations/{sent.json['conversation']}/notes"
    made = [await rest.post(notes, {"text": "call back"}, key="note") for _ in range(2)]
    assert [each.status for each in made] == [201, 201]
    assert made[0].text == made[1].text
    people = [await rest.post("/customers", {"name": "Bo"}, key="bo") for _ in range(2)]
    assert people[0].text == people[1].text


async def test_what_cannot_be_a_key_is_refused(light: Api) -> None:
    for key in ("", "x" * 201, "ä", "a\tb"):
        assert (await light.post("/messages", SENDABLE, key=key)).problem == (400, "bad_idempotency_key"), key
    assert await light.office.rows("message") == []


async def test_a_send_needs_a_key(light: Api) -> None:
    assert (await light.post("/messages", SENDABLE)).problem == (400, "idempotency_key_missing")


# --- who may ask ---


async def test_every_route_asks_for_an_api_key(light: Api) -> None:
    for route in ROUTES:
        path = re.sub(r"{\w+}", "msg_0000000000001", route.path)
        reply = await light.ask(route.method, path, token=None)
        assert reply.problem == (401, "unauthorized"), path
        assert reply.headers["www-authenticate"] == 'Bearer realm="omnihub"'


async def test_every_route_asks_for_its_scope(light: Api) -> None:
    tokens = {scope: await light.key(scope) for scope in keys.SCOPES}
    for route in ROUTES:
        path = re.sub(r"{\w+}", "msg_0000000000001", route.path)
        for scope in keys.SCOPES:
            reply = await light.ask(route.method, path, token=tokens[scope])
            may = scope in (route.scope, "admin")
            assert (reply.status != 403) == may, (scope, route.method, path)
            if not may:
                assert reply.problem == (403, "forbidden")
                assert f"--scope {route.scope}" in reply.json["detail"]


async def test_what_is_no_api_key_is_refused(light: Api) -> None:
    for header in ("Bearer", "Bearer ", "Bearer x", "Bearer hub_000000000000_x", "Bearer hub_local_x", "Bearer hub__",
                   "Basic eDp5", "Bearer \xff\xfe", "hub_000000000000_x"):
        reply = await light.get("/channels", headers={"Authorization": header})
        assert reply.problem == (401, "unauthorized"), header


async def test_a_right_id_with_a_wrong_secret_is_refused(rest: Api) -> None:
    token = await rest.key("admin")
    wrong = token[:-1] + ("A" if token[-1] != "A" else "B")
    assert (await rest.get("/channels", token=token)).status == 200
    assert (await rest.get("/channels", token=wrong)).problem == (401, "unauthorized")


async def test_a_revoked_key_is_refused_from_then_on(rest: Api) -> None:
    made = await rest.post("/keys", {"name": "script", "scopes": ["read"]})
    assert made.status == 201
    assert (await rest.get("/channels", token=made.json["token"])).status == 200
    gone = await rest.ask("DELETE", f"/keys/{made.json['key']['id']}")
    assert (gone.status, gone.json["revoked_at"] is not None) == (200, True)
    assert (await rest.get("/channels", token=made.json["token"])).problem == (401, "unauthorized")


async def test_the_secret_is_shown_once_and_not_kept(rest: Api) -> None:
    made = await rest.post("/keys", {"name": "script", "scopes": ["send", "read"]})
    secret = made.json["token"].split("_", 2)[2]
    listed = await rest.get("/keys")
    assert secret not in listed.text
    assert [(each["name"], each["scopes"]) for each in listed.json["items"]] == [
        ("boss", ["admin"]), ("script", ["read", "send"]),
    ]
    [row] = [row for row in await rest.office.rows("api_key") if row.name == "script"]
    assert secret.encode() not in bytes(row.hash)
    assert secret not in json.dumps([str(value) for value in row])


async def test_a_key_in_the_url_is_no_key_and_is_not_repeated(light: Api) -> None:
    reply = await light.get(f"/channels?api_key={light.token}", token=None)
    assert reply.problem == (401, "unauthorized")
    assert light.token not in reply.text


async def test_commands_on_the_same_machine_need_no_key_of_their_own(light: Api) -> None:
    token = local_token(master_key(light.office.hub.settings))
    assert (await light.get("/keys", token=token)).status == 200
    passed_on = await light.get("/keys", token=token, headers={"X-Forwarded-For": "203.0.113.9"})
    assert passed_on.problem == (401, "unauthorized")


async def test_too_many_wrong_keys_are_slowed_down_and_a_right_one_is_not(light: Api) -> None:
    replies = [await light.get("/channels", token=f"hub_000000000000_{n}") for n in range(21)]
    assert {reply.problem for reply in replies[:20]} == {(401, "unauthorized")}
    assert replies[20].problem == (429, "too_many_failures")
    assert 0 < int(replies[20].headers["retry-after"]) <= 60
    assert (await light.get("/channels")).status == 200
    await light.office.advance(minutes=1)
    assert (await light.get("/channels", token="hub_000000000000_x")).problem == (401, "unauthorized")


# --- what a request must look like ---


async def _nothing_happened(rest: Api) -> None:
    assert await rest.office.rows("message") == []
    assert await rest.office.rows("customer") == []


BODIES = [
    (b"", 400, "malformed_json"),
    (b"{", 400, "malformed_json"),
    (b"\xff{}", 400, "malformed_json"),
    (b'{"text": "a", "text": "b"}', 400, "malformed_json"),
    (b'{"text": NaN}', 400, "malformed_json"),
    (b'{"text": 1e999}', 400, "malformed_json"),
    (b'{"text": ' + b"9" * 5000 + b"}", 400, "malformed_json"),
    (rb'{"text": "\ud800"}', 400, "malformed_json"),
    (rb'{"text": "a\u0000b"}', 400, "malformed_json"),
    (b"[" * 100_000 + b"]" * 100_000, 400, "malformed_json"),
    (b"[]", 422, "invalid_body"),
    (b"null", 422, "invalid_body"),
    (b'{"customer": "paper:ann", "text": ["hi"]}', 422, "invalid_body"),
    (b'{"customer": {"$ne": null}, "text": "hi"}', 422, "invalid_body"),
    (b'{"customer": "paper:ann"}', 422, "invalid_body"),
    (b'{"customer": "paper:ann", "text": "   "}', 422, "invalid_body"),
    (rb'{"customer": "paper:ann", "text": "hi", "subject": "a\r\nBcc: x@example.com"}', 422, "invalid_body"),
    (b'{"customer": "paper:ann", "text": "hi", "attachments": [{"url": "file:///etc/passwd"}]}', 422,
     "invalid_body"),
    (b'{"customer": "paper:ann", "text": "hi", "purpose": "note"}', 422, "invalid_body"),
]


async def test_a_body_that_cannot_be_taken(light: Api) -> None:
    for body, status, code in BODIES:
        assert (await light.post("/messages", data=body, key="k")).problem == (status, code), body[:100]
    await _nothing_happened(light)


async def test_what_nobody_says_the_purpose_of_is_marketing(rest: Api) -> None:
    """And so needs an opt-in: a program that forgets it shall not get around the policy."""
    reply = await rest.post("/messages", {"customer": "paper:ann", "text": "50% off!"}, key="k")
    await rest.office.settled()
    why = (await rest.get(f"/messages/{reply.json['id']}")).json
    assert (why["state"], why["purpose"], why["reason"][:15]) == ("denied", "marketing", "CONSENT_MISSING")
    assert rest.office.letters.texts == []


async def test_what_only_looks_like_a_nul_is_taken(light: Api) -> None:
    body = rb'{"customer": "paper:ann", "text": "C:\\u0000", "purpose": "reply"}'
    reply = await light.post("/messages", data=body, key="k")
    assert reply.status == 202
    await light.office.settled()
    assert light.office.letters.texts == ["C:\\u0000"]


async def test_unknown_fields_are_refused_by_name_with_the_nearest_known_one(light: Api) -> None:
    body = SENDABLE | {"txet": "x", "attachments": [{"url": "https://example.com/a", "size": 1}]}
    reply = await light.post("/messages", body, key="k")
    assert reply.problem == (422, "invalid_body")
    found = {each["field"]: each["detail"] for each in reply.json["errors"]}
    assert found.keys() == {"txet", "attachments.0.size"}
    assert "did you mean text?" in found["txet"]
    assert "txet" in reply.json["detail"]
    await _nothing_happened(light)


async def test_of_very_many_mistakes_the_first_are_told(light: Api) -> None:
    body = SENDABLE | {f"x{number:03}": 1 for number in range(1000)}
    reply = await light.post("/messages", body, key="k")
    assert reply.problem == (422, "invalid_body")
    assert [each["field"] for each in reply.json["errors"]] == [f"x{number:03}" for number in range(50)]
    assert reply.json["detail"].endswith("x048, x049, and 950 more")


async def test_what_is_wrong_with_the_whole_is_told_too(light: Api) -> None:
    reply = await light.post("/messages", {"customer": "paper:ann"}, key="k")
    assert reply.json["detail"].startswith("mend the body and send it again: nothing to send: give text")
    assert [each["field"] for each in reply.json["errors"]] == [""]


async def test_nobody_makes_themselves_an_admin_or_verified(light: Api) -> None:
    body = {"name": "x", "role": "admin", "tenant_id": 2, "verified": True, "id": 1, "merged_into": 1}
    reply = await light.post("/customers", body)
    assert {each["field"] for each in reply.json["errors"]} == body.keys() - {"name"}
    await _nothing_happened(light)


async def test_a_refusal_does_not_repeat_what_was_sent(light: Api) -> None:
    reply = await light.post("/messages", {"customer": "paper:ann", "text": {"canary": "canary-value"}}, key="k")
    assert reply.problem == (422, "invalid_body")
    assert "canary-value" not in reply.text


async def test_a_problem_is_of_the_standard_shape(light: Api) -> None:
    reply = await light.post("/messages", {"customer": "paper:ann", "text": 1}, key="k")
    assert reply.headers["content-type"].startswith("application/problem+json")
    assert {name: reply.json[name] for name in ("type", "title", "status", "code")} == {
        "type": "urn:omnihub:problem:invalid_body", "title": "Invalid body", "status": 422, "code": "invalid_body",
    }
    assert reply.json["errors"] == [{"field": "text", "detail": "Input should be a valid string"}]
    assert (reply.headers["cache-control"], reply.headers["x-content-type-options"]) == ("no-store", "nosniff")


async def test_another_media_type_is_refused(light: Api) -> None:
    for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"):
        reply = await light.post("/messages", SENDABLE, key="k", headers={"Content-Type": kind})
        assert reply.problem == (415, "not_json"), kind
    await _nothing_happened(light)


async def test_a_compressed_body_is_refused(light: Api) -> None:
    reply = await light.post("/messages", SENDABLE, key="k", headers={"Content-Encoding": "gzip"})
    assert reply.problem == (415, "compressed")


async def test_a_body_that_is_too_large_is_refused_whether_or_not_it_says_so(light: Api) -> None:
    limit = int(light.office.hub.settings.body_limit)
    assert await _raw(light, "POST", "/messages", length=limit + 1) == 413  # before any of it has come

    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(limit // 65536 + 2):
            yield b" " * 65536

    headers = {"Authorization": f"Bearer {light.token}", "Idempotency-Key": "k", "Content-Type": "application/json"}
    url = f"{light.base}/api/v1/messages"
    async with aiohttp.ClientSession() as session, session.post(url, data=pieces(), headers=headers) as answer:
        assert answer.status == 413
        assert str(limit) in (await answer.json(content_type="application/problem+json"))["detail"]
    await _nothing_happened(light)


async def test_a_wrong_method_is_told_the_right_ones(light: Api) -> None:
    for method, path, allowed in (
        ("PUT", "/messages", "POST"),
        ("GET", "/messages", "POST"),
        ("DELETE", "/customers", "GET, POST"),
        ("POST", "/conversations/con_0000000000001", "GET, PATCH"),
        ("POST", "/channels", "GET"),
    ):
        reply = await light.ask(method, path)
        assert (*reply.problem, reply.headers["allow"]) == (405, "method_not_allowed", allowed), (method, path)


async def test_an_unknown_path_is_a_problem_too(light: Api) -> None:
    for path in ("/nothing", "/messages/", "/", "/customers/a/b/c", "/../v1/nothing"):
        assert (await light.get(path)).problem == (404, "no_such_path"), path


QUERIES = [
    ("/customers?limit=0", "bad_query"),
    ("/customers?limit=201", "bad_query"),
    ("/customers?limit=ten", "bad_query"),
    ("/customers?limit=1&limit=2", "bad_query"),
    ("/customers?sort=id;select+pg_sleep(5)", "bad_query"),
    ("/customers?cursor=x", "bad_cursor"),
    ("/customers?cursor=%C3%A4", "bad_cursor"),
    ("/customers?cursor=Y29udmVyc2F0aW9uczox", "bad_cursor"),  # conversations:1
    ("/customers?cursor=Y3VzdG9tZXJzOi0x", "bad_cursor"),  # customers:-1
    ("/customers?cursor=Y3VzdG9tZXJzOjk5OTk5OTk5OTk5OTk5OTk5OTk5", "bad_cursor"),  # beyond a row id
    ("/customers?address=nonsense", "bad_query"),
    ("/customers?external_id=a%0D%0Ab", "bad_query"),
    ("/conversations?state=gone", "bad_query"),
    ("/conversations?assignee=zoe&unassigned=true", "bad_query"),
    ("/suppressions?reason=x", "bad_query"),
]


async def test_a_query_that_makes_no_sense(light: Api) -> None:
    for path, code in QUERIES:
        assert (await light.get(path)).problem == (400, code), path


NAMES = ["%00", "a%00b", "%FF%FE", "%ED%A0%80", "%2F..%2F", "'%20OR%201=1--", "%25%25", "%F0%9F%92%A9", "a" * 5000,
         "cus_zzzzzzzzzzzzz", "msg_zzzzzzzzzzzzz", "con_!", "-1", "1e999", "%0D%0AX:%20y", "tel:x", "mailto:%40", ":"]


async def test_no_name_in_a_path_breaks_anything(rest: Api) -> None:
    """Whatever stands where an id is expected, it is a refusal, and never the server's own fault."""
    for route in ROUTES:
        if "{" not in route.path:
            continue
        for name in NAMES:
            path = re.sub(r"{\w+}", name, route.path)
            reply = await _raw(rest, route.method, path, b"{}" if route.body else b"")
            assert reply in (400, 404, 422) or (reply == 200 and route.path.startswith("/consent/")), (path, reply)


async def test_no_name_in_a_query_breaks_anything(rest: Api) -> None:
    for name in NAMES:
        for field in ("customers?address", "customers?external_id", "conversations?assignee", "conversations?customer"):
            assert await _raw(rest, "GET", f"/{field}={name}") in (200, 400), (field, name)


async def _raw(rest: Api, method: str, path: str, body: bytes = b"", length: int | None = None) -> int:
    """The status of a request that reaches the server as it is written here. ``length``: what it says of its body."""
    reader, writer = await asyncio.open_connection("127.0.0.1", rest.office.hub.port)
    head = (
        f"{method} /api/v1{path} HTTP/1.1\r\nHost: hub\r\nConnection: close\r\nAuthorization: Bearer {rest.token}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body) if length is None else length}\r\n"
        f"Idempotency-Key: k\r\n\r\n"
    )
    writer.write(head.encode() + body)
    answer = await reader.readuntil(b"\r\n")  # it leaves the connection open for a body that may still come
    writer.close()
    await writer.wait_closed()
    return int(answer.split(b" ", 2)[1])


async def test_what_goes_wrong_inside_is_not_shown(rest: Api) -> None:
    await rest.office.hub.store.write(lambda connection: connection.execute(sa.text("DROP TABLE alert")))
    reply = await rest.get("/alerts?limit=7")
    lite = rest.office.hub.store.dialect == "sqlite"  # which says of a lost table what it says of a lost disk
    assert reply.problem == ((503, "store_unavailable") if lite else (500, "internal"))
    for inside in ("alert", "SELECT", "sqlalchemy", "Traceback", ".py", "Error"):
        assert inside not in reply.text
    assert (await rest.get("/channels")).status == 200


async def test_on_a_full_disk_nothing_is_stored_and_the_key_is_still_good(light: Api) -> None:
    store = light.office.hub.store
    pages = await store.write(lambda connection: connection.execute(sa.text("PRAGMA page_count")).scalar_one())
    await store.write(lambda connection: connection.execute(sa.text(f"PRAGMA max_page_count = {pages}")).scalar_one())
    large = SENDABLE | {"text": "x" * 90_000}
    refused = await light.post("/messages", large, key="k")
    assert refused.problem == (503, "store_full")
    assert refused.headers["retry-after"] == "60"
    await store.write(lambda connection: connection.execute(sa.text("PRAGMA max_page_count = 100000")).scalar_one())
    await _nothing_happened(light)
    assert (await light.post("/messages", large, key="k")).status == 202
