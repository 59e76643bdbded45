"""The sweep of data keys past their deletion date: killed, doubled, late or disturbed, it ends in the same state."""

import functools
import logging
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from tencentcloud.common import abstract_client

from chalicelib.clock import ManualClock
from chalicelib.context import Service
from chalicelib.data_key_store import purge
from chalicelib.jobs import schedule, sweep
from chalicelib.jobs.delete_expired_data_keys import delete_expired_data_keys
from chalicelib.jobs.lease import LEASE_SECONDS
from chalicelib.model.data_key import DataKey, DataKeyState
from chalicelib.table import data_keys as rows
from chalicelib.table.port import Add, Busy, Due, Expect, Op, Put, Row, Table, Unacknowledged, due_kind
from chalicelib.table.sqlite import SqliteTable
from tests.actions.kms import arrange_data_keys as arrange
from tests.actions.ssm.arrange import code
from tests.actions.ssm.arrange import events as events_of
from tests.installation import FIPS, SM, Client, Installation, sdk_time
from tests.jobs.rig import ACCOUNT, DAY, NOON, FaultyTable, Killed, events, raises, service_on

KIND = due_kind(rows.DELETE_EXPIRED, SM)


def data_key(number: int, deletion_at: int, state: DataKeyState = DataKeyState.PENDING_DELETE) -> DataKey:
    return DataKey(
        id=f"{number:08d}-0000-1000-8000-000000000000",
        account=ACCOUNT,
        region=SM,
        creator_uin=ACCOUNT,
        key_id="00000000-0000-1000-8000-00000000000c",
        name=f"d{number}",
        number_of_bytes=32,
        created_ms=(NOON - 100 * DAY) * 1000 + number,
        blob="blob",
        sealed="sealed",
        state=state,
        deletion_at=deletion_at,
    )


DUE = [data_key(i, NOON - i) for i in range(5)]
KEPT = [
    data_key(10, 0, DataKeyState.ENABLED),
    data_key(11, 0, DataKeyState.DISABLED),
    data_key(12, NOON + DAY),
]


def seed(table: Table, data_keys: Sequence[DataKey]) -> None:
    """Write the rows that the service would have written."""
    for start in range(0, len(data_keys), 30):
        some = data_keys[start : start + 30]
        table.write([op for each in some for op in rows.create(each) if not isinstance(op, Add)])
    used = sum(d.state is not DataKeyState.PENDING_DELETE for d in data_keys)
    table.write([Add(f"CT#{ACCOUNT}#{SM}", "data_keys", used)])


def left(table: Table, data_keys: Sequence[DataKey]) -> dict[str, Any]:
    """What there is after a sweep: rows, names, lines, the quota, what is due, and the events."""
    counter = table.get(f"CT#{ACCOUNT}#{SM}", "data_keys")
    names = [rows.name_row_key(ACCOUNT, SM, d.name) for d in data_keys]
    return {
        "listed": {d.id for d in rows.list_all(table, ACCOUNT, SM)},
        "lines": len(table.query(f"LD#{ACCOUNT}#{SM}", limit=1000)),
        "rows": {d.id for d in data_keys if table.get(*rows.data_key_row_key(ACCOUNT, SM, d.id))},
        "names": {rows.name_owner(row) for key in names if (row := table.get(*key))},
        "quota": counter.number if counter else None,
        "due": {row.pk.rpartition("#")[2] for row in table.due(KIND, NOON + 1000 * DAY, limit=1000)},
        "events": Counter(name for event in events(table) for name in event["resources"]),
    }


def end(swept: Sequence[DataKey], kept: Sequence[DataKey]) -> dict[str, Any]:
    """What every way to sweep ends in: no row of the ones, one event each, the others untouched."""
    stay = {d.id for d in kept}
    return {
        "listed": stay,
        "lines": len(stay),
        "rows": stay,
        "names": stay,
        "quota": sum(d.state is not DataKeyState.PENDING_DELETE for d in kept),
        "due": {d.id for d in kept if d.state is DataKeyState.PENDING_DELETE},
        "events": Counter(f"dataKey/{d.id}" for d in swept),
    }


