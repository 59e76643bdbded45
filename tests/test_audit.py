"""The audit trail: what a row says, where it is found, and that no effect is without its event."""

import json
import re
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any, cast

import pytest

from chalicelib import audit, ids
from chalicelib.api import gateway as gateway_module
from chalicelib.audit import DAY, SHARDS, Event, Trail
from chalicelib.clock import ManualClock
from chalicelib.formats import record
from chalicelib.settings import Settings
from chalicelib.table.port import (
    INDEXES,
    MAX_BODY,
    Busy,
    Conflict,
    Due,
    Expect,
    Op,
    Put,
    Row,
    Table,
    Unacknowledged,
    validate_write,
)
from tests.calls import ask, code, tc3, v1
from tests.faults.broken import Broken, Fault
from tests.inspected import NOW, Inspected, InspectedTable
from tests.installation import SM

AT_MS = NOW * 1000 + 123


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit, "_PAUSE", 0)
    monkeypatch.setattr(gateway_module, "_PAUSE", 0)


def event(**members: Any) -> Event:
    return Event(id=ids.request_id(AT_MS), at_ms=AT_MS, **members)


def trail(table: Any, keep_days: int = 30) -> Trail:
    return Trail(cast(Table, table), SM, ManualClock(NOW), keep_days)


def row_of(event: Event, keep_days: int = 30) -> Row:
    """The event's row, as it is when nothing but it is written."""
    table = InspectedTable(":memory:", ManualClock(0))
    trail(table, keep_days).keep(event)
    (row,) = [row for (pk, _), row in table.rows().items() if not pk.endswith("#P")]
    return row


# The row


def test_a_row_says_everything_once() -> None:
    full = event(
        service="ssm",
        action="CreateSecret",
        version="2019-09-23",
        region=SM,
        is_read=False,
        account="1",
        uin="2",
        user_name="ann",
        user_type="CAMUser",
        session="s",
        secret_id="AKIDa",
        authentication="TC3-HMAC-SHA256",
        source_ip="192.0.2.1",
        user_agent="sdk",
        parameters={"SecretName": "a"},
        error_code="LimitExceeded",
        warning="w",
    )
    full.note("secret", "a")
    full.note("key", "k")
    full.note("secret", "a")
    row = row_of(full)
    members = record.decode(row.body)
    writer, number, after = members.pop("chain")
    assert re.fullmatch("[0-9a-f]{16}", writer)
    assert (number, after) == (1, [])
    assert members == {
        "id": full.id,
        "at": AT_MS,
        "service": "ssm",
        "action": "CreateSecret",
        "version": "2019-09-23",
        "region": SM,
        "read": False,
        "account": "1",
        "uin": "2",
        "user": "ann",
        "user_type": "CAMUser",
        "session": "s",
        "secret_id": "AKIDa",
        "auth": "TC3-HMAC-SHA256",
        "ip": "192.0.2.1",
        "agent": "sdk",
        "parameters": {"SecretName": "a"},
        "resources": ["secret/a", "key/k"],
        "error": "LimitExceeded",
        "warning": "w",
    }
    shard = int(full.id[-1], 16) % SHARDS
    assert row.pk == f"E#1#{datetime.fromtimestamp(NOW, UTC):%Y%m%d}#{shard}"
    assert row.sk == f"{AT_MS:013d}#{full.id}"
    assert row.expires_at == NOW + 30 * DAY
    assert row.index == {
        "action": f"1#CreateSecret#{shard}",
        "user": f"1#2#{shard}",
        "resource": f"1#a#{shard}",
        "error": f"1#LimitExceeded#{shard}",
    }
    assert set(row.index) == set(INDEXES)
    assert row.due == Due(f"seal_audit#{SM}", NOW)


def test_what_is_not_known_takes_no_place() -> None:
    row = row_of(event())
    members = record.decode(row.body)
    assert members.pop("chain")
    assert members == {"id": row.sk[14:], "at": AT_MS, "read": True, "account": audit.NOBODY}
    assert set(row.index) == {"action"}


def test_a_warning_is_indexed_as_an_error_is() -> None:
    row = row_of(event(account="1", warning="KeyPendingDelete"))
    assert row.index["error"].startswith("1#KeyPendingDelete#")


def test_events_are_spread_over_shards() -> None:
    shards = {row_of(event()).pk.rpartition("#")[2] for _ in range(300)}
    assert shards == {str(shard) for shard in range(SHARDS)}


