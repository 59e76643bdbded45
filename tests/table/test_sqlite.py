"""What is SQLite's own: files, faults, forks, and commits that are shared."""

import fcntl
import re
import resource
import signal
import sqlite3
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from chalicelib.clock import ManualClock
from chalicelib.table import sqlite
from chalicelib.table.port import (
    INDEXES,
    Add,
    Busy,
    Check,
    Conflict,
    Delete,
    Due,
    Expect,
    Op,
    Put,
    Row,
    TableError,
    Unacknowledged,
)
from chalicelib.table.sqlite import SCHEMA_VERSION, SqliteTable

ABSENT, EXISTS, ANY = Expect.ABSENT, Expect.EXISTS, Expect.ANY
ROOT = Path(__file__).parents[2]


@pytest.fixture
def table(path: Path, clock: ManualClock) -> Iterator[SqliteTable]:
    opened = SqliteTable(path, clock)
    yield opened
    opened.close()


@pytest.fixture
def impatient(path: Path, clock: ManualClock) -> Iterator[SqliteTable]:
    """A table that soon takes another process for stuck."""
    opened = SqliteTable(path, clock, patience=0.2)
    yield opened
    opened.close()


def put(sk: str, size: int = 10) -> Put:
    return Put(Row(pk="p", sk=sk, body=bytes(size)), ABSENT)


def sks(table: SqliteTable) -> list[str]:
    return [row.sk for row in table.query("p", limit=1000)]


