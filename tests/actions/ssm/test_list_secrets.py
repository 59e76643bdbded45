import copy
import json
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from chalicelib import secret_store
from chalicelib.api.gateway import Gateway
from chalicelib.clock import ManualClock
from chalicelib.context import Service
from chalicelib.model.secret import Secret
from chalicelib.table import secrets as rows
from chalicelib.table.port import MAX_TIME, Row
from chalicelib.table.sqlite import SqliteTable
from tests.actions.ssm.arrange import DAY, VALUE, Counted, CountingTable, make, names, outputs
from tests.installation import FIPS, SM, Client, Installation, refused


def test_every_property_has_its_type_and_none_is_null(
    installation: Installation, ssm: Client, kms: Client
) -> None:
    make(ssm, state="PendingDelete", Description="d")
    (key,) = kms.ListKeys(Role=1).Keys
    # As JSON, where false and 0 differ.
    assert json.dumps(outputs(ssm.ListSecrets()), sort_keys=True) == json.dumps(
        {
            "TotalCount": 1,
            "SecretMetadatas": [
                {
                    "SecretName": "s",
                    "Description": "d",
                    "KmsKeyId": key.KeyId,
                    "KmsKeyType": "DEFAULT",
                    "CreateUin": int(installation.root.uin),
                    "CreateUinString": installation.root.uin,
                    "Status": "PendingDelete",
                    "DeleteTime": installation.clock.now() + DAY,
                    "CreateTime": installation.clock.now(),
                    "RotationStatus": 0,
                    "NextRotationTime": 0,
                    "RotationBeginTime": "",
                    "RotationFrequency": 0,
                    "SecretType": 0,
                    "ProductName": "default",
                    "ResourceName": "",
                    "ResourceID": "",
                    "ProjectID": 0,
                    "AssociatedInstanceIDs": [],
                    "TargetUin": 0,
                    "EncryptType": 0,
                    # The definition lets these be absent.
                    "EncryptSwitching": None,
                    "TargetUinString": None,
                }
            ],
        },
        sort_keys=True,
    )
    assert VALUE not in ssm.ListSecrets().to_json_string()


def test_no_secrets_are_an_empty_list_not_null(ssm: Client) -> None:
    assert outputs(ssm.ListSecrets()) == {"TotalCount": 0, "SecretMetadatas": []}


@pytest.fixture
def five(installation: Installation, ssm: Client) -> Client:
    """Secrets e, d, c, b, a, made in this order, a second apart."""
    for name in "edcba":
        make(ssm, name)
        installation.clock.advance(1)
    return ssm


def test_the_newest_comes_first_unless_the_oldest_is_asked_for(five: Client) -> None:
    assert names(five) == names(five, OrderType=0) == ["a", "b", "c", "d", "e"]
    assert names(five, OrderType=1) == ["e", "d", "c", "b", "a"]


def test_a_change_does_not_move_a_secret(five: Client) -> None:
    five.UpdateDescription(SecretName="e", Description="x")
    five.UpdateSecret(SecretName="d", VersionId="v1", SecretString="x")
    five.DisableSecret(SecretName="c")
    assert names(five) == ["a", "b", "c", "d", "e"]


def test_pages_fit_together_and_count_all_matches(five: Client) -> None:
    pages = [five.ListSecrets(Offset=offset, Limit=2) for offset in (0, 2, 4, 6)]
    assert [[m.SecretName for m in p.SecretMetadatas] for p in pages] == [["a", "b"], ["c", "d"], ["e"], []]
    assert {p.TotalCount for p in pages} == {5}
    assert names(five, Offset=2**63 - 1) == []


def test_a_page_has_20_secrets_unless_more_are_asked_for(ssm: Client) -> None:
    for i in range(23):
        make(ssm, f"s{i}")
    assert len(ssm.ListSecrets().SecretMetadatas) == len(ssm.ListSecrets(Limit=0).SecretMetadatas) == 20
    assert ssm.ListSecrets().TotalCount == 23
    for limit in (100, 200, 1000):  # Dapr asks for 100, Terraform for 200
        assert len(ssm.ListSecrets(Limit=limit).SecretMetadatas) == 23


