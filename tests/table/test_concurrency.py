"""Many writers at once: nothing is lost, nobody wins twice."""

import subprocess
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from chalicelib.clock import ManualClock
from chalicelib.table.port import Add, Busy, Check, Conflict, Expect, Op, Put, Row, Table
from chalicelib.table.sqlite import SqliteTable

pytestmark = pytest.mark.contract

THREADS = 8
EACH = 20
ROOT = Path(__file__).parents[2]


def write(table: Table, ops: Sequence[Op]) -> bool:
    """Whether the conditions held; whoever is crowded out tries again."""
    while True:
        try:
            table.write(ops)
        except Conflict:
            return False
        except Busy:
            continue
        return True


def in_threads(work: Callable[[int], int]) -> int:
    """The sum of what `work` returns in each of the threads."""
    with ThreadPoolExecutor(THREADS) as pool:
        return sum(pool.map(work, range(THREADS)))


def number_and_version(table: Table) -> tuple[int, int]:
    row = table.get("p", "s")
    assert row is not None
    return row.number, row.version


@pytest.mark.parametrize("company", [False, True], ids=["alone", "in company"])
def test_no_add_is_lost(table: Table, *, company: bool) -> None:
    def work(thread: int) -> int:
        for n in range(EACH):
            event = [Put(Row(pk="E#p", sk=f"{thread}-{n}"), Expect.ABSENT)] if company else []
            assert write(table, [Add("p", "s", thread), *event])
        return thread * EACH

    total = in_threads(work)
    assert number_and_version(table) == (total, THREADS * EACH)
    assert len(table.query("E#p", limit=1000)) == (THREADS * EACH if company else 0)


def test_a_quota_is_filled_to_the_brim_and_no_further(table: Table) -> None:
    def work(thread: int) -> int:
        return sum(
            write(table, [Add("p", "s", 1, at_most=50), Put(Row(pk="q", sk=f"{thread}-{n}"), Expect.ABSENT)])
            for n in range(EACH)
        )

    assert in_threads(work) == 50
    assert number_and_version(table) == (50, 50)
    assert len(table.query("q")) == 50


def test_each_version_is_written_once(table: Table) -> None:
    table.write([Put(Row(pk="p", sk="s", body=b"0"), Expect.ABSENT)])

    def work(_thread: int) -> int:
        successes = 0
        while successes < EACH // 4:
            row = table.get("p", "s")
            assert row is not None
            successor = Row(pk="p", sk="s", body=b"%d" % (int(row.body) + 1))
            successes += write(table, [Put(successor, row.version)])
        return successes

    total = in_threads(work)
    row = table.get("p", "s")
    assert row is not None
    assert (int(row.body), row.version) == (total, total + 1)


def test_of_those_who_want_an_absent_row_one_wins(table: Table) -> None:
    def work(thread: int) -> int:
        return sum(
            write(
                table,
                [
                    Put(Row(pk="p", sk=f"{n}"), Expect.ABSENT),
                    Put(Row(pk="q", sk=f"{thread}-{n}"), Expect.ANY),
                ],
            )
            for n in range(EACH)
        )

    assert in_threads(work) == EACH
    assert len(table.query("p")) == len(table.query("q", limit=1000)) == EACH


def test_a_check_holds_until_the_write_is_done(table: Table) -> None:
    """Two rows guard each other: each may be created only while the other one is absent."""

    def work(thread: int) -> int:
        mine, other = ("a", "b") if thread % 2 else ("b", "a")
        for n in range(EACH):
            write(table, [Put(Row(pk=f"{n}", sk=mine), Expect.ABSENT), Check(f"{n}", other, Expect.ABSENT)])
        return 0

    in_threads(work)
    assert [len(table.query(f"{n}")) for n in range(EACH)] == [1] * EACH


WORKER = """
import sys
from concurrent.futures import ThreadPoolExecutor
from chalicelib.clock import ManualClock
from chalicelib.table.port import Add, Conflict, Expect, Put, Row
from chalicelib.table.sqlite import SqliteTable

table = SqliteTable(sys.argv[1], ManualClock(1), patience=60)
wins = []

def work(thread):
    for n in range(25):
        table.write([Add("p", "sum", 1)])
        try:
            table.write([Put(Row(pk="q", sk=f"{thread}-{n}"), Expect.ABSENT), Add("p", "wins", 1)])
        except Conflict:
            continue
        wins.append(n)

with ThreadPoolExecutor(3) as pool:
    list(pool.map(work, range(3)))
print(len(wins))
table.close()
"""


def test_processes_share_a_file(path: Path, clock: ManualClock) -> None:
    processes = [
        subprocess.Popen([sys.executable, "-c", WORKER, path], cwd=ROOT, stdout=subprocess.PIPE)
        for _ in range(4)
    ]
    answers = [process.communicate(timeout=100)[0] for process in processes]
    assert [process.returncode for process in processes] == [0] * 4
    table = SqliteTable(path, clock)
    rows = table.batch_get([("p", "sum"), ("p", "wins")])
    assert [(row.number, row.version) for row in rows if row] == [(300, 300), (75, 75)]
    assert sum(map(int, answers)) == len(table.query("q")) == 75
    table.close()
