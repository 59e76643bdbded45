"""The table port: a closed set of reads and one conditional, atomic write.

Both adapters give the same answer to the same call. Rows past `expires_at` are absent for every read and every
condition, whenever the storage gets round to removing them. Keys compare as UTF-8 bytes.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Final, Protocol

MAX_OPS: Final = 100
MAX_BODY: Final = 380_000
MAX_WRITE: Final = 4_000_000
MAX_PK: Final = 2048
MAX_SK: Final = 1024
MAX_LIMIT: Final = 1000
INDEXES: Final = ("user", "resource", "action", "error")
"""The sparse indexes. Within one index value, rows are ordered by their `sk`."""

DUE_SHARDS: Final = 8


class Expect(Enum):
    """What a write expects of the row it touches; a number expects that exact version."""

    ABSENT = "absent"
    EXISTS = "exists"
    ANY = "any"


Condition = Expect | int


@dataclass(frozen=True, slots=True)
class Due:
    """A place in the index of scheduled work: `kind` names the job, `at` is epoch seconds."""

    kind: str
    at: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One row. `version` and `number` are set by the table: 1 on creation, +1 on each put; changed by Add."""

    pk: str
    sk: str
    body: bytes = b""
    expires_at: int | None = None
    due: Due | None = None
    index: Mapping[str, str] = field(default_factory=dict)
    version: int = 0
    number: int = 0


@dataclass(frozen=True, slots=True)
class Put:
    """Write the whole row (its `version` and `number` are ignored; a put resets `number` to 0)."""

    row: Row
    expect: Condition


@dataclass(frozen=True, slots=True)
class Delete:
    """Remove the row; removing an absent row with ANY succeeds."""

    pk: str
    sk: str
    expect: Condition


@dataclass(frozen=True, slots=True)
class Check:
    """Write nothing, but fail the whole write unless the condition holds."""

    pk: str
    sk: str
    expect: Condition


@dataclass(frozen=True, slots=True)
class Add:
    """Add `n` to the row's `number`, creating the row at 0; Conflict unless `at_least <= result <= at_most`.

    Keeps body, due, index and `expires_at` of an existing row and raises its version by one.
    """

    pk: str
    sk: str
    n: int
    at_least: int | None = None
    at_most: int | None = None


Op = Put | Delete | Check | Add


class TableError(Exception):
    """The base of what a table may raise."""


class Conflict(TableError):
    """Some conditions did not hold; nothing was written. `positions` are the indexes of the ops that failed."""

    def __init__(self, positions: Sequence[int]) -> None:
        super().__init__("a condition did not hold")
        self.positions = tuple(positions)


class Busy(TableError):
    """Contention, throttling or an outage: nothing was written; the caller may try again."""


class Unacknowledged(TableError):
    """The write was sent and no answer came: it may have happened, wholly or not at all."""


class Refused(TableError):
    """The call breaks one of the limits above; raised before any I/O."""


class Table(Protocol):
    """One region's rows, or the identity rows."""

    def get(self, pk: str, sk: str) -> Row | None:
        """The row, read consistently."""

    def batch_get(self, keys: Sequence[tuple[str, str]]) -> list[Row | None]:
        """The rows in the order of `keys` (1 to 100, no duplicates), each read consistently, in one call."""

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
        """Rows of `pk` whose `sk` starts with `prefix` and lies strictly between `after` and `before`, in `sk` order."""

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
        """Rows with `row.index[index] == value`, in `sk` order, bounds as in `query`; may lag behind writes by a moment."""

    def due(self, kind: str, upto: int, *, after: str | None = None, limit: int = 100) -> list[Row]:
        """Rows with `due.kind == kind` and `due.at <= upto`, ordered by `due_position`, those after `after`; may lag."""

    def write(self, ops: Sequence[Op]) -> None:
        """Apply 1 to 100 ops on distinct rows, all or none; raises Conflict, Busy, Unacknowledged or Refused."""

    def close(self) -> None:
        """Release what the table holds; it is not used again."""


def due_position(row: Row) -> str:
    """The row's place among due rows: zero-padded time, then a hash of its key (sorts as text)."""
    if row.due is None:
        msg = "the row is not due"
        raise Refused(msg)
    digest = hashlib.sha256(f"{row.pk}\x00{row.sk}".encode()).hexdigest()[:16]
    return f"{row.due.at:012d}#{digest}"


def key_of(op: Op) -> tuple[str, str]:
    """The key that an op touches."""
    return (op.row.pk, op.row.sk) if isinstance(op, Put) else (op.pk, op.sk)


def validate_write(ops: Sequence[Op]) -> None:
    """Raise Refused unless the ops keep the limits that both adapters share."""
    keys = [key_of(op) for op in ops]
    if not 1 <= len(ops) <= MAX_OPS or len(set(keys)) != len(keys):
        msg = f"a write takes 1 to {MAX_OPS} operations on distinct rows"
        raise Refused(msg)
    for pk, sk in keys:
        validate_key(pk, sk)
    total = 0
    for op in ops:
        if isinstance(op, Put):
            if len(op.row.body) > MAX_BODY or not set(op.row.index) <= set(INDEXES):
                msg = f"a row's body has at most {MAX_BODY} bytes, and its indexes are {INDEXES}"
                raise Refused(msg)
            total += len(op.row.body) + 512
    if total > MAX_WRITE:
        msg = f"a write has at most {MAX_WRITE} bytes"
        raise Refused(msg)


def validate_key(pk: str, sk: str) -> None:
    """Raise Refused unless the key can be stored."""
    if not pk or not sk or len(pk.encode()) > MAX_PK or len(sk.encode()) > MAX_SK:
        msg = f"pk has 1 to {MAX_PK} bytes, sk 1 to {MAX_SK}"
        raise Refused(msg)
