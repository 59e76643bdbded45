"""The table on SQLite: one file, readers that never wait, writers that share their commits.

What makes a write slow is the fsync at its end. So writers queue, and whoever gets the lock first commits for all that
wait: one transaction, one fsync. Processes take turns by a lock on a file beside the table, because SQLite's own busy
wait can starve a waiter for seconds.

The indexes of port.INDEXES lag: a row's entries are written some hundred rows at a time, in the order of the index, and
at the latest when somebody looks an index up. Written with each row, they would cost more than the row itself.
"""

import fcntl
import os
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any, Final
from weakref import WeakSet

from chalicelib.clock import Clock
from chalicelib.table.port import (
    AUDIT_PREFIX,
    INDEXES,
    MAX_KIND,
    MAX_LIMIT,
    MAX_PK,
    Add,
    Busy,
    Conflict,
    Delete,
    Due,
    Expect,
    Op,
    Put,
    Row,
    TableError,
    Unacknowledged,
    add_bounds,
    due_ceiling,
    due_position,
    key_of,
    span,
    validate_index,
    validate_key,
    validate_keys,
    validate_range,
    validate_scan,
    validate_text,
    validate_write,
)

SCHEMA_VERSION: Final = 2
APPLICATION_ID: Final = 0x4B535444  # "KSTD" tells our files from others'

_COLUMNS: Final = "pk, sk, version, number, body, expires_at, due_kind, due_position, " + ", ".join(INDEXES)
_TABLES: Final = f"""
CREATE TABLE item (
    pk TEXT NOT NULL, sk TEXT NOT NULL, version INTEGER NOT NULL, number INTEGER NOT NULL, body BLOB NOT NULL,
    expires_at INTEGER, due_kind TEXT, due_position TEXT, {", ".join(f"{name} TEXT" for name in INDEXES)},
    id INTEGER PRIMARY KEY,
    UNIQUE (pk, sk)
);
CREATE INDEX item_expires_at ON item (expires_at) WHERE expires_at IS NOT NULL;
CREATE INDEX item_due ON item (due_kind, due_position) WHERE due_kind IS NOT NULL;
CREATE TABLE entry (
    name TEXT NOT NULL, value TEXT NOT NULL, sk TEXT NOT NULL, pk TEXT NOT NULL, PRIMARY KEY (name, value, sk, pk)
) WITHOUT ROWID;
CREATE TABLE indexed (upto INTEGER NOT NULL);
INSERT INTO indexed VALUES (0);
PRAGMA application_id = {APPLICATION_ID};
PRAGMA user_version = {SCHEMA_VERSION};
"""
_SCHEMA: Final = f"BEGIN IMMEDIATE; {_TABLES} COMMIT;"
_FROM_1: Final = f"""
BEGIN IMMEDIATE;
ALTER TABLE item RENAME TO item_1;
DROP INDEX item_expires_at;
DROP INDEX item_due;
{_TABLES}
INSERT INTO item ({_COLUMNS}) SELECT {_COLUMNS} FROM item_1 ORDER BY rowid;
DROP TABLE item_1;
COMMIT;
"""
"""Turns a file of schema 1, whose indexes did not lag, into one of schema 2."""

