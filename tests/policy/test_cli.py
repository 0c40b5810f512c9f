"""`hub consent` and `hub policy check`."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import pytest

from hub import consent, tombstones
from hub.app import CannotStart, opened
from hub.policy import pack
from hub.policy.advice import told
from hub.policy.ledger import Event, Scope
from hub.settings import Settings
from tests.paper import Paper
from tests.process import KEY, Cli, write_settings

ROOT = Path(__file__).parents[2]
LIMITS, CONSENT, PLACES = (
    (ROOT / "config" / "policy" / f"{name}.toml").read_text("utf-8") for name in ("limits", "consent", "places")
)
ANN, BOB = "tel:+447700900123", "tel:+447700900124"
GRANT = {
    "type": "grant", "address": ANN, "channel": "sms", "basis": "express", "source": "website",
    "at": "2026-01-31T12:00:00Z", "evidence": "“Text me offers”, form v3",
}  # fmt: skip


@pytest.fixture
def hub(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Cli:
    return Cli(write_settings(tmp_path), capsys)


STOPPED = f"revoke marketing on every channel, {ANN}; resolve every purpose on every channel, {ANN}"


def lines(path: Path, *rows: object) -> Path:
    path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))
    return path


async def test_what_can_be_taken_is_taken_and_the_rest_named_by_its_line(hub: Cli, tmp_path: Path) -> None:
    assert (await hub("consent", "revoke", BOB, "--source", "call", "--purpose", "*")).out == (
        f"applied: revoke every purpose on every channel, {BOB}\n"
    )
    rows = [
        GRANT,
        GRANT | {"address": BOB},
        GRANT | {"source": ""},
        GRANT | {"time_zone": "Mars/Base"},
        "{not json",
        GRANT | {"channel": ""},
        GRANT | {"evidence": ""},
        GRANT | {"address": "tel:12"},
        GRANT | {"colour": "red"},
        {name: value for name, value in GRANT.items() if name != "type"},
        GRANT,
    ]
    done = await hub("consent", "import", str(lines(tmp_path / "list.jsonl", *rows)))
    assert done.code == 1
    assert done.out.startswith("1 applied, 1 known already, 9 refused; the report is in ")
    report = [json.loads(line) for line in (tmp_path / "list.jsonl.report.jsonl").read_text().splitlines()]
    assert [each["line"] for each in report] == list(range(1, 12))
    assert [each["result"] for each in report] == ["applied", *["refused"] * 9, "already"]
    for line, words in (
        (2, "GRANT_REJECTED_PRIOR_REVOKE: CONSENT_REVOKED_ALL"),
        (2, "recorded, without effect"),
        (3, "source is missing"),
        (4, "unknown time zone 'Mars/Base'"),
        (5, "not JSON"),
        (6, "name its channel"),
        (7, "needs evidence"),
        (8, "phone number"),
        (9, "unknown column colour; there are type, address"),
        (10, "type is missing"),
    ):
        assert words in report[line - 1]["problem"]
        assert f"list.jsonl:{line}: " in done.err
    exported = [json.loads(line) for line in (await hub("consent", "export")).out.splitlines()]
    assert [(each["type"], each["subject"], each["evidence"].get("row")) for each in exported] == [
        ("revoke", BOB, None), ("grant", ANN, 1), ("grant", BOB, 2),
    ]  # fmt: skip
    [*_, marketing] = (await hub("consent", "show", BOB, "--json")).json["standing"]
    assert marketing["reason"] == "CONSENT_REVOKED_ALL"


async def test_a_table_is_read_like_json(hub: Cli, tmp_path: Path) -> None:
    file = tmp_path / "list.csv"
    names = list(GRANT)
    cells = ",".join(f'"{GRANT[name]}"' for name in names)
    file.write_text(f"{','.join(names)}\n{cells}\n{cells},more\n", encoding="utf-8")
    done = await hub("consent", "import", str(file), "--report", str(tmp_path / "report"))
    assert done.out.startswith("1 applied, 0 known already, 1 refused")
    assert "list.csv:3: more cells than the header has columns" in done.err


async def test_the_ledger_is_shown_as_it_was_and_exported_whole(hub: Cli) -> None:
    done = await hub(
        "consent", "grant", ANN, "--channel", "sms", "--basis", "express", "--source", "shop",
        "--at", "2026-01-31T12:00:00Z", "--evidence", "card 7",
    )  # fmt: skip
    assert done.code == 0, done.err
    [*_, marketing] = (await hub("consent", "show", ANN, "--json")).json["standing"]
    assert (marketing["purpose"], marketing["verdict"]) == ("marketing", "block")  # no SMS channel is configured
    assert (await hub("consent", "show", ANN, "--at", "2020-01-01T00:00:00Z", "--json")).json["entries"] == []
    await hub("consent", "revoke", ANN, "--source", "call", "--channel", "sms")
    again = await hub("consent", "grant", ANN, "--channel", "sms", "--basis", "express", "--source", "shop",
                      "--at", "2026-02-01T12:00:00Z", "--evidence", "card 8")  # fmt: skip
    assert again.code == 1
    assert "only the person can take that back" in again.err
    exported = [json.loads(line) for line in (await hub("consent", "export")).out.splitlines()]
    assert [(each["type"], each["actor"], each["channel"]) for each in exported] == [
        ("grant", "agent", "sms"), ("revoke", "agent", "sms"), ("grant", "agent", "sms"),
    ]  # fmt: skip
    assert all(each["hash"] for each in exported)
    assert "revoke" in (await hub("consent", "show", ANN)).out
    assert "no customer or address" in (await hub("consent", "show", "tel:+447700900999")).err


async def test_a_colleagues_block_is_lifted_by_a_colleague_and_not_by_start(hub: Cli, tmp_path: Path) -> None:
    async with opened(Settings.model_validate({"data": tmp_path / "data", "secret_key": KEY})) as one:
        block = partial(consent.record, address=ANN, channel=None, source="api", evidence={})
        before = datetime.now(UTC) - timedelta(minutes=2)
        await one.write(lambda connection, _: block(connection, change="opt_out", at=before, now=before))
        start = Event("grant", before + timedelta(minutes=1), ANN, scope=Scope(), basis="express", source="keyword")
        await one.write(
            lambda connection, _: consent.append(
                connection, start, change="opt_in", channel=None, source="keyword", now=start.at
            )
        )
    [*_, marketing] = (await hub("consent", "show", ANN, "--json")).json["standing"]
    assert marketing["reason"] == "SUPP_MANUAL"
    advice = told("SUPP_MANUAL", "")
    assert advice.endswith("lift it with: hub consent grant")
    refused = await hub("consent", "import", str(lines(tmp_path / "list.jsonl", GRANT)))
    assert advice in refused.err
    command = ["consent", "grant", ANN, *(f"--{name}={GRANT[name]}" for name in ("channel", "basis", "source", "at"))]
    assert (await hub(*command, "--evidence", "card 7")).out.startswith("applied: grant")
    [_, transactional, marketing] = (await hub("consent", "show", ANN, "--json")).json["standing"]
    assert transactional["verdict"] == "allow"
    assert "SUPP" not in marketing["reason"]


async def test_a_refusal_of_whoever_was_erased_is_acknowledged_and_not_kept(hub: Cli, tmp_path: Path) -> None:
    async with opened(Settings.model_validate({"data": tmp_path / "data", "secret_key": KEY})) as one:
        await one.write(lambda connection, context: tombstones.bury(connection, context.secret, [ANN], context.now))
    done = await hub("consent", "revoke", ANN, "--source", "call")
    assert done.out.startswith("already: SUPP_ERASED: they were erased on ")
    row = {"type": "revoke", "address": ANN, "source": "list"}
    done = await hub("consent", "import", str(lines(tmp_path / "list.jsonl", row)))
    assert (done.code, done.out.startswith("0 applied, 1 known already, 0 refused")) == (0, True)
    assert "list.jsonl:1: SUPP_ERASED" in done.err
    assert (await hub("consent", "export")).out == ""


async def test_a_review_is_ended_by_a_person(hub: Cli, tmp_path: Path) -> None:
    assert (await hub("consent", "resolve", ANN, "--stop")).out == f"applied: {STOPPED}\n"
    exported = [json.loads(line) for line in (await hub("consent", "export")).out.splitlines()]
    assert [(each["type"], each["purpose"]) for each in exported] == [("revoke", "marketing"), ("resolve", "*")]
    row = {"type": "resolve", "address": ANN, "source": "x"}
    assert "by hand" in (await hub("consent", "import", str(lines(tmp_path / "x.jsonl", row)))).err


async def test_a_review_that_nobody_ended_in_time_is_a_no(hub: Cli, tmp_path: Path) -> None:
    ago = datetime.now(UTC) - timedelta(hours=25)
    hold = Event("hold", ago, ANN, "system")
    write = partial(consent.append, entry=hold, change="hold", channel=None, source="keyword", now=ago)
    async with opened(Settings.model_validate({"data": tmp_path / "data", "secret_key": KEY})) as one:
        await one.write(lambda connection, _: write(connection))
    late = await hub("consent", "resolve", ANN, "--keep")
    assert late.code == 1
    assert "so it counts as a no; only they can take that back, by START" in late.err
    assert (await hub("consent", "resolve", ANN, "--stop")).out == f"applied: {STOPPED}\n"


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("quiet_hours.toml", '[XX]\nwindows = { "*" = ["08:00", "21:00"] }', "XX: source is missing"),
        ("quiet_hours.toml", "[XX", "not TOML"),
        (
            "quiet_hours.toml",
            '[XX]\nwindows = { "*" = ["8", "21:00"] }\nsource = "x"\nreviewed = 2026-01-31',
            "packs/quiet_hours.toml: XX.windows",
        ),
        ("limits.toml", LIMITS.replace("max = 3", 'max = "three"', 1), "limits.toml: caps.0.max: Input"),
        ("limits.toml", LIMITS.replace("first = 50", "frist = 50"), "limits.toml: warmup.frist: there is"),
        ("limits.toml", LIMITS.replace("growth = 1.5", "growth = 0.5"), "limits.toml: warmup.growth: Input"),
        ("consent.toml", CONSENT.replace('confirm = ""', 'confirm = "{name}"'), "consent.toml: replies: confirm: {b"),
        ("consent.toml", CONSENT.replace("Reply STOP", "Reply {word}", 1), "replies: help: {business} and no"),
        ("places.toml", PLACES.replace("America/Chicago", "America/Chikago"), "unknown time zone 'America/Chikago'"),
        ("domains.toml", '[gmail]\ndomains = ["gmail.com"]', "packs/domains.toml: gmail: source is missing"),
        ("quiet.toml", "", "no pack is called quiet.toml"),
        ("keywords.toml", "[opt_out]\nen = 1", "packs/keywords.toml: opt_out.en"),
    ],
)
async def test_a_malformed_pack_is_refused_with_its_place(
    hub: Cli, tmp_path: Path, name: str, text: str, words: str
) -> None:
    packs = tmp_path / "packs"
    packs.mkdir()
    (packs / name).write_text(text)
    done = await hub("policy", "check", str(packs))
    assert done.code == 1
    assert words in done.err


async def test_packs_of_ones_own_count_in_a_hub_that_names_them(tmp_path: Path) -> None:
    packs = tmp_path / "packs"
    packs.mkdir()
    ours = (ROOT / "config" / "policy" / "limits.toml").read_text()
    (packs / "limits.toml").write_text(ours.replace("hold_answers_h = 168", "hold_answers_h = 0"))
    settings = Settings(data=tmp_path / "data", policy=packs)
    try:
        async with opened(settings):
            assert pack.default().hold_answers_h == 0
        async with opened(settings.model_copy(update={"policy": None})):
            assert pack.default().hold_answers_h == 168
        (packs / "limits.toml").write_text("[caps]")
        with pytest.raises(CannotStart, match="policy"):
            async with opened(settings.model_copy(update={"policy": packs.rename(tmp_path / "other")})):
                pass
    finally:
        pack.choose(None)


async def test_who_is_not_known_cannot_be_erased_and_nothing_is_held_at_first(hub: Cli) -> None:
    done = await hub("consent", "erase", ANN)
    assert (done.code, "no customer is known" in done.err) == (1, True)
    assert (await hub("consent", "holds")).out == "nothing is held\n"
    assert (await hub("consent", "release", "sender:sms")).code == 1


async def test_our_own_packs_are_in_order(hub: Cli) -> None:
    assert (await hub("policy", "check")).out.startswith("policy ")




async def test_somebody_is_asked_to_confirm_and_not_twice_at_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    hub = Cli(write_settings(tmp_path, {"paper": {"adapter": "paper"}}), capsys, {"paper": Paper})
    command = ("consent", "ask", "paper:ann", "--source", "shop", "--evidence", "card 12")
    asked = await hub(*command)
    assert asked.out.startswith("asked by ")
    assert "hub why msg_" in asked.out
    again = await hub(*command)
    assert again.code == 1
    assert "CONSENT_PENDING: they were asked 1 times of late" in again.err
    assert "fax does not reach addresses of the scheme paper:" in (await hub(*command, "--channel", "fax")).err


@pytest.mark.parametrize("name", ["list.csv", "list.jsonl"])
async def test_a_line_ends_at_a_line_feed_alone(hub: Cli, tmp_path: Path, name: str) -> None:
    """Not at what else Unicode calls the end of a line, which may stand in a wording."""
    row = {"type": "revoke", "address": ANN, "source": "shop", "evidence": "Line one\u2028line two\x85 three"}
    table = f"{','.join(row)}\n{','.join(row.values())}\n"
    (tmp_path / name).write_text(
        table if name.endswith("csv") else json.dumps(row, ensure_ascii=False) + "\n", encoding="utf-8"
    )
    assert (await hub("consent", "import", str(tmp_path / name))).out.startswith("1 applied, 0 known already")
    [entry] = [json.loads(line) for line in (await hub("consent", "export")).out.split("\n") if line]
    assert entry["evidence"]["says"] == row["evidence"]
