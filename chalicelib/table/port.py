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
MAX_KIND: Final = 255
MAX_VALUE: Final = 2048
MAX_NUMBER: Final = 2**53
MAX_TIME: Final = 10**12 - 1
INDEXES: Final = ("user", "resource", "action", "error")
"""The sparse indexes. Within one index value, rows are ordered by their `sk`; paging needs `sk` to be unique there."""

DUE_SHARDS: Final = 8
AUDIT_PREFIX: Final = "E#"
"""Rows whose `pk` starts so are the audit trail: a scan leaves them out."""


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

    Keeps body, due, index and `expires_at` of an existing row and raises its version by one. A number always stays
    within plus or minus MAX_NUMBER.
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

    def scan(self, *, after: tuple[str, str] | None = None, limit: int = 100) -> list[Row]:
        """Rows of every partition but the audit trail's, those after the row of key `after`, each read consistently.

        The order is the adapter's own, and always the same; fewer than `limit` rows are the last ones. `after` is the
        key of a row that a scan has returned, whether or not the row is still there. So whoever goes on from the last
        row of each page sees every row once that is there all the while; what comes or goes meanwhile may be missed.
        """

    def write(self, ops: Sequence[Op]) -> None:
        """Apply 1 to 100 ops on distinct rows, all or none; raises Conflict, Busy, Unacknowledged or Refused."""

    def close(self) -> None:
        """Release what the table holds; it is not used again."""


def due_kind(job: str, region: str) -> str:
    """The kind of the rows that wait for a job in a region: regions may share one table."""
    return f"{job}#{region}"


def due_position(row: Row) -> str:
    """The row's place among due rows: zero-padded time, then a hash of its key (sorts as text)."""
    if row.due is None:
        msg = "the row is not due"
        raise Refused(msg)
    digest = hashlib.sha256(f"{row.pk}\x00{row.sk}".encode()).hexdigest()[:16]
    return f"{row.due.at:012d}#{digest}"


def due_ceiling(upto: int) -> str:
    """A text above every position due by `upto`, and below all later ones."""
    return f"{min(upto, MAX_TIME):012d}~" if upto >= 0 else ""


def key_of(op: Op) -> tuple[str, str]:
    """The key that an op touches."""
    return (op.row.pk, op.row.sk) if isinstance(op, Put) else (op.pk, op.sk)


def add_bounds(op: Add) -> tuple[int, int]:
    """The least and the greatest number that the row may have after `op`."""
    low = -MAX_NUMBER if op.at_least is None else max(op.at_least, -MAX_NUMBER)
    high = MAX_NUMBER if op.at_most is None else min(op.at_most, MAX_NUMBER)
    return low, high


def span(prefix: str, after: str | None, before: str | None) -> tuple[str, str | None]:
    """The range of `sk` that a query means: from the first value, included, up to the second, excluded."""
    low, high = prefix, before
    if after is not None:
        low = max(low, after + "\x00")
    stem = prefix.rstrip("\U0010ffff")
    if stem:
        following = "\ue000" if stem[-1] == "\ud7ff" else chr(ord(stem[-1]) + 1)  # UTF-8 has no surrogates
        ceiling = stem[:-1] + following
        high = ceiling if high is None else min(high, ceiling)
    return low, high


def validate_write(ops: Sequence[Op]) -> None:
    """Raise Refused unless the ops keep the limits that both adapters share."""
    keys = [key_of(op) for op in ops]
    if not 1 <= len(ops) <= MAX_OPS or len(set(keys)) != len(keys):
        msg = f"a write takes 1 to {MAX_OPS} operations on distinct rows"
        raise Refused(msg)
    total = 0
    for op, (pk, sk) in zip(ops, keys, strict=True):
        total += validate_key(pk, sk)
        if isinstance(op, Put):
            total += _validate_row(op.row)
        elif isinstance(op, Add) and not -MAX_NUMBER <= op.n <= MAX_NUMBER:
            msg = f"an Add's n is within plus or minus {MAX_NUMBER}"
            raise Refused(msg)
    if total > MAX_WRITE:
        msg = f"a write has at most {MAX_WRITE} bytes"
        raise Refused(msg)


def _validate_row(row: Row) -> int:
    """Raise Refused unless the row can be stored; about how many bytes it takes beside its key."""
    if len(row.body) > MAX_BODY or not set(row.index) <= set(INDEXES):
        msg = f"a row's body has at most {MAX_BODY} bytes, and its indexes are {INDEXES}"
        raise Refused(msg)
    if not (0 <= (row.expires_at or 0) <= MAX_TIME and 0 <= (row.due.at if row.due else 0) <= MAX_TIME):
        msg = f"a row's times are 0 to {MAX_TIME}"
        raise Refused(msg)
    if row.due is not None:
        validate_text("due.kind", row.due.kind, MAX_KIND)
    values = sum(validate_text("an index value", value, MAX_VALUE) for value in row.index.values())
    return len(row.body) + values + 512


def validate_key(pk: str, sk: str) -> int:
    """Raise Refused unless the key can be stored; its length in bytes."""
    return validate_text("pk", pk, MAX_PK) + validate_text("sk", sk, MAX_SK)


def validate_keys(keys: Sequence[tuple[str, str]]) -> None:
    """Raise Refused unless `batch_get` takes these keys."""
    if not 1 <= len(keys) <= MAX_OPS or len(set(keys)) != len(keys):
        msg = f"a batch_get takes 1 to {MAX_OPS} distinct keys"
        raise Refused(msg)
    for pk, sk in keys:
        validate_key(pk, sk)


def validate_range(limit: int, *bounds: str | None) -> None:
    """Raise Refused unless a read of many rows can have this limit and these bounds on `sk`."""
    if not 1 <= limit <= MAX_LIMIT:
        msg = f"limit is 1 to {MAX_LIMIT}"
        raise Refused(msg)
    for bound in bounds:
        if bound:
            validate_text("a bound", bound, MAX_SK)


def validate_scan(after: tuple[str, str] | None, limit: int) -> None:
    """Raise Refused unless a scan can go on from there, with this limit."""
    validate_range(limit)
    if after is not None:
        validate_key(*after)


def validate_index(index: str, value: str) -> None:
    """Raise Refused unless `by_index` can look this up."""
    if index not in INDEXES:
        msg = f"the indexes are {INDEXES}"
        raise Refused(msg)
    validate_text("an index value", value, MAX_VALUE)


def validate_text(what: str, text: str, most: int) -> int:
    """Raise Refused unless `text` has 1 to `most` bytes of UTF-8; how many it has."""
    try:
        size = len(text.encode())
    except UnicodeEncodeError:
        size = 0
    if not 1 <= size <= most:
        msg = f"{what} has 1 to {most} bytes of UTF-8"
        raise Refused(msg) from None
    return size
