"""Whatever fails wherever while a secret is copied: the replica never goes back, and ends like its primary."""

import contextlib
import dataclasses
from collections.abc import Iterator
from typing import Any

import pytest

from chalicelib.api.gateway import Gateway
from chalicelib.context import Service
from chalicelib.jobs import schedule
from chalicelib.jobs.lease import LEASE_SECONDS
from chalicelib.table import replicas
from chalicelib.table import secrets as rows
from chalicelib.table.port import Busy, Table, due_kind
from chalicelib.table.replicas import Todo, Verb
from tests.calls import ask, code
from tests.faults.broken import Broken, Killed, plans
from tests.installation import FIPS, SM
from tests.scenarios import World

JOB = "replicate_secrets"
NAMED = {"SecretName": "s"}
CREATE = ("CreateSecret", {**NAMED, "VersionId": "v1", "SecretString": "one"})
REPLICATE = ("ReplicateSecret", {**NAMED, "ReplicaRegions": [{"Region": FIPS}]})
UPDATE = ("UpdateSecret", {**NAMED, "VersionId": "v1", "SecretString": "two"})
PUT = ("PutSecretValue", {**NAMED, "VersionId": "v2", "SecretString": "three"})
DROP = ("DeleteSecretVersion", {**NAMED, "VersionId": "v1"})
DISABLE = ("DisableSecret", NAMED)
STOP = ("StopSecretReplication", {**NAMED, "Regions": [FIPS]})
PROMOTE = ("StopSecretReplication", NAMED)

Call = tuple[str, dict[str, Any]]


class Pair:
    """A primary in one region and its replica in another, put back before each attempt."""

    def __init__(self) -> None:
        self.installation = Broken()
        self.world = World(self.installation)
        self.call(CREATE)
        for region in self.installation.settings.regions:
            self.installation.service.table(region)
            self.installation.service.hsm(region)
        self.images: dict[str, bytes] = {}
        self.keep()

    def keep(self) -> None:
        """Make what is there now the beginning."""
        self.images = {name: table.snapshot() for name, table in self.installation.tables.items()}

    def reset(self) -> None:
        for name, table in self.installation.tables.items():
            table.restore(self.images[name])
        self.restart()

    def restart(self) -> None:
        """A new process over the same tables, when the lease of the last has run out."""
        self.installation.clock.advance(LEASE_SECONDS + 1)
        self.installation.service.hints.clear()
        self.installation.gateway = Gateway(self.installation.service)
        self.installation.saboteur.rest()

    def call(self, call: Call, region: str = SM) -> dict[str, Any]:
        action, parameters = call
        return ask(self.installation.gateway, self.world.request("ssm", action, parameters, region=region))

    def job(self) -> tuple[int, int]:
        """How many rows are done and failed."""
        outcomes = schedule.run(self.installation.service, JOB).values()
        return sum(o.done for o in outcomes), sum(o.failed for o in outcomes)

    def secret(self, region: str) -> dict[str, Any]:
        """All that there is of the secret in a region, but what differs between regions."""
        described = self.call(("DescribeSecret", NAMED), region)
        versions = self.call(("ListSecretVersionIds", NAMED), region).get("Versions", [])
        read = {
            v["VersionId"]: self.call(("GetSecretValue", {**NAMED, "VersionId": v["VersionId"]}), region)
            for v in versions
        }
        shown = {name: (answer.get("SecretString"), code(answer)) for name, answer in read.items()}
        return {"state": described.get("Status"), "versions": versions, "values": shown}

    def values(self) -> Any:
        """The values of the primary."""
        return self.secret(SM)["values"]

    def settle(self) -> None:
        """Run the job until nothing is left; it has to be soon."""
        for _ in range(3):
            self.job()
            if not self.due():
                return
        raise AssertionError("there is always more to do")

    def due(self) -> int:
        tables = self.installation.tables
        return sum(len(tables[r].due(due_kind(replicas.REPLICATE, r), 10**10)) for r in (SM, FIPS))

    def is_replica(self) -> bool:
        return "PrimaryRegion" in self.call(("DescribeSecret", NAMED), FIPS)


@pytest.fixture
def pair() -> Iterator[Pair]:
    made = Pair()
    yield made
    made.installation.service.close()