def test_secrets_of_one_moment_are_each_listed_once(ssm: Client) -> None:
    for name in "cab":
        make(ssm, name)
    listed = names(ssm, Limit=2) + names(ssm, Limit=2, Offset=2)
    assert sorted(listed) == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("state", "found"),
    [
        (0, ["p", "d", "e"]),
        (1, ["e"]),
        (2, ["d"]),
        (3, ["p"]),
        (4, []),
        (5, []),
    ],
)
def test_the_state_filters(installation: Installation, ssm: Client, state: int, found: list[str]) -> None:
    for name, its_state in (("e", "Enabled"), ("d", "Disabled"), ("p", "PendingDelete")):
        make(ssm, name, state=its_state)
        installation.clock.advance(1)
    assert names(ssm, State=state) == found
    assert ssm.ListSecrets(State=state).TotalCount == len(found)


def test_a_part_of_the_name_is_enough(installation: Installation, ssm: Client) -> None:
    for name in ("db", "my-db-1", "cache", "DB"):
        make(ssm, name)
        installation.clock.advance(1)
    assert names(ssm, SearchSecretName="-db-") == ["my-db-1"]
    assert names(ssm, SearchSecretName="nothing") == []
    assert names(ssm, SearchSecretName="") == ["DB", "cache", "my-db-1", "db"]
    assert ssm.ListSecrets(SearchSecretName="a", Limit=1).TotalCount == 1


@pytest.mark.parametrize("order", [0, 1])
def test_an_exact_match_leads_in_either_order(installation: Installation, ssm: Client, order: int) -> None:
    # Terraform searches for a name and takes the first secret that comes.
    for name in ("a-db", "db", "db-a"):
        make(ssm, name)
        installation.clock.advance(1)
    rest = ["db-a", "a-db"] if order == 0 else ["a-db", "db-a"]
    assert names(ssm, SearchSecretName="db", OrderType=order) == ["db", *rest]
    assert names(ssm, SearchSecretName="db", OrderType=order, Limit=1) == ["db"]


def tag_filter(key: str, *values: str) -> dict[str, object]:
    return {"TagKey": key, "TagValue": list(values)}


def test_tag_filters_are_anded_and_their_values_ored(ssm: Client) -> None:
    for name, team, stage in (("a", "red", "dev"), ("b", "red", "prod"), ("c", "blue", "prod")):
        make(
            ssm,
            name,
            Tags=[{"TagKey": "team", "TagValue": team}, {"TagKey": "stage", "TagValue": stage}],
        )
    make(ssm, "untagged")

    def found(*filters: dict[str, object]) -> set[str]:
        return set(names(ssm, TagFilters=filters))

    assert found(tag_filter("team", "red")) == {"a", "b"}
    assert found(tag_filter("team", "red", "blue")) == {"a", "b", "c"}
    assert found(tag_filter("team", "red"), tag_filter("stage", "prod")) == {"b"}
    assert found(tag_filter("team")) == {"a", "b", "c"}
    assert found(tag_filter("team", "RED")) == found(tag_filter("Team", "red")) == set()
    assert found() == {"a", "b", "c", "untagged"}


def test_filters_work_together(installation: Installation, ssm: Client) -> None:
    for name in ("db-1", "db-2", "db-3", "cache"):
        make(ssm, name, Tags=[{"TagKey": "team", "TagValue": "red" if name != "db-2" else "blue"}])
        installation.clock.advance(1)
    ssm.DisableSecret(SecretName="db-3")
    team = [{"TagKey": "team", "TagValue": ["red"]}]
    answer = ssm.ListSecrets(SearchSecretName="db", State=1, TagFilters=team)
    assert (answer.TotalCount, [m.SecretName for m in answer.SecretMetadatas]) == (1, ["db-1"])


