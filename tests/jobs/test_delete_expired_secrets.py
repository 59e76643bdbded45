"""The sweep of secrets past their deletion date: killed, doubled, late or disturbed, it ends in the same state."""

import functools
import logging
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from chalicelib.clock import ManualClock
from chalicelib.context import Service
from chalicelib.jobs import sweep
from chalicelib.jobs.delete_expired_secrets import delete_expired_secrets
from chalicelib.jobs.lease import LEASE_SECONDS
from chalicelib.model.secret import Secret, SecretState
from chalicelib.secret_store import purge
from chalicelib.table import secrets as rows
from chalicelib.table.port import Busy, Op, Row, Unacknowledged
from chalicelib.table.sqlite import SqliteTable
from tests.actions.ssm import arrange
from tests.actions.ssm.arrange import Hooked
from tests.installation import FIPS, SM, Client, Installation
from tests.jobs.rig import (
    ACCOUNT,
    DAY,
    KIND,
    NOON,
    FaultyTable,
    Killed,
    events,
    left,
    poison,
    raises,
    run,
    secret,
    seed,
    service_on,
)

DUE = [secret(i, NOON - i) for i in range(5)]
KEPT = [
    secret(10, 0, state=SecretState.ENABLED),
    secret(11, 0, state=SecretState.DISABLED),
    secret(12, NOON + DAY),
]
END = {
    "listed": [s.name for s in KEPT],
    "rows": {s.name: ["M", "V#v1", "V#v2"] for s in KEPT},
    "quota": len(KEPT),
    "due": [KEPT[2].name],
    "events": Counter(f"secret/{s.name}" for s in DUE),
}
"""What every way to sweep DUE ends in: no row of theirs, one event each, the rest untouched."""

PAGE = 2  # so that the lease is renewed in between
WRITES = 1 + len(DUE) + 3 + 1
"""Take the lease; each secret; renew the lease after each page; give it up."""


def fresh_table(clock: ManualClock) -> SqliteTable:
    table = SqliteTable(":memory:", clock)
    seed(table, [*DUE, *KEPT])
    return table


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(NOON)


def test_secrets_past_their_date_go_with_all_their_rows_and_the_others_stay(clock: ManualClock) -> None:
    table = fresh_table(clock)
    outcome = delete_expired_secrets(service_on(table, clock), SM)
    assert (outcome.ran, outcome.done, outcome.failed, outcome.finished) == (True, 5, 0, True)
    assert left(table, [*DUE, *KEPT]) == END


def test_a_second_run_finds_nothing_to_do(clock: ManualClock) -> None:
    table = fresh_table(clock)
    service = service_on(table, clock)
    delete_expired_secrets(service, SM)
    outcome = delete_expired_secrets(service, SM)
    assert (outcome.ran, outcome.done, outcome.failed, outcome.finished) == (True, 0, 0, True)
    assert left(table, [*DUE, *KEPT]) == END


def test_a_secret_is_swept_from_the_second_of_its_date_on(clock: ManualClock) -> None:
    table = fresh_table(clock)
    service = service_on(table, clock)
    delete_expired_secrets(service, SM)
    assert [s.name for s in rows.list_all(table, ACCOUNT, SM)] == [s.name for s in KEPT]
    clock.advance(DAY - 1)
    assert delete_expired_secrets(service, SM).done == 0
    clock.advance(1)
    assert delete_expired_secrets(service, SM).done == 1
    assert [s.name for s in rows.list_all(table, ACCOUNT, SM)] == [s.name for s in KEPT[:2]]


def test_the_counted_writes_are_all_there_are(clock: ManualClock) -> None:
    table = FaultyTable(fresh_table(clock))
    run(service_on(table, clock), PAGE)
    assert table.writes == WRITES


@pytest.mark.parametrize("count", range(1, WRITES + 1))
def test_killed_after_any_write_the_next_run_ends_in_the_same_state(clock: ManualClock, count: int) -> None:
    table = fresh_table(clock)
    with pytest.raises(Killed):
        run(service_on(FaultyTable(table, count, after=raises(Killed)), clock), PAGE)
    # The dead runner's lease holds others off until it runs out; only its last write gives it up.
    clock.advance(LEASE_SECONDS - 1)
    assert run(service_on(table, clock), PAGE).ran is (count == WRITES)
    clock.advance(1)
    assert run(service_on(table, clock), PAGE).finished
    assert left(table, [*DUE, *KEPT]) == END


@pytest.mark.parametrize("count", range(1, WRITES + 1))
def test_a_write_whose_answer_is_lost_counts_once(clock: ManualClock, count: int) -> None:
    table = fresh_table(clock)
    outcome = run(service_on(FaultyTable(table, count, after=raises(Unacknowledged)), clock), PAGE)
    assert (outcome.done, outcome.failed, outcome.finished) == (5, 0, True)
    assert left(table, [*DUE, *KEPT]) == END