_ALIVE: Final = "FROM item WHERE (expires_at IS NULL OR expires_at > ?) AND "
_SELECT: Final = f"SELECT {_COLUMNS} {_ALIVE}"
_GET: Final = _SELECT + "pk = ? AND sk = ?"
_QUERY: Final = _SELECT + "pk = ?"
_STATE: Final = (
    f"SELECT pk, sk, version, number, expires_at, {', '.join(INDEXES)} FROM item WHERE pk = ? AND sk = ?"
)
_VALUES: Final = f"({', '.join('?' * (8 + len(INDEXES)))})"
_INSERT: Final = f"INSERT INTO item ({_COLUMNS}) VALUES {_VALUES}"
_SET: Final = ", ".join(f"{name} = ?" for name in _COLUMNS.split(", ")[2:])
_UPDATE: Final = f"UPDATE item SET {_SET} WHERE pk = ? AND sk = ?"
_ADD: Final = "UPDATE item SET version = version + 1, number = ? WHERE pk = ? AND sk = ?"
_DELETE: Final = "DELETE FROM item WHERE pk = ? AND sk = ?"
_DUE: Final = _SELECT + "due_kind = ? AND due_position > ? AND due_position < ? ORDER BY due_position LIMIT ?"
_SCAN: Final = _SELECT + "(pk, sk) > (?, ?) AND pk < ? ORDER BY pk, sk LIMIT ?"
_BY_INDEX: Final = (
    f"SELECT {', '.join(f'item.{name}' for name in _COLUMNS.split(', '))} FROM entry CROSS JOIN item"
    " ON item.pk = entry.pk AND item.sk = entry.sk WHERE (expires_at IS NULL OR expires_at > ?)"
    " AND entry.name = ? AND entry.value = ?"
)
_EXPIRED: Final = f"SELECT pk, sk, {', '.join(INDEXES)} FROM item WHERE expires_at <= ? LIMIT ?"
_LAG: Final = "SELECT upto, (SELECT max(id) FROM item) FROM indexed"
_LAGGING: Final = [
    f"SELECT '{name}', {name}, sk, pk FROM item WHERE id > :low AND id <= :high AND {name} IS NOT NULL"
    for name in INDEXES
]
_INDEX: Final = f"INSERT OR IGNORE INTO entry {' UNION ALL '.join(_LAGGING)} ORDER BY 1, 2, 3, 4"
_INDEXED: Final = "UPDATE indexed SET upto = ?"
_STEP_BACK: Final = "UPDATE indexed SET upto = min(upto, (SELECT ifnull(max(id), 0) FROM item))"
"""After removals: the next row may be given the id of one that was removed."""
_ENTER: Final = "INSERT OR IGNORE INTO entry VALUES (?, ?, ?, ?)"
_LEAVE: Final = "DELETE FROM entry WHERE name = ? AND value = ? AND sk = ? AND pk = ?"

_ABOVE_TRAIL: Final = AUDIT_PREFIX[:-1] + chr(ord(AUDIT_PREFIX[-1]) + 1)
_SCANNED: Final = ((("", ""), AUDIT_PREFIX), ((_ABOVE_TRAIL, ""), b""))
"""What a scan reads: from a key up to a partition, both excluded. To SQLite a blob is above every text."""

_TEND_EVERY: Final = 100  # writes of one process between two purges
_INDEXED_AT_ONCE: Final = 1000
_MOST_AT_ONCE: Final = 16  # rows of one INSERT
_CHECKPOINT_PAGES: Final = 4000  # of the log: the ends of the indexes are written again and again until then
_POLL: Final = 0.0001  # seconds between two looks at the lock
_GATHER: Final = 0.0001  # seconds that a leader waits for others to join
_FORK_PATIENCE: Final = 10.0  # seconds that a fork waits for connections in use

_Act = Callable[[sqlite3.Connection], None]


class _Turn:
    """A writer's place in the queue: what it wants done, and how that ended.

    `row` tells that all it wants is this row, where there is none yet: such turns are done together.
    """

    __slots__ = ("act", "done", "error", "hold", "row")

    def __init__(self, act: _Act, row: Row | None = None) -> None:
        self.act = act
        self.row = row
        self.done = False
        self.error: TableError | None = None
        self.hold = threading.Lock()

    def wait(self) -> None:
        with self.hold:
            pass


