"""Hosted data keys as rows.

| row | pk | sk |
| --- | --- | --- |
| the data key, encrypted | `DK#<account>#<region>#<id>` | `M` |
| its name, unique | `DN#<account>#<region>#<name>` | `N` |
| its line in lists, which never changes | `LD#<account>#<region>` | `<created ms>#<id>` |
| the quota | `CT#<account>#<region>` | `data_keys` |

A data key past its deletion date counts as absent although its rows may still be there: see `DataKey.is_gone`.
"""

from typing import Any, Final

from chalicelib.formats import record
from chalicelib.model.data_key import MAX_DATA_KEYS, DataKey, DataKeyState
from chalicelib.model.key import Origin
from chalicelib.table.port import MAX_OPS, Add, Delete, Due, Expect, Op, Put, Row, Table, due_kind

DELETE_EXPIRED: Final = "delete_expired_data_keys"
"""The job that a data key pending deletion is due for."""


def data_key_row_key(account: str, region: str, data_key_id: str) -> tuple[str, str]:
    """Where the data key is."""
    return f"DK#{account}#{region}#{data_key_id}", "M"


def name_row_key(account: str, region: str, name: str) -> tuple[str, str]:
    """Where the owner of a name is."""
    return f"DN#{account}#{region}#{name}", "N"


def create(data_key: DataKey) -> list[Op]:
    """The ops that create a data key: 0 its row, 1 its name, 2 its line in lists, 3 the quota."""
    return [
        Put(_row(data_key), Expect.ABSENT),
        Put(_name_row(data_key), Expect.ABSENT),
        Put(_list_row(data_key), Expect.ABSENT),
        *_quota(data_key, 1),
    ]


def replace(old: DataKey, new: DataKey) -> list[Op]:
    """The ops that turn `old`, as it was read, into `new`: 0 its row, 1 the new name or the quota if that changes."""
    ops: list[Op] = [Put(_row(new), old.row_version)]
    if new.name != old.name:
        old_name = name_row_key(old.account, old.region, old.name)
        ops += [Put(_name_row(new), Expect.ABSENT), Delete(*old_name, Expect.EXISTS)]
    return ops + _quota(new, _counts(new) - _counts(old))


def delete(data_key: DataKey) -> list[Op]:
    """The ops that leave nothing of a data key pending deletion, as it was read; it counts for no quota any more."""
    return [
        Delete(*data_key_row_key(data_key.account, data_key.region, data_key.id), data_key.row_version),
        Delete(*name_row_key(data_key.account, data_key.region, data_key.name), Expect.ANY),
        Delete(f"LD#{data_key.account}#{data_key.region}", _list_sk(data_key), Expect.ANY),
    ]


def from_row(row: Row) -> DataKey:
    """The data key in a row."""
    members = record.decode(row.body)
    return DataKey(
        id=members["id"],
        account=members["account"],
        region=members["region"],
        creator_uin=members["creator"],
        key_id=members["key"],
        name=members["name"],
        number_of_bytes=members["bytes"],
        created_ms=members["created"],
        blob=members["blob"],
        sealed=members["sealed"],
        description=members["description"],
        state=DataKeyState(members["state"]),
        origin=Origin(members["origin"]),
        owner=members["owner"],
        deletion_at=members["deletion"],
        tags=members["tags"],
        row_version=row.version,
    )


def name_owner(row: Row) -> str:
    """The id of the data key that has the name."""
    return str(record.decode(row.body)["id"])


def list_all(table: Table, account: str, region: str) -> list[DataKey]:
    """Every data key of the account in the region, oldest first."""
    data_keys: list[DataKey] = []
    after = None
    while True:
        lines = table.query(f"LD#{account}#{region}", after=after, limit=MAX_OPS)
        if lines:
            wanted = [data_key_row_key(account, region, record.decode(line.body)["id"]) for line in lines]
            # One that was swept in between has left its line's reader behind.
            data_keys += [from_row(row) for row in table.batch_get(wanted) if row is not None]
        if len(lines) < MAX_OPS:
            return data_keys
        after = lines[-1].sk


def count(table: Table, account: str, region: str) -> int:
    """How many data keys count towards the quota."""
    row = table.get(f"CT#{account}#{region}", "data_keys")
    return row.number if row is not None else 0


def _counts(data_key: DataKey) -> bool:
    """Whether the data key takes a place of the quota: not while it is pending deletion."""
    return data_key.state is not DataKeyState.PENDING_DELETE


def _quota(data_key: DataKey, change: int) -> list[Op]:
    if not change:
        return []
    pk = f"CT#{data_key.account}#{data_key.region}"
    return [Add(pk, "data_keys", change, at_least=0, at_most=MAX_DATA_KEYS)]


def _row(data_key: DataKey) -> Row:
    pk, sk = data_key_row_key(data_key.account, data_key.region, data_key.id)
    is_pending = data_key.state is DataKeyState.PENDING_DELETE
    return Row(
        pk=pk,
        sk=sk,
        body=record.encode(_members(data_key)),
        due=Due(due_kind(DELETE_EXPIRED, data_key.region), data_key.deletion_at) if is_pending else None,
    )


def _name_row(data_key: DataKey) -> Row:
    pk, sk = name_row_key(data_key.account, data_key.region, data_key.name)
    return Row(pk=pk, sk=sk, body=record.encode({"id": data_key.id}))


def _list_sk(data_key: DataKey) -> str:
    return f"{data_key.created_ms:013d}#{data_key.id}"


def _list_row(data_key: DataKey) -> Row:
    body = record.encode({"id": data_key.id})
    return Row(pk=f"LD#{data_key.account}#{data_key.region}", sk=_list_sk(data_key), body=body)


def _members(data_key: DataKey) -> dict[str, Any]:
    return {
        "id": data_key.id,
        "account": data_key.account,
        "region": data_key.region,
        "creator": data_key.creator_uin,
        "key": data_key.key_id,
        "name": data_key.name,
        "bytes": data_key.number_of_bytes,
        "created": data_key.created_ms,
        "blob": data_key.blob,
        "sealed": data_key.sealed,
        "description": data_key.description,
        "state": data_key.state.value,
        "origin": data_key.origin.value,
        "owner": data_key.owner,
        "deletion": data_key.deletion_at,
        "tags": dict(data_key.tags),
    }