@pytest.mark.parametrize("count", range(1, WRITES + 1))
def test_a_write_that_is_turned_away_is_made_by_this_run_or_the_next(clock: ManualClock, count: int) -> None:
    table = fresh_table(clock)
    run(service_on(FaultyTable(table, count, before=raises(Busy)), clock), PAGE)
    clock.advance(LEASE_SECONDS)
    assert run(service_on(table, clock), PAGE).finished
    assert left(table, [*DUE, *KEPT]) == END


def test_two_runners_at_once_do_the_work_once(tmp_path: Path) -> None:
    due = [secret(i, NOON) for i in range(60)]
    # The second runner's clock is so far ahead that the lease of the first means nothing to it.
    clocks = [ManualClock(NOON), ManualClock(NOON + LEASE_SECONDS)]
    tables = [SqliteTable(tmp_path / "t", clock) for clock in clocks]
    seed(tables[0], due)
    first_is_at_work = threading.Event()

    def work(service: Service, row: Row) -> bool:
        first_is_at_work.set()
        return purge(service, SM, row.pk, row.sk)

    def first() -> sweep.Outcome:
        service = service_on(tables[0], clocks[0])
        return sweep.run(service, SM, rows.DELETE_EXPIRED, functools.partial(work, service))

    def second() -> sweep.Outcome:
        assert first_is_at_work.wait(10)
        return run(service_on(tables[1], clocks[1]), 7)

    with ThreadPoolExecutor(2) as pool:
        outcomes = [future.result() for future in (pool.submit(first), pool.submit(second))]
    assert [(o.ran, o.failed, o.finished) for o in outcomes] == [(True, 0, True)] * 2
    assert sum(o.done for o in outcomes) == len(due)
    assert left(tables[0], due) == {
        "listed": [],
        "rows": {},
        "quota": 0,
        "due": [],
        "events": Counter(f"secret/{s.name}" for s in due),
    }
    for table in tables:
        table.close()


def test_many_purges_of_one_secret_at_once_count_once(tmp_path: Path) -> None:
    clock = ManualClock(NOON)
    due = secret(1, NOON)
    tables = [SqliteTable(tmp_path / "t", clock) for _ in range(6)]
    seed(tables[0], [due])
    start = threading.Barrier(len(tables))

    def purge_it(table: SqliteTable) -> bool:
        start.wait()
        return purge(service_on(table, clock), SM, *rows.secret_row_key(ACCOUNT, SM, due.name))

    with ThreadPoolExecutor(len(tables)) as pool:
        assert sorted(pool.map(purge_it, tables)) == [False] * 5 + [True]
    assert left(tables[0], [due])["quota"] == 0
    assert left(tables[0], [due])["events"] == {f"secret/{due.name}": 1}
    for table in tables:
        table.close()


class StaleTable(FaultyTable):
    """A table whose index of due rows lags: it answers with what was due at first."""

    stale: Sequence[Row] = ()

    def due(self, kind: str, upto: int, *, after: str | None = None, limit: int = 100) -> list[Row]:
        if not self.stale:
            self.stale = super().due(kind, upto, after=after, limit=limit)
        return list(self.stale)


def change(table: SqliteTable, name: str, to: Callable[[Secret], Secret]) -> None:
    """Change a secret as its owner does, whose call began before the date."""
    row = table.get(*rows.secret_row_key(ACCOUNT, SM, name))
    assert row is not None
    old = rows.from_row(row)
    table.write(rows.replace(old, to(old)))


@pytest.mark.parametrize(
    ("to", "state"),
    [
        (Secret.restore, SecretState.DISABLED),
        (lambda s: s.restore().schedule_deletion(at=NOON + DAY), SecretState.PENDING_DELETE),
    ],
    ids=["restored", "scheduled anew"],
)
def test_a_secret_saved_after_it_was_found_due_is_kept(
    clock: ManualClock, to: Callable[[Secret], Secret], state: SecretState
) -> None:
    table = fresh_table(clock)
    stale = StaleTable(table)
    assert len(stale.due(KIND, NOON)) == len(DUE)
    change(table, DUE[3].name, to)
    outcome = delete_expired_secrets(service_on(stale, clock), SM)
    assert (outcome.done, outcome.failed) == (4, 0)
    found = {s.name: s.state for s in rows.list_all(table, ACCOUNT, SM)}
    assert set(found) == {s.name for s in [DUE[3], *KEPT]}
    assert found[DUE[3].name] is state
    assert left(table, DUE)["rows"] == {DUE[3].name: ["M", "V#v1", "V#v2"]}
    # And so it does, whatever the index still says, when all others are gone.
    assert delete_expired_secrets(service_on(stale, clock), SM).done == 0


