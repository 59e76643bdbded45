"""CMKs as rows.

| row | pk | sk |
| --- | --- | --- |
| the key, newest backing keys inline | `K#<account>#<region>#<id>` | `M` |
| an older backing key, immutable | same | `V#<version>` |
| its alias, unique | `AL#<account>#<region>#<alias>` | `A` |
| a cloud resource bound to it | same | `B#<product>#<resource>` |
| when it was last used | same | `U` |
| the wrapping key of an import token, single use, 24 h | `IT#<account>#<region>#<id>` | hash of the token |
| its line in lists, which never changes | `LK#<account>#<region>` | `<created ms>#<id>` |
| the quota | `CT#<account>#<region>` | `keys` |
"""

import base64
import functools
from collections.abc import Iterable
from typing import Any, Final
from urllib.parse import quote

from chalicelib.formats import record
from chalicelib.formats.canonical import associated_data
from chalicelib.formats.record import UnreadableRecord
from chalicelib.hsm.port import KeyKind
from chalicelib.model.key import USER, BackingKey, Key, KeyState, Origin
from chalicelib.table import tokens
from chalicelib.table.port import MAX_OPS, Add, Delete, Due, Expect, Op, Put, Row, Table, due_kind
from chalicelib.table.tokens import Rewrap

INLINE_BACKING: Final = 8
"""Backing keys kept in the key's own row; older ones have rows of their own."""

ROTATE: Final = "rotate_keys"
DELETE_EXPIRED: Final = "delete_expired_keys"
EXPIRE_MATERIAL: Final = "expire_imported_material"
"""The jobs that keys wait for."""


def key_row_key(account: str, region: str, key_id: str) -> tuple[str, str]:
    """Where the key is."""
    return f"K#{account}#{region}#{key_id}", "M"


def backing_row_key(account: str, region: str, key_id: str, version: int) -> tuple[str, str]:
    """Where an older backing key is."""
    return f"K#{account}#{region}#{key_id}", f"V#{version:08d}"


@functools.lru_cache(maxsize=4096)
def backing_binding(account: str, region: str, key_id: str, version: int) -> bytes:
    """What the key token of a backing key is bound to."""
    return associated_data("cmk", account, region, key_id, version)


def import_binding(place: tuple[str, str]) -> bytes:
    """What the key token of an import token's wrapping key is bound to."""
    return associated_data("import", *place)


def rewrapped(row: Row, domain: str, rewrap: Rewrap) -> Row:
    """The row with other key tokens, if it keeps any for this region; regions may share a table."""
    kind, *place = row.pk.split("#")
    if kind not in ("K", "IT") or place[1:2] != [domain]:
        return row
    account, region, key_id = place

    def backing(members: dict[str, Any]) -> tuple[KeyKind, bytes]:
        binding = backing_binding(account, region, key_id, members["version"])
        return KeyKind[members["kind"]], binding

    if kind == "IT":
        return tokens.rewrapped(row, lambda _: (KeyKind.RSA_2048, import_binding((row.pk, row.sk))), rewrap)
    if row.sk == "M":
        return tokens.rewrapped(row, backing, rewrap, listed_in="backing")
    return tokens.rewrapped(row, backing, rewrap) if row.sk.startswith("V#") else row


def alias_row_key(account: str, region: str, alias: str) -> tuple[str, str]:
    """Where the owner of an alias is."""
    return f"AL#{account}#{region}#{alias}", "A"


def create(key: Key, most: int) -> list[Op]:
    """The ops that create a key: 0 its row, 1 its alias, 2 its line in lists, and 3 the quota for a user's key.

    `most` is how many keys the account may have in the region.
    """
    ops: list[Op] = [
        Put(_row(key), Expect.ABSENT),
        Put(_alias_row(key), Expect.ABSENT),
        Put(_list_row(key), Expect.ABSENT),
    ]
    return ops + _quota(key, 1 if _counts(key) else 0, most)


