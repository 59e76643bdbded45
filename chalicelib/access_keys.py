"""Access keys: whom a SecretId stands for, and its SecretKey, sealed in the identity table."""

from dataclasses import dataclass, field, replace

from chalicelib.authority import Authority
from chalicelib.hsm.port import Hsm, HsmKey, KeyKind
from chalicelib.model.user import ACTIVE, MAX_KEYS, ROOT, KeyEntry, User
from chalicelib.sealed_row import RowSeals
from chalicelib.table import accounts, users
from chalicelib.table.accounts import AccessKey
from chalicelib.table.port import Op, Table


@dataclass(frozen=True, slots=True)
class Caller:
    """Who makes a call."""

    account: str
    """The uin of the root account that owns everything the caller can reach."""
    uin: str
    name: str
    type: str
    secret_id: str
    session: str = ""
    """The name of a role's session, or of a federated user."""
    issuer: str = ""
    """The uin that asked for the credentials, where they are temporary."""
    expires_at: int = 0
    """When the credentials end, in epoch seconds; 0 is never: they are a permanent key."""
    app_id: str = field(default="", compare=False)
    authority: Authority | None = field(default=None, repr=False, compare=False)
    """What policies allow; without one, nothing is allowed but to root."""

    @property
    def is_root(self) -> bool:
        """The account itself: it may do everything to its own resources."""
        return self.type == ROOT and self.uin == self.account


def add_access_key(  # noqa: PLR0917 - what a key consists of
    hsm: Hsm,
    user: User,
    secret_id: str,
    secret_key: str,
    now: int,
    description: str = "",
    *,
    most: int = MAX_KEYS,
) -> tuple[User, Op]:
    """The user with one more access key, and the op that stores it; raises AccessKeyOverLimit."""
    new = user.with_key(KeyEntry(secret_id, 1, ACTIVE, now, description), most)
    sealing_key = hsm.generate(
        KeyKind.AES_256, accounts.access_key_binding(user.account, user.uin, secret_id)
    )
    key = AccessKey(
        id=secret_id,
        account=user.account,
        uin=user.uin,
        user_name=user.name,
        user_type=user.type,
        status=ACTIVE,
        serial=1,
        created_at=now,
        token=sealing_key.token,
        sealed=b"",
    )
    return new, accounts.create_access_key(_sealed(hsm, key, secret_key))


def change_access_key(hsm: Hsm, user: User, key: AccessKey, status: str) -> tuple[User, Op]:
    """The user with a key's status written anew, and the op that seals the key for it; raises LastActiveKey, Damaged."""
    _, secret_key = open_access_key(hsm, key)
    new = user.with_status(key.id, status)
    changed = replace(key, status=status, serial=new.key(key.id).serial)
    return new, accounts.replace_access_key(key, _sealed(hsm, changed, secret_key))


def remove_access_key(user: User, secret_id: str, now: int) -> tuple[User, list[Op]]:
    """The user without a key, and the ops that delete it; raises AccessKeyNotExist or LastActiveKey."""
    ops = [accounts.delete_access_key(secret_id)]
    if user.is_root:
        ops.append(accounts.retire_access_key(secret_id, now))
    return user.without_key(secret_id), ops


def find_access_key(identity: Table, seals: RowSeals, secret_id: str) -> AccessKey | None:
    """The access key, if it may sign: it is active, and its user has it, with the serial of its own row.

    Nothing that the row says is proven before `open_access_key` has opened it. Damaged if the user's row was changed
    outside the service.
    """
    pk, sk = accounts.access_key_row_key(secret_id)
    row = identity.get(pk, sk) if len(pk) <= len("AK#") + 64 else None
    key = accounts.access_key_from_row(row) if row else None
    if key is None or key.status != ACTIVE or key.id != secret_id:
        return None
    user = users.find_user(identity, seals.of(key.account), key.uin)
    return key if user is not None and user.holds(key.id, key.serial) else None


def open_access_key(hsm: Hsm, key: AccessKey) -> tuple[Caller, str]:
    """The caller that the key stands for, and its SecretKey; raises Damaged if the row was tampered with."""
    secret_key = hsm.decrypt(_sealing_key(key), key.sealed, accounts.secret_key_place(key)).decode()
    return Caller(key.account, key.uin, key.user_name, key.user_type, key.id), secret_key


def _sealed(hsm: Hsm, key: AccessKey, secret_key: str) -> AccessKey:
    sealed = hsm.encrypt(_sealing_key(key), secret_key.encode(), accounts.secret_key_place(key))
    return replace(key, sealed=sealed)


def _sealing_key(key: AccessKey) -> HsmKey:
    return HsmKey(KeyKind.AES_256, key.token, accounts.access_key_binding(key.account, key.uin, key.id))
