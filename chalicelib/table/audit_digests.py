"""The sealing of the audit trail as rows: digests beside the events, the signing key beside other keys.

| row | pk | sk |
| --- | --- | --- |
| the signing key's token | `AS#<domain>` | `K` |
| the newest digest, which never expires | `E#digests#<domain>` | `N` |
| each signed digest | same | `D#<number>` |
| which events it stands for | `E#entries#<domain>` | `<number>#<part>` |

The list of events is believed as far as it gives the digest's root: it tells which event is gone or changed.
"""

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from chalicelib.formats import record
from chalicelib.formats.audit_digest import HASH_BYTES, TAG_BYTES, Leaf, SignedDigest
from chalicelib.formats.canonical import associated_data
from chalicelib.hsm.port import KeyKind
from chalicelib.table import tokens
from chalicelib.table.port import AUDIT_PREFIX, Expect, Op, Put, Row, Table
from chalicelib.table.tokens import Rewrap

MAX_EVENTS: Final = 40_000
"""In one digest: their list and the digest are one write."""

_AT_ONCE: Final = 5_000
_ID_BYTES: Final = 16
_ENTRY_BYTES: Final = _ID_BYTES + TAG_BYTES + HASH_BYTES
_NUMBER: Final = "012d"
_NEWEST: Final = "N"
_DIGESTS: Final = f"{AUDIT_PREFIX}digests#"
_ENTRIES: Final = f"{AUDIT_PREFIX}entries#"


@dataclass(frozen=True, slots=True)
class Entry:
    """An event of a digest: the id of its call, and its leaf."""

    id: str
    leaf: Leaf


@dataclass(frozen=True, slots=True)
class StoredDigest:
    """A digest as it is kept; `events_until` is when the first of its events expires."""

    signed: SignedDigest
    events_until: int
    row_version: int = 0
    """Of the row of the newest digest, if it was read from there."""


def key_row_key(domain: str) -> tuple[str, str]:
    """Where the signing key is."""
    return f"AS#{domain}", "K"


def key_binding(domain: str) -> bytes:
    """What the signing key's token is bound to."""
    return associated_data("audit-seal", domain)


def rewrapped(row: Row, domain: str, rewrap: Rewrap) -> Row:
    """The row with another key token, if it is the domain's signing key; regions may share a table."""
    if (row.pk, row.sk) != key_row_key(domain):
        return row
    return tokens.rewrapped(row, lambda m: (KeyKind[m["kind"]], key_binding(domain)), rewrap)


def create_key(domain: str, kind: KeyKind, token: bytes, now: int) -> Op:
    """The op that creates the signing key."""
    pk, sk = key_row_key(domain)
    members = {"kind": kind.name, "token": base64.b64encode(token).decode(), "created": now}
    return Put(Row(pk=pk, sk=sk, body=record.encode(members)), Expect.ABSENT)


def key_from_row(row: Row) -> tuple[KeyKind, bytes]:
    """The signing key's kind and token."""
    members = record.decode(row.body)
    return KeyKind[members["kind"]], base64.b64decode(members["token"])


def create(
    stored: StoredDigest, entries: Sequence[Entry], expires_at: int, last: StoredDigest | None
) -> list[Op]:
    """The ops that create the digest after `last`; they conflict if there is another one."""
    digest = stored.signed.digest
    pk = f"{_DIGESTS}{digest.domain}"
    body = record.encode({**stored.signed.members(), "events_until": stored.events_until})
    ops: list[Op] = [
        Put(Row(pk=pk, sk=_NEWEST, body=body), last.row_version if last else Expect.ABSENT),
        Put(
            Row(pk=pk, sk=_digest_sk(digest.number), body=body, expires_at=expires_at),
            Expect.ABSENT,
        ),
    ]
    for part, at in enumerate(range(0, len(entries), _AT_ONCE)):
        packed = b"".join(
            UUID(e.id).bytes + e.leaf.tag + e.leaf.record_hash for e in entries[at : at + _AT_ONCE]
        )
        row = Row(
            pk=f"{_ENTRIES}{digest.domain}",
            sk=f"{digest.number:{_NUMBER}}#{part:02d}",
            body=packed,
            expires_at=expires_at,
        )
        ops.append(Put(row, Expect.ABSENT))
    return ops


def newest(table: Table, domain: str) -> StoredDigest | None:
    """The digest with the highest number."""
    row = table.get(f"{_DIGESTS}{domain}", _NEWEST)
    return _from_row(row) if row is not None else None


def after(table: Table, domain: str, number: int, limit: int) -> list[StoredDigest]:
    """Up to `limit` digests with a higher number, in order."""
    rows = table.query(f"{_DIGESTS}{domain}", prefix="D#", after=_digest_sk(number), limit=limit)
    return [_from_row(row) for row in rows]


def entries(table: Table, domain: str, number: int) -> list[Entry]:
    """The events that a digest stands for, in order."""
    found = []
    for row in table.query(f"{_ENTRIES}{domain}", prefix=f"{number:{_NUMBER}}#", limit=100):
        for at in range(0, len(row.body) - _ENTRY_BYTES + 1, _ENTRY_BYTES):
            packed = row.body[at : at + _ENTRY_BYTES]
            leaf = Leaf(packed[_ID_BYTES : _ID_BYTES + TAG_BYTES], packed[_ID_BYTES + TAG_BYTES :])
            found.append(Entry(str(UUID(bytes=packed[:_ID_BYTES])), leaf))
    return found


def _digest_sk(number: int) -> str:
    return f"D#{number:{_NUMBER}}"


def _from_row(row: Row) -> StoredDigest:
    members = record.decode(row.body)
    until = members.pop("events_until")
    return StoredDigest(SignedDigest.from_members(members), until, row.version)