def check_in_step(pair: Pair) -> None:
    assert pair.is_replica()
    assert pair.secret(FIPS) == pair.secret(SM)
    (status,) = pair.call(("DescribeSecret", NAMED))["ReplicationStatus"]
    assert (status["Region"], status["Status"]) == (FIPS, "InSync")
    table = pair.installation.tables[FIPS]
    pk, sk = rows.secret_row_key(pair.installation.root.uin, FIPS, "s")
    row = table.get(pk, sk)
    assert row is not None
    kept = {row.sk for row in table.query(pk)}
    assert kept == {"M", *(f"V#{version.id}" for version in rows.from_row(row).versions)}
    quota = table.get(f"CT#{pair.installation.root.uin}#{FIPS}", "secrets")
    assert quota is not None
    assert quota.number == 1


CHANGES: dict[str, tuple[tuple[Call, ...], Call]] = {
    "replicate": ((), REPLICATE),
    "update": ((REPLICATE,), UPDATE),
    "put": ((REPLICATE,), PUT),
    "drop": ((REPLICATE, PUT), DROP),
    "disable": ((REPLICATE,), DISABLE),
}


@pytest.mark.parametrize("change", CHANGES)
def test_every_fault_in_a_call_that_a_replica_follows(pair: Pair, change: str) -> None:
    first, last = CHANGES[change]
    for call in first:
        assert not code(pair.call(call))
    pair.keep()
    pair.reset()
    assert not code(pair.call(last))
    calls = tuple(pair.installation.saboteur.calls)
    assert pair.due() == 0
    healthy = pair.values()
    check_in_step(pair)
    for fault, begin, end in plans(calls):
        pair.reset()
        pair.installation.saboteur.fail(fault, begin, end)
        with contextlib.suppress(Killed):
            pair.call(last)
        pair.restart()
        pair.settle()
        where = f"{fault.name} at {begin} of {len(calls)}"
        if "PrimaryRegion" in pair.call(("DescribeSecret", NAMED), FIPS):
            check_in_step(pair)
        else:
            assert change == "replicate", where
        pair.call(last)
        pair.settle()
        assert pair.values() == healthy, where
        check_in_step(pair)


def test_every_fault_in_the_job(pair: Pair) -> None:
    """The call is killed once it is committed; all the copying is the job's."""
    for call in (REPLICATE, PUT):
        assert not code(pair.call(call))
    leave_to_the_job(pair, UPDATE)
    pair.keep()
    pair.reset()
    assert pair.job() == (1, 0)
    calls = tuple(pair.installation.saboteur.calls)
    check_in_step(pair)
    for fault, begin, end in plans(calls):
        pair.reset()
        assert pair.due() == 1
        pair.installation.saboteur.fail(fault, begin, end)
        with contextlib.suppress(Killed):
            pair.job()
        pair.restart()
        pair.settle()
        check_in_step(pair)


def leave_to_the_job(pair: Pair, call: Call) -> None:
    """Make a call whose process is killed right after its commit."""
    saboteur = pair.installation.saboteur
    saboteur.rest()

    def kill(name: str) -> None:
        if len(saboteur.calls) > 1 and saboteur.calls[-2] == "write":
            raise Killed

    saboteur.before = kill
    with pytest.raises(Killed):
        pair.call(call)
    pair.restart()


@pytest.mark.parametrize("where", [SM, FIPS])
def test_every_fault_in_an_end_of_replication(pair: Pair, where: str) -> None:
    pair.call(REPLICATE)
    pair.keep()
    pair.reset()
    stop = STOP if where == SM else PROMOTE
    assert not code(pair.call(stop, where))
    calls = tuple(pair.installation.saboteur.calls)
    for fault, begin, end in plans(calls):
        pair.reset()
        pair.installation.saboteur.fail(fault, begin, end)
        with contextlib.suppress(Killed):
            pair.call(stop, where)
        pair.restart()
        pair.settle()
        both = pair.is_replica(), "ReplicationStatus" in pair.call(("DescribeSecret", NAMED))
        assert both in {(False, False), (True, True)}, "the two agree"
        pair.call(stop, where)
        pair.settle()
        assert not pair.is_replica()
        assert "ReplicationStatus" not in pair.call(("DescribeSecret", NAMED))
        assert pair.secret(FIPS) == pair.secret(SM)
        assert not code(pair.call(UPDATE, FIPS))