def test_there_are_no_secrets_of_other_kinds(ssm: Client) -> None:
    make(ssm)
    for given in ({"SecretType": 1}, {"SecretType": 4}, {"EncryptType": 1}, {"InstanceID": "cdb-1"}):
        assert outputs(ssm.ListSecrets(**given)) == {"TotalCount": 0, "SecretMetadatas": []}
    # Product names filter product secrets only.
    assert names(ssm, SecretType=0, EncryptType=0, ProductName="Mysql,Tdsql-mysql") == ["s"]


@pytest.mark.parametrize(
    "given",
    [
        {"Offset": -1},
        {"Limit": -1},
        {"Limit": 1001},
        {"OrderType": 2},
        {"State": 6},
        {"State": -1},
        {"SecretType": 5},
        {"EncryptType": 2},
        {"SearchSecretName": "x" * 129},
        {"TagFilters": [{"TagKey": "", "TagValue": ["v"]}]},
        {"TagFilters": [{"TagKey": "k", "TagValue": ["v" * 256]}]},
        {"TagFilters": [{"TagKey": f"k{i}"} for i in range(11)]},
    ],
)
def test_values_outside_the_limits_are_refused(ssm: Client, given: dict[str, object]) -> None:
    with refused("InvalidParameterValue"):
        ssm.ListSecrets(**given)


def test_each_region_and_account_lists_its_own(installation: Installation, ssm: Client) -> None:
    make(ssm, "here")
    elsewhere = installation.client("ssm", region=FIPS)
    make(elsewhere, "there")
    somebody = installation.client("ssm", who=installation.add_account())
    assert (names(ssm), names(elsewhere), names(somebody)) == (["here"], ["there"], [])


# The list is kept from call to call


def test_a_list_that_has_not_changed_costs_one_read(clock: ManualClock) -> None:
    installation = Counted(clock)
    ssm = installation.client("ssm")
    for name in ("a", "b"):
        make(ssm, name)
    assert names(ssm) == ["b", "a"]
    table = installation.service.table(SM)
    assert isinstance(table, CountingTable)
    table.reads = table.writes = 0
    assert names(ssm) == ["b", "a"]
    assert (table.reads, table.writes) == (1, 1)
    ssm.PutSecretValue(SecretName="a", VersionId="v2", SecretString="new")
    table.reads = 0
    assert names(ssm) == ["b", "a"]
    assert table.reads == 1, "no list shows versions"