@pytest.mark.parametrize(
    ("at_ms", "day"), [(0, "19700101"), (86_399_999, "19700101"), (86_400_000, "19700102")]
)
def test_a_day_is_a_day_of_utc(at_ms: int, day: str) -> None:
    assert row_of(Event(id=ids.request_id(at_ms), at_ms=at_ms)).pk.split("#")[2] == day


def test_rows_sort_by_time() -> None:
    rows = [row_of(Event(id=ids.request_id(at), at_ms=at)).sk for at in (9, 10, 99, 1000, AT_MS)]
    assert rows == sorted(rows)


@pytest.mark.parametrize("agent", ["x" * 100_000, "\ud800", "\x00", "代理" * 1000, "\U0001d54f" * 1000])
def test_a_clients_texts_never_make_a_row_impossible(agent: str) -> None:
    row = row_of(event(user_agent=agent, source_ip=agent, account="1"))
    validate_write([Put(row, Expect.ABSENT)])
    assert len(row.body) < 4096 < MAX_BODY
    assert 1 <= len(record.decode(row.body)["agent"]) <= 256


# Calls


@pytest.fixture
def installation() -> Iterator[Inspected]:
    made = Inspected()
    yield made
    made.service.close()


def call(installation: Inspected, action: str, service: str = "ssm", **parameters: Any) -> dict[str, Any]:
    request = tc3(
        installation.root,
        installation.clock.now(),
        service,
        action,
        parameters,
        headers={"user-agent": "tester/1"},
    )
    return ask(installation.gateway, request)


def found(installation: Inspected, index: str, value: str) -> list[dict[str, Any]]:
    """What the index answers, over all shards."""
    table = installation.service.table(SM)
    rows = [row for shard in range(SHARDS) for row in table.by_index(index, f"{value}#{shard}")]
    return [record.decode(row.body) for row in sorted(rows, key=lambda row: row.sk)]


def test_a_successful_call(installation: Inspected) -> None:
    response = call(installation, "CreateSecret", SecretName="a", VersionId="v", SecretString="value")
    root = installation.root
    recorded = installation.event(response["RequestId"])
    assert recorded.pop("chain")
    assert recorded == {
        "id": response["RequestId"],
        "at": NOW * 1000,
        "service": "ssm",
        "action": "CreateSecret",
        "version": "2019-09-23",
        "region": SM,
        "read": False,
        "account": root.uin,
        "uin": root.uin,
        "user": "root",
        "user_type": "Root",
        "secret_id": root.secret_id,
        "auth": "TC3-HMAC-SHA256",
        "ip": "192.0.2.1",
        "agent": "tester/1",
        "parameters": {"SecretName": "a", "VersionId": "v", "SecretString": "***"},
        "resources": ["secret/a"],
    }


def test_every_index_finds_the_call(installation: Inspected) -> None:
    account = installation.root.uin
    made = call(installation, "CreateSecret", SecretName="a", VersionId="v", SecretString="value")
    refused = call(installation, "CreateSecret", SecretName="a", VersionId="v", SecretString="value")
    read = call(installation, "GetSecretValue", SecretName="a", VersionId="v")
    call(installation, "ListKeys", "kms")
    wanted = {
        ("resource", f"{account}#a"): [made, refused, read],
        ("action", f"{account}#CreateSecret"): [made, refused],
        ("action", f"{account}#GetSecretValue"): [read],
        ("error", f"{account}#ResourceInUse.SecretExists"): [refused],
        ("error", f"{account}#"): [],
    }
    for (index, value), responses in wanted.items():
        ids_found = {e["id"] for e in found(installation, index, value)}
        assert ids_found == {r["RequestId"] for r in responses}, (index, value)
    assert len(found(installation, "user", f"{account}#{account}")) == 4


def test_a_request_id_leads_to_its_event_without_an_index(installation: Inspected) -> None:
    response = call(installation, "ListSecrets")
    request_id = response["RequestId"]
    at_ms = ids.request_time_ms(request_id)
    assert at_ms == NOW * 1000
    day = datetime.fromtimestamp(at_ms / 1000, UTC).strftime("%Y%m%d")
    pk = f"E#{installation.root.uin}#{day}#0"  # SQLite gains nothing from shards
    assert installation.service.table(SM).get(pk, f"{at_ms:013d}#{request_id}") is not None