PAGE = 2  # so that the lease is renewed in between
WRITES = 1 + len(DUE) + 3 + 1
"""Take the lease; each data key; renew the lease after each page; give it up."""


def run(service: Service, page: int = sweep.PAGE) -> sweep.Outcome:
    """The job, with pages of another size."""
    work = functools.partial(work_of, service)
    return sweep.run(service, SM, rows.DELETE_EXPIRED, work, page=page)


def work_of(service: Service, row: Row) -> bool:
    return purge(service, SM, row.pk, row.sk)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(NOON)


@pytest.fixture
def table(clock: ManualClock) -> SqliteTable:
    table = SqliteTable(":memory:", clock)
    seed(table, [*DUE, *KEPT])
    return table


def test_what_is_past_its_date_goes_with_all_its_rows_and_the_rest_stays(
    clock: ManualClock, table: SqliteTable
) -> None:
    service = service_on(table, clock)
    outcome = delete_expired_data_keys(service, SM)
    assert (outcome.ran, outcome.done, outcome.failed, outcome.finished) == (True, 5, 0, True)
    assert left(table, [*DUE, *KEPT]) == end(DUE, KEPT)
    # A second run finds nothing to do.
    outcome = delete_expired_data_keys(service, SM)
    assert (outcome.ran, outcome.done, outcome.failed, outcome.finished) == (True, 0, 0, True)
    assert left(table, [*DUE, *KEPT]) == end(DUE, KEPT)


def test_the_date_is_met_to_the_second(clock: ManualClock, table: SqliteTable) -> None:
    service = service_on(table, clock)
    delete_expired_data_keys(service, SM)
    clock.advance(DAY - 1)
    assert delete_expired_data_keys(service, SM).done == 0
    clock.advance(1)
    assert delete_expired_data_keys(service, SM).done == 1
    assert left(table, KEPT)["rows"] == {d.id for d in KEPT[:2]}


def test_the_counted_writes_are_all_there_are(clock: ManualClock, table: SqliteTable) -> None:
    counting = FaultyTable(table)
    run(service_on(counting, clock), PAGE)
    assert counting.writes == WRITES


@pytest.mark.parametrize("count", range(1, WRITES + 1))
@pytest.mark.parametrize("where", ["before", "after"])
def test_killed_at_any_write_the_next_run_ends_in_the_same_state(
    clock: ManualClock, table: SqliteTable, count: int, where: str
) -> None:
    hook: dict[str, Any] = {where: raises(Killed)}
    with pytest.raises(Killed):
        run(service_on(FaultyTable(table, count, **hook), clock), PAGE)
    # The dead runner's lease holds others off until it runs out, if it got that far.
    clock.advance(LEASE_SECONDS)
    assert run(service_on(table, clock), PAGE).finished
    assert left(table, [*DUE, *KEPT]) == end(DUE, KEPT)


@pytest.mark.parametrize("count", range(1, WRITES + 1))
def test_a_write_whose_answer_is_lost_counts_once(clock: ManualClock, table: SqliteTable, count: int) -> None:
    outcome = run(service_on(FaultyTable(table, count, after=raises(Unacknowledged)), clock), PAGE)
    assert (outcome.done, outcome.failed, outcome.finished) == (5, 0, True)
    assert left(table, [*DUE, *KEPT]) == end(DUE, KEPT)


@pytest.mark.parametrize("count", range(1, WRITES + 1))
def test_a_write_that_is_turned_away_is_made_by_this_run_or_the_next(
    clock: ManualClock, table: SqliteTable, count: int
) -> None:
    run(service_on(FaultyTable(table, count, before=raises(Busy)), clock), PAGE)
    clock.advance(LEASE_SECONDS)
    assert run(service_on(table, clock), PAGE).finished
    assert left(table, [*DUE, *KEPT]) == end(DUE, KEPT)


