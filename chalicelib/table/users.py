"""Users, groups and who is in which, as rows of the identity table.

| row | pk | sk | |
| --- | --- | --- | --- |
| a user, or the account itself, with the list of its access keys | `AC#<account>` | `U#<uin>` | sealed |
| a user's name, lower case, unique | same | `UN#<name>` | |
| a group | same | `G#<id>` | sealed |
| a group's name, lower case, unique | same | `GN#<name>` | |
| a group of a user | same | `UG#<uin>#<group id>` | sealed, decides |
| a user of a group | same | `GU#<group id>#<uin>` | decides nothing |
| the quotas | same | `CT#users`, `CT#groups` | |

Whoever joins or leaves a group changes the rows of both: what deletes one of them at the same time has to read again.
"""

from collections.abc import Iterable, Sequence
from typing import Final

from chalicelib.formats import record
from chalicelib.model.group import Group
from chalicelib.model.user import (
    MAX_GROUPS,
    MAX_USERS,
    MAX_USERS_OF_GROUP,
    KeyEntry,
    User,
)
from chalicelib.sealed_row import RowSeal
from chalicelib.table.policies import create_attachments, partition
from chalicelib.table.port import MAX_LIMIT, Add, Delete, Expect, Op, Put, Row, Table

Pair = tuple[int, str]
"""A group's id and a user's uin."""

QUOTAS: Final = ("users", "groups", "policies", "roles")


def user_row_key(account: str, uin: str) -> tuple[str, str]:
    """Where the user is."""
    return partition(account), f"U#{uin}"


def user_name_row_key(account: str, name: str) -> tuple[str, str]:
    """Where the owner of a user's name is; names differ by more than case."""
    return partition(account), f"UN#{name.lower()}"


def group_row_key(account: str, group_id: int) -> tuple[str, str]:
    """Where the group is."""
    return partition(account), f"G#{group_id}"


def group_name_row_key(account: str, name: str) -> tuple[str, str]:
    """Where the owner of a group's name is; names differ by more than case."""
    return partition(account), f"GN#{name.lower()}"


def user_target(uin: str) -> str:
    """How attachments name the user."""
    return f"user/{uin}"


def group_target(group_id: int) -> str:
    """How attachments name the group."""
    return f"group/{group_id}"


def create_user(seal: RowSeal, user: User) -> list[Op]:
    """The ops that create a user: 0 its row, 1 its name, 2 the quota unless it is the account itself."""
    pk, sk = user_name_row_key(seal.account, user.name)
    ops: list[Op] = [
        Put(_user_row(seal, user), Expect.ABSENT),
        Put(Row(pk=pk, sk=sk, body=record.encode({"uin": user.uin})), Expect.ABSENT),
    ]
    if user.is_root:
        return ops
    quota = Add(pk, "CT#users", 1, at_least=0, at_most=MAX_USERS)
    return [*ops, quota, create_attachments(seal, user_target(user.uin))]


def replace_user(seal: RowSeal, old: User, new: User) -> Op:
    """The op that turns `old`, as it was read, into `new` of the same name."""
    return Put(_user_row(seal, new), old.row_version)


def delete_user(seal: RowSeal, user: User) -> list[Op]:
    """The ops that delete a user that is in no group any more; its access keys and attachments are the caller's."""
    return [
        Delete(*user_row_key(seal.account, user.uin), user.row_version),
        Delete(*user_name_row_key(seal.account, user.name), Expect.ANY),
        Add(partition(seal.account), "CT#users", -1, at_least=0),
    ]


def create_group(seal: RowSeal, group: Group) -> list[Op]:
    """The ops that create a group: 0 its row, 1 its name, 2 the quota."""
    return [
        Put(_group_row(seal, group), Expect.ABSENT),
        Put(_group_name_row(group), Expect.ABSENT),
        Add(partition(seal.account), "CT#groups", 1, at_least=0, at_most=MAX_GROUPS),
        create_attachments(seal, group_target(group.id)),
    ]


