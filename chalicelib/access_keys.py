"""Access keys: whom a SecretId stands for, and its SecretKey, sealed in the identity table."""

from dataclasses import dataclass
from typing import Final

from chalicelib.formats.canonical import associated_data
from chalicelib.hsm.port import Hsm, HsmKey, KeyKind
from chalicelib.table import accounts
from chalicelib.table.accounts import AccessKey
from chalicelib.table.port import Op

ROOT: Final = "Root"


@dataclass(frozen=True, slots=True)
class Caller:
    """Who makes a call."""

    account: str
    """The uin of the root account that owns everything the caller can reach."""
    uin: str
    name: str
    type: str
    secret_id: str

    @property
    def is_root(self) -> bool:
        """The account itself: it may do everything to its own resources."""
        return self.type == ROOT and self.uin == self.account


def new_access_key(hsm: Hsm, caller: Caller, secret_key: str, now: int) -> list[Op]:
    """The ops that store an access key for the caller's uin, its SecretKey sealed."""
    place = _place(caller.account, caller.uin, caller.secret_id)
    sealing_key = hsm.generate(KeyKind.AES_256, place)
    return accounts.create_access_key(
        AccessKey(
            id=caller.secret_id,
            account=caller.account,
            uin=caller.uin,
            user_name=caller.name,
            user_type=caller.type,
            status=accounts.ACTIVE,
            created_at=now,
            token=sealing_key.token,
            sealed=hsm.encrypt(sealing_key, secret_key.encode(), place),
        )
    )


def open_access_key(hsm: Hsm, key: AccessKey) -> tuple[Caller, str]:
    """The caller that the key stands for, and its SecretKey; raises Damaged if the row was tampered with."""
    place = _place(key.account, key.uin, key.id)
    secret_key = hsm.decrypt(HsmKey(KeyKind.AES_256, key.token, place), key.sealed, place).decode()
    return Caller(key.account, key.uin, key.user_name, key.user_type, key.id), secret_key


def _place(account: str, uin: str, secret_id: str) -> bytes:
    return associated_data("access-key", account, uin, secret_id)