def test_two_runners_at_once_do_the_work_once(tmp_path: Path) -> None:
    due = [data_key(i, NOON) for i in range(60)]
    # The second runner's clock is so far ahead that the lease of the first means nothing to it.
    clocks = [ManualClock(NOON), ManualClock(NOON + LEASE_SECONDS)]
    tables = [SqliteTable(tmp_path / "t", clock) for clock in clocks]
    seed(tables[0], due)
    first_is_at_work = threading.Event()

    def work(service: Service, row: Row) -> bool:
        first_is_at_work.set()
        return work_of(service, row)

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
    assert left(tables[0], due) == end(due, [])
    for table in tables:
        table.close()


def test_many_purges_of_one_at_once_count_once(tmp_path: Path) -> None:
    clock = ManualClock(NOON)
    due = data_key(1, NOON)
    tables = [SqliteTable(tmp_path / "t", clock) for _ in range(6)]
    seed(tables[0], [due])
    start = threading.Barrier(len(tables))

    def purge_it(table: SqliteTable) -> bool:
        start.wait()
        return purge(service_on(table, clock), SM, *rows.data_key_row_key(ACCOUNT, SM, due.id))

    with ThreadPoolExecutor(len(tables)) as pool:
        assert sorted(pool.map(purge_it, tables)) == [False] * 5 + [True]
    assert left(tables[0], [due]) == end([due], [])
    for table in tables:
        table.close()


class StaleTable(FaultyTable):
    """A table whose index of due rows lags: it answers with what was due at first."""

    stale: Sequence[Row] = ()

    def due(self, kind: str, upto: int, *, after: str | None = None, limit: int = 100) -> list[Row]:
        if not self.stale:
            self.stale = super().due(kind, upto, after=after, limit=limit)
        return list(self.stale)


def change(table: SqliteTable, which: DataKey, **members: Any) -> None:
    """Change a data key as its owner does, whose call began before the date."""
    row = table.get(*rows.data_key_row_key(ACCOUNT, SM, which.id))
    assert row is not None
    old = rows.from_row(row)
    table.write(rows.replace(old, type(old)(**{**fields_of(old), **members})))


def fields_of(old: DataKey) -> dict[str, Any]:
    return {name: getattr(old, name) for name in DataKey.__dataclass_fields__}


CANCELLED = {"state": DataKeyState.DISABLED, "deletion_at": 0}


@pytest.mark.parametrize("to", [CANCELLED, {"deletion_at": NOON + DAY}], ids=["cancelled", "scheduled anew"])
def test_what_is_saved_after_it_was_found_due_is_kept(
    clock: ManualClock, table: SqliteTable, to: dict[str, Any]
) -> None:
    stale = StaleTable(table)
    assert len(stale.due(KIND, NOON)) == len(DUE)
    change(table, DUE[3], **to)
    outcome = delete_expired_data_keys(service_on(stale, clock), SM)
    assert (outcome.done, outcome.failed) == (4, 0)
    assert left(table, [*DUE, *KEPT])["rows"] == {d.id for d in [DUE[3], *KEPT]}
    # And so it does, whatever the index still says, when all others are gone.
    assert delete_expired_data_keys(service_on(stale, clock), SM).done == 0


@pytest.mark.parametrize("count", range(2, 2 + len(DUE) + 2))
def test_what_is_saved_between_the_last_look_and_the_deletion_is_kept(
    clock: ManualClock, table: SqliteTable, count: int
) -> None:
    def save() -> None:
        for each in DUE:
            if table.get(*rows.data_key_row_key(ACCOUNT, SM, each.id)):
                change(table, each, **CANCELLED)

    # The lease takes the first write, its renewal every third from then on.
    run(service_on(FaultyTable(table, count, before=save), clock), PAGE)
    swept = count - 2 - (count - 2) // 3
    found = left(table, [*DUE, *KEPT])
    saved = {d.id for d in sorted(DUE, key=lambda d: d.deletion_at)[swept:]}
    assert found["rows"] == found["names"] == found["listed"] == {*saved, *(d.id for d in KEPT)}
    assert found["quota"] == 2 + len(saved)
    assert sum(found["events"].values()) == swept