CHANGES: dict[str, Callable[[Client], object]] = {
    "Create": lambda ssm: make(ssm, "new"),
    "Describe": lambda ssm: ssm.UpdateDescription(SecretName="a", Description="other"),
    "Disable": lambda ssm: ssm.DisableSecret(SecretName="a"),
    "Schedule": lambda ssm: ssm.DeleteSecret(SecretName="off", RecoveryWindowInDays=1),
    "Delete": lambda ssm: ssm.DeleteSecret(SecretName="off", RecoveryWindowInDays=0),
    "Restore": lambda ssm: ssm.RestoreSecret(SecretName="going"),
    "Enable": lambda ssm: ssm.EnableSecret(SecretName="off"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_another_process_sees_every_change_at_once(
    installation: Installation, ssm: Client, change: str
) -> None:
    make(ssm, "a")
    make(ssm, "off", state="Disabled")
    make(ssm, "going", state="PendingDelete")
    other = copy.copy(installation)
    here = installation.service
    other.service = Service(installation.settings, installation.clock, here.table, here.hsm)
    other.gateway = Gateway(other.service)
    there = other.client("ssm")
    before = outputs(there.ListSecrets())
    assert before == outputs(ssm.ListSecrets())
    CHANGES[change](ssm)
    after = outputs(there.ListSecrets())
    assert after == outputs(ssm.ListSecrets())
    assert after != before


def test_a_secret_leaves_the_list_when_its_time_comes(ssm: Client, clock: ManualClock) -> None:
    make(ssm, "stays")
    make(ssm, "goes", state="PendingDelete")
    assert sorted(names(ssm)) == ["goes", "stays"]
    clock.advance(DAY)
    assert names(ssm) == ["stays"]


def secret(name: str, account: str) -> Secret:
    return Secret(
        uid=name,
        account=account,
        region=SM,
        name=name,
        creator_uin=account,
        key_id="k",
        default_key=False,
        created_ms=1,
    )


def test_no_more_lists_are_kept_than_fit(clock: ManualClock) -> None:
    table = SqliteTable(":memory:", clock)
    listings = secret_store.Listings()
    for n in range(12):
        secrets = [secret(f"{n}-{i}", account=str(n)) for i in range(1_000)]
        for begin in range(0, 1000, 33):
            table.write([op for s in secrets[begin : begin + 33] for op in rows.create(s, 10_000)[:2]])
        assert len(listings.read(table, str(n), SM, clock.now()).secrets) == 1000
    assert len(listings._read) == 10
    for n in range(10_010):
        listings._remember((f"empty-{n}", SM), secret_store.Listing(1, (), MAX_TIME, 1, is_settled=True))
    assert len(listings._read) == 10_000
    huge = (secret("s", "huge"),) * 10_001
    listings._remember(("huge", SM), secret_store.Listing(1, huge, MAX_TIME, 1, is_settled=True))
    assert len(listings._read) == 10_000, "one that is too long by itself leaves the others alone"
    table.close()


class Straddled(SqliteTable):
    """As on DynamoDB, the rows of a write become visible one after the other: while `late`, lines are as they were."""

    late: list[Row] | None = None
    queries = 0

    def query(self, pk: str, **how: Any) -> list[Row]:
        self.queries += 1
        return super().query(pk, **how) if self.late is None else self.late


def test_a_list_that_was_read_in_the_midst_of_a_write_is_not_kept(clock: ManualClock) -> None:
    table = Straddled(":memory:", clock)
    listings = secret_store.Listings(settling=10)

    def read() -> list[str]:
        return [s.name for s in listings.read(table, "1", SM, clock.now()).secrets]

    table.write(rows.create(secret("a", "1"), 10))
    table.late = table.query(f"LS#1#{SM}")
    table.write(rows.create(secret("b", "1"), 10))
    assert read() == ["a"]
    clock.advance(9)
    assert read() == ["a"]
    table.late = None
    assert read() == ["a", "b"]
    clock.advance(1)
    assert read() == ["a", "b"]
    table.queries = 0
    assert read() == ["a", "b"]
    assert table.queries == 0
    table.close()


def test_only_dynamodb_shows_half_a_write(installation: Installation) -> None:
    here = installation.service
    away = Service(replace(installation.settings, table="dynamodb"), here.clock, here.table, here.hsm)
    assert (here.listings._settling, away.listings._settling) == (0, 10)


class Waiting(SqliteTable):
    """A table in which each of eight threads gets its first row once all of them want one."""

    def __init__(self, path: Path, clock: ManualClock) -> None:
        self._everybody = threading.Barrier(8)
        self._of_thread = threading.local()
        self.queries = 0
        super().__init__(path, clock)

    def get(self, pk: str, sk: str) -> Row | None:
        row = super().get(pk, sk)
        if not hasattr(self._of_thread, "has_waited"):
            self._of_thread.has_waited = True
            self._everybody.wait(10)
        return row

    def query(self, pk: str, **bounds: Any) -> list[Row]:
        self.queries += 1
        return super().query(pk, **bounds)


@pytest.mark.parametrize("settling", [0, 10])
def test_threads_that_need_the_same_lines_read_them_once(
    tmp_path: Path, clock: ManualClock, settling: int
) -> None:
    table = Waiting(tmp_path / "table", clock)
    table.write(rows.create(secret("s", account="1"), 10))
    listings = secret_store.Listings(settling)
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: listings.read(table, "1", SM, clock.now()).secrets, range(8)))
    assert [[s.name for s in secrets] for secrets in found] == [["s"]] * 8
    assert table.queries == 1
    table.close()
