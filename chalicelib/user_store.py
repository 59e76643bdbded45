"""The account's users and groups: found, authorised, put together and deleted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from chalicelib import access_keys
from chalicelib.errors import GroupNotExist, NoSuchUser, SubUin, UserNotExist
from chalicelib.table import accounts
from chalicelib.table import policies as policy_rows
from chalicelib.table import users as rows
from chalicelib.table.port import Conflict

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from chalicelib.context import Context
    from chalicelib.errors import ApiError
    from chalicelib.model.group import Group
    from chalicelib.model.user import User
    from chalicelib.table.accounts import AccessKey
    from chalicelib.table.port import Op
    from chalicelib.table.users import Pair

_LEAVE_AT_ONCE: Final = 30
"""Memberships that end in one write: each takes three ops."""
_LEAVE_WITH_GROUP: Final = 8
"""Memberships that end in the write that deletes their group, beside its attachments."""


class UserStore:
    """The users and groups of one account, for one call."""

    def __init__(self, ctx: Context) -> None:
        self._ctx = ctx
        self._account = ctx.caller.account

    def named(self, name: str) -> User:
        """The user of that name, once the caller is authorised for it and the event names it; raises UserNotExist."""
        user = rows.find_user_by_name(self._ctx.table, self._ctx.seal, name)
        if user is None or user.is_root:
            # Who may not touch users does not learn which names there are.
            self._ctx.authorise(self._ctx.resource("uin/*"))
            raise UserNotExist
        return self._admit(user.uin, user, UserNotExist)

    def get(self, uin: str, missing: type[ApiError] = UserNotExist) -> User:
        """As `named`, by uin; the account itself is among them."""
        return self._admit(uin, rows.find_user(self._ctx.table, self._ctx.seal, uin), missing)

    def owner_of_keys(self, target_uin: int) -> User:
        """Whose access keys an action is about: the caller's, unless it names another; raises NoSuchUser or SubUin."""
        caller = self._ctx.caller
        uin = str(target_uin) if target_uin else caller.uin
        # Not with a session either, the account's or the user's: what ends by itself must not leave a key that stays,
        # and what a session's policy bounds must not get one without bounds.
        if uin == caller.uin and caller.expires_at:
            raise SubUin(
                "Temporary credentials do not see and change the access keys of whom they stand for."
            )
        if uin == self._account and not caller.is_root:
            raise SubUin
        return self.get(uin, NoSuchUser)

    def access_key(self, user: User, secret_id: str) -> AccessKey:
        """One of a user's access keys, and the event names it; raises AccessKeyNotExist."""
        entry = user.key(secret_id)
        self._ctx.event.note("accessKey", entry.id)
        row = self._ctx.table.get(*accounts.access_key_row_key(entry.id))
        if row is None:
            raise Conflict(())  # it was deleted between the two reads
        return accounts.access_key_from_row(row)

    def group(self, group_id: int, missing: type[ApiError] = GroupNotExist) -> Group:
        """The group, once the caller is authorised for it and the event names it; raises `missing`."""
        return self.groups([group_id], missing)[group_id]

    def groups(self, group_ids: Collection[int], missing: type[ApiError]) -> dict[int, Group]:
        """As `group`, for all or none of up to 100."""
        found = rows.find_groups(self._ctx.table, self._ctx.seal, group_ids)
        for group_id in group_ids:
            self._ctx.event.note("group", str(group_id))
            self._ctx.authorise(self._ctx.resource(f"groupId/{group_id}"))
        if len(found) < len(set(group_ids)):
            raise missing
        return found

    def users(self, uins: Collection[str]) -> dict[str, User]:
        """Users to put into groups, all or none of up to 100; raises UserNotExist.

        Who may change a group may choose whom to put there, but for users that a policy denies.
        """
        for uin in uins:
            self._ctx.event.note("user", uin)
            self._ctx.refuse_denied(self._ctx.resource(f"uin/{uin}"))
        found = rows.find_users(self._ctx.table, self._ctx.seal, uins)
        if len(found) < len(set(uins)) or any(user.is_root for user in found.values()):
            raise UserNotExist
        return found

    def members(self, group: Group) -> list[User]:
        """The users of a group."""
        uins = rows.users_of(self._ctx.table, self._account, group.id)
        return list(rows.find_users(self._ctx.table, self._ctx.seal, uins).values())

    def change_memberships(
        self, users: dict[str, User], groups: dict[int, Group], pairs: Sequence[Pair], change: int
    ) -> list[Op]:
        """The ops by which users join (1) groups or leave (-1) them; raises UserGroupFull or GroupUserFull."""
        seal = self._ctx.seal
        new_users, new_groups = rows.with_members(users, groups, pairs, change)
        ops = [rows.replace_user(seal, users[u], new_users[u]) for u in dict.fromkeys(u for _, u in pairs)]
        for group_id in dict.fromkeys(g for g, _ in pairs):
            ops += rows.replace_group(seal, groups[group_id], new_groups[group_id])
        for pair in pairs:
            ops += rows.join(seal, pair, self._ctx.now) if change > 0 else rows.leave(self._account, pair)
        return ops

    def delete(self, user: User) -> None:
        """Commit that the user is gone: its access keys, its memberships and what is attached to it as well.

        One write, unless more is attached than fits in. Then the access keys go first: a process that dies in between
        leaves a user that nobody can sign as, and that can be deleted again.
        """
        seal, target = self._ctx.seal, rows.user_target(user.uin)
        if len(self._ctx.policies.attachments(target).policies) > policy_rows.DETACH_AT_ONCE:
            user = self._delete_keys(user)
        attached = self._ctx.policies.shrink(target)
        ops = [accounts.delete_access_key(key.id) for key in user.keys]
        pairs = [(group_id, user.uin) for group_id in user.groups]
        groups = rows.find_groups(self._ctx.table, seal, [g for g, _ in pairs])
        for pair in pairs:
            ops += rows.leave(self._account, pair)
        for group in groups.values():
            ops += rows.replace_group(seal, group, group.gains(-1))
        self._ctx.commit([*rows.delete_user(seal, user), *ops, *policy_rows.forget(seal, attached)])

    def delete_group(self, group: Group) -> None:
        """Commit that the group is gone: its memberships and what is attached to it as well.

        One write, unless there is more than fits in. Then the memberships go first, and with each of them all that the
        group allowed and denied the user: a process that dies in between leaves nobody with the one without the other.
        """
        seal, target = self._ctx.seal, rows.group_target(group.id)
        uins = rows.users_of(self._ctx.table, self._account, group.id)
        attached = self._ctx.policies.attachments(target)
        is_large = len(uins) > _LEAVE_WITH_GROUP or len(attached.policies) > policy_rows.DETACH_AT_ONCE
        while is_large and uins:
            group = self._empty(group, uins[:_LEAVE_AT_ONCE])
            uins = uins[_LEAVE_AT_ONCE:]
        attached = self._ctx.policies.shrink(target)
        ops: list[Op] = []
        users = rows.find_users(self._ctx.table, seal, self._joined(group, uins))
        for uin in uins:
            ops += rows.leave(self._account, (group.id, uin))
        ops += [rows.replace_user(seal, user, user.leaves(group.id)) for user in users.values()]
        self._ctx.commit([*rows.delete_group(seal, group), *ops, *policy_rows.forget(seal, attached)])

    def _delete_keys(self, user: User) -> User:
        """The user without access keys, written down."""
        bare, ops = user, []
        for key in user.keys:
            bare, more = access_keys.remove_access_key(bare, key.id, self._ctx.now)
            ops += more
        if not ops:
            return user
        self._ctx.step([rows.replace_user(self._ctx.seal, user, bare), *ops])
        found = rows.find_user(self._ctx.table, self._ctx.seal, user.uin)
        if found is None:
            raise UserNotExist
        return found

    def _empty(self, group: Group, uins: Sequence[str]) -> Group:
        """The group without these users, written down."""
        users = rows.find_users(self._ctx.table, self._ctx.seal, self._joined(group, uins))
        pairs = [(group.id, uin) for uin in users]
        strays = [op for uin in uins if uin not in users for op in rows.leave(self._account, (group.id, uin))]
        self._ctx.step([*self.change_memberships(users, {group.id: group}, pairs, -1), *strays])
        found = rows.find_groups(self._ctx.table, self._ctx.seal, [group.id])
        if group.id not in found:
            raise GroupNotExist
        return found[group.id]

    def _joined(self, group: Group, uins: Sequence[str]) -> list[str]:
        """Those who are in the group by their own rows, too: the group's rows are not sealed."""
        pairs = [(group.id, uin) for uin in uins]
        there = rows.joined(self._ctx.table, self._ctx.seal, pairs) if pairs else set()
        return [uin for _, uin in pairs if (group.id, uin) in there]

    def _admit(self, uin: str, user: User | None, missing: type[ApiError]) -> User:
        self._ctx.event.note("user", uin)
        self._ctx.authorise(self._ctx.resource(f"uin/{uin}"))
        if user is None:
            raise missing
        return user
