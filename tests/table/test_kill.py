"""kill -9 of processes that write: whatever was acknowledged is there, and nothing is there by half."""

import secrets
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

from chalicelib.clock import ManualClock
from chalicelib.table.sqlite import SqliteTable

CYCLES = 200
SECONDS = 50
PROCESSES = 2
ROOT = Path(__file__).parents[2]

WRITER = """
import os, sys, threading
from chalicelib.clock import ManualClock
from chalicelib.table.port import Add, Expect, Put, Row
from chalicelib.table.sqlite import SqliteTable

table = SqliteTable(sys.argv[1], ManualClock(1), patience=60)

def write(thread):
    n = 0
    while True:
        pk = f"{sys.argv[2]}-{thread}-{n}"
        rows = [Put(Row(pk=pk, sk=sk, body=os.urandom(1500), index={"user": pk}), Expect.ABSENT) for sk in "abc"]
        table.write([*rows, Add("sum", "s", 1)])
        os.write(1, pk.encode() + b"\\n")
        n += 1

for thread in range(4):
    threading.Thread(target=write, args=(thread,)).start()
"""


def killed_at_some_moment(path: Path, cycle: int) -> list[str]:
    """What was acknowledged before the kill."""
    writers = [
        subprocess.Popen(
            [sys.executable, "-S", "-c", WRITER, path, f"{cycle}-{n}"], cwd=ROOT, stdout=subprocess.PIPE
        )
        for n in range(PROCESSES)
    ]
    first = [writer.stdout.readline() for writer in writers if writer.stdout]
    time.sleep(secrets.randbelow(60_000) / 1_000_000)
    for writer in writers:
        writer.kill()
    rest = [writer.communicate()[0] for writer in writers]
    return b"".join(first + rest).decode().split()


@pytest.mark.slow
@pytest.mark.timeout(SECONDS * 2)
def test_no_acknowledged_write_is_lost_to_a_kill(tmp_path: Path, clock: ManualClock) -> None:
    path = tmp_path / "table.sqlite"
    acknowledged = 0
    cycles = 0
    deadline = time.monotonic() + SECONDS
    while cycles < CYCLES and time.monotonic() < deadline:
        written = killed_at_some_moment(path, cycles)
        table = SqliteTable(path, clock)
        for pk in written:
            rows = table.batch_get([(pk, sk) for sk in "abc"])
            assert all(row is not None and row.version == 1 and len(row.body) == 1500 for row in rows)
        table.close()
        acknowledged += len(written)
        cycles += 1
    print(f"{cycles} kills, {acknowledged} acknowledged writes")
    with sqlite3.connect(path) as con:
        assert con.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        halves = con.execute(
            "SELECT pk FROM item WHERE pk <> 'sum' GROUP BY pk HAVING count(*) <> 3"
        ).fetchall()
        assert halves == []
        (writes,) = con.execute("SELECT count(DISTINCT pk) - 1 FROM item").fetchone()
        assert con.execute("SELECT number, version FROM item WHERE pk = 'sum'").fetchone() == (writes, writes)
    con.close()
    assert writes >= acknowledged > 0