def test_a_secret_restored_between_the_last_look_and_the_deletion_is_kept(clock: ManualClock) -> None:
    table = fresh_table(clock)

    def restore() -> None:
        change(table, DUE[0].name, Secret.restore)

    faulty = FaultyTable(table, 1, before=restore)
    assert purge(service_on(faulty, clock), SM, *rows.secret_row_key(ACCOUNT, SM, DUE[0].name)) is False
    assert left(table, DUE[:1])["rows"] == {DUE[0].name: ["M", "V#v1", "V#v2"]}
    assert events(table) == []


class TestThroughTheApi:
    """With secrets made by the service, and the tests' usual clock."""

    @pytest.fixture
    def clock(self, clock: ManualClock, monkeypatch: pytest.MonkeyPatch) -> ManualClock:
        from tencentcloud.common import abstract_client

        from tests.installation import sdk_time

        monkeypatch.setattr(abstract_client, "time", sdk_time(clock))
        return clock

    def test_a_slow_sweeper_does_not_hit_a_new_secret_of_the_same_name(self, clock: ManualClock) -> None:
        installation = Hooked(clock)
        ssm = installation.client("ssm")
        arrange.make(ssm, state="PendingDelete")
        clock.advance(DAY)

        def make_anew() -> None:
            # The row of the new secret reaches the version that the sweeper has read.
            arrange.make(ssm, SecretString="new")
            ssm.UpdateDescription(SecretName="s", Description="1")
            ssm.UpdateDescription(SecretName="s", Description="2")

        installation.hooked.before_write = make_anew
        place = rows.secret_row_key(installation.root.uin, SM, "s")
        assert purge(installation.service, SM, *place) is False
        assert arrange.value(ssm) == "new"
        assert ssm.ListSecrets().TotalCount == 1

    def test_the_event_names_secret_and_job(self, installation: Installation, ssm: Client) -> None:
        arrange.make(ssm, state="PendingDelete")
        installation.clock.advance(DAY + 100)
        assert delete_expired_secrets(installation.service, SM).done == 1
        (event,) = [e for e in arrange.events(installation) if e["action"] == "DeleteExpiredSecret"]
        assert event.pop("id")
        assert event.pop("chain")
        assert event == {
            "at": installation.clock.now_ms(),
            "service": "ssm",
            "action": "DeleteExpiredSecret",
            "region": SM,
            "read": False,
            "account": installation.root.uin,
            "user": "Service",
            "user_type": "Service",
            "auth": "job",
            "resources": ["secret/s"],
        }
        assert not any(arrange.VALUE.encode() in row.body for row in arrange.event_rows(installation))

    def test_each_region_and_account_is_swept_by_its_own_dates(self, installation: Installation) -> None:
        other = installation.add_account()
        clients = {
            (who.uin, region): installation.client("ssm", region=region, who=who)
            for who in (installation.root, other)
            for region in (SM, FIPS)
        }
        for client in clients.values():
            arrange.make(client, "kept")
            arrange.make(client, state="PendingDelete")
        installation.clock.advance(DAY)
        assert delete_expired_secrets(installation.service, SM).done == 2
        assert delete_expired_secrets(installation.service, FIPS).done == 2
        assert {tuple(arrange.names(client)) for client in clients.values()} == {("kept",)}
        # The quota counts what is left.
        for (account, region), client in clients.items():
            counter = installation.service.table(region).get(f"CT#{account}#{region}", "secrets")
            assert counter is not None
            assert counter.number == client.ListSecrets().TotalCount == 1


def test_regions_that_share_a_table_are_swept_apart(clock: ManualClock) -> None:
    table = fresh_table(clock)
    service = service_on(table, clock)
    assert delete_expired_secrets(service, FIPS).done == 0
    assert delete_expired_secrets(service, SM).done == 5
    assert left(table, [*DUE, *KEPT]) == END


def test_a_secret_without_versions_is_swept(clock: ManualClock) -> None:
    table = SqliteTable(":memory:", clock)
    empty = replace(secret(1, NOON), versions=())
    seed(table, [empty])
    assert delete_expired_secrets(service_on(table, clock), SM).done == 1
    assert left(table, [empty])["rows"] == {}


@pytest.mark.parametrize("page", [1, 2, 100])
def test_rows_that_nobody_can_read_do_not_hold_up_the_others(
    clock: ManualClock, caplog: pytest.LogCaptureFixture, page: int
) -> None:
    table = fresh_table(clock)
    bodies = (b"\x63from a later release", b"\x01{", b"\x01[]", b"\x01{}", b"")
    broken: list[Op] = [poison(f"p{i}", body, NOON - i) for i, body in enumerate(bodies)]
    table.write(broken)
    with caplog.at_level(logging.WARNING, "keystead"):
        outcome = run(service_on(table, clock), page)
    assert (outcome.done, outcome.failed, outcome.finished) == (5, len(bodies), True)
    assert left(table, [*DUE, *KEPT])["rows"] == END["rows"]
    assert len(caplog.records) == len(bodies)
    assert "later release" not in caplog.text
    # They stay due, and every run tries them again.
    assert run(service_on(table, clock), page).failed == len(bodies)
