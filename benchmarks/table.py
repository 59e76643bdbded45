"""How fast SqliteTable is here: reads, and commits with and without sharing.

usage: python -m benchmarks.table [DIRECTORY] [SECONDS]
"""  # noqa: INP001 - a script

import sys
import tempfile
import threading
import time
from pathlib import Path

from chalicelib.clock import SystemClock
from chalicelib.table.port import Expect, Op, Put, Row
from chalicelib.table.sqlite import SqliteTable

ROWS = 2000
BODY = bytes(1500)
GROUPS = {"one at a time": 1, "shared": 64}


def main() -> None:
    directory = sys.argv[1] if len(sys.argv) > 1 else "."
    seconds = float(sys.argv[2]) if len(sys.argv) > 2 else 3.0
    with tempfile.TemporaryDirectory(dir=directory) as home:
        _report(f"get: {_get_microseconds(Path(home)):.1f} us")
        for threads in (1, 4, 16):
            rates = {}
            for name, group in GROUPS.items():
                path = Path(home) / f"{threads}-{group}.sqlite"
                rates[name], worst = _commits_per_second(path, threads, group, seconds)
                _report(
                    f"{threads:2} threads, {name:13}: {rates[name]:6.0f} commits/s, 99 % within {worst:.1f} ms"
                )
            _report(f"{threads:2} threads: ratio {rates['shared'] / rates['one at a time']:.1f}")


def _get_microseconds(home: Path) -> float:
    table = SqliteTable(home / "get.sqlite", SystemClock())
    for first in range(0, ROWS, 100):
        table.write(
            [Put(Row(pk=f"K#{n}", sk="M", body=BODY), Expect.ABSENT) for n in range(first, first + 100)]
        )
    times = []
    for _ in range(5):
        begin = time.perf_counter()
        for n in range(ROWS):
            table.get(f"K#{n}", "M")
        times.append((time.perf_counter() - begin) / ROWS)
    table.close()
    return min(times) * 1e6


def _commits_per_second(path: Path, threads: int, group: int, seconds: float) -> tuple[float, float]:
    """Commits of a row with its audit event, and the time within which 99 % of them were done, in milliseconds."""
    table = SqliteTable(path, SystemClock(), group=group)
    end = time.perf_counter() + seconds
    times: list[float] = []

    def work(thread: int) -> None:
        n = 0
        while (begin := time.perf_counter()) < end:
            event = Row(pk=f"E#{thread}", sk=f"{n:08d}", body=BODY[:500], index={"user": "u", "action": "a"})
            ops: list[Op] = [
                Put(Row(pk=f"K#{thread}#{n}", sk="M", body=BODY), Expect.ABSENT),
                Put(event, Expect.ABSENT),
            ]
            table.write(ops)
            times.append(time.perf_counter() - begin)
            n += 1

    workers = [threading.Thread(target=work, args=(n,)) for n in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    table.close()
    return len(times) / seconds, sorted(times)[len(times) * 99 // 100] * 1e3


def _report(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