def replace(old: Key, new: Key, most: int | None = None) -> list[Op]:
    """The ops that turn `old`, as it was read, into `new`: 0 its row, then whatever else changes.

    1 is the new alias where there is one; the quota comes last: `most` as in `create`, where `new` may count and `old` does not.
    """
    ops: list[Op] = [Put(_row(new), old.row_version)]
    if new.alias != old.alias:
        old_alias = alias_row_key(old.account, old.region, old.alias)
        ops += [Put(_alias_row(new), Expect.ABSENT), Delete(*old_alias, Expect.EXISTS)]
    ops += [Put(_backing_row(new, b), Expect.ABSENT) for b in new.backing[:-INLINE_BACKING]]
    return ops + _quota(new, _counts(new) - _counts(old), most)


def destroy(key: Key, now: int) -> list[Op]:
    """The ops that destroy a key whose older backing keys are gone already: what stays is a tombstone."""
    pk, sk = key_row_key(key.account, key.region, key.id)
    tombstone = {
        "tombstone": now,
        "id": key.id,
        "account": key.account,
        "region": key.region,
        "alias": key.alias,
    }
    return [
        Put(Row(pk=pk, sk=sk, body=record.encode(tombstone)), key.row_version),
        Delete(*alias_row_key(key.account, key.region, key.alias), Expect.ANY),
        Delete(f"LK#{key.account}#{key.region}", _list_sk(key), Expect.ANY),
    ]


def bind(key: Key, product: str, resource: str) -> Op:
    """The op that records which resource is bound to a key."""
    pk, sk = binding_row_key(key, product, resource)
    return Put(
        Row(pk=pk, sk=sk, body=record.encode({"product": product, "resource": resource})), Expect.ABSENT
    )


def unbind(key: Key, product: str, resource: str) -> Op:
    """The op that forgets a bound resource."""
    return Delete(*binding_row_key(key, product, resource), Expect.EXISTS)


def binding_row_key(key: Key, product: str, resource: str) -> tuple[str, str]:
    """Where a bound resource is; a `#` in the product's name is escaped."""
    return key_row_key(key.account, key.region, key.id)[0], f"B#{quote(product, safe='')}#{resource}"


def bound_resources(table: Table, key: Key, limit: int) -> list[str]:
    """Resources that are bound to a key, as `product/resource`."""
    found = table.query(key_row_key(key.account, key.region, key.id)[0], prefix="B#", limit=limit)
    return ["{product}/{resource}".format(**record.decode(row.body)) for row in found]


def use_row_key(account: str, region: str, key_id: str) -> tuple[str, str]:
    """Where the time of the last use is."""
    return f"K#{account}#{region}#{key_id}", "U"


def put_use(account: str, region: str, key_id: str, used_at: int) -> Op:
    """The op that notes a use."""
    pk, sk = use_row_key(account, region, key_id)
    return Put(Row(pk=pk, sk=sk, body=record.encode({"used": used_at})), Expect.ANY)


def import_row_key(account: str, region: str, key_id: str, token_hash: str) -> tuple[str, str]:
    """Where the wrapping key of an import token is."""
    return f"IT#{account}#{region}#{key_id}", token_hash


def put_import_key(place: tuple[str, str], token: bytes, algorithm: str, expires_at: int) -> Op:
    """The op that keeps the wrapping key of an import token, as a key token of the HSM, until it expires."""
    body = record.encode({"token": base64.b64encode(token).decode(), "algorithm": algorithm})
    return Put(Row(pk=place[0], sk=place[1], body=body, expires_at=expires_at), Expect.ABSENT)


def import_key(row: Row) -> tuple[bytes, str]:
    """The key token of an import token's wrapping key, and the algorithm by which the material is wrapped."""
    members = record.decode(row.body)
    return base64.b64decode(members["token"]), members["algorithm"]


def used_at(row: Row | None) -> int:
    """Epoch seconds of the last use; 0 is never."""
    return int(record.decode(row.body)["used"]) if row is not None else 0


def count(table: Table, account: str, region: str) -> int:
    """How many keys count towards the quota."""
    row = table.get(f"CT#{account}#{region}", "keys")
    return row.number if row is not None else 0


def _counts(key: Key) -> bool:
    """Whether the key takes a place of the quota: not while it is pending deletion, and never a product's key."""
    return key.owner == USER and key.state is not KeyState.PENDING_DELETE


