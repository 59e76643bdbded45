import pytest

from chalicelib.clock import ManualClock
from chalicelib.jobs.lease import LEASE_SECONDS, Lease
from chalicelib.table.port import Busy, Unacknowledged
from chalicelib.table.sqlite import SqliteTable
from tests.jobs.rig import NOON, FaultyTable, raises


@pytest.fixture
def table() -> SqliteTable:
    return SqliteTable(":memory:", ManualClock(NOON))


def test_a_lease_holds_others_off_until_it_runs_out_and_not_a_second_longer(table: SqliteTable) -> None:
    assert Lease(table, "job").acquire(NOON)
    assert not Lease(table, "job").acquire(NOON)
    assert not Lease(table, "job").acquire(NOON + LEASE_SECONDS - 1)
    assert Lease(table, "job").acquire(NOON + LEASE_SECONDS)


def test_each_job_has_a_lease_of_its_own(table: SqliteTable) -> None:
    assert Lease(table, "job").acquire(NOON)
    assert Lease(table, "other").acquire(NOON)


def test_renewing_prolongs_it(table: SqliteTable) -> None:
    lease = Lease(table, "job")
    assert lease.acquire(NOON)
    assert lease.renew(NOON + 100, None)
    assert not Lease(table, "job").acquire(NOON + 100 + LEASE_SECONDS - 1)
    assert Lease(table, "job").acquire(NOON + 100 + LEASE_SECONDS)


def test_releasing_ends_it_at_once(table: SqliteTable) -> None:
    lease = Lease(table, "job")
    assert lease.acquire(NOON)
    lease.release()
    assert Lease(table, "job").acquire(NOON)


def test_whoever_lost_it_can_neither_renew_it_nor_take_it_from_the_next(table: SqliteTable) -> None:
    late, now = Lease(table, "job"), Lease(table, "job")
    assert late.acquire(NOON)
    assert now.acquire(NOON + LEASE_SECONDS)
    assert not late.renew(NOON + LEASE_SECONDS, "late")
    late.release()
    assert not Lease(table, "job").acquire(NOON + LEASE_SECONDS + 1)
    assert now.renew(NOON + LEASE_SECONDS + 1, "now")


def test_of_two_that_find_it_free_one_gets_it(table: SqliteTable) -> None:
    rival = Lease(table, "job")

    table_of_the_slow = FaultyTable(table, 1, before=lambda: rival.acquire(NOON))
    assert not Lease(table_of_the_slow, "job").acquire(NOON)
    assert rival.renew(NOON, None)


def test_the_next_holder_goes_on_from_the_cursor(table: SqliteTable) -> None:
    first = Lease(table, "job")
    assert first.acquire(NOON)
    assert first.cursor is None
    assert first.renew(NOON, "place")
    second = Lease(table, "job")
    assert second.acquire(NOON + LEASE_SECONDS)
    assert second.cursor == "place"
    assert second.renew(NOON + LEASE_SECONDS, None)
    second.release()
    third = Lease(table, "job")
    assert third.acquire(NOON + LEASE_SECONDS)
    assert third.cursor is None


def test_an_answer_that_got_lost_is_looked_up(table: SqliteTable) -> None:
    lease = Lease(FaultyTable(table, 1, after=raises(Unacknowledged)), "job")
    assert lease.acquire(NOON)
    # It knows the row's version too: renewing works.
    assert lease.renew(NOON + 1, None)


def test_a_write_that_never_happened_gives_no_lease(table: SqliteTable) -> None:
    assert not Lease(FaultyTable(table, 1, before=raises(Unacknowledged)), "job").acquire(NOON)
    assert Lease(table, "job").acquire(NOON)


def test_a_busy_table_gives_no_lease(table: SqliteTable) -> None:
    assert not Lease(FaultyTable(table, 1, before=raises(Busy)), "job").acquire(NOON)
    assert Lease(table, "job").acquire(NOON)
