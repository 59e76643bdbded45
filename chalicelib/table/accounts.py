"""Accounts and access keys as rows of the identity table.

| row | pk | sk |
| --- | --- | --- |
| the account | `AC#<account>` | `A` |
| its access keys, listed | same | `AK#<secret id>` |
| an access key, its SecretKey sealed | `AK#<secret id>` | `K` |
"""

import base64
from dataclasses import dataclass, field
from typing import Final

from chalicelib.formats import record
from chalicelib.table.port import Expect, Op, Put, Row

ACTIVE: Final = "Active"


@dataclass(frozen=True, slots=True)
class AccessKey:
    """An access key as stored. `token` is the HSM key that `sealed`, the SecretKey, is sealed under."""

    id: str
    account: str
    uin: str
    user_name: str
    user_type: str
    status: str
    created_at: int
    token: bytes = field(repr=False)
    sealed: bytes = field(repr=False)


def account_row_key(account: str) -> tuple[str, str]:
    """Where the account is."""
    return f"AC#{account}", "A"


def access_key_row_key(secret_id: str) -> tuple[str, str]:
    """Where the access key is."""
    return f"AK#{secret_id}", "K"


def create_account(account: str, *, app_id: int, now: int) -> Op:
    """The op that creates an account."""
    pk, sk = account_row_key(account)
    return Put(
        Row(pk=pk, sk=sk, body=record.encode({"uin": account, "app_id": app_id, "created": now})),
        Expect.ABSENT,
    )


def create_access_key(key: AccessKey) -> list[Op]:
    """The ops that create an access key."""
    pk, sk = access_key_row_key(key.id)
    members = {
        "id": key.id,
        "account": key.account,
        "uin": key.uin,
        "user": key.user_name,
        "user_type": key.user_type,
        "status": key.status,
        "created": key.created_at,
        "token": base64.b64encode(key.token).decode(),
        "sealed": base64.b64encode(key.sealed).decode(),
    }
    listed = {"id": key.id, "uin": key.uin, "status": key.status, "created": key.created_at}
    return [
        Put(Row(pk=pk, sk=sk, body=record.encode(members)), Expect.ABSENT),
        Put(Row(pk=f"AC#{key.account}", sk=f"AK#{key.id}", body=record.encode(listed)), Expect.ABSENT),
    ]


def access_key_from_row(row: Row) -> AccessKey:
    """The access key in a row."""
    members = record.decode(row.body)
    return AccessKey(
        id=members["id"],
        account=members["account"],
        uin=members["uin"],
        user_name=members["user"],
        user_type=members["user_type"],
        status=members["status"],
        created_at=members["created"],
        token=base64.b64decode(members["token"]),
        sealed=base64.b64decode(members["sealed"]),
    )