def test_how_a_caller_proved_who_it_is(installation: Inspected) -> None:
    root = installation.root
    for algorithm in ("HmacSHA1", "HmacSHA256"):
        response = ask(installation.gateway, v1(root, NOW, "ssm", "GetRegions", algorithm=algorithm))
        assert installation.event(response["RequestId"])["auth"] == algorithm
    assert installation.event(call(installation, "GetRegions")["RequestId"])["auth"] == "TC3-HMAC-SHA256"


@pytest.mark.parametrize("region", ["ap-beijing", SM, "mars", ""])
def test_a_call_is_recorded_in_its_region(installation: Inspected, region: str) -> None:
    response = ask(installation.gateway, tc3(installation.root, NOW, "ssm", "ListSecrets", region=region))
    recorded = installation.event(response["RequestId"], region if region == "ap-beijing" else SM)
    assert recorded.get("region", "") == region
    assert recorded.get("error", "") == code(response)


REFUSED: dict[str, tuple[Callable[[Inspected], dict[str, Any]], dict[str, Any]]] = {
    "AuthFailure.SignatureFailure": (
        lambda i: ask(i.gateway, tc3(i.root, NOW, "ssm", "GetRegions", headers={"host": "other"})),
        {"account": "0", "service": "ssm", "action": "GetRegions", "auth": "TC3-HMAC-SHA256"},
    ),
    "AuthFailure.SecretIdNotFound": (
        lambda i: ask(i.gateway, v1(i.root, NOW, "ssm", "GetRegions", common={"SecretId": "AKIDx"})),
        {"account": "0", "secret_id": "AKIDx", "action": "GetRegions"},
    ),
    "AuthFailure.InvalidAuthorization": (
        lambda i: ask(i.gateway, tc3(i.root, NOW, "ssm", "GetRegions", headers={"authorization": "Basic x"})),
        {"account": "0", "action": "GetRegions", "ip": "192.0.2.1"},
    ),
    "UnsupportedProtocol": (
        lambda i: ask(i.gateway, tc3(i.root, NOW, "ssm", "GetRegions", method="PUT")),
        {"account": "0", "action": "GetRegions"},
    ),
    "InvalidAction": (lambda i: call(i, "NoSuch"), {"account": "0", "action": "NoSuch"}),
    "NoSuchVersion": (
        lambda i: ask(i.gateway, tc3(i.root, NOW, "ssm", "X", headers={"x-tc-version": "2000-01-01"})),
        {"account": "0", "version": "2000-01-01"},
    ),
    "UnknownParameter": (lambda i: call(i, "GetRegions", Nope=1), {"user": "root", "action": "GetRegions"}),
    "ResourceNotFound": (
        lambda i: call(i, "DescribeSecret", SecretName="absent"),
        {"resources": ["secret/absent"], "parameters": {"SecretName": "absent"}},
    ),
    "DryRunOperation": (lambda i: call(i, "GetRegions", DryRun=True), {"user": "root"}),
}


@pytest.mark.parametrize("expected", REFUSED)
def test_refusals_are_recorded(installation: Inspected, expected: str) -> None:
    ask_for_it, members = REFUSED[expected]
    response = ask_for_it(installation)
    assert code(response) == expected
    recorded = installation.event(response["RequestId"])
    assert recorded["error"] == expected
    assert {name: recorded.get(name) for name in members} == members
    account = recorded["account"]
    assert [e["id"] for e in found(installation, "error", f"{account}#{expected}")] == [response["RequestId"]]


def test_an_unsigned_request_is_nobodys(installation: Inspected) -> None:
    """Whatever it says of itself, an account's own trail shows only what its keys signed."""
    response = ask(
        installation.gateway, tc3(installation.root, NOW, "ssm", "GetRegions", headers={"host": "x"})
    )
    recorded = installation.event(response["RequestId"])
    assert recorded["account"] == audit.NOBODY
    assert "uin" not in recorded
    assert recorded["secret_id"] == installation.root.secret_id


def test_throttled_calls_are_recorded() -> None:
    installation = Inspected(settings=Settings(rates={"ssm.GetRegions": 1}))
    call(installation, "GetRegions")
    response = call(installation, "GetRegions")
    recorded = installation.event(response["RequestId"])
    assert (recorded["error"], recorded["uin"]) == ("RequestLimitExceeded", installation.root.uin)


def test_the_halves_of_a_key_mixed_up_are_not_recorded(installation: Inspected) -> None:
    root = installation.root
    swapped = type(root)(root.uin, root.secret_key, root.secret_id)
    for request in (tc3(swapped, NOW, "ssm", "GetRegions"), v1(swapped, NOW, "ssm", "GetRegions")):
        response = ask(installation.gateway, request)
        assert code(response) == "AuthFailure.InvalidSecretId"
        assert root.secret_key not in json.dumps([installation.events(), response])