def test_an_older_state_never_overwrites_a_later_one(pair: Pair) -> None:
    """A copier is held up at each of its steps while the primary changes, and somebody else copies that."""
    pair.call(REPLICATE)
    leave_to_the_job(pair, UPDATE)
    pair.keep()
    pair.reset()
    pair.job()
    saboteur = pair.installation.saboteur
    steps = len(saboteur.calls)
    for step in range(1, steps + 1):
        pair.reset()
        rival = pair.installation.rival()

        def interfere(_name: str, step: int = step, rival: Gateway = rival) -> None:
            if len(saboteur.calls) == step:
                saboteur.before = None
                assert not code(ask(rival, pair.world.request("ssm", *PUT)))

        saboteur.before = interfere
        pair.job()
        saboteur.rest()
        found = pair.secret(FIPS)
        assert found["values"].get("v2") == ("three", "") or pair.due(), f"before step {step}"
        pair.settle()
        assert pair.secret(FIPS) == pair.secret(SM)
        check_in_step(pair)


class Unreachable:
    """A table that nobody reaches."""

    def __getattr__(self, name: str) -> Any:
        def call(*_args: Any, **_kwargs: Any) -> Any:
            raise Busy

        return call


def test_while_a_region_is_out_of_reach_the_primary_works_and_the_replica_catches_up(pair: Pair) -> None:
    pair.call(REPLICATE)
    installation = pair.installation
    tables: dict[str, Any] = {**installation.tables, FIPS: Unreachable()}

    def open_table(domain: str) -> Table:
        table: Table = tables[domain]
        return table

    alone = Service(installation.settings, installation.clock, open_table, installation.hsms.__getitem__)
    gateway = Gateway(alone)
    for call in (UPDATE, PUT):
        assert not code(ask(gateway, pair.world.request("ssm", *call)))
    described = ask(gateway, pair.world.request("ssm", "DescribeSecret", NAMED))
    assert described["ReplicationStatus"][0]["Status"] == "InProgress"
    assert schedule.run(alone, JOB)[SM].failed == 1
    assert pair.secret(FIPS) != pair.secret(SM)
    pair.settle()
    check_in_step(pair)


def test_what_keeps_a_replica_back_is_shown_and_passes(pair: Pair) -> None:
    def kms(action: str, **parameters: str) -> dict[str, Any]:
        request = pair.world.request("kms", action, parameters, region=FIPS)
        response = ask(pair.installation.gateway, request)
        assert not code(response)
        return response

    key = kms("CreateKey", Alias="k")["KeyId"]
    wanted = {"Region": FIPS, "KmsKeyId": key}
    assert not code(pair.call(("ReplicateSecret", {**NAMED, "ReplicaRegions": [wanted]})))
    kms("DisableKey", KeyId=key)
    assert not code(pair.call(UPDATE))
    (status,) = pair.call(("DescribeSecret", NAMED))["ReplicationStatus"]
    assert status["Status"] == "Failed"
    assert "key" in status["StatusMessage"]
    assert "two" not in status["StatusMessage"]
    pair.job()
    assert pair.due() == 1
    kms("EnableKey", KeyId=key)
    pair.settle()
    check_in_step(pair)


def test_a_name_that_is_taken_in_between_is_not_overwritten(pair: Pair) -> None:
    leave_to_the_job(pair, REPLICATE)
    assert not code(pair.call(("CreateSecret", {**NAMED, "VersionId": "v1", "SecretString": "theirs"}), FIPS))
    pair.job()
    (status,) = pair.call(("DescribeSecret", NAMED))["ReplicationStatus"]
    assert status["Status"] == "Failed"
    read = pair.call(("GetSecretValue", {**NAMED, "VersionId": "v1"}), FIPS)
    assert read["SecretString"] == "theirs"
    for call in (DISABLE, ("DeleteSecret", NAMED)):
        assert not code(pair.call(call, FIPS))
    pair.settle()
    check_in_step(pair)


