"""Key tokens move to the newest domain key while everything goes on working, whoever dies on the way."""

import functools
import itertools
import logging
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from chalicelib.clock import ManualClock
from chalicelib.context import IDENTITY, Service
from chalicelib.hsm.port import HsmKey, HsmUnavailable
from chalicelib.hsm.software import SoftwareHsm
from chalicelib.jobs import schedule
from chalicelib.jobs.lease import LEASE_SECONDS
from chalicelib.jobs.rewrap_tokens import JOB, SETTLING_SECONDS, rewrap_tokens
from chalicelib.jobs.sweep import Outcome
from chalicelib.settings import Settings
from chalicelib.table.port import Busy, Delete, Expect, Op, Put, Row, Table, Unacknowledged
from tests import scenarios
from tests.calls import ask, code
from tests.inspected import InspectedTable
from tests.installation import FIPS, SM
from tests.jobs.rig import FaultyTable, Killed, raises
from tests.jobs.token_rig import DOMAINS, PAGE, RecordingHsm, World, without_tokens


@pytest.fixture(scope="module")
def built() -> Iterator[World]:
    """One world for all tests."""
    world = World()
    yield world
    world.installation.service.close()


@pytest.fixture
def world(built: World) -> World:
    """The world as it was made; every domain key has a second generation that nothing is under yet."""
    built.reset()
    return built


# What it does


def kinds(keys: Iterable[tuple[str, str]]) -> set[str]:
    """What sort of rows these are, by the beginnings of their keys."""
    return {
        f"{pk.partition('#')[0]} {'' if pk.startswith('IT#') else sk.partition('#')[0]}" for pk, sk in keys
    }


def test_every_token_is_put_under_the_newest_generation_and_nothing_else_is_touched(world: World) -> None:
    touched: set[str] = set()
    for domain in DOMAINS:
        before, old = world.rows(domain), world.old(domain)
        outcome = world.run(domain)
        after = world.rows(domain)
        assert (outcome.ran, outcome.done, outcome.failed, outcome.finished) == (True, len(old), 0, True)
        assert world.old(domain) == []
        assert without_tokens(after) == without_tokens(before)
        assert {key: after[key].version - row.version for key, row in before.items()} == {
            key: int(key in old) for key in before
        }
        touched |= kinds(old)
    assert touched >= {"K M", "K V", "IT ", "AK K", "AC SK", "AS K"}
    world.works()


def test_once_the_older_generation_is_gone_everything_works(world: World) -> None:
    for domain in DOMAINS:
        world.run(domain)
        world.installation.hsms[domain].retire(1)
    world.restart()
    world.works()
    world.done(
        "ImportKeyMaterial",
        KeyId=world.world.keys["waiting"],
        ImportToken=world.world.made["token"],
        EncryptedKeyMaterial=world.world.made["material"],
    )
    blob = world.done("Encrypt", KeyId=world.world.keys["waiting"], Plaintext=scenarios.PLAINTEXT)
    assert world.done("Decrypt", CiphertextBlob=blob["CiphertextBlob"])["Plaintext"] == scenarios.PLAINTEXT


def nothing(_domain: str) -> Table:
    raise AssertionError


def test_where_there_is_one_generation_no_table_is_opened() -> None:
    service = Service(Settings(), ManualClock(1), nothing, SoftwareHsm.ephemeral)
    outcomes = schedule.run(service, JOB)
    assert list(outcomes) == [*service.settings.regions, IDENTITY]
    for outcome in outcomes.values():
        assert (outcome.ran, outcome.done, outcome.failed, outcome.finished) == (True, 0, 0, True)