@contextmanager
def another_process(code: str, *arguments: object) -> Iterator[None]:
    """A process runs `code` up to its `ready()`, and on to its end when the block ends."""
    script = "import sys\ndef ready(): print('ready', flush=True); sys.stdin.read()\n" + code
    process = subprocess.Popen(
        [sys.executable, "-c", script, *map(str, arguments)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        yield
        process.communicate()
    assert process.returncode == 0


@contextmanager
def full_disk(table: SqliteTable) -> Iterator[None]:
    """Let the file grow by two pages at most."""
    con = table._shared.idle[0]
    (pages,) = con.execute("PRAGMA page_count").fetchone()
    con.execute(f"PRAGMA max_page_count = {pages + 2}")
    yield
    con.execute("PRAGMA max_page_count = 1000000")


@contextmanager
def no_file_grows_beyond(size: int) -> Iterator[None]:
    """Writes beyond `size` bytes of any file fail, as the last ones before a commit."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@contextmanager
def writers_wait(path: Path) -> Iterator[None]:
    """Hold the lock of the processes, so that writers gather behind it."""
    with Path(f"{path}.lock").open("rb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
        fcntl.flock(lock, fcntl.LOCK_UN)


def write_together(table: SqliteTable, path: Path, writes: list[list[Op]]) -> list[TableError | None]:
    """Make all but the first of the writes share one commit; how each of them ended."""

    def write(ops: list[Op]) -> TableError | None:
        try:
            table.write(ops)
        except TableError as error:
            return error
        return None

    with ThreadPoolExecutor(len(writes)) as pool:
        with writers_wait(path):
            answers = []
            for ops in writes:
                answers.append(pool.submit(write, ops))
                while not table._shared.led or len(table._shared.queue) < len(answers) - 1:
                    time.sleep(0.001)
        return [answer.result() for answer in answers]


# Files


def test_nobody_else_may_open_the_files(path: Path, table: SqliteTable) -> None:
    table.write([put("1")])
    files = sorted(path.parent.iterdir())
    assert [file.name.removeprefix(path.name) for file in files] == ["", "-shm", "-wal", ".lock"]
    assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}


def test_files_that_others_may_open_are_made_private(path: Path, clock: ManualClock) -> None:
    SqliteTable(path, clock).close()
    path.chmod(0o644)
    Path(f"{path}.lock").chmod(0o666)
    SqliteTable(path, clock).close()
    assert {stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()} == {0o600}


def test_a_commit_is_on_disk_when_it_returns(table: SqliteTable) -> None:
    con = table._shared.idle[0]
    assert con.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert con.execute("PRAGMA synchronous").fetchone() == (2,)  # FULL


def test_rows_outlive_the_table(path: Path, clock: ManualClock) -> None:
    first = SqliteTable(path, clock)
    first.write([put("1")])
    first.close()
    second = SqliteTable(path, clock)
    assert sks(second) == ["1"]
    second.close()


def test_two_tables_on_one_file_see_each_other(path: Path, table: SqliteTable, clock: ManualClock) -> None:
    other = SqliteTable(path, clock)
    other.write([put("1")])
    with pytest.raises(Conflict):
        table.write([put("1")])
    other.close()
    assert sks(table) == ["1"]


def test_every_look_up_uses_an_index(table: SqliteTable) -> None:
    con = table._shared.idle[0]
    asked: list[str] = []
    con.set_trace_callback(asked.append)
    table.write([Put(Row(pk="p", sk="old", expires_at=1, index=dict.fromkeys(INDEXES, "x")), ANY)])
    table.get("p", "s")
    table.batch_get([("p", "s"), ("p", "t")])
    table.query("p", prefix="a", after="b", before="c")
    for index in ("user", "resource", "action", "error"):
        table.by_index(index, "x", after="b", reverse=True)
    table.due("job", 5)
    table.scan(after=("a", "b"))
    table.write(
        [Put(Row(pk="p", sk="s"), ANY), Add("p", "t", 1), Delete("p", "u", ANY), Check("p", "v", ANY)]
    )
    table.purge_expired()
    con.set_trace_callback(None)
    statements = [sql for sql in asked if " item " in sql or " entry " in sql]
    assert len(statements) == 21
    for sql in statements:
        plan = " ".join(row[3] for row in con.execute(f"EXPLAIN QUERY PLAN {sql}"))
        assert not re.search(r"SCAN (?!\d+ CONSTANT ROWS?)", plan)
        # What has to be indexed is sorted on purpose.
        assert "TEMP B-TREE" not in plan or sql.startswith("INSERT OR IGNORE INTO entry")


def test_a_closed_table_stays_closed(table: SqliteTable) -> None:
    table.close()
    with pytest.raises(TableError):
        table.get("p", "s")
    with pytest.raises(TableError):
        table.write([put("1")])
    table.close()


# Files that are not ours


def test_a_later_release_s_file_is_left_alone(path: Path, clock: ManualClock) -> None:
    table = SqliteTable(path, clock)
    table.write([put("1")])
    table.close()
    with sqlite3.connect(path) as con:
        con.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
    con.close()
    before = path.read_bytes()
    with pytest.raises(TableError, match="later release"):
        SqliteTable(path, clock)
    assert path.read_bytes() == before


def test_another_program_s_file_is_left_alone(path: Path, clock: ManualClock) -> None:
    with sqlite3.connect(path) as con:
        con.execute("CREATE TABLE theirs (x)")
    con.close()
    with pytest.raises(TableError, match="another program"):
        SqliteTable(path, clock)


def test_a_file_that_is_no_database_is_left_alone(path: Path, clock: ManualClock) -> None:
    path.write_bytes(b"a letter to a friend" * 100)
    with pytest.raises(TableError, match="damaged") as caught:
        SqliteTable(path, clock)
    assert not isinstance(caught.value, Busy)
    assert path.read_bytes() == b"a letter to a friend" * 100


# Purging


def test_purging_frees_what_has_expired_and_nothing_else(table: SqliteTable, clock: ManualClock) -> None:
    table.write([Put(Row(pk="p", sk=f"{n}", expires_at=clock.now() + n), ABSENT) for n in range(1, 10)])
    table.write([put("stays")])
    assert table.purge_expired() == 0
    clock.advance(7)
    assert [table.purge_expired(3) for _ in range(4)] == [3, 3, 1, 0]
    assert sks(table) == ["8", "9", "stays"]
    (count,) = table._shared.idle[0].execute("SELECT count(*) FROM item").fetchone()
    assert count == 3


# Indexes that lag


def entries(table: SqliteTable) -> list[tuple[str, str, str]]:
    """What the file has of the index, up to date or not."""
    found = table._shared.idle[0].execute("SELECT name, value, sk FROM entry").fetchall()
    return sorted(found)


def test_entries_are_written_when_somebody_looks(table: SqliteTable, clock: ManualClock) -> None:
    rows = [Row(pk="p", sk=f"{n:04d}", index={"user": "u", "action": f"a{n % 2}"}) for n in range(1500)]
    for begin in range(0, 1500, 100):
        table.write([Put(row, ABSENT) for row in rows[begin : begin + 100]])
    assert entries(table) == []
    assert len(table.by_index("user", "u", limit=1000)) == 1000
    assert len(entries(table)) == 3000
    table.write([Put(Row(pk="p", sk="new", index={"user": "u"}), ABSENT)])
    assert table.by_index("user", "u", reverse=True)[0].sk == "new"


def test_writers_keep_the_entries_from_falling_behind(table: SqliteTable) -> None:
    for n in range(250):
        table.write([Put(Row(pk="p", sk=f"{n}", index={"user": "u"}), ABSENT)])
    assert len(entries(table)) >= 200


def test_no_entry_outlives_its_row_or_its_value(table: SqliteTable, clock: ManualClock) -> None:
    soon = clock.now() + 5
    for sk in ("changed", "deleted", "expired", "reborn"):
        expires_at = soon if sk in ("expired", "reborn") else None
        table.write([Put(Row(pk="p", sk=sk, expires_at=expires_at, index={"user": "u"}), ABSENT)])
    assert len(table.by_index("user", "u")) == len(entries(table)) == 4
    clock.advance(10)
    table.write([Put(Row(pk="p", sk="changed", index={"user": "v"}), ANY), Delete("p", "deleted", ANY)])
    table.write([Put(Row(pk="p", sk="reborn", index={"action": "a"}), ABSENT)])
    assert table.purge_expired() == 1
    assert table.by_index("action", "a") != []
    assert entries(table) == [("action", "a", "reborn"), ("user", "v", "changed")]


SCHEMA_1 = """
CREATE TABLE item (
    pk TEXT NOT NULL, sk TEXT NOT NULL, version INTEGER NOT NULL, number INTEGER NOT NULL, body BLOB NOT NULL,
    expires_at INTEGER, due_kind TEXT, due_position TEXT, user TEXT, resource TEXT, action TEXT, error TEXT,
    UNIQUE (pk, sk)
);
CREATE INDEX item_expires_at ON item (expires_at) WHERE expires_at IS NOT NULL;
CREATE INDEX item_due ON item (due_kind, due_position) WHERE due_kind IS NOT NULL;
CREATE INDEX item_user ON item (user, sk) WHERE user IS NOT NULL;
INSERT INTO item VALUES ('p', 'a', 3, 7, x'01', 99, 'job', '000000000005#00', 'u', NULL, NULL, 'e');
INSERT INTO item VALUES ('p', 'b', 1, 0, x'', NULL, NULL, NULL, 'u', NULL, NULL, NULL);
PRAGMA application_id = 0x4B535444;
PRAGMA user_version = 1;
"""


def test_a_file_of_schema_1_is_brought_up_to_date(path: Path) -> None:
    with sqlite3.connect(path) as con:
        con.executescript(SCHEMA_1)
    con.close()
    for _ in range(2):
        table = SqliteTable(path, ManualClock(1))
        a = Row(pk="p", sk="a", version=3, number=7, body=b"\x01", expires_at=99, due=Due("job", 5))
        a = replace(a, index={"user": "u", "error": "e"})
        assert table.by_index("user", "u") == [a, Row(pk="p", sk="b", version=1, index={"user": "u"})]
        assert table.query("p") == table.by_index("user", "u")
        assert table.by_index("error", "e") == table.due("job", 5) == [a]
        table.close()


def test_new_rows_of_one_commit_conflict_one_by_one(path: Path, clock: ManualClock) -> None:
    table = SqliteTable(path, clock)
    table.write([put("there")])
    table.write([Put(Row(pk="p", sk="expired", expires_at=clock.now()), ABSENT)])
    with ThreadPoolExecutor(6) as pool:
        with writers_wait(path):
            names = ("1", "there", "expired", "1", "2")
            ended = [pool.submit(table.write, [put(name)]) for name in names]
            while len(table._shared.queue) < 4:
                time.sleep(0.001)
        errors = [future.exception() for future in ended]
    assert [type(error) for error in errors if error is not None] == [Conflict, Conflict]
    assert isinstance(errors[1], Conflict)
    assert sks(table) == ["1", "2", "expired", "there"]
    table.close()


# Faults


def test_a_full_disk_is_busy_until_there_is_room(table: SqliteTable) -> None:
    table.write([put("1")])
    with full_disk(table):
        with pytest.raises(Busy):
            table.write([put("2"), put("3", 100_000)])
        assert sks(table) == ["1"]
    table.write([put("2"), put("3", 100_000)])
    assert sks(table) == ["1", "2", "3"]


def test_a_full_disk_spares_the_writers_for_whom_there_is_room(table: SqliteTable, path: Path) -> None:
    with full_disk(table):
        ended = write_together(table, path, [[put("1")], [put("2")], [put("3", 100_000)], [put("4")]])
    assert [type(end) for end in ended] == [type(None), type(None), Busy, type(None)]
    assert sks(table) == ["1", "2", "4"]


def test_another_process_s_transaction_makes_writers_busy_but_no_readers(
    path: Path, impatient: SqliteTable
) -> None:
    impatient.write([put("1")])
    hold = "import sqlite3; c = sqlite3.connect(sys.argv[1], isolation_level=None)\n"
    hold += "c.execute('BEGIN EXCLUSIVE'); c.execute('DELETE FROM item'); ready(); c.execute('ROLLBACK'); c.close()"
    with another_process(hold, path):
        with pytest.raises(Busy):
            impatient.write([put("2")])
        assert sks(impatient) == ["1"]
    impatient.write([put("2")])
    assert sks(impatient) == ["1", "2"]


def test_a_process_that_keeps_the_lock_makes_writers_busy_but_no_readers(
    path: Path, impatient: SqliteTable, clock: ManualClock
) -> None:
    impatient.write([put("1")])
    hold = "import fcntl; f = open(sys.argv[1]); fcntl.flock(f, fcntl.LOCK_EX); ready(); f.close()"
    with another_process(hold, f"{path}.lock"):
        with pytest.raises(Busy):
            impatient.write([put("2")])
        with pytest.raises(Busy):
            impatient.purge_expired()
        with pytest.raises(Busy):
            SqliteTable(path, clock, patience=0.1)
        assert sks(impatient) == ["1"]
    impatient.write([put("2")])


def test_a_directory_out_of_reach_is_busy(path: Path, table: SqliteTable) -> None:
    table.write([put("1")])
    with ThreadPoolExecutor() as pool:
        con = table._shared.idle.pop()  # so that the table needs another one
        path.rename(path.with_suffix(".away"))
        path.mkdir()
        with pytest.raises(Busy):
            pool.submit(table.get, "p", "1").result()
        with pytest.raises(Busy):
            pool.submit(table.write, [put("2")]).result()
        path.rmdir()
        path.with_suffix(".away").rename(path)
        table._shared.idle.append(con)
    assert sks(table) == ["1"]


def test_whoever_shares_a_commit_that_fails_is_told(path: Path, table: SqliteTable) -> None:
    table.write([put("0")])
    wal = Path(f"{path}-wal")
    writes: list[list[Op]] = [[put(f"{n}a", 3000), put(f"{n}b", 3000)] for n in range(1, 8)]
    with no_file_grows_beyond(wal.stat().st_size):
        ended = write_together(table, path, [*writes, [Check("p", "0", ABSENT)]])
    assert {type(end) for end in ended} == {Unacknowledged}
    assert sks(table) == ["0"]
    for ops in writes:
        table.write(ops)  # none of them had happened
    assert len(sks(table)) == 15


# Sharing


def test_writers_that_share_a_commit_keep_their_own_answers(table: SqliteTable, path: Path) -> None:
    ended = write_together(
        table,
        path,
        [
            [put("1")],
            [put("2"), put("1")],
            [put("3")],
            [Put(Row(pk="p", sk="3"), 1)],
            [Put(Row(pk="p", sk="3"), 1)],
            [put("4"), Check("p", "3", 2)],
            [Delete("p", "1", EXISTS)],
        ],
    )
    positions = [end.positions if isinstance(end, Conflict) else end for end in ended]
    assert positions == [None, (1,), None, None, (0,), None, None]
    assert sks(table) == ["3", "4"]


def test_a_group_has_its_limit(path: Path, clock: ManualClock) -> None:
    table = SqliteTable(path, clock, group=3)
    ended = write_together(table, path, [[put(f"{n}")] for n in range(8)])
    assert ended == [None] * 8
    assert len(sks(table)) == 8
    table.close()


class Interruptions(ManualClock):
    """A clock that interrupts whoever looks at it, as often as told."""

    left = 0

    def now(self) -> int:
        if self.left:
            self.left -= 1
            raise KeyboardInterrupt
        return super().now()


def test_an_interrupted_leader_leaves_nobody_waiting(path: Path) -> None:
    clock = Interruptions(1)
    table = SqliteTable(path, clock)
    interrupted = []

    def write(ops: list[Op]) -> TableError | None:
        try:
            table.write(ops)
        except TableError as error:
            return error
        except KeyboardInterrupt:
            interrupted.append(ops)
        return None

    with ThreadPoolExecutor(4) as pool:
        with writers_wait(path):
            first = pool.submit(write, [put("1"), put("1'")])  # a single new row needs no clock
            while not table._shared.led:
                time.sleep(0.001)
            clock.left = 1
            rest = [pool.submit(write, [put(f"{n}")]) for n in (2, 3, 4)]
            while len(table._shared.queue) < 3:
                time.sleep(0.001)
        ended = [future.result() for future in (first, *rest)]
    assert len(interrupted) == 1
    assert ended == [None] * 4
    table.write([put("5")])
    assert sks(table) == ["2", "3", "4", "5"]
    table.close()


def test_readers_see_whole_writes_only(table: SqliteTable) -> None:
    def write_all(n: int) -> None:
        for m in range(20):
            table.write([Put(Row(pk="p", sk=sk, body=b"%d" % (n + 4 * m)), ANY) for sk in "abc"])

    write_all(0)
    with ThreadPoolExecutor(4) as pool:
        writers = [pool.submit(write_all, n) for n in range(1, 4)]
        while not all(writer.done() for writer in writers):
            assert len({(row.body, row.version) for row in table.query("p")}) == 1
    assert {row.version for row in table.query("p")} == {80}


class Signalled(BaseException):
    """What a signal handler raises."""


def test_an_interrupted_writer_sees_its_turn_through(path: Path, table: SqliteTable) -> None:
    def handler(*_: object) -> None:
        raise Signalled

    leading = threading.Event()

    def interrupt() -> None:
        with ThreadPoolExecutor(1) as pool, writers_wait(path):
            pool.submit(table.write, [put("1")])
            while not table._shared.led:
                time.sleep(0.001)
            leading.set()
            while not table._shared.queue:
                time.sleep(0.001)
            signal.raise_signal(signal.SIGUSR1)
            time.sleep(0.05)

    before = signal.signal(signal.SIGUSR1, handler)
    other = threading.Thread(target=interrupt)
    other.start()
    leading.wait()
    with pytest.raises(Signalled):
        table.write([put("2")])
    other.join()
    signal.signal(signal.SIGUSR1, before)
    table.write([put("3")])
    assert sks(table) == ["1", "2", "3"]


# Processes


def test_a_forked_child_begins_afresh(path: Path) -> None:
    script = """
import os, sys, threading
from chalicelib.clock import ManualClock
from chalicelib.table import sqlite
from chalicelib.table.port import Add, Expect, Put, Row
from chalicelib.table.sqlite import SqliteTable

table = SqliteTable(sys.argv[1], ManualClock(1))
table.write([Put(Row(pk="p", sk="parent"), Expect.ABSENT)])
busy = threading.Thread(target=lambda: [table.write([Add("p", "sum", 1)]) for _ in range(100)])
busy.start()
children = []
for n in range(5):
    child = os.fork()
    if child == 0:
        for _ in range(20):
            table.write([Add("p", "sum", 1)])
        assert table.get("p", "parent") is not None
        table.close()
        sys.exit()
    children.append(child)
assert [os.waitpid(child, 0)[1] for child in children] == [0] * 5
busy.join()
table.write([Add("p", "sum", 1)])
row = table.get("p", "sum")
assert row.number == row.version == 201, row
table.close()
"""
    subprocess.run([sys.executable, "-c", script, path], cwd=ROOT, check=True, timeout=60)


@pytest.mark.parametrize("after", [sqlite._after_fork_in_parent, sqlite._after_fork_in_child])
def test_no_connection_is_carried_over_a_fork(table: SqliteTable, after: Callable[[], None]) -> None:
    table.write([put("1")])
    con = table._shared.idle[0]
    with ThreadPoolExecutor(1) as pool:
        sqlite._before_fork()
        with pytest.raises(sqlite3.ProgrammingError, match="closed"):
            con.execute("SELECT 1")
        waits = pool.submit(table.write, [put("2")]) if after is sqlite._after_fork_in_parent else None
        after()
        assert waits is None or waits.result() is None
    table.write([put("3")])
    assert {"1", "3"} <= set(sks(table))


def test_threads_that_end_leave_no_connection_behind(table: SqliteTable) -> None:
    table.write([put("1")])
    for _ in range(20):
        thread = threading.Thread(target=table.get, args=("p", "1"))
        thread.start()
        thread.join()
    assert len(table._shared.idle) == 1


def test_a_reader_does_not_wait_for_a_writer_of_its_own_process(path: Path, table: SqliteTable) -> None:
    table.write([put("1")])
    with ThreadPoolExecutor(1) as pool, writers_wait(path):
        writing = pool.submit(table.write, [put("2")])
        while not table._shared.led:
            time.sleep(0.001)
        assert sks(table) == ["1"]
        assert not writing.done()
    assert writing.result() is None


def test_expired_rows_leave_the_file_by_themselves(tmp_path: Path) -> None:
    clock = ManualClock(1_790_000_000)
    table = SqliteTable(tmp_path / "t", clock)
    for i in range(150):
        table.write([Put(Row(pk="old", sk=f"{i:03d}", expires_at=clock.now() + 1), Expect.ABSENT)])
    clock.advance(2)
    for i in range(100):
        table.write([Put(Row(pk="new", sk=f"{i:03d}"), Expect.ABSENT)])
    assert table.purge_expired() == 0