class _Shared:
    """What the threads of one process share: idle connections, the queue of writers, the lock file.

    SQLite cannot be carried over a fork: a child would believe in locks that only its parent has. So before a fork
    every connection is closed, and afterwards parent and child open their own.
    """

    def __init__(self, connect: Callable[[], sqlite3.Connection], lock_path: Path | None) -> None:
        self._connect = connect
        self._lock_path = lock_path
        self._begin()

    def _begin(self) -> None:
        self.idle: deque[sqlite3.Connection] = deque()
        self.count = 0
        self.queue: deque[_Turn] = deque()
        self.gate = threading.Lock()
        self.led = False
        self.company = 0
        self.lock_fd = -1
        if self._lock_path is not None:
            self.lock_fd = os.open(self._lock_path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def take(self) -> sqlite3.Connection:
        """A connection for the caller alone, to be put back among the idle ones."""
        try:
            return self.idle.pop()
        except IndexError:
            with self.gate:
                con = self._connect()
                self.count += 1
                return con

    def drain(self, patience: float) -> None:
        """Close every connection as soon as it is idle."""
        deadline = time.monotonic() + patience
        while self.count and time.monotonic() < deadline:
            try:
                self.idle.pop().close()
                self.count -= 1
            except IndexError:
                time.sleep(_POLL)

    def before_fork(self) -> None:
        self.gate.acquire()  # nobody opens another one
        self.drain(_FORK_PATIENCE)

    def after_fork_in_parent(self) -> None:
        self.gate.release()

    def after_fork_in_child(self) -> None:
        os.close(self.lock_fd)  # while open here it would prolong a lock that the parent held just then
        self._begin()


_files: WeakSet[_Shared] = WeakSet()
_forking: list[_Shared] = []


def _before_fork() -> None:
    _forking[:] = _files
    for shared in _forking:
        shared.before_fork()


def _after_fork_in_parent() -> None:
    while _forking:
        _forking.pop().after_fork_in_parent()


def _after_fork_in_child() -> None:
    while _forking:
        _forking.pop().after_fork_in_child()


os.register_at_fork(
    before=_before_fork,
    after_in_parent=_after_fork_in_parent,
    after_in_child=_after_fork_in_child,
)


class SqliteTable:
    """A table in one file, or, for tests, in the memory of one process that does not fork (`:memory:`).

    `group` is how many writers may share a commit; `patience` is how many seconds a call waits for other processes.
    """

    def __init__(self, path: Path | str, clock: Clock, *, group: int = 64, patience: float = 5.0) -> None:
        in_memory = str(path) == ":memory:"
        self._path = str(path)
        self._clock = clock
        self._group = group
        self._patience = patience
        self._closed = False
        self._writes = 0
        self._shared = _Shared(self._connect, None if in_memory else Path(f"{path}.lock"))
        if not in_memory:
            _files.add(self._shared)
        self._alone: AbstractContextManager[Any] = threading.Lock() if in_memory else nullcontext()
        """Memory has one connection, and its users take turns."""
        try:
            with self._locked():
                if not in_memory:
                    _make_private(Path(path))
                con = self._shared.take()
                self._shared.idle.append(con)
                _prepare(con)
        except BaseException:
            self.close()
            raise

    def get(self, pk: str, sk: str) -> Row | None:
        validate_key(pk, sk)
        rows = self._read(_GET, (self._clock.now(), pk, sk))
        return rows[0] if rows else None

    def batch_get(self, keys: Sequence[tuple[str, str]]) -> list[Row | None]:
        validate_keys(keys)
        now = self._clock.now()
        found = self._read(" UNION ALL ".join([_GET] * len(keys)), [x for key in keys for x in (now, *key)])
        by_key = {(row.pk, row.sk): row for row in found}
        return [by_key.get(key) for key in keys]

    def query(
        self,
        pk: str,
        *,
        prefix: str = "",
        after: str | None = None,
        before: str | None = None,
        limit: int = 100,
        reverse: bool = False,
    ) -> list[Row]:
        validate_text("pk", pk, MAX_PK)
        validate_range(limit, prefix, after, before)
        return self._range(_QUERY, (pk,), span(prefix, after, before), limit, reverse=reverse)

    def by_index(
        self,
        index: str,
        value: str,
        *,
        after: str | None = None,
        before: str | None = None,
        limit: int = 100,
        reverse: bool = False,
    ) -> list[Row]:
        validate_index(index, value)
        validate_range(limit, after, before)
        while self._lags():
            self._take_turn(_Turn(_catch_up))
        bounds = span("", after, before)
        return self._range(_BY_INDEX, (index, value), bounds, limit, reverse=reverse, sk="entry.sk")

    def due(self, kind: str, upto: int, *, after: str | None = None, limit: int = 100) -> list[Row]:
        validate_text("kind", kind, MAX_KIND)
        validate_range(limit, after)
        return self._read(_DUE, (self._clock.now(), kind, after or "", due_ceiling(upto), limit))

    def scan(self, *, after: tuple[str, str] | None = None, limit: int = 100) -> list[Row]:
        validate_scan(after, limit)
        low = after or ("", "")
        rows: list[Row] = []
        for begin, end in _SCANNED:  # the trail in between is never read: it is most of the file
            if len(rows) < limit:
                rows += self._read(_SCAN, (self._clock.now(), *max(low, begin), end, limit - len(rows)))
        return rows

    def write(self, ops: Sequence[Op]) -> None:
        validate_write(ops)
        new: Row | None = None
        match ops:
            case [Put(row, Expect.ABSENT)]:
                new = row
        self._take_turn(_Turn(lambda con: _apply(con, ops, self._clock.now()), new))
        self._writes += 1
        if self._writes % _TEND_EVERY == 0:
            # Nothing outside looks after the file. Twice as many rows may go as can have come.
            with suppress(TableError):
                self._take_turn(_Turn(_catch_up))
                self.purge_expired(2 * _TEND_EVERY)

    def purge_expired(self, limit: int = MAX_LIMIT) -> int:
        """Free the space of up to `limit` expired rows; how many they were."""
        removed = 0

        def purge(con: sqlite3.Connection) -> None:
            nonlocal removed
            expired = con.execute(_EXPIRED, (self._clock.now(), limit)).fetchall()
            for pk, sk, *values in expired:
                _remove(con, pk, sk, values)
            con.execute(_STEP_BACK)
            removed = len(expired)

        self._take_turn(_Turn(purge))
        return removed

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            _files.discard(self._shared)
            self._shared.drain(self._patience)
            if self._shared.lock_fd >= 0:
                os.close(self._shared.lock_fd)
                self._shared.lock_fd = -1

    def _range(
        self,
        source: str,
        values: Sequence[str],
        bounds: tuple[str, str | None],
        limit: int,
        *,
        reverse: bool,
        sk: str = "sk",
    ) -> list[Row]:
        low, high = bounds
        below = "" if high is None else f"AND {sk} < ?"
        sql = f"{source} AND {sk} >= ? {below} ORDER BY {sk} {'DESC' if reverse else ''} LIMIT ?"
        return self._read(sql, (self._clock.now(), *values, low, *(() if high is None else (high,)), limit))

    def _read(self, sql: str, parameters: Sequence[str | int | bytes]) -> list[Row]:
        return [_row(columns) for columns in self._fetch(sql, parameters)]

    def _lags(self) -> bool:
        ((upto, newest),) = self._fetch(_LAG, ())
        return bool(upto < (newest or 0))

    def _fetch(self, sql: str, parameters: Sequence[str | int | bytes]) -> list[tuple[Any, ...]]:
        with self._alone:
            con = self._shared.take()
            try:
                return con.execute(sql, parameters).fetchall()
            except sqlite3.Error as error:
                raise _fault(error) from error
            finally:
                self._shared.idle.append(con)

    def _take_turn(self, turn: "_Turn") -> None:
        """Have a turn's act done within a transaction that is committed when this returns."""
        shared = self._shared
        with shared.gate:
            shared.queue.append(turn)
            if shared.led:
                turn.hold.acquire()
            shared.led = True
        try:
            turn.wait()
        except BaseException:
            turn.wait()  # even an interrupt has to wait: this turn may be the one that must lead
            raise
        finally:
            if not turn.done:
                self._lead()
        if turn.error is not None:
            raise turn.error

    def _lead(self) -> None:
        """Commit for all that wait, oneself first, then hand over to the first of those that came meanwhile."""
        shared = self._shared
        if len(shared.queue) < shared.company:
            time.sleep(_GATHER)  # those served just now are on their way back: worth a share of a commit
        with shared.gate:
            turns = [shared.queue.popleft() for _ in range(min(len(shared.queue), self._group))]
        shared.company = len(turns)
        try:
            self._commit(turns)
        finally:
            with shared.gate:
                next_turns = list(shared.queue)[:1]
                shared.led = bool(next_turns)
            for turn in turns[1:] + next_turns:
                turn.hold.release()

    def _commit(self, turns: list[_Turn]) -> None:
        """Do what the writers ask for in one transaction, and tell each how it ended."""
        failure: type[TableError] = Busy
        is_begun = False
        try:
            with self._locked(), self._connection() as con:
                failure = Unacknowledged
                if _insert_alone(con, [turn.row for turn in turns]):
                    return
                failure = Busy
                con.execute("BEGIN IMMEDIATE")
                is_begun = True
                for turn in turns:
                    turn.error = _outcome(con, turn.act)
                failure = Unacknowledged
                con.execute("COMMIT")
        except BaseException as error:
            if isinstance(error, sqlite3.Error) and is_begun and failure is Busy and len(turns) > 1:
                for turn in turns:
                    self._commit([turn])  # so that a fault hits only the write that it belongs to
                return
            if getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_BUSY:
                failure = Busy  # the transaction was still whole, and has been rolled back
            for turn in turns:
                turn.error = failure("the table's file could not be written")
                turn.error.__cause__ = error
            if not isinstance(error, sqlite3.Error | OSError | TableError):
                raise
        finally:
            for turn in turns:
                turn.done = True

    @contextmanager
    def _connection(self) -> Iterator[sqlite3.Connection]:
        """A connection for the caller alone; a transaction that is left open is rolled back."""
        with self._alone:
            con = self._shared.take()
            try:
                yield con
            finally:
                if con.in_transaction:
                    con.execute("ROLLBACK")
                self._shared.idle.append(con)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Hold the lock between processes."""
        fd = self._shared.lock_fd
        if fd < 0:
            yield
            return
        deadline = time.monotonic() + self._patience
        while True:
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise Busy("another process holds the table's lock") from None
                time.sleep(_POLL)
        try:
            yield
        finally:
            fcntl.flock(fd, fcntl.LOCK_UN)

    def _connect(self) -> sqlite3.Connection:
        if self._closed:
            raise TableError("the table is closed")
        try:
            con = sqlite3.connect(
                self._path,
                timeout=self._patience,
                isolation_level=None,  # transactions are ours to begin and end
                check_same_thread=False,  # one thread at a time has it
                cached_statements=256,
            )
            con.execute("PRAGMA journal_mode = WAL")
            con.execute("PRAGMA synchronous = FULL")
            con.execute("PRAGMA secure_delete = ON")  # what is deleted is overwritten
            con.execute(f"PRAGMA wal_autocheckpoint = {_CHECKPOINT_PAGES}")
        except sqlite3.Error as error:
            raise _fault(error) from error
        return con


def _outcome(con: sqlite3.Connection, act: _Act) -> TableError | None:
    """Do one writer's part; a part that conflicts has written nothing."""
    try:
        act(con)
    except Conflict as conflict:
        return conflict
    return None


def _insert_alone(con: sqlite3.Connection, rows: Sequence[Row | None]) -> bool:
    """Write new rows in one statement, which is a transaction of its own; False if none of them was written.

    That is so where a row is there already, or an expired one, or something else is wanted than new rows; and where
    there is no room, which each of the rows shall find out for itself.
    """
    new = [_columns(row, 1) for row in rows if row is not None]
    if not len(rows) == len(new) <= _MOST_AT_ONCE:
        return False
    try:
        _insert(con, new)
    except sqlite3.IntegrityError:
        return False
    except sqlite3.Error as error:
        if error.sqlite_errorcode & 0xFF in (sqlite3.SQLITE_FULL, sqlite3.SQLITE_BUSY):
            return False
        raise
    return True


def _insert(con: sqlite3.Connection, new: Sequence[tuple[Any, ...]]) -> None:
    """Write new rows, as many in one statement as SQLite should keep prepared."""
    for begin in range(0, len(new), _MOST_AT_ONCE):
        some = new[begin : begin + _MOST_AT_ONCE]
        con.execute(_INSERT + f", {_VALUES}" * (len(some) - 1), [value for row in some for value in row])


def _apply(con: sqlite3.Connection, ops: Sequence[Op], now: int) -> None:
    """Check every condition, then write; no two ops touch one row, so none changes what another one sees."""
    keys = [key_of(op) for op in ops]
    sql = " UNION ALL ".join([_STATE] * len(keys))
    there = {row[:2]: row[2:] for row in con.execute(sql, [text for key in keys for text in key])}
    states = {key: state for key, state in there.items() if state[2] is None or state[2] > now}
    failed = [
        place
        for place, (op, key) in enumerate(zip(ops, keys, strict=True))
        if not _holds(op, states.get(key))
    ]
    if failed:
        raise Conflict(failed)
    new: list[tuple[Any, ...]] = []
    for op, key in zip(ops, keys, strict=True):
        state = states.get(key)
        if key in there and (state is None or isinstance(op, Delete)):
            _remove(con, *key, there[key][3:])
            con.execute(_STEP_BACK)
        match op:
            case Put(row) if state:
                _replace(con, row, state)
            case Put(row):
                new.append(_columns(row, 1))
            case Add(pk, sk, n) if state:
                con.execute(_ADD, (state[1] + n, pk, sk))
            case Add(pk, sk, n):
                new.append(_columns(Row(pk=pk, sk=sk), 1, n))
    _insert(con, new)


def _replace(con: sqlite3.Connection, row: Row, state: tuple[Any, ...]) -> None:
    """Write over a row, and over its entries at once: the row keeps its id, so no later round would see them."""
    pk, sk, *columns = _columns(row, state[0] + 1)
    con.execute(_UPDATE, (*columns, pk, sk))
    if tuple(columns[6:]) != state[3:]:
        _unindex(con, pk, sk, state[3:])
        con.executemany(_ENTER, [(name, value, sk, pk) for name, value in row.index.items()])


def _remove(con: sqlite3.Connection, pk: str, sk: str, values: Sequence[str | None]) -> None:
    con.execute(_DELETE, (pk, sk))
    _unindex(con, pk, sk, values)


def _unindex(con: sqlite3.Connection, pk: str, sk: str, values: Sequence[str | None]) -> None:
    for name, value in zip(INDEXES, values, strict=True):
        if value is not None:
            con.execute(_LEAVE, (name, value, sk, pk))


def _catch_up(con: sqlite3.Connection) -> None:
    """Write the entries of the oldest rows that lack them."""
    upto, newest = con.execute(_LAG).fetchone()
    if newest is not None and upto < newest:
        high = min(upto + _INDEXED_AT_ONCE, newest)
        con.execute(_INDEX, {"low": upto, "high": high})
        con.execute(_INDEXED, (high,))


def _columns(row: Row, version: int, number: int = 0) -> tuple[Any, ...]:
    """The values of _COLUMNS."""
    due = (row.due.kind, due_position(row)) if row.due else (None, None)
    get = row.index.get
    return row.pk, row.sk, version, number, row.body, row.expires_at, *due, *[get(name) for name in INDEXES]


def _holds(op: Op, state: tuple[Any, ...] | None) -> bool:
    """Whether the row, given by version, number and more, is what the op expects."""
    if isinstance(op, Add):
        low, high = add_bounds(op)
        return low <= (state[1] if state else 0) + op.n <= high
    match op.expect:
        case Expect.ANY:
            return True
        case Expect.ABSENT:
            return state is None
        case Expect.EXISTS:
            return state is not None
        case version:
            return state is not None and state[0] == version


def _row(columns: tuple[Any, ...]) -> Row:
    kind, position, *values = columns[6:]
    return Row(
        pk=columns[0],
        sk=columns[1],
        version=columns[2],
        number=columns[3],
        body=columns[4],
        expires_at=columns[5],
        due=None if kind is None else Due(kind, int(position.partition("#")[0])),
        index={name: value for name, value in zip(INDEXES, values, strict=True) if value is not None},
    )


def _fault(error: sqlite3.Error) -> TableError:
    """What a failure of SQLite means to a caller when nothing was written."""
    if isinstance(error, sqlite3.OperationalError):
        return Busy("the table's file is locked, full or out of reach")
    return TableError("the table's file is damaged, or not a table")


def _make_private(path: Path) -> None:
    """Create the file if need be; nobody but its owner may open it, nor the files that SQLite puts beside it.

    A file that exists is not opened: closing any descriptor of it would drop the locks of this process's connections.
    """
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    except FileExistsError:
        for each in (path, Path(f"{path}-wal"), Path(f"{path}-shm"), Path(f"{path}.lock")):
            if each.exists() and each.stat().st_mode & 0o077:
                each.chmod(0o600)


def _prepare(con: sqlite3.Connection) -> None:
    """Create the schema in an empty file; refuse a file that is not ours, or a later release's."""
    try:
        (application,) = con.execute("PRAGMA application_id").fetchone()
        (version,) = con.execute("PRAGMA user_version").fetchone()
        (things,) = con.execute("SELECT count(*) FROM sqlite_schema").fetchone()
        if not (application or version or things):
            con.executescript(_SCHEMA)
        elif application == APPLICATION_ID and version == 1:
            con.executescript(_FROM_1)
        elif application != APPLICATION_ID:
            raise TableError("the file belongs to another program")
        elif version > SCHEMA_VERSION:
            raise TableError("the table's file was written by a later release")
    except sqlite3.Error as error:
        raise _fault(error) from error
