"""CMKs as rows.

| row | pk | sk |
| --- | --- | --- |
| the key, newest backing keys inline | `K#<account>#<region>#<id>` | `M` |
| an older backing key, immutable | same | `V#<version>` |
| its alias, unique | `AL#<account>#<region>#<alias>` | `A` |
| its line in lists | `LK#<account>#<region>` | `<created ms>#<id>` |
| the quota | `CT#<account>#<region>` | `keys` |
"""

import base64
from collections.abc import Iterable
from typing import Any, Final

from chalicelib.formats import record
from chalicelib.model.key import MAX_KEYS, BackingKey, Key, KeyState, Origin
from chalicelib.table.port import Add, Delete, Expect, Op, Put, Row, Table

INLINE_BACKING: Final = 8
"""Backing keys kept in the key's own row; older ones have rows of their own."""

_PAGE: Final = 1000


def key_row_key(account: str, region: str, key_id: str) -> tuple[str, str]:
    """Where the key is."""
    return f"K#{account}#{region}#{key_id}", "M"


def backing_row_key(account: str, region: str, key_id: str, version: int) -> tuple[str, str]:
    """Where an older backing key is."""
    return f"K#{account}#{region}#{key_id}", f"V#{version:08d}"


def alias_row_key(account: str, region: str, alias: str) -> tuple[str, str]:
    """Where the owner of an alias is."""
    return f"AL#{account}#{region}#{alias}", "A"


def create(key: Key) -> list[Op]:
    """The ops that create a key: 0 its row, 1 its alias, 2 its line in lists, and 3 the quota for a user's key."""
    ops: list[Op] = [
        Put(_row(key), Expect.ABSENT),
        Put(_alias_row(key), Expect.ABSENT),
        Put(_list_row(key), Expect.ABSENT),
    ]
    if key.owner == "user":
        ops.append(Add(f"CT#{key.account}#{key.region}", "keys", 1, at_most=MAX_KEYS))
    return ops


def replace(old: Key, new: Key) -> list[Op]:
    """The ops that turn `old`, as it was read, into `new`: 0 its row, 1 its line in lists, then whatever else changes."""
    ops: list[Op] = [Put(_row(new), old.row_version), Put(_list_row(new), Expect.EXISTS)]
    if new.alias != old.alias:
        ops += [
            Put(_alias_row(new), Expect.ABSENT),
            Delete(*alias_row_key(old.account, old.region, old.alias), Expect.EXISTS),
        ]
    kept = {b.version for b in old.backing[-INLINE_BACKING:]}
    ops += [
        Put(_backing_row(new, b), Expect.ABSENT) for b in new.backing[:-INLINE_BACKING] if b.version in kept
    ]
    return ops


def from_row(row: Row) -> Key:
    """The key in a row; older backing keys are not in it."""
    return _key(record.decode(row.body), row.version)


def backing_from_row(row: Row) -> BackingKey:
    """The backing key in a row of its own."""
    return _backing(record.decode(row.body))


def alias_owner(row: Row) -> str:
    """The id of the key that has the alias."""
    return str(record.decode(row.body)["id"])


def list_all(table: Table, account: str, region: str) -> list[Key]:
    """Every key of the account in the region, oldest first, without backing keys."""
    keys: list[Key] = []
    after = None
    while True:
        rows = table.query(f"LK#{account}#{region}", after=after, limit=_PAGE)
        keys += [_key(record.decode(row.body), 0) for row in rows]
        if len(rows) < _PAGE:
            return keys
        after = rows[-1].sk


def _row(key: Key) -> Row:
    pk, sk = key_row_key(key.account, key.region, key.id)
    inline = key.backing[-INLINE_BACKING:]
    return Row(
        pk=pk, sk=sk, body=record.encode({**_members(key), "backing": [_backing_members(b) for b in inline]})
    )


def _backing_row(key: Key, backing: BackingKey) -> Row:
    pk, sk = backing_row_key(key.account, key.region, key.id, backing.version)
    return Row(pk=pk, sk=sk, body=record.encode(_backing_members(backing)))


def _alias_row(key: Key) -> Row:
    pk, sk = alias_row_key(key.account, key.region, key.alias)
    return Row(pk=pk, sk=sk, body=record.encode({"id": key.id}))


def _list_row(key: Key) -> Row:
    return Row(
        pk=f"LK#{key.account}#{key.region}",
        sk=f"{key.created_ms:013d}#{key.id}",
        body=record.encode(_members(key)),
    )


def _members(key: Key) -> dict[str, Any]:
    return {
        "id": key.id,
        "account": key.account,
        "region": key.region,
        "creator": key.creator_uin,
        "alias": key.alias,
        "created": key.created_ms,
        "usage": key.usage,
        "standard": key.standard,
        "description": key.description,
        "state": key.state.value,
        "origin": key.origin.value,
        "owner": key.owner,
        "rotation": key.rotation_enabled,
        "rotate_days": key.rotate_days,
        "rotated": key.last_rotated_at,
        "deletion": key.deletion_at,
        "valid_to": key.valid_to,
        "tags": dict(key.tags),
    }


def _key(members: dict[str, Any], row_version: int) -> Key:
    return Key(
        id=members["id"],
        account=members["account"],
        region=members["region"],
        creator_uin=members["creator"],
        alias=members["alias"],
        created_ms=members["created"],
        usage=members["usage"],
        standard=members["standard"],
        description=members["description"],
        state=KeyState(members["state"]),
        origin=Origin(members["origin"]),
        owner=members["owner"],
        rotation_enabled=members["rotation"],
        rotate_days=members["rotate_days"],
        last_rotated_at=members["rotated"],
        deletion_at=members["deletion"],
        valid_to=members["valid_to"],
        backing=_backings(members.get("backing", ())),
        tags=members["tags"],
        row_version=row_version,
    )


def _backings(members: Iterable[dict[str, Any]]) -> tuple[BackingKey, ...]:
    return tuple(_backing(m) for m in members)


def _backing(members: dict[str, Any]) -> BackingKey:
    return BackingKey(
        members["version"], members["kind"], base64.b64decode(members["token"]), members["created"]
    )


def _backing_members(backing: BackingKey) -> dict[str, Any]:
    return {
        "version": backing.version,
        "kind": backing.kind,
        "token": base64.b64encode(backing.token).decode(),
        "created": backing.created_at,
    }