def test_once_a_late_pass_was_clean_the_job_reads_one_row_and_writes_none(world: World) -> None:
    table = Counting(world.table())
    begin = world.clock.now()

    def run() -> tuple[int, int]:
        """Rows read by scans, and writes."""
        table.scanned = table.writes = 0
        assert world.run(table=table).finished
        return table.scanned, table.writes

    count = len(world.table().scan(limit=1000))
    assert run() >= (count, 16)
    first = world.progress()
    assert (first.newest, first.since, first.began, first.clean) == (2, begin, begin, False)
    assert first.left >= 16
    # Too early to tell anything new: tokens of the older generation may still be written.
    world.clock.advance(SETTLING_SECONDS - 1)
    assert run() == (0, 0)
    world.clock.advance(1)
    assert run()[0] >= count
    assert (world.progress().left, world.progress().clean) == (0, True)
    world.clock.advance(100 * SETTLING_SECONDS)
    assert run() == (0, 0)
    # A third generation begins it all anew.
    world.installation.hsms[SM].rotate()
    assert run() >= (count, 16)
    assert (world.progress().newest, world.progress().since) == (3, world.clock.now())
    assert not world.progress().clean


def test_a_late_pass_that_found_something_is_followed_by_another_one_at_once(world: World) -> None:
    world.run()
    world.clock.advance(SETTLING_SECONDS)
    stale(world, lambda: world.done("CreateKey", Alias="late"))
    assert world.run().done == 1
    assert (world.progress().left, world.progress().clean) == (1, False)
    assert world.run().done == 0
    assert world.progress().clean


def test_an_early_pass_that_finds_nothing_proves_nothing(world: World) -> None:
    for row in world.rows(FIPS).values():
        world.table(FIPS).write([Delete(row.pk, row.sk, Expect.EXISTS)])
    world.run(FIPS)
    assert (world.progress(FIPS).left, world.progress(FIPS).clean) == (0, False)
    world.clock.advance(SETTLING_SECONDS)
    world.run(FIPS)
    assert (world.progress(FIPS).left, world.progress(FIPS).clean) == (0, True)


def test_a_row_that_somebody_changes_under_way_is_left_to_the_next_pass(world: World) -> None:
    world.run()
    world.clock.advance(SETTLING_SECONDS)
    made: dict[str, Any] = {}
    stale(world, lambda: made.update(world.done("CreateKey", Alias="late")))
    key_id = made["KeyId"]

    def meanwhile() -> None:
        world.done("UpdateKeyDescription", KeyId=key_id, Description="changed")

    table = FaultyTable(world.table(), 2, before=meanwhile)  # the first write takes the lease
    assert world.run(table=table, page=1000).done == 0
    assert (world.progress().left, world.progress().clean) == (1, False)
    assert world.run().done == 1
    world.finish()
    assert world.old() == []
    assert world.done("DescribeKey", KeyId=key_id)["KeyMetadata"]["Description"] == "changed"


def stale(world: World, call: Callable[[], object]) -> None:
    """Make a call in a process that has not noticed the newest generation."""
    hsm = world.installation.hsms[SM]
    world.installation.hsms[SM] = hsm.twin(1)
    try:
        world.restart()
        call()
    finally:
        world.installation.hsms[SM] = hsm
        world.restart()


def test_a_pass_begins_anew_with_a_generation_that_appears_under_way(world: World) -> None:
    assert not world.run(
        table=FaultyTable(world.table(), 12, before=raises(Busy)), max_seconds=0.0001
    ).finished
    at = world.progress()
    assert at.under_way
    world.clock.advance(7)
    world.installation.hsms[SM].rotate()
    world.run()
    assert (world.progress().newest, world.progress().since) == (3, at.since + 7)
    assert world.old() == []