def poison(name: str, body: bytes, due_at: int) -> Op:
    """The op that writes a due row which nobody can read."""
    row = Row(pk=f"DK#{ACCOUNT}#{SM}#{name}", sk="M", body=body, due=Due(KIND, due_at))
    return Put(row, Expect.ANY)


@pytest.mark.parametrize("page", [1, 2, 100])
def test_rows_that_nobody_can_read_do_not_hold_up_the_others(
    clock: ManualClock, table: SqliteTable, caplog: pytest.LogCaptureFixture, page: int
) -> None:
    bodies = (b"\x63from a later release", b"\x01{", b"\x01[]", b"\x01{}", b"")
    table.write([poison(f"p{i}", body, NOON - i) for i, body in enumerate(bodies)])
    with caplog.at_level(logging.WARNING, "keystead"):
        outcome = run(service_on(table, clock), page)
    assert (outcome.done, outcome.failed, outcome.finished) == (5, len(bodies), True)
    assert left(table, [*DUE, *KEPT])["rows"] == {d.id for d in KEPT}
    assert "later release" not in caplog.text
    # They stay due, and every run tries them again.
    assert run(service_on(table, clock), page).failed == len(bodies)


def test_it_is_scheduled() -> None:
    assert schedule.EVERY_MINUTES["delete_expired_data_keys"] == 60


class TestThroughTheApi:
    """With data keys made by the service, and the tests' usual clock."""

    @pytest.fixture
    def clock(self, clock: ManualClock, monkeypatch: pytest.MonkeyPatch) -> ManualClock:
        monkeypatch.setattr(abstract_client, "time", sdk_time(clock))
        return clock

    def test_nothing_brings_a_swept_one_back(self, installation: Installation, kms: Client) -> None:
        swept = arrange.make(kms, state="PendingDelete")
        installation.clock.advance(7 * DAY)
        assert delete_expired_data_keys(installation.service, SM).done == 1
        assert installation.service.table(SM).query(f"DK#{installation.root.uin}#{SM}#{swept}") == []
        calls: list[tuple[str, Callable[..., Any]]] = [
            (action, getattr(kms, action)) for action in (*arrange.ONE, *arrange.MANY)
        ]
        for action, call in calls:
            ended = code(functools.partial(call, **arrange.parameters_of(action, swept)))
            assert ended == "ResourceUnavailable.DataKeyNotFound", action
        # The name is free, and what comes under it is another data key.
        assert arrange.make(kms) != swept
        assert (arrange.names(kms), arrange.quota(installation)) == (["d"], 1)

    def test_the_event_names_data_key_and_job(self, installation: Installation, kms: Client) -> None:
        swept = arrange.make(kms, state="PendingDelete")
        installation.clock.advance(7 * DAY + 100)
        assert delete_expired_data_keys(installation.service, SM).done == 1
        (event,) = [e for e in events_of(installation) if e["action"] == "DeleteExpiredDataKey"]
        assert event.pop("id")
        assert event.pop("chain")
        assert event == {
            "at": installation.clock.now_ms(),
            "service": "kms",
            "action": "DeleteExpiredDataKey",
            "region": SM,
            "read": False,
            "account": installation.root.uin,
            "user": "Service",
            "user_type": "Service",
            "auth": "job",
            "resources": [f"dataKey/{swept}"],
        }

    def test_each_region_and_account_is_swept_by_its_own_dates(self, installation: Installation) -> None:
        clients = [
            installation.client("kms", region=region, who=who)
            for who in (installation.root, installation.add_account())
            for region in (SM, FIPS)
        ]
        for client in clients:
            arrange.make(client, "kept")
            arrange.make(client, state="PendingDelete")
        installation.clock.advance(7 * DAY)
        outcomes = schedule.run(installation.service, "delete_expired_data_keys")
        assert {region: o.done for region, o in outcomes.items() if o.done} == {SM: 2, FIPS: 2}
        assert [arrange.names(client) for client in clients] == [["kept"]] * 4
