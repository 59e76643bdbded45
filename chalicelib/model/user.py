"""Users, their access keys and their groups: the rules, without I/O."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Final, Self

from chalicelib.errors import AccessKeyNotExist, AccessKeyOverLimit, LastActiveKey, UserGroupFull

ROOT: Final = "Root"
USER: Final = "CAMUser"
"""The types of identities, as the audit trail spells them."""
ACTIVE: Final = "Active"
INACTIVE: Final = "Inactive"
"""The states of access keys, as the API spells them."""

MAX_USERS: Final = 1000
"""Of one account, the root account not counted."""
MAX_GROUPS: Final = 300
"""Of one account."""
MAX_KEYS: Final = 2
"""Access keys of one user."""
MAX_GROUPS_OF_USER: Final = 10
MAX_USERS_OF_GROUP: Final = 100


@dataclass(frozen=True, slots=True)
class KeyEntry:
    """What a user's row says of one of its access keys."""

    id: str
    serial: int
    """How often the key's status was written: an older row of the key does not count."""
    status: str
    created_at: int
    description: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class User:
    """A user of an account, or the account itself, which signs as `root`."""

    account: str
    uin: str
    name: str
    created_at: int
    type: str = USER
    remark: str = ""
    phone_num: str = field(default="", repr=False)
    country_code: str = field(default="", repr=False)
    email: str = field(default="", repr=False)
    keys: tuple[KeyEntry, ...] = ()
    """Its access keys, oldest first."""
    groups: tuple[int, ...] = ()
    """The ids of the groups that it is in."""
    row_version: int = field(default=0, compare=False)

    @property
    def is_root(self) -> bool:
        """Whether this is the account itself."""
        return self.type == ROOT

    def key(self, secret_id: str) -> KeyEntry:
        """One of its access keys; raises AccessKeyNotExist."""
        for key in self.keys:
            if key.id == secret_id:
                return key
        raise AccessKeyNotExist

    def holds(self, secret_id: str, serial: int) -> bool:
        """Whether the access key is the user's, and was last written with this serial."""
        return any(key.id == secret_id and key.serial == serial for key in self.keys)

    def with_key(self, key: KeyEntry, most: int = MAX_KEYS) -> Self:
        """The user with one more access key; raises AccessKeyOverLimit where it has `most` already."""
        if len(self.keys) >= most:
            raise AccessKeyOverLimit
        return replace(self, keys=(*self.keys, key))

    def with_status(self, secret_id: str, status: str) -> Self:
        """The user with a key's status written anew; raises AccessKeyNotExist or LastActiveKey."""
        old = self.key(secret_id)
        new = replace(old, status=status, serial=old.serial + 1)
        return self._with_keys([new if key is old else key for key in self.keys])

    def without_key(self, secret_id: str) -> Self:
        """The user without one of its access keys; raises AccessKeyNotExist or LastActiveKey."""
        old = self.key(secret_id)
        return self._with_keys([key for key in self.keys if key is not old])

    def joins(self, group_id: int) -> Self:
        """The user in one more group; raises UserGroupFull."""
        if len(self.groups) >= MAX_GROUPS_OF_USER:
            raise UserGroupFull
        return replace(self, groups=(*self.groups, group_id))

    def leaves(self, group_id: int) -> Self:
        """The user without one of its groups."""
        return replace(self, groups=tuple(each for each in self.groups if each != group_id))

    def _with_keys(self, keys: Sequence[KeyEntry]) -> Self:
        # Nobody else could let the account in again.
        if self.is_root and not any(key.status == ACTIVE for key in keys):
            raise LastActiveKey
        return replace(self, keys=tuple(keys))
