"""Pages, the cursor and the limit on time."""

import time

import pytest

from chalicelib.clock import ManualClock
from chalicelib.jobs import sweep
from chalicelib.jobs.lease import LEASE_SECONDS
from chalicelib.jobs.sweep import Outcome
from chalicelib.table import secrets as rows
from chalicelib.table.port import Row, due_position
from chalicelib.table.sqlite import SqliteTable
from tests.installation import SM
from tests.jobs.rig import KIND, NOON, Killed, left, run, secret, seed, service_on

DUE = [secret(i, NOON - i // 3) for i in range(50)]


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(NOON)


@pytest.fixture
def table(clock: ManualClock) -> SqliteTable:
    table = SqliteTable(":memory:", clock)
    seed(table, DUE)
    return table


class Looker:
    """Work that notes which rows it is given, and may be killed at one of them."""

    def __init__(self, dies_at: int = 0) -> None:
        self.seen: list[str] = []
        self._dies_at = dies_at

    def __call__(self, row: Row) -> bool:
        if len(self.seen) + 1 == self._dies_at:
            raise Killed
        self.seen.append(due_position(row))
        return False

    def run(self, table: SqliteTable, clock: ManualClock, page: int = 10, seconds: float = 60) -> Outcome:
        service = service_on(table, clock)
        return sweep.run(service, SM, rows.DELETE_EXPIRED, self, page=page, max_seconds=seconds)


def everything(table: SqliteTable) -> list[str]:
    return [due_position(row) for row in table.due(KIND, NOON, limit=1000)]


@pytest.mark.parametrize("page", [1, 7, 49, 50, 51])
def test_every_due_row_is_seen_once_earliest_first(table: SqliteTable, clock: ManualClock, page: int) -> None:
    looker = Looker()
    outcome = looker.run(table, clock, page)
    assert outcome.finished
    assert looker.seen == everything(table) == sorted(looker.seen)
    assert len(set(looker.seen)) == len(DUE)


def test_a_killed_run_is_resumed_after_the_last_full_page(table: SqliteTable, clock: ManualClock) -> None:
    with pytest.raises(Killed):
        Looker(dies_at=28).run(table, clock)
    early = Looker()
    assert not early.run(table, clock).ran
    clock.advance(LEASE_SECONDS)
    second, third = Looker(), Looker()
    assert second.run(table, clock).finished
    assert second.seen == everything(table)[20:]
    # What was passed over is seen by the run after that one, which starts from the beginning.
    assert third.run(table, clock).finished
    assert third.seen == everything(table)


def test_a_run_out_of_time_gives_the_lease_up_unfinished(table: SqliteTable, clock: ManualClock) -> None:
    looker = Looker()
    outcome = looker.run(table, clock, seconds=0)
    assert (outcome.ran, outcome.finished, looker.seen) == (True, False, [])
    assert looker.run(table, clock).finished


def test_a_run_out_of_time_ends_with_its_page_and_is_resumed_there(
    table: SqliteTable, clock: ManualClock
) -> None:
    first, second = Looker(), Looker()

    def slowly(row: Row) -> bool:
        time.sleep(0.3 if not first.seen else 0)
        return first(row)

    service = service_on(table, clock)
    outcome = sweep.run(service, SM, rows.DELETE_EXPIRED, slowly, page=10, max_seconds=0.25)
    assert (outcome.ran, outcome.finished) == (True, False)
    assert first.seen == everything(table)[:10]
    assert second.run(table, clock).finished
    assert second.seen == everything(table)[10:]


def test_hundreds_of_rows_go_in_small_pages(clock: ManualClock) -> None:
    table = SqliteTable(":memory:", clock)
    due = [secret(i, NOON - i) for i in range(350)]
    seed(table, due)
    outcome = run(service_on(table, clock), 20)
    assert (outcome.done, outcome.failed, outcome.finished) == (350, 0, True)
    end = left(table, due)
    assert (end["listed"], end["rows"], end["quota"], end["due"]) == ([], {}, 0, [])
    assert set(end["events"].values()) == {1}
    assert len(end["events"]) == 350


def test_a_runner_that_lost_its_lease_stops_after_its_page(table: SqliteTable, clock: ManualClock) -> None:
    first, second = Looker(), Looker()

    def overtaken(row: Row) -> bool:
        if len(first.seen) == 3:
            clock.advance(LEASE_SECONDS)
            assert second.run(table, clock).finished
        return first(row)

    outcome = sweep.run(service_on(table, clock), SM, rows.DELETE_EXPIRED, overtaken, page=10)
    assert (outcome.ran, outcome.finished, len(first.seen)) == (True, False, 10)
    assert second.seen == everything(table)