def replace_group(seal: RowSeal, old: Group, new: Group) -> list[Op]:
    """The ops that turn `old`, as it was read, into `new`: 0 its row, 1 its name where that changes."""
    ops: list[Op] = [Put(_group_row(seal, new), old.row_version)]
    if new.name.lower() != old.name.lower():
        old_name = group_name_row_key(seal.account, old.name)
        ops += [Put(_group_name_row(new), Expect.ABSENT), Delete(*old_name, Expect.EXISTS)]
    return ops


def delete_group(seal: RowSeal, group: Group) -> list[Op]:
    """The ops that delete a group without users; its attachments are the caller's."""
    return [
        Delete(*group_row_key(seal.account, group.id), group.row_version),
        Delete(*group_name_row_key(seal.account, group.name), Expect.ANY),
        Add(partition(seal.account), "CT#groups", -1, at_least=0),
    ]


def join(seal: RowSeal, pair: Pair, now: int) -> list[Op]:
    """The ops that note on both sides that a user is in a group."""
    (group_key, user_key) = _membership_row_keys(seal.account, pair)
    return [
        Put(Row(pk=group_key[0], sk=group_key[1], body=record.encode({"at": now})), Expect.ABSENT),
        Put(seal.row(*user_key, {"at": now}), Expect.ABSENT),
    ]


def leave(account: str, pair: Pair) -> list[Op]:
    """The ops that forget it."""
    return [Delete(*key, Expect.ANY) for key in _membership_row_keys(account, pair)]


def find_user(table: Table, seal: RowSeal, uin: str) -> User | None:
    """The user of that uin, the account itself included; Damaged if its row's seal does not fit."""
    row = table.get(*user_row_key(seal.account, uin))
    return user_from_row(seal, row) if row is not None else None


def find_user_by_name(table: Table, seal: RowSeal, name: str) -> User | None:
    """The user of that name, in any case; Damaged if its row's seal does not fit."""
    owner = table.get(*user_name_row_key(seal.account, name))
    if owner is None:
        return None
    user = find_user(table, seal, str(record.decode(owner.body)["uin"]))
    # The row of the name is not sealed: whoever writes to the table could make it name another user.
    return user if user is not None and user.name.lower() == name.lower() else None


def find_users(table: Table, seal: RowSeal, uins: Iterable[str]) -> dict[str, User]:
    """Those users that exist, by uin; at most 100."""
    found = _batch(table, [user_row_key(seal.account, uin) for uin in dict.fromkeys(uins)])
    users = [user_from_row(seal, row) for row in found]
    return {user.uin: user for user in users}


def find_groups(table: Table, seal: RowSeal, group_ids: Iterable[int]) -> dict[int, Group]:
    """Those groups that exist, by id; at most 100."""
    found = _batch(table, [group_row_key(seal.account, group_id) for group_id in dict.fromkeys(group_ids)])
    groups = [group_from_row(seal, row) for row in found]
    return {group.id: group for group in groups}


def owner_of_group_name(table: Table, seal: RowSeal, name: str) -> int | None:
    """The id of the group that has the name, in any case."""
    row = table.get(*group_name_row_key(seal.account, name))
    return int(record.decode(row.body)["id"]) if row is not None else None


def list_users(table: Table, seal: RowSeal) -> list[User]:
    """Every user but the account itself, oldest first."""
    users = [user_from_row(seal, row) for row in _all(table, seal.account, "U#")]
    return sorted((u for u in users if not u.is_root), key=lambda u: (u.created_at, u.uin))


def list_groups(table: Table, seal: RowSeal) -> list[Group]:
    """Every group, oldest first."""
    groups = [group_from_row(seal, row) for row in _all(table, seal.account, "G#")]
    return sorted(groups, key=lambda g: (g.created_at, g.id))


def joined(table: Table, seal: RowSeal, pairs: Sequence[Pair]) -> set[Pair]:
    """Which of these users are in which of these groups; at most 100. Damaged if a membership was made up."""
    keys = {_membership_row_keys(seal.account, pair)[1]: pair for pair in pairs}
    found = _batch(table, list(keys))
    for row in found:
        seal.members(row)
    return {keys[row.pk, row.sk] for row in found}