def test_a_run_whose_hsm_lacks_the_newest_generation_does_nothing(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    behind = world.installation.hsms[SM].twin(None)
    world.installation.hsms[SM].rotate()
    world.run()
    before = world.rows()
    with caplog.at_level(logging.ERROR, "keystead"):
        outcome = world.run(hsm=behind)
    assert (outcome.ran, outcome.done, outcome.failed) == (True, 0, 1)
    assert world.rows() == before
    assert [r.getMessage() for r in caplog.records] == [f"job {JOB} in {SM}: the HSM lacks generation 3"]


def test_a_run_ends_in_time_and_the_next_one_goes_on(world: World) -> None:
    places, done = [], 0
    for _ in range(10_000):
        outcome = world.run(max_seconds=0.0005, page=3)
        done += outcome.done
        if outcome.finished:
            break
        places.append(world.progress().after)
    assert len(places) > 2
    assert places == sorted(places, key=lambda at: at or ("", ""))
    assert world.old() == []
    assert world.progress().left == done


def test_regions_that_share_a_table_are_swept_by_themselves(world: World) -> None:
    theirs = {
        (pk.replace(SM, FIPS), sk): row.body
        for (pk, sk), row in world.rows().items()
        if pk.startswith(("K#", "IT#", "AS#"))
    }
    for (pk, sk), body in theirs.items():
        world.table().write([Put(Row(pk=pk, sk=sk, body=body), Expect.ABSENT)])
    assert world.run(SM).failed == 0
    after = world.rows()
    assert {key: after[key].body for key in theirs} == theirs
    # Copied from another region they do not open: no token gets a place that was not its own.
    outcome = world.run(FIPS, table=world.table(), page=1000)
    assert (outcome.done, outcome.failed) == (
        0,
        len([body for body in theirs.values() if b'"token"' in body]),
    )
    after = world.rows()
    assert {key: after[key].body for key in theirs} == theirs


# When something fails


class Counting(FaultyTable):
    """Counts what scans have read."""

    scanned = 0

    def scan(self, *, after: tuple[str, str] | None = None, limit: int = 100) -> list[Row]:
        found = super().scan(after=after, limit=limit)
        self.scanned += len(found)
        return found


def writes_of_a_run(world: World) -> int:
    table = FaultyTable(world.table())
    assert world.run(table=table).finished
    world.reset()
    return table.writes


def test_killed_before_or_after_any_write_later_runs_end_the_same(world: World) -> None:
    count = writes_of_a_run(world)
    before = without_tokens(world.rows())
    for at in range(1, count + 1):
        for hook in ("before", "after"):
            world.reset()
            with pytest.raises(Killed):
                world.run(table=FaultyTable(world.table(), at, **{hook: raises(Killed)}))
            world.clock.advance(LEASE_SECONDS)
            assert world.run().finished
            assert world.old() == []
            assert without_tokens(world.rows()) == before
    world.works()


def test_a_write_that_is_turned_away_or_whose_answer_is_lost_is_made_up_for(world: World) -> None:
    count = writes_of_a_run(world)
    for at in range(1, count + 1):
        for fault in (
            {"after": raises(Unacknowledged)},
            {"before": raises(Unacknowledged)},
            {"before": raises(Busy)},
        ):
            world.reset()
            world.run(table=FaultyTable(world.table(), at, **fault))
            world.clock.advance(LEASE_SECONDS)
            world.finish()
            assert world.old() == []


def test_a_lost_answer_never_makes_a_pass_clean(world: World) -> None:
    world.run()
    world.clock.advance(SETTLING_SECONDS)
    stale(world, lambda: world.done("CreateKey", Alias="late"))
    fault = FaultyTable(world.table(), 2, before=raises(Unacknowledged))
    while not world.run(table=fault, page=1000).finished:
        fault.writes = 0
    assert (world.progress().left > 0, world.progress().clean) == (True, False)


class Failing(RecordingHsm):
    """An HSM that is out of reach while it is asked to rewrap."""

    def rewrap(self, key: HsmKey) -> HsmKey:  # noqa: ARG002 - the port's
        raise HsmUnavailable("out of reach")


def test_in_an_outage_a_run_ends_with_its_page_and_nothing_is_lost(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    down = Failing.ephemeral(SM)
    down._change(lambda _: world.installation.hsms[SM]._store.read())
    before = without_tokens(world.rows())
    with caplog.at_level(logging.WARNING, "keystead"):
        outcome = world.run(hsm=down)
    assert outcome.done == 0
    assert 0 < outcome.failed <= PAGE
    assert not outcome.finished
    assert without_tokens(world.rows()) == before
    assert len(caplog.records) == outcome.failed
    assert "HsmUnavailable" in caplog.text
    assert "out of reach" not in caplog.text
    world.finish()
    assert world.old() == []


def test_a_row_that_fails_does_not_hold_up_the_others_and_keeps_the_pass_from_being_clean(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    account = world.installation.root.uin
    whole = world.rows()[f"K#{account}#{SM}#{world.world.keys['key']}", "M"].body
    poisons = {
        f"K#{account}#{SM}#no-record": b"x",
        f"K#{account}#{SM}#no-members": b'\x01{"backing":[{}]}',
        f"K#{account}#{SM}#of-another-key": whole,
        f"K#{account}#{SM}": whole,
        f"IT#{account}#{SM}#no-token": b"\x01{}",
        f"K#{account}#{SM}#no-kind": whole.replace(b'"SM4"', b'"DES"'),
        f"K#{account}#{SM}#no-base64": whole.replace(b'"token":"', b'"token":"canary'),
    }
    for pk, body in poisons.items():
        world.table().write([Put(Row(pk=pk, sk="M", body=body), Expect.ABSENT)])
    world.clock.advance(SETTLING_SECONDS)
    with caplog.at_level(logging.WARNING, "keystead"):
        outcomes = [world.run(), world.run()]
        while not outcomes[-1].finished:
            outcomes.append(world.run())
    failed = {pk for pk in poisons if any(f"{pk}, M: " in r.getMessage() for r in caplog.records)}
    assert failed == set(poisons)
    assert "canary" not in caplog.text
    assert {pk for pk, _ in world.old()} <= set(poisons)
    rows = world.rows()
    assert all(rows[pk, "M"].body == body for pk, body in poisons.items())
    world.works()
    for _ in range(30):
        world.clock.advance(SETTLING_SECONDS)
        world.run()
        assert not world.progress().clean
    for pk in poisons:
        world.table().write([Delete(pk, "M", Expect.EXISTS)])
    world.finish()
    assert world.old() == []


# Company


def test_two_runners_at_once_leave_nothing_old_and_touch_nothing_else(world: World, tmp_path: Path) -> None:
    path = tmp_path / "t"
    path.write_bytes(world.installation.tables[SM].snapshot())
    clocks = [ManualClock(world.clock.now()), ManualClock(world.clock.now() + LEASE_SECONDS)]
    tables = [InspectedTable(path, clock) for clock in clocks]
    start = threading.Barrier(2)

    def work(at: int) -> Outcome:
        hsms, settings = world.installation.hsms, world.installation.settings
        start.wait(10)
        return rewrap_tokens(
            Service(settings, clocks[at], lambda _: tables[at], hsms.__getitem__), SM, page=PAGE
        )

    before = without_tokens(world.rows())
    with ThreadPoolExecutor(2) as pool:
        outcomes = list(pool.map(work, range(2)))
    assert sum(o.failed for o in outcomes) == 0
    in_memory = world.installation.tables[SM]
    world.installation.tables[SM] = tables[0]
    try:
        world.restart()
        assert without_tokens(world.rows()) == before
        clocks[0].advance(2 * LEASE_SECONDS)
        world.finish()
        assert world.old() == []
        world.works()
    finally:
        world.installation.tables[SM] = in_memory
        for table in tables:
            table.close()


class Overtaken(FaultyTable):
    """A table in which another runner does its work right after the first look."""

    def get(self, pk: str, sk: str) -> Row | None:
        found = super().get(pk, sk)
        hook, self._before = self._before, None
        if hook is not None:
            hook()
        return found


def test_a_run_goes_on_from_what_it_finds_once_it_has_the_lease(world: World) -> None:
    world.run()
    world.clock.advance(SETTLING_SECONDS)
    table = Overtaken(world.table(), before=world.run)
    assert world.run(table=table).finished
    assert world.progress().clean
    assert table.writes == 2  # it took the lease and gave it up


class Interrupted(FaultyTable):
    """A table between whose calls other things happen."""

    def __init__(self, table: Table, events: Iterator[Callable[[], object]]) -> None:
        super().__init__(table)
        self._events = events

    def _meanwhile(self) -> None:
        for event in itertools.islice(self._events, 1):
            event()

    def scan(self, *, after: tuple[str, str] | None = None, limit: int = 100) -> list[Row]:
        self._meanwhile()
        found = super().scan(after=after, limit=limit)
        self._meanwhile()
        return found

    def write(self, ops: Sequence[Op]) -> None:
        self._meanwhile()
        super().write(ops)


_numbers = itertools.count()

CHANGES: dict[str, Callable[[World], dict[str, Any]]] = {
    "CreateKey": lambda w: {"Alias": f"new-{w.clock.now_ms()}-{next(_numbers)}"},
    "RotateKey": lambda w: {"KeyId": w.world.keys["rotating"]},
    "UpdateKeyDescription": lambda w: {"KeyId": w.world.keys["key"], "Description": str(next(_numbers))},
    "UpdateAlias": lambda w: {"KeyId": w.world.keys["other"], "Alias": f"alias-{next(_numbers)}"},
    "GetParametersForImport": lambda w: {"KeyId": w.world.keys["imported"], **scenarios.WRAPPING},
    "ImportKeyMaterial": lambda w: {
        "KeyId": w.world.keys["waiting"],
        "ImportToken": w.world.made["token"],
        "EncryptedKeyMaterial": w.world.made["material"],
    },
    "DeleteImportedKeyMaterial": lambda w: {"KeyId": w.world.keys["imported"]},
    "EnableKey": lambda w: {"KeyId": w.world.keys["idle"]},
    "CancelKeyDeletion": lambda w: {"KeyId": w.world.keys["leaving"]},
    "DisableKey": lambda w: {"KeyId": w.world.keys["archived"]},
}
"""Calls that write tokens or rows with tokens."""

changes = st.lists(st.sampled_from(["", "", "", "day", *CHANGES]), max_size=30)


@given(
    stale_changes=st.lists(st.sampled_from(["CreateKey", "RotateKey", "GetParametersForImport"]), max_size=3),
    passes=st.lists(changes, min_size=1, max_size=4),
)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_happens_meanwhile_a_clean_pass_means_that_nothing_old_is_left(
    world: World, stale_changes: list[str], passes: list[list[str]]
) -> None:
    world.reset()
    told: dict[str, dict[str, Any]] = {}

    def change(name: str) -> None:
        if name == "day":
            world.clock.advance(86400)
        elif name:
            parameters = CHANGES[name](world)
            answer = ask(world.installation.gateway, world.world.request("kms", name, parameters))
            if not code(answer):  # some are refused, the second time
                told[name] = parameters

    for name in stale_changes:
        stale(world, lambda name=name: change(name))  # type: ignore[misc]
    for names in passes:
        world.run(table=Interrupted(world.table(), map(functools.partial(functools.partial, change), names)))
        assert not world.progress().clean or world.old() == []
        world.clock.advance(SETTLING_SECONDS)
    world.finish()
    assert world.old() == []
    world.installation.hsms[SM].retire(1)
    world.restart()
    for blob in world.blobs:
        assert world.done("Decrypt", CiphertextBlob=blob)["Plaintext"] == scenarios.PLAINTEXT
    for name, member in (("UpdateKeyDescription", "Description"), ("UpdateAlias", "Alias")):
        if name in told:
            shown = world.done("DescribeKey", KeyId=told[name]["KeyId"])["KeyMetadata"]
            assert shown[member] == told[name][member]
