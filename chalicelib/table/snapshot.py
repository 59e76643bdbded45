"""Several SQLite tables as they were at one moment, while the service goes on."""

import contextlib
import fcntl
import os
import sqlite3
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from chalicelib.table.port import Busy
from chalicelib.table.sqlite import APPLICATION_ID, SCHEMA_VERSION

_PATIENCE: Final = 30.0
_POLL: Final = 0.001


@contextlib.contextmanager
def frozen(paths: Sequence[Path]) -> Iterator[list[sqlite3.Connection]]:
    """A connection to each table, all of which see one moment: between any two writes, whichever tables they went to.

    Writers wait only until every connection has begun to read. Raises Busy if they do not let go in time.
    """
    with contextlib.ExitStack() as connections:
        opened = []
        with contextlib.ExitStack() as locks:
            for path in sorted(paths):  # in one order, so that two backups never wait for each other
                locks.enter_context(_locked(Path(f"{path}.lock")))
            for path in paths:
                con = sqlite3.connect(path, isolation_level=None)
                opened.append(connections.enter_context(contextlib.closing(con)))
                con.execute("BEGIN")
                con.execute("SELECT count(*) FROM (SELECT 1 FROM item LIMIT 1)").fetchone()
        yield opened


def copy(source: sqlite3.Connection, path: Path) -> None:
    """Write what a frozen connection sees into a file of its own, mode 0600."""
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    with contextlib.closing(sqlite3.connect(path)) as target:
        source.backup(target)
        target.execute("PRAGMA journal_mode = DELETE")  # one file, without a log beside it


def check(path: Path) -> int:
    """How many rows a table's file has; raises ValueError unless it is whole, ours and not of a later release."""
    with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as con:
        try:
            (application,) = con.execute("PRAGMA application_id").fetchone()
            (version,) = con.execute("PRAGMA user_version").fetchone()
            (verdict,) = con.execute("PRAGMA integrity_check(1)").fetchone()
            (rows,) = con.execute("SELECT count(*) FROM item").fetchone()
        except sqlite3.Error:
            raise ValueError("the table's file is damaged") from None
    if application != APPLICATION_ID or version > SCHEMA_VERSION or verdict != "ok":
        raise ValueError("the table's file is damaged, not a table, or of a later release")
    return int(rows)


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """The lock that writers of a table take between processes."""
    deadline = time.monotonic() + _PATIENCE
    with path.open("ab") as file:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise Busy("another process holds the table's lock") from None
                time.sleep(_POLL)
        yield