def users_of(table: Table, account: str, group_id: int) -> list[str]:
    """The uins of a group's users."""
    prefix = f"GU#{group_id}#"
    rows = table.query(partition(account), prefix=prefix, limit=MAX_USERS_OF_GROUP)
    return [row.sk.removeprefix(prefix) for row in rows]


def counts(table: Table, account: str) -> dict[str, int]:
    """How many of each kind in QUOTAS the account has."""
    rows = table.batch_get([(partition(account), f"CT#{kind}") for kind in QUOTAS])
    return {kind: row.number if row is not None else 0 for kind, row in zip(QUOTAS, rows, strict=True)}


def user_from_row(seal: RowSeal, row: Row) -> User:
    """The user in a row; Damaged if its seal does not fit."""
    members = seal.members(row)
    return User(
        account=seal.account,
        uin=members["uin"],
        name=members["name"],
        type=members["type"],
        created_at=members["created"],
        remark=members["remark"],
        phone_num=members["phone"],
        country_code=members["country"],
        email=members["email"],
        keys=tuple(
            KeyEntry(k["id"], k["serial"], k["status"], k["created"], k["description"])
            for k in members["keys"]
        ),
        groups=tuple(members["groups"]),
        row_version=row.version,
    )


def group_from_row(seal: RowSeal, row: Row) -> Group:
    """The group in a row; Damaged if its seal does not fit."""
    members = seal.members(row)
    return Group(
        account=seal.account,
        id=members["id"],
        name=members["name"],
        created_at=members["created"],
        remark=members["remark"],
        users=members["users"],
        row_version=row.version,
    )


def with_members(
    users: dict[str, User], groups: dict[int, Group], pairs: Iterable[Pair], change: int
) -> tuple[dict[str, User], dict[int, Group]]:
    """Users and groups that so many more memberships, 1 or -1 for each pair, leave; UserGroupFull, GroupUserFull."""
    users, groups = dict(users), dict(groups)
    for group_id, uin in pairs:
        users[uin] = users[uin].joins(group_id) if change > 0 else users[uin].leaves(group_id)
        groups[group_id] = groups[group_id].gains(change)
    return users, groups


def _batch(table: Table, keys: Sequence[tuple[str, str]]) -> list[Row]:
    return [row for row in table.batch_get(keys) if row is not None] if keys else []


def _all(table: Table, account: str, prefix: str) -> list[Row]:
    found: list[Row] = []
    while True:
        after = found[-1].sk if found else None
        page = table.query(partition(account), prefix=prefix, after=after, limit=MAX_LIMIT)
        found += page
        if len(page) < MAX_LIMIT:
            return found


def _membership_row_keys(account: str, pair: Pair) -> tuple[tuple[str, str], tuple[str, str]]:
    group_id, uin = pair
    return (partition(account), f"GU#{group_id}#{uin}"), (partition(account), f"UG#{uin}#{group_id}")


def _user_row(seal: RowSeal, user: User) -> Row:
    members = {
        "uin": user.uin,
        "name": user.name,
        "type": user.type,
        "created": user.created_at,
        "remark": user.remark,
        "phone": user.phone_num,
        "country": user.country_code,
        "email": user.email,
        "keys": [
            {
                "id": key.id,
                "serial": key.serial,
                "status": key.status,
                "created": key.created_at,
                "description": key.description,
            }
            for key in user.keys
        ],
        "groups": list(user.groups),
    }
    return seal.row(*user_row_key(seal.account, user.uin), members)


def _group_row(seal: RowSeal, group: Group) -> Row:
    members = {
        "id": group.id,
        "name": group.name,
        "created": group.created_at,
        "remark": group.remark,
        "users": group.users,
    }
    return seal.row(*group_row_key(seal.account, group.id), members)


def _group_name_row(group: Group) -> Row:
    pk, sk = group_name_row_key(group.account, group.name)
    return Row(pk=pk, sk=sk, body=record.encode({"id": group.id}))