def test_a_region_that_is_served_no_more_can_be_given_up(pair: Pair) -> None:
    pair.call(REPLICATE)
    installation = pair.installation
    settings = dataclasses.replace(installation.settings, regions={SM: "sm"})
    alone = Service(
        settings, installation.clock, installation.tables.__getitem__, installation.hsms.__getitem__
    )
    gateway = Gateway(alone)

    def call(*call: Any) -> dict[str, Any]:
        return ask(gateway, pair.world.request("ssm", *call))

    assert not code(call(*UPDATE))
    (status,) = call("DescribeSecret", NAMED)["ReplicationStatus"]
    assert (status["Region"], status["Status"]) == (FIPS, "Failed")
    assert not code(call(*STOP))
    assert not code(call(*DISABLE))
    assert not code(call("DeleteSecret", NAMED))
    assert pair.due() == 0
    assert schedule.run(alone, JOB)[SM].failed == 0


def test_a_primary_that_was_restored_does_not_set_its_replica_back(pair: Pair) -> None:
    pair.call(REPLICATE)
    older = pair.installation.tables[SM].snapshot()
    for call in (UPDATE, PUT):
        assert not code(pair.call(call))
    pair.installation.tables[SM].restore(older)
    pair.restart()
    assert not code(pair.call(DISABLE))
    pair.job()
    (status,) = pair.call(("DescribeSecret", NAMED))["ReplicationStatus"]
    assert status["Status"] == "Failed"
    assert pair.secret(FIPS)["values"] == {"v1": ("two", ""), "v2": ("three", "")}


def test_a_late_failure_does_not_hide_that_the_replica_is_in_step(pair: Pair) -> None:
    """A copier that failed is held up before it says so; by then somebody else has copied."""
    leave_to_the_job(pair, REPLICATE)
    assert not code(pair.call(("CreateSecret", {**NAMED, "VersionId": "v1", "SecretString": "x"}), FIPS))
    saboteur, rival = pair.installation.saboteur, pair.installation.rival()
    writes = 0

    def interfere(name: str) -> None:
        nonlocal writes
        writes += name == "write"
        if writes == 2:  # the first takes the lease, the second says what is wrong
            saboteur.before = None
            for action in ("DisableSecret", "DeleteSecret"):
                assert not code(ask(rival, pair.world.request("ssm", action, NAMED, region=FIPS)))
            assert not code(ask(rival, pair.world.request("ssm", *UPDATE)))

    saboteur.before = interfere
    pair.job()
    assert writes == 2
    saboteur.rest()
    pair.settle()
    check_in_step(pair)


def test_a_primary_that_was_not_told_shows_that_its_replica_is_none(pair: Pair) -> None:
    pair.call(REPLICATE)
    table = pair.installation.tables[FIPS]
    row = table.get(*rows.secret_row_key(pair.installation.root.uin, FIPS, "s"))
    assert row is not None
    replica = rows.from_row(row)
    table.write(rows.replace(replica, replica.promote()))
    assert not code(pair.call(UPDATE))
    (status,) = pair.call(("DescribeSecret", NAMED))["ReplicationStatus"]
    assert status["Status"] == "Failed"
    assert pair.secret(FIPS)["values"] == {"v1": ("one", "")}


def test_an_end_of_an_earlier_replication_does_not_touch_a_later_one(pair: Pair) -> None:
    pair.call(REPLICATE)
    account = pair.installation.root.uin
    late = Todo(account, SM, "s", FIPS, "an-earlier-link", Verb.STOP)
    early = Todo(account, FIPS, "s", SM, "an-earlier-link", Verb.FORGET)
    pair.installation.tables[SM].write([replicas.put(late)])
    pair.installation.tables[FIPS].write([replicas.put(early)])
    pair.settle()
    check_in_step(pair)


def test_events_in_both_regions_say_that_the_service_did_it(pair: Pair) -> None:
    pair.call(REPLICATE)
    for region in (SM, FIPS):
        found = [
            e
            for e in pair.installation.events(region)
            if e["action"] == "ReplicateSecret" and e["auth"] == "job"
        ]
        assert [(e["user"], e["resources"]) for e in found] == [("Service", ["secret/s"])]
        assert "one" not in str(found)