@pytest.mark.parametrize("days", [1, 30, 365])
def test_events_expire(days: int) -> None:
    installation = Inspected(settings=Settings(throttle=False, audit_days=days))
    response = call(installation, "GetRegions")
    (key,) = [key for key, row in installation.tables[SM].rows().items() if response["RequestId"] in row.sk]
    installation.clock.advance(days * DAY - 1)
    assert installation.service.table(SM).get(*key) is not None
    installation.clock.advance(1)
    assert installation.service.table(SM).get(*key) is None


# One atomic step


class Scripted:
    """A table whose writes end as told, one after the other: "done", "lost", "did" (lost after it was done), "busy"."""

    def __init__(self, *script: str) -> None:
        self.inner = InspectedTable(":memory:", ManualClock(NOW))
        self.script = list(script)
        self.writes = 0

    def write(self, ops: Sequence[Op]) -> None:
        self.writes += 1
        step = self.script.pop(0) if self.script else "done"
        if step == "busy":
            raise Busy
        if step != "lost":
            self.inner.write(ops)
        if step != "done":
            raise Unacknowledged

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)


OP = Put(Row(pk="X", sk="1", body=b"effect"), Expect.ABSENT)


def commit(table: Scripted) -> None:
    trail(table).commit([OP], event(account="1"))


@pytest.mark.parametrize(
    ("script", "writes"),
    [
        ([], 1),
        (["busy"], 2),
        (["busy", "busy", "busy"], 4),
        (["did"], 1),
        (["lost"], 2),
        (["lost", "did"], 2),
        (["lost", "busy", "lost"], 4),
        (["busy", "lost", "busy", "did"], 4),
    ],
)
def test_the_effect_happens_once_with_its_event(script: list[str], writes: int) -> None:
    table = Scripted(*script)
    commit(table)
    assert table.writes == writes
    assert sorted(pk[:2] for pk, _ in table.inner.rows()) == ["E#", "X"]
    assert table.inner.rows()["X", "1"].version == 1


@pytest.mark.parametrize(
    ("script", "error"),
    [
        (["busy"] * 4, Busy),
        (["lost"] * 4, Unacknowledged),
        (["lost", "busy", "busy", "busy"], Unacknowledged),
        (["busy", "busy", "busy", "lost"], Unacknowledged),
    ],
)
def test_what_never_happened_is_not_claimed(script: list[str], error: type[Exception]) -> None:
    table = Scripted(*script)
    with pytest.raises(error):
        commit(table)
    assert not table.inner.rows()


def test_somebody_elses_write_is_a_conflict() -> None:
    for script in ([], ["lost"], ["busy"]):
        table = Scripted(*script)
        table.inner.write([OP])
        with pytest.raises(Conflict) as caught:
            commit(table)
        assert caught.value.positions == (0,)
        assert set(table.inner.rows()) == {("X", "1")}


def test_an_own_write_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """Even where nobody can look whether it happened: the second try tells by the event that stands in its way."""
    table = Scripted("did")
    monkeypatch.setattr(audit, "_is_there", lambda _table, _event: False)
    commit(table)
    assert table.writes == 2
    assert table.inner.rows()["X", "1"].version == 1


def test_the_event_of_a_read_is_written_however_often_it_takes() -> None:
    for script in ([], ["busy", "lost", "did"], ["did", "did", "did"]):
        table = Scripted(*script)
        trail(table).keep(event(account="1"))
        assert len(table.inner.rows()) == 1
    for script, error in ((["busy"] * 4, Busy), (["lost"] * 4, Unacknowledged)):
        with pytest.raises(error):
            trail(Scripted(*script)).keep(event())


@pytest.mark.parametrize("action", ["ListSecrets", "NoSuch", "DescribeSecret"])
def test_no_audit_no_answer(action: str) -> None:
    """Neither a success nor a refusal leaves without its event."""
    installation = Broken()
    call(installation, "GetRegions")
    request = tc3(installation.root, NOW, "ssm", action, {"SecretName": "a"} if action[0] == "D" else {})
    installation.saboteur.fail(Fault.BEFORE, 1, 10**9, only="write")
    response = ask(installation.gateway, request)
    assert code(response) == "InternalError"
    assert set(response) == {"Error", "RequestId"}
    assert not [e for e in installation.events() if e["id"] == response["RequestId"]]