def _quota(key: Key, change: int, most: int | None) -> list[Op]:
    if not change:
        return []
    # Whatever the quota is by now, what goes may go.
    at_most = most if change > 0 else None
    return [Add(f"CT#{key.account}#{key.region}", "keys", change, at_least=0, at_most=at_most)]


def from_row(row: Row) -> Key:
    """The key in a row; older backing keys are not in it."""
    key = _read(row.body, row.version)
    if key is None:
        raise UnreadableRecord("a key that was destroyed")
    return key


def backing_from_row(row: Row) -> BackingKey:
    """The backing key in a row of its own."""
    return _backing(record.decode(row.body))


def alias_owner(row: Row) -> str:
    """The id of the key that has the alias."""
    return str(record.decode(row.body)["id"])


def list_all(table: Table, account: str, region: str) -> list[Key]:
    """Every key of the account in the region, oldest first."""
    keys: list[Key] = []
    after = None
    while True:
        lines = table.query(f"LK#{account}#{region}", after=after, limit=MAX_OPS)
        if lines:
            wanted = [key_row_key(account, region, record.decode(line.body)["id"]) for line in lines]
            # A key that was destroyed in between has left its line's reader behind.
            keys += [
                from_row(row) for row in table.batch_get(wanted) if row is not None and not is_tombstone(row)
            ]
        if len(lines) < MAX_OPS:
            return keys
        after = lines[-1].sk


def is_tombstone(row: Row) -> bool:
    """Whether the row only remembers that there was a key of that id."""
    return _read(row.body, row.version) is None


@functools.lru_cache(maxsize=1024)
def _read(body: bytes, version: int) -> Key | None:
    """The key that a row's body stands for, None for a tombstone; remembered, since one key serves many calls."""
    members = record.decode(body)
    return None if "tombstone" in members else _key(members, version)


def _row(key: Key) -> Row:
    pk, sk = key_row_key(key.account, key.region, key.id)
    inline = key.backing[-INLINE_BACKING:]
    members = {**_members(key), "backing": [_backing_members(b) for b in inline]}
    return Row(pk=pk, sk=sk, body=record.encode(members), due=_due(key))


def _due(key: Key) -> Due | None:
    """The one job that the key waits for next."""
    if key.state is KeyState.PENDING_DELETE:
        return Due(due_kind(DELETE_EXPIRED, key.region), key.deletion_at)
    if key.valid_to and key.state is not KeyState.PENDING_IMPORT:
        return Due(due_kind(EXPIRE_MATERIAL, key.region), key.valid_to)
    if key.rotation_enabled and key.state is KeyState.ENABLED:
        return Due(due_kind(ROTATE, key.region), key.next_rotate_at)
    return None


def _backing_row(key: Key, backing: BackingKey) -> Row:
    pk, sk = backing_row_key(key.account, key.region, key.id, backing.version)
    return Row(pk=pk, sk=sk, body=record.encode(_backing_members(backing)))


def _alias_row(key: Key) -> Row:
    pk, sk = alias_row_key(key.account, key.region, key.alias)
    return Row(pk=pk, sk=sk, body=record.encode({"id": key.id}))


def _list_sk(key: Key) -> str:
    return f"{key.created_ms:013d}#{key.id}"


def _list_row(key: Key) -> Row:
    return Row(pk=f"LK#{key.account}#{key.region}", sk=_list_sk(key), body=record.encode({"id": key.id}))


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
        "check": base64.b64encode(key.material_check).decode(),
        "bound": key.bound,
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
        material_check=base64.b64decode(members["check"]),
        bound=members["bound"],
        backing=_backings(members.get("backing", ())),
        tags=members["tags"],
        row_version=row_version,
    )


def _backings(members: Iterable[dict[str, Any]]) -> tuple[BackingKey, ...]:
    return tuple(_backing(m) for m in members)


def _backing(members: dict[str, Any]) -> BackingKey:
    return BackingKey(
        members["version"],
        members["kind"],
        base64.b64decode(members["token"]),
        members["created"],
    )


def _backing_members(backing: BackingKey) -> dict[str, Any]:
    return {
        "version": backing.version,
        "kind": backing.kind,
        "token": base64.b64encode(backing.token).decode(),
        "created": backing.created_at,
    }
