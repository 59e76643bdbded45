"""Secrets as rows.

| row | pk | sk |
| --- | --- | --- |
| the secret: metadata, state, version index | `S#<account>#<region>#<name>` | `M` |
| one version's sealed value | same | `V#<version id>` |
| its line in lists | `LS#<account>#<region>` | `<created ms>#<name>` |
| the quota; its version changes with any line | `CT#<account>#<region>` | `secrets` |

A secret past its deletion date counts as absent although its rows may still be there: see `Secret.is_gone`.
"""

import functools
from typing import Any, Final

from chalicelib.formats import record
from chalicelib.model.secret import Replica, Secret, SecretState, SecretVersion
from chalicelib.table import replicas
from chalicelib.table.port import Add, Delete, Due, Expect, Op, Put, Row, Table, due_kind

DELETE_EXPIRED: Final = "delete_expired_secrets"
"""The job that a secret pending deletion is due for."""

_PAGE: Final = 1000


def secret_row_key(account: str, region: str, name: str) -> tuple[str, str]:
    """Where the secret is."""
    return f"S#{account}#{region}#{name}", "M"


def value_row_key(account: str, region: str, name: str, version_id: str) -> tuple[str, str]:
    """Where a version's sealed value is."""
    return f"S#{account}#{region}#{name}", f"V#{version_id}"


def create(secret: Secret, most: int) -> list[Op]:
    """The ops that create a secret: 0 its row, 1 its line in lists, 2 the quota; its values come on top.

    `most` is how many secrets the account may have in the region.
    """
    return [
        Put(_row(secret), Expect.ABSENT),
        Put(_list_row(secret), Expect.ABSENT),
        Add(f"CT#{secret.account}#{secret.region}", "secrets", 1, at_most=most),
    ]


def replace(old: Secret, new: Secret) -> list[Op]:
    """The ops that turn `old`, as it was read, into `new`, and have its replicas follow."""
    return [
        Put(_row(new), old.row_version),
        Put(_list_row(new), Expect.EXISTS),
        *([lines_changed(new)] if _line(new) != _line(old) else []),
        *replicas.follow(old, new),
    ]


def lines_changed(secret: Secret) -> Op:
    """The op that gives the account's lists in the region a new version."""
    return Add(f"CT#{secret.account}#{secret.region}", "secrets", 0)


def delete(secret: Secret) -> list[Op]:
    """The ops that leave nothing of a secret, as it was read.

    Its line in lists has to be there: a later secret of the same name may have reached the same row version.
    """
    pk, sk = secret_row_key(secret.account, secret.region, secret.name)
    return [
        Delete(pk, sk, secret.row_version),
        *(
            Delete(*value_row_key(secret.account, secret.region, secret.name, v.id), Expect.ANY)
            for v in secret.versions
        ),
        Delete(f"LS#{secret.account}#{secret.region}", _list_sk(secret), Expect.EXISTS),
        Add(f"CT#{secret.account}#{secret.region}", "secrets", -1, at_least=0),
    ]


def put_value(secret: Secret, version_id: str, sealed: bytes) -> Op:
    """The op that writes a version's sealed value; the secret's own row carries the condition."""
    pk, sk = value_row_key(secret.account, secret.region, secret.name, version_id)
    return Put(Row(pk=pk, sk=sk, body=sealed), Expect.ANY)


def delete_value(secret: Secret, version_id: str) -> Op:
    """The op that removes a version's sealed value."""
    return Delete(*value_row_key(secret.account, secret.region, secret.name, version_id), Expect.ANY)


def from_row(row: Row) -> Secret:
    """The secret in a row."""
    return _read(row.body, row.version)


@functools.lru_cache(maxsize=1024)
def _read(body: bytes, version: int) -> Secret:
    """The secret that a row's body stands for; remembered, since one secret is read by many calls."""
    return _secret(record.decode(body), version)


def lines_version(table: Table, account: str, region: str) -> int:
    """What is another number after any change of what `list_all` answers."""
    row = table.get(f"CT#{account}#{region}", "secrets")
    return row.version if row is not None else 0


def list_all(table: Table, account: str, region: str) -> list[Secret]:
    """Every secret of the account in the region, oldest first, without its versions and what only they need."""
    secrets: list[Secret] = []
    after = None
    while True:
        rows = table.query(f"LS#{account}#{region}", after=after, limit=_PAGE)
        secrets += [_secret(record.decode(row.body), 0) for row in rows]
        if len(rows) < _PAGE:
            return secrets
        after = rows[-1].sk


def _row(secret: Secret) -> Row:
    pk, sk = secret_row_key(secret.account, secret.region, secret.name)
    versions = [[v.id, v.created_at, v.serial, v.is_binary, v.key_version] for v in secret.versions]
    return Row(
        pk=pk,
        sk=sk,
        body=record.encode({**_members(secret), "versions": versions}),
        due=Due(due_kind(DELETE_EXPIRED, secret.region), secret.delete_at)
        if secret.state is SecretState.PENDING_DELETE
        else None,
    )


def _list_sk(secret: Secret) -> str:
    return f"{secret.created_ms:013d}#{secret.name}"


def _list_row(secret: Secret) -> Row:
    return Row(
        pk=f"LS#{secret.account}#{secret.region}", sk=_list_sk(secret), body=record.encode(_line(secret))
    )


def _line(secret: Secret) -> dict[str, Any]:
    """What lists need: no list changes with a new version of a secret."""
    members = _members(secret)
    del members["serial"]
    members.pop("source", None)
    return members


def _members(secret: Secret) -> dict[str, Any]:
    replication: dict[str, Any] = {}
    if secret.replicas:
        replication["replicas"] = [[r.region, r.key_id, r.link] for r in secret.replicas]
    if secret.link:
        replication |= {
            "link": secret.link,
            "primary": secret.primary_region,
            "source": secret.source_version,
        }
    return {
        **replication,
        "uid": secret.uid,
        "account": secret.account,
        "region": secret.region,
        "name": secret.name,
        "creator": secret.creator_uin,
        "key": secret.key_id,
        "default_key": secret.default_key,
        "created": secret.created_ms,
        "description": secret.description,
        "state": secret.state.value,
        "delete": secret.delete_at,
        "serial": secret.serial,
        "tags": dict(secret.tags),
    }


def _secret(members: dict[str, Any], row_version: int) -> Secret:
    return Secret(
        uid=members["uid"],
        account=members["account"],
        region=members["region"],
        name=members["name"],
        creator_uin=members["creator"],
        key_id=members["key"],
        default_key=members["default_key"],
        created_ms=members["created"],
        description=members["description"],
        state=SecretState(members["state"]),
        delete_at=members["delete"],
        serial=members.get("serial", 0),
        versions=tuple(SecretVersion(*v) for v in members.get("versions", ())),
        tags=members["tags"],
        replicas=tuple(Replica(*r) for r in members.get("replicas", ())),
        link=members.get("link", ""),
        primary_region=members.get("primary", ""),
        source_version=members.get("source", 0),
        row_version=row_version,
    )
