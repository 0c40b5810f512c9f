"""What the API can do, resource by resource, on both databases."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from hub import consent
from hub.web.ledger import Entries, _apply
from tests.paper import until
from tests.rest import Api, api


@pytest.fixture
async def rest(database_url: str, tmp_path: Path) -> AsyncIterator[Api]:
    async with api(database_url, tmp_path) as client:
        yield client


async def _all(rest: Api, path: str, limit: int) -> list[dict[str, Any]]:
    """Everything a list has, page by page."""
    found: list[dict[str, Any]] = []
    cursor = ""
    while True:
        reply = await rest.get(f"{path}{'&' if '?' in path else '?'}limit={limit}{cursor}")
        assert reply.status == 200, reply.text
        assert len(reply.json["items"]) <= limit
        found += reply.json["items"]
        if reply.json["next"] is None:
            return found
        cursor = f"&cursor={reply.json['next']}"


# --- customers ---


async def test_a_customer_is_made_and_then_updated_by_external_id(rest: Api) -> None:
    ann = {"external_id": "crm-7", "name": "Ann", "tier": "gold", "attributes": {"orders": 3},
           "identities": [{"address": "paper:ann", "proof": "verified"}]}
    made = await rest.post("/customers", ann)
    assert made.status == 201
    assert made.headers["location"] == f"/api/v1/customers/{made.json['customer']['id']}"
    changed = await rest.post("/customers", {"external_id": "crm-7", "name": "Anna"})
    assert changed.status == 200
    assert changed.json["customer"]["id"] == made.json["customer"]["id"]
    found = (await rest.get("/customers/crm-7")).json
    assert (found["name"], found["tier"], found["attributes"]) == ("Anna", "gold", {"orders": 3})
    assert [(each["address"], each["proof"]) for each in found["identities"]] == [("paper:ann", "verified")]


async def test_a_customer_is_found_by_each_of_their_names(rest: Api) -> None:
    draft = {"external_id": "crm-7", "identities": [{"address": "tel:+44 7700 900123"}]}
    made = (await rest.post("/customers", draft)).json["customer"]
    for name in (made["id"], "crm-7", "tel:+447700900123", "tel:+44 (0)7700 900-123".replace("(0)", "")):
        found = await rest.get(f"/customers/{quote(name, safe='')}")
        assert (found.status, found.json.get("id")) == (200, made["id"]), name
    slashed = (await rest.post("/customers", {"external_id": "shop/7?x#y%2F"})).json["customer"]
    assert (await rest.get("/customers/shop%2F7%3Fx%23y%252F")).json == slashed
    assert (await rest.get("/customers/shop%2F7%3Fx%23y%252F/messages")).json["items"] == []
    assert (await rest.get("/customers/nobody")).problem == (404, "not_found")


async def test_customers_are_searched_by_address_and_external_id(rest: Api) -> None:
    for number in range(3):
        draft = {"external_id": f"crm-{number}", "identities": [{"address": f"mailto:c{number}@example.com"}]}
        await rest.post("/customers", draft)

    async def names(query: str) -> list[str]:
        return [each["external_id"] for each in (await rest.get(f"/customers?{query}")).json["items"]]

    assert await names(f"address={quote('mailto:C1@Example.com')}") == ["crm-1"]
    assert await names(f"address={quote('mailto:nobody@example.com')}") == []
    await rest.post("/customers", {"external_id": "crm-9", "identities": [{"address": "tel:+447700900123"}]})
    assert await names("address=tel:%2B44%207700%20900123") == ["crm-9"]
    assert await names("address=tel:+447700900123") == ["crm-9"]
    assert await names("external_id=crm-2") == ["crm-2"]
    assert await names(f"external_id=crm-2&address={quote('mailto:c1@example.com')}") == []
    assert await names("external_id=crm-%25") == []
    assert await names("") == ["crm-9", "crm-2", "crm-1", "crm-0"]


async def test_20_requests_at_once_make_one_customer(rest: Api) -> None:
    draft = {"external_id": "crm-7", "identities": [{"address": "paper:ann", "proof": "verified"}]}
    replies = await asyncio.gather(*(rest.post("/customers", draft) for _ in range(20)))
    assert {reply.status for reply in replies} <= {200, 201}
    assert [reply.status for reply in replies].count(201) == 1
    assert len({reply.json["customer"]["id"] for reply in replies}) == 1


async def test_a_claimed_address_of_somebody_else_stays_theirs(rest: Api) -> None:
    await rest.office.write("hello", sender="ann", name="Ann")
    saved = await rest.post("/customers", {"external_id": "eve", "identities": [{"address": "paper:ann"}]})
    assert saved.json["not_attached"] == ["paper:ann"]
    assert saved.json["customer"]["identities"] == []
    assert (await rest.get("/customers/eve/messages")).json["items"] == []


async def test_a_verified_address_joins_customers_and_what_was_said_of_them_is_kept(rest: Api) -> None:
    """The older customer stays; it shows the new name, and both external ids lead to it until they are parted."""
    old = (await rest.post("/customers", {"external_id": "old", "name": "A.", "identities": [
        {"address": "paper:ann", "proof": "verified"}]})).json["customer"]
    saved = await rest.post("/customers", {"external_id": "new", "name": "Ann", "identities": [
        {"address": "paper:ann", "proof": "verified"}, {"address": "fax:7", "proof": "verified"}]})
    assert saved.status == 200
    joined = saved.json["customer"]
    assert (joined["id"], joined["name"], joined["external_id"]) == (old["id"], "Ann", "old")
    assert {each["address"] for each in joined["identities"]} == {"paper:ann", "fax:7"}
    assert (await rest.get("/customers/new")).json == joined == (await rest.get("/customers/old")).json
    [other] = joined["merged"]
    parted = await rest.post(f"/customers/{other}/unmerge")
    assert parted.json["external_id"] == "new"
    assert (await rest.get("/customers/old")).json["merged"] == []
    assert (await rest.post(f"/customers/{other}/unmerge")).problem == (409, "not_merged")


async def test_an_external_id_is_shown_though_another_customer_was_there_first(rest: Api) -> None:
    await rest.office.write("hello", sender="ann", name="Ann")
    await rest.post("/customers", {"external_id": "crm-7", "name": "Ann"})
    draft = {"external_id": "crm-7", "tier": "gold", "identities": [{"address": "paper:ann", "proof": "verified"}]}
    saved = (await rest.post("/customers", draft)).json["customer"]
    assert (saved["external_id"], saved["tier"]) == ("crm-7", "gold")
    assert len((await rest.get("/customers")).json["items"]) == 1


# --- lists ---


async def test_pages_are_whole_in_order_and_hold_still_while_more_comes_in(rest: Api) -> None:
    for number in range(5):
        await rest.post("/customers", {"external_id": f"crm-{number}"})
    first = (await rest.get("/customers?limit=2")).json
    await rest.post("/customers", {"external_id": "crm-9"})
    second = (await rest.get(f"/customers?limit=3&cursor={first['next']}")).json
    seen = [each["external_id"] for each in (*first["items"], *second["items"])]
    assert seen == ["crm-4", "crm-3", "crm-2", "crm-1", "crm-0"]
    assert second["next"] is None
    found = [each["external_id"] for each in await _all(rest, "/customers", 1)]
    assert found == ["crm-9", *seen]


# --- conversations ---


async def test_a_timeline_spans_channels_and_a_conversation_is_a_part_of_it(rest: Api) -> None:
    await rest.office.write("first", sender="ann", name="Ann")
    await rest.office.write("second", sender="7", channel="fax", also={"paper:ann": "verified"})
    sent = await rest.send(customer="paper:ann", text="third")
    for path in ("/customers/paper:ann/messages", f"/conversations/{sent.json['conversation']}/messages"):
        found = await _all(rest, path, 2)
        assert [each["text"] for each in found][:1] == ["third"], path
    found = await _all(rest, "/customers/paper:ann/messages", 2)
    assert [(each["text"], each["direction"], each["channel"]) for each in found] == [
        ("third", "out", "api"), ("second", "in", "fax"), ("first", "in", "paper"),
    ]
    assert (await rest.get("/conversations/con_0000000000000/messages")).problem == (404, "not_found")


async def test_conversations_are_listed_by_state_assignee_and_customer(rest: Api) -> None:
    for name in ("ann", "bob", "cid"):
        await rest.office.write("hello", sender=name, name=name.title())
    ann, bob, cid = reversed((await rest.get("/conversations")).json["items"])
    await rest.ask("PATCH", f"/conversations/{ann['id']}", {"assignee": "Zoe"})
    await rest.ask("PATCH", f"/conversations/{bob['id']}", {"state": "resolved"})

    async def names(query: str) -> list[str]:
        return [each["customer_name"] for each in await _all(rest, f"/conversations?{query}", 2)]

    assert await names("state=open") == ["Cid", "Ann"]
    assert await names("state=resolved") == ["Bob"]
    assert await names("assignee=Zoe") == ["Ann"]
    assert await names("assignee=zoe'%20OR%20'1'='1") == []
    assert await names("unassigned=true") == ["Cid", "Bob"]
    assert await names("unassigned=true&state=open") == ["Cid"]
    assert await names("customer=paper:bob") == ["Bob"]
    assert await names(f"customer={cid['customer']}") == ["Cid"]
    assert await names("customer=paper:nobody") == []


async def test_a_change_of_state_is_shown_at_the_desk_and_reaches_no_customer(rest: Api) -> None:
    await rest.office.write("hello", sender="ann", name="Ann")
    [found] = (await rest.get("/conversations")).json["items"]
    path = f"/conversations/{found['id']}"
    steps: list[tuple[dict[str, Any], dict[str, Any]]] = [
        ({"assignee": "Zoe"}, {"state": "open", "assignee": "Zoe"}),
        ({"state": "pending"}, {"state": "pending", "assignee": "Zoe"}),
        ({"state": "resolved", "assignee": None}, {"state": "resolved", "assignee": None}),
        ({"state": "resolved"}, {"state": "resolved"}),
        ({"state": "open"}, {"state": "open", "resolved_at": None}),
    ]
    for patch, wanted in steps:
        reply = await rest.ask("PATCH", path, patch)
        assert reply.status == 200, reply.text
        assert {name: reply.json[name] for name in wanted} == wanted
        assert (await rest.get(path)).json == reply.json
    await rest.office.settled()
    assert rest.office.posts == [
        "hello", "Assigned to Zoe by boss.", "boss set the conversation to pending.",
        "boss set the conversation to resolved. Assigned to nobody by boss.", "boss set the conversation to open.",
    ]
    assert rest.office.letters.handed == []


async def test_a_snoozed_conversation_wakes_up(rest: Api) -> None:
    await rest.office.write("hello", sender="ann", name="Ann")
    [found] = (await rest.get("/conversations")).json["items"]
    path = f"/conversations/{found['id']}"
    then = (rest.office.clock.now + timedelta(hours=2)).isoformat()
    asleep = await rest.ask("PATCH", path, {"state": "snoozed", "snoozed_until": then})
    assert asleep.json["state"] == "snoozed"
    for moment in (rest.office.clock.now - timedelta(hours=1), rest.office.clock.now + timedelta(days=400)):
        refused = await rest.ask("PATCH", path, {"state": "snoozed", "snoozed_until": moment.isoformat()})
        assert refused.problem == (422, "invalid_body")
    far = await rest.ask("PATCH", path, {"state": "snoozed", "snoozed_until": "9999-12-31T23:59:59-12:00"})
    assert far.problem == (422, "invalid_body")
    await rest.office.advance(hours=3)

    async def awake() -> bool:
        return bool((await rest.get(path)).json["state"] == "open")

    await until(awake)


PATCHES: list[dict[str, Any]] = [
    {}, {"state": None}, {"state": "gone"}, {"state": "snoozed"}, {"snoozed_until": "2027-01-01T00:00:00Z"},
    {"state": "snoozed", "snoozed_until": "2027-01-01T00:00:00"}, {"assignee": "a\nb"}, {"assignee": ""},
    {"priority": 1},
]


async def test_a_patch_that_makes_no_sense_changes_nothing(rest: Api) -> None:
    await rest.office.write("hello", sender="ann", name="Ann")
    [before] = (await rest.get("/conversations")).json["items"]
    for patch in PATCHES:
        reply = await rest.ask("PATCH", f"/conversations/{before['id']}", patch)
        assert reply.problem == (422, "invalid_body"), patch
    assert (await rest.get("/conversations")).json["items"] == [before]


async def test_nobody_gets_two_unresolved_conversations(rest: Api) -> None:
    await rest.office.write("old", sender="ann", name="Ann")
    [old] = (await rest.get("/conversations")).json["items"]
    await rest.ask("PATCH", f"/conversations/{old['id']}", {"state": "resolved"})
    await rest.office.advance(days=30)
    await rest.office.write("new", sender="ann", name="Ann")
    refused = await rest.ask("PATCH", f"/conversations/{old['id']}", {"state": "open"})
    assert refused.problem == (409, "another_unresolved")


async def test_nor_by_the_customers_they_were_joined_from(rest: Api) -> None:
    await rest.office.write("on paper", sender="ann", name="Ann")
    await rest.office.write("by fax", sender="7", channel="fax")
    await rest.office.write("it is me", sender="7", channel="fax", also={"paper:ann": "verified"})
    resolved = (await rest.get("/conversations?state=resolved")).json["items"]
    assert len(resolved) == 1
    *_, message = (await rest.get(f"/conversations/{resolved[0]['id']}/messages")).json["items"]
    customer = (await rest.get(f"/messages/{message['id']}")).json["customer"]
    assert customer == resolved[0]["customer"] == (await rest.get("/customers/paper:ann")).json["id"]
    refused = await rest.ask("PATCH", f"/conversations/{resolved[0]['id']}", {"state": "open"})
    assert refused.problem == (409, "another_unresolved")


async def test_a_note_is_shown_at_the_desk_and_reaches_no_customer(rest: Api) -> None:
    await rest.office.write("hello", sender="ann", name="Ann")
    [found] = (await rest.get("/conversations")).json["items"]
    assert (await rest.post(f"/conversations/{found['id']}/seen", {})).problem == (409, "not_shown")
    noted = await rest.post(f"/conversations/{found['id']}/notes", {"text": "She is a regular.", "author": "Zoe"})
    assert noted.status == 201
    note = (await rest.ask("GET", noted.headers["location"], root="")).json
    assert (note["direction"], note["text"], note["author"]) == (
        "note", "She is a regular.", {"kind": "agent", "name": "Zoe"},
    )
    await rest.office.settled()
    assert rest.office.posts == ["hello", "She is a regular."]
    assert rest.office.letters.handed == []


# --- messages ---


UNSENDABLE = [
    ({"customer": "crm-404"}, "customer"),
    ({"customer": "cus_0000000000000"}, "customer"),
    ({"customer": "tel:+447700900123"}, "customer"),  # no channel reaches phones
    ({"customer": "paper:ann", "channel": "pigeon"}, "channel"),
    ({"customer": "paper:ann", "channel": "board"}, "channel"),
    ({"customer": "paper:ann", "channel": "fax"}, "channel"),
]


async def test_what_cannot_be_sent_names_the_field_and_leaves_nothing(rest: Api) -> None:
    for draft, field in UNSENDABLE:
        refused = await rest.send(text="hi", **draft)
        assert refused.problem == (422, "unsendable"), draft
        assert [each["field"] for each in refused.json["errors"]] == [field], draft
    assert await rest.office.rows("message") == []
    assert await rest.office.rows("customer") == []


async def test_a_message_goes_to_a_customer_by_id_the_way_they_last_used(rest: Api) -> None:
    await rest.office.write("on paper", sender="ann", name="Ann")
    await rest.office.write("by fax", sender="7", channel="fax", also={"paper:ann": "verified"})
    ann = (await rest.get("/customers/paper:ann")).json["id"]
    assert (await rest.send(customer=ann, text="one")).json["channel"] == "fax"
    assert (await rest.send(customer=ann, text="two", channel="paper")).json["address"] == "paper:ann"
    assert (rest.office.faxes.texts, rest.office.letters.texts) == (["one"], ["two"])


async def test_a_refused_message_says_why(rest: Api) -> None:
    sent = await rest.send(customer="paper:ann", text="Buy now", purpose="marketing")
    assert sent.status == 202
    why = (await rest.get(f"/messages/{sent.json['id']}")).json
    assert why["state"] == "denied"
    [decision] = why["deliveries"][0]["decisions"]
    assert (decision["verdict"], why["reason"].startswith(decision["reason"])) == ("block", True)
    [failed] = [check for check in decision["checks"] if not check["ok"]]
    assert failed["name"].startswith("CONSENT_")
    assert failed["detail"]
    assert why["deliveries"][0]["attempts"] == []
    assert rest.office.letters.handed == []


# --- consent ---


async def _says(rest: Api, change: str, evidence: str = "", address: str = "paper:ann") -> Any:
    return await rest.post("/consent", {"address": address, "change": change, "evidence": evidence})


async def test_an_address_is_suppressed_and_set_free_again(rest: Api) -> None:
    assert (await _says(rest, "opt_out")).json["suppressed"][0]["reason"] == "opt_out"
    denied = await rest.send(customer="paper:ann", text="hi")
    assert (await rest.get(f"/messages/{denied.json['id']}")).json["state"] == "denied"
    assert rest.office.letters.handed == []
    freed = await _says(rest, "opt_in", "Asked by phone to be written to again, call 1234.")
    assert (freed.json["suppressed"], freed.json["marketing"]) == ([], True)
    assert [(each["change"], each["source"]) for each in (freed.json["entries"][0], freed.json["entries"][-1])] == [
        ("opt_in", "api"), ("opt_out", "api"),
    ]
    assert freed.json["entries"][0]["evidence"] == {
        "by": "boss", "says": "Asked by phone to be written to again, call 1234.",
    }
    await rest.send(customer="paper:ann", text="hi", purpose="marketing")
    assert rest.office.letters.texts == ["hi"]
    assert (await rest.get("/consent/paper:ann")).json == freed.json


async def test_nobody_but_the_person_takes_back_their_own_no(rest: Api) -> None:
    await rest.office.write("STOP", sender="ann")
    assert (await rest.get("/consent/paper:ann")).json["refused_in_person"] is True
    refused = await _says(rest, "opt_in", "They changed their mind.")
    assert refused.problem == (409, "refused_in_person")
    await _says(rest, "opt_out")
    assert (await _says(rest, "opt_in", "Our own opt-out was a mistake.")).problem == (409, "refused_in_person")
    await rest.office.write("START", sender="ann")
    view = (await rest.get("/consent/paper:ann")).json
    assert (view["refused_in_person"], [each["reason"] for each in view["suppressed"]]) == (False, ["opt_out"])
    assert (await _says(rest, "opt_in", "Our own opt-out was a mistake.")).json["suppressed"] == []


async def test_nor_their_no_to_marketing(rest: Api) -> None:
    await rest.office.hub.write(
        lambda connection, context: consent.record(
            connection, "paper:ann", "opt_out", channel=None, source="page", evidence={}, at=context.now,
            now=context.now, covers="marketing",
        )
    )
    view = (await rest.get("/consent/paper:ann")).json
    assert (view["suppressed"], view["marketing"], view["refused_in_person"]) == ([], False, True)
    assert (await _says(rest, "opt_in", "They changed their mind.")).problem == (409, "refused_in_person")


async def test_a_dead_address_is_held_back_until_it_is_said_to_be_alive(rest: Api) -> None:
    await _says(rest, "bounced", "returned letter")
    assert [each["reason"] for each in (await rest.get("/suppressions?reason=bounced")).json["items"]] == ["bounced"]
    assert (await rest.get("/suppressions?reason=opt_out")).json["items"] == []
    await _says(rest, "lifted", "moved back in")
    assert (await rest.get("/suppressions")).json["items"] == []


async def test_suppressions_come_in_pages_newest_first(rest: Api) -> None:
    for name in ("ann", "bob", "cid"):
        await _says(rest, "opt_out", address=f"paper:{name}")
    found = await _all(rest, "/suppressions", 2)
    assert [each["address"] for each in found] == ["paper:cid", "paper:bob", "paper:ann"]


async def test_an_entry_that_makes_no_sense_is_not_recorded(rest: Api) -> None:
    for body in (
        {"address": "paper:ann", "change": "opt_in"}, {"address": "paper:ann", "change": "lifted", "evidence": "  "},
        {"address": "ann", "change": "opt_out"}, {"address": "tel:12", "change": "opt_out"}, {"address": "paper:ann"},
        {"address": "paper:ann", "change": "gone"},
    ):
        assert (await rest.post("/consent", body)).problem == (422, "invalid_body"), body
    assert await rest.office.rows("consent_event") == []


# --- keys ---


async def test_a_key_that_makes_no_sense_is_not_made(rest: Api) -> None:
    for body in (
        {"name": "x"}, {"name": "x", "scopes": []}, {"name": "x", "scopes": ["root"]}, {"name": "", "scopes": ["read"]},
        {"name": "a\r\nb", "scopes": ["read"]}, {"name": "x", "scopes": ["read"], "id": "000000000000"},
    ):
        assert (await rest.post("/keys", body)).problem == (422, "invalid_body"), body
    assert len(await rest.office.rows("api_key")) == 1


async def test_only_an_admin_makes_keys(rest: Api) -> None:
    token = await rest.key("read", "send")
    refused = await rest.post("/keys", {"name": "x", "scopes": ["admin"]}, token=token)
    assert refused.problem == (403, "forbidden")
    assert (await rest.ask("DELETE", "/keys/000000000000")).problem == (404, "not_found")


# --- what an operator looks at ---


async def test_channels_say_what_they_can_do(rest: Api) -> None:
    found = {each["name"]: each for each in (await rest.get("/channels")).json["items"]}
    assert found.keys() == {"paper", "fax", "board"}
    assert (found["board"]["role"], found["paper"]["scheme"]) == ("desk", "paper")
    assert found["paper"]["capabilities"]["text_limit"] == 1000


async def test_a_delivery_that_could_not_be_read_is_listed_and_replayed(rest: Api) -> None:
    assert await rest.office.post("paper", body=b"not json") == 200
    await rest.office.settled()
    [kept] = (await rest.get("/quarantine")).json["items"]
    assert (kept["channel"], kept["solved_at"]) == ("paper", None)
    again = (await rest.post("/replay", {"inbox_ids": [kept["inbox_id"], 999]})).json
    assert (again["items"][0]["error"] is not None, again["unknown"]) == (True, [999])
    await rest.office.write("hello", id="letter-a")
    [row] = [row for row in await rest.office.rows("inbox") if b"letter-a" in bytes(row.body)]
    replayed = (await rest.post("/replay", {"inbox_ids": [row.id]})).json
    assert (replayed["items"][0]["events"], replayed["items"][0]["error"]) == (1, None)
    assert len(await rest.office.rows("message", inbound=True)) == 1


async def test_nothing_is_recorded_of_whoever_was_erased(rest: Api) -> None:
    await rest.office.write("hello", sender="ann")
    assert (await rest.ask("DELETE", "/customers/paper:ann")).status == 200
    before = await rest.office.rows("consent_event")
    for change in ("opt_in", "lifted"):
        assert (await _says(rest, change, "Form v3.")).problem == (409, "erased")
    for change in ("opt_out", "bounced"):
        assert [each["reason"] for each in (await _says(rest, change)).json["suppressed"]] == ["erased"]
    row = {"type": "revoke", "address": "paper:ann", "source": "list"}
    entries = Entries(rows=[row], origin="list.csv")
    [judged] = await rest.office.hub.write(
        lambda connection, context: [_apply(connection, context, row, 1, entries)]
    )
    assert judged.result == "already"
    assert "SUPP_ERASED" in str(judged.problem)
    page = rest.office.hub.preferences.make("paper:ann").partition("/preferences/")[2]
    url = f"http://127.0.0.1:{rest.office.hub.port}/preferences/{page}"
    async with rest.office.session.post(url, data={"List-Unsubscribe": "One-Click"}) as answer:
        assert "nothing" in await answer.text()
    assert await rest.office.rows("consent_event") == before


async def test_whoever_was_erased_and_writes_again_can_be_blocked(rest: Api) -> None:
    await rest.office.write("hello", sender="ann")
    await rest.ask("DELETE", "/customers/paper:ann")
    await rest.office.write("hello again", sender="ann")
    assert (await _says(rest, "opt_in", "Form v3.")).problem == (409, "erased")
    assert [each["reason"] for each in (await _says(rest, "opt_out")).json["suppressed"]] == ["opt_out"]
    assert (await rest.send(customer="paper:ann", text="hi", purpose="reply")).status == 202
    [row] = await rest.office.rows("delivery", kind="contact")
    assert row.code == "SUPP_MANUAL"
