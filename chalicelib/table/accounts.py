"""Accounts and access keys as rows of the identity table.

| row | pk | sk |
| --- | --- | --- |
| the account | `AC#<account>` | `A` |
| an access key, its SecretKey sealed | `AK#<secret id>` | `K` |
| that there was such a key of the account itself | same | `D` |
| when it was last used, in each region's table | same | `U` |

A user's row lists its access keys with their serials: see `users`. A key that is not there, or not with the serial that its
own row has, was deleted or put back, and does not work.
"""

import base64
from dataclasses import dataclass, field
from typing import Final

from chalicelib.formats import record
from chalicelib.formats.canonical import associated_data
from chalicelib.hsm.port import KeyKind
from chalicelib.table import tokens
from chalicelib.table.port import Delete, Expect, Op, Put, Row
from chalicelib.table.tokens import Rewrap

LAST_USE_DAYS: Final = 400
"""How long the time of an access key's last use is kept."""

_DAY: Final = 86400


@dataclass(frozen=True, slots=True)
class AccessKey:
    """An access key as stored. `token` is the HSM key that `sealed`, the SecretKey, is sealed under."""

    id: str
    account: str
    uin: str
    user_name: str
    user_type: str
    status: str
    serial: int
    """How often the status was written."""
    created_at: int
    token: bytes = field(repr=False)
    sealed: bytes = field(repr=False)
    row_version: int = field(default=0, compare=False)


def account_row_key(account: str) -> tuple[str, str]:
    """Where the account is."""
    return f"AC#{account}", "A"


def access_key_row_key(secret_id: str) -> tuple[str, str]:
    """Where the access key is."""
    return f"AK#{secret_id}", "K"


def access_key_binding(account: str, uin: str, secret_id: str) -> bytes:
    """What an access key's token is bound to."""
    return associated_data("access-key", account, uin, secret_id)


def secret_key_place(key: AccessKey) -> bytes:
    """What a sealed SecretKey is authenticated together with: all that the row says of whom it stands for."""
    return associated_data(
        "access-key-secret",
        key.id,
        key.account,
        key.uin,
        key.user_name,
        key.user_type,
        key.status,
        key.serial,
        key.created_at,
    )


def rewrapped(row: Row, _domain: str, rewrap: Rewrap) -> Row:
    """The row with another key token, if it is an access key's."""
    if not row.pk.startswith("AK#") or row.sk != "K":
        return row
    return tokens.rewrapped(
        row, lambda m: (KeyKind.AES_256, access_key_binding(m["account"], m["uin"], m["id"])), rewrap
    )


def create_account(account: str, *, app_id: int, now: int) -> Op:
    """The op that creates an account."""
    pk, sk = account_row_key(account)
    return Put(
        Row(pk=pk, sk=sk, body=record.encode({"uin": account, "app_id": app_id, "created": now})),
        Expect.ABSENT,
    )


def create_access_key(key: AccessKey) -> Op:
    """The op that creates an access key."""
    return Put(_access_key_row(key), Expect.ABSENT)


def replace_access_key(old: AccessKey, new: AccessKey) -> Op:
    """The op that turns `old`, as it was read, into `new`."""
    return Put(_access_key_row(new), old.row_version)


def delete_access_key(secret_id: str) -> Op:
    """The op that deletes an access key; the row of its user tells whether somebody else was faster."""
    return Delete(*access_key_row_key(secret_id), Expect.ANY)


def retire_access_key(secret_id: str, now: int) -> Op:
    """The op that remembers a deleted access key: a start that finds it in its file must not make it again."""
    pk, sk = retired_row_key(secret_id)
    return Put(Row(pk=pk, sk=sk, body=record.encode({"deleted": now})), Expect.ANY)


def retired_row_key(secret_id: str) -> tuple[str, str]:
    """Where it stands that an access key of the account itself was deleted."""
    return f"AK#{secret_id}", "D"


def use_row_key(secret_id: str) -> tuple[str, str]:
    """Where the time of the last use is, in the table of each region."""
    return f"AK#{secret_id}", "U"


def put_use(secret_id: str, now: int) -> Op:
    """The op that notes a use."""
    pk, sk = use_row_key(secret_id)
    body = record.encode({"used": now})
    return Put(Row(pk=pk, sk=sk, body=body, expires_at=now + LAST_USE_DAYS * _DAY), Expect.ANY)


def used_at(row: Row | None) -> int:
    """Epoch seconds of the last use; 0 is never, or long ago."""
    return int(record.decode(row.body)["used"]) if row is not None else 0


def app_id_of(row: Row) -> int:
    """The AppId in an account's row."""
    return int(record.decode(row.body)["app_id"])


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
        serial=members["serial"],
        created_at=members["created"],
        token=base64.b64decode(members["token"]),
        sealed=base64.b64decode(members["sealed"]),
        row_version=row.version,
    )


def _access_key_row(key: AccessKey) -> Row:
    pk, sk = access_key_row_key(key.id)
    members = {
        "id": key.id,
        "account": key.account,
        "uin": key.uin,
        "user": key.user_name,
        "user_type": key.user_type,
        "status": key.status,
        "serial": key.serial,
        "created": key.created_at,
        "token": base64.b64encode(key.token).decode(),
        "sealed": base64.b64encode(key.sealed).decode(),
    }
    return Row(pk=pk, sk=sk, body=record.encode(members))
