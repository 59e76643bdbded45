"""Backups of domain keys as rows.

| row | pk | sk | table |
| --- | --- | --- | --- |
| a backup key | `DK#backup` | `K#<fingerprint>` | identity, and a copy in each region's |
| a generation of a domain key, sealed to a backup key | `DK#<domain>` | `G#<generation>#<fingerprint>` | the domain's own |

Only the row in the identity table has a key token, by which the domain `identity` vouches for the backup key in use: whoever
writes the table cannot make one for a key of his own.
"""

import base64
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from chalicelib.formats import backup_key, record
from chalicelib.hsm.port import KeyKind
from chalicelib.table import tokens
from chalicelib.table.port import Delete, Expect, Op, Put, Row, Table
from chalicelib.table.tokens import Rewrap

_KEYS = "DK#backup"
_PAGE = 1000


@dataclass(frozen=True, slots=True)
class BackupKey:
    """A backup key as stored. `sealed` is its private half (KS-FMT-23), `token` is empty unless it is in use."""

    fingerprint: str
    public_key: bytes
    sealed: bytes = field(repr=False)
    shares: int
    threshold: int
    """How many of the `shares` open it."""
    created_at: int
    token: bytes = field(default=b"", repr=False)


@dataclass(frozen=True, slots=True)
class GenerationBackup:
    """A generation of a domain key as `Hsm.rotate` sealed it to a backup key (KS-FMT-21)."""

    domain: str
    generation: int
    fingerprint: str
    sealed: bytes = field(repr=False)


def put_backup_key(key: BackupKey) -> Op:
    """The op that writes a backup key over whatever is there."""
    members = {
        "fingerprint": key.fingerprint,
        "public": _text(key.public_key),
        "sealed": _text(key.sealed),
        "shares": key.shares,
        "threshold": key.threshold,
        "created": key.created_at,
        "token": _text(key.token),
    }
    row = Row(pk=_KEYS, sk=f"K#{key.fingerprint}", body=record.encode(members))
    return Put(row, Expect.ANY)


def backup_keys(table: Table) -> list[BackupKey]:
    """Every backup key in a table, the newest first; nothing of it is authenticated."""
    found = [_backup_key(record.decode(row.body)) for row in _query(table, _KEYS, "K#")]
    return sorted(found, key=lambda key: key.created_at, reverse=True)


def put_generation(backup: GenerationBackup) -> Op:
    """The op that writes a generation over whatever is there: a birth that failed may have left its number."""
    pk, sk = _generation_row_key(backup.domain, backup.generation, backup.fingerprint)
    return Put(Row(pk=pk, sk=sk, body=record.encode({"sealed": _text(backup.sealed)})), Expect.ANY)


def delete_generation(backup: GenerationBackup) -> Op:
    """The op that removes a generation, if it is there."""
    return Delete(*_generation_row_key(backup.domain, backup.generation, backup.fingerprint), Expect.ANY)


def generations(table: Table, domain: str) -> list[GenerationBackup]:
    """Every generation of a domain in its table, oldest first."""
    found = []
    for row in _query(table, f"DK#{domain}", "G#"):
        _, number, fingerprint = row.sk.split("#")
        sealed = base64.b64decode(record.decode(row.body)["sealed"])
        found.append(GenerationBackup(domain, int(number), fingerprint, sealed))
    return found


def rewrapped(row: Row, _domain: str, rewrap: Rewrap) -> Row:
    """The row with another key token, if it is that of the backup key in use."""
    if row.pk != _KEYS or not record.decode(row.body)["token"]:
        return row
    return tokens.rewrapped(row, _place, rewrap)


def _place(members: Mapping[str, Any]) -> tuple[KeyKind, bytes]:
    return KeyKind.AES_256, backup_key.binding(base64.b64decode(members["public"]))


def _generation_row_key(domain: str, generation: int, fingerprint: str) -> tuple[str, str]:
    return f"DK#{domain}", f"G#{generation:010d}#{fingerprint}"


def _query(table: Table, pk: str, prefix: str) -> list[Row]:
    rows: list[Row] = []
    while True:
        page = table.query(pk, prefix=prefix, after=rows[-1].sk if rows else None, limit=_PAGE)
        rows += page
        if len(page) < _PAGE:
            return rows


def _backup_key(members: Mapping[str, Any]) -> BackupKey:
    return BackupKey(
        fingerprint=members["fingerprint"],
        public_key=base64.b64decode(members["public"]),
        sealed=base64.b64decode(members["sealed"]),
        shares=members["shares"],
        threshold=members["threshold"],
        created_at=members["created"],
        token=base64.b64decode(members["token"]),
    )


def _text(value: bytes) -> str:
    return base64.b64encode(value).decode()
