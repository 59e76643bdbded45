"""A group of users: whatever policies allow it, they allow to each of its users."""

from dataclasses import dataclass, field, replace
from typing import Self

from chalicelib.errors import GroupUserFull
from chalicelib.model.user import MAX_USERS_OF_GROUP


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """A group."""

    account: str
    id: int
    name: str
    created_at: int
    remark: str = ""
    users: int = 0
    """How many users are in it."""
    row_version: int = field(default=0, compare=False)

    def gains(self, count: int) -> Self:
        """The group with so many more users; raises GroupUserFull."""
        if count > 0 and self.users + count > MAX_USERS_OF_GROUP:
            raise GroupUserFull
        return replace(self, users=self.users + count)
