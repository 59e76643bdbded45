"""Roles as rows of the identity table.

| row | pk | sk | |
| --- | --- | --- | --- |
| a role, its trust policy included | `AC#<account>` | `R#<id>` | sealed |
| its name, lower case, unique | same | `RN#<name>` | |
| the quota | same | `CT#roles` | |

What is attached to a role stands where it does for users: see `policies`.
"""

from collections.abc import Sequence

from chalicelib.formats import record
from chalicelib.model.role import MAX_ROLES, Role
from chalicelib.sealed_row import RowSeal
from chalicelib.table.policies import create_attachments, partition
from chalicelib.table.port import MAX_LIMIT, Add, Delete, Expect, Op, Put, Row, Table


def role_row_key(account: str, role_id: str) -> tuple[str, str]:
    """Where the role is."""
    return partition(account), f"R#{role_id}"


def name_row_key(account: str, name: str) -> tuple[str, str]:
    """Where the owner of a role's name is; names differ by more than case."""
    return partition(account), f"RN#{name.lower()}"


def target(role_id: str) -> str:
    """How attachments name the role."""
    return f"role/{role_id}"


def create(seal: RowSeal, role: Role) -> list[Op]:
    """The ops that create a role: 0 its row, 1 its name, 2 the quota."""
    pk, sk = name_row_key(seal.account, role.name)
    return [
        Put(_row(seal, role), Expect.ABSENT),
        Put(Row(pk=pk, sk=sk, body=record.encode({"id": role.id})), Expect.ABSENT),
        Add(pk, "CT#roles", 1, at_least=0, at_most=MAX_ROLES),
        create_attachments(seal, target(role.id)),
    ]


def replace_role(seal: RowSeal, old: Role, new: Role) -> Op:
    """The op that turns `old`, as it was read, into `new` of the same name."""
    return Put(_row(seal, new), old.row_version)


def delete(seal: RowSeal, role: Role) -> list[Op]:
    """The ops that delete a role; what is attached to it goes with `policies.forget`."""
    return [
        Delete(*role_row_key(seal.account, role.id), role.row_version),
        Delete(*name_row_key(seal.account, role.name), Expect.ANY),
        Add(partition(seal.account), "CT#roles", -1, at_least=0),
    ]


def from_row(seal: RowSeal, row: Row) -> Role:
    """The role in a row; Damaged if its seal does not fit."""
    members = seal.members(row)
    return Role(
        id=members["id"],
        name=members["name"],
        document=members["document"],
        description=members["description"],
        console_login=members["console"],
        session_duration=members["session"],
        created_at=members["created"],
        updated_at=members["updated"],
        tags=members["tags"],
        row_version=row.version,
    )


def owner_of_name(row: Row) -> str:
    """The id of the role that has the name, if its row says so too."""
    return str(record.decode(row.body)["id"])


def find(table: Table, seal: RowSeal, *, role_id: str = "", name: str = "") -> Role | None:
    """The role of that id, or of that name where there is no id; Damaged if a row's seal does not fit."""
    if not role_id:
        owner = table.get(*name_row_key(seal.account, name))
        if owner is None:
            return None
        role_id = owner_of_name(owner)
    row = table.get(*role_row_key(seal.account, role_id))
    role = from_row(seal, row) if row is not None else None
    # The row of the name is not sealed: whoever writes to the table could make it name another role.
    return role if role is not None and (not name or role.name.lower() == name.lower()) else None


def find_all(table: Table, seal: RowSeal, role_ids: Sequence[str]) -> dict[str, Role]:
    """Those roles that exist, by id; at most 100."""
    if not role_ids:
        return {}
    found = table.batch_get([role_row_key(seal.account, role_id) for role_id in role_ids])
    roles = [from_row(seal, row) for row in found if row is not None]
    return {role.id: role for role in roles}


def list_all(table: Table, seal: RowSeal) -> list[Role]:
    """Every role of the account, oldest first."""
    found: list[Role] = []
    after = None
    while True:
        rows = table.query(partition(seal.account), prefix="R#", after=after, limit=MAX_LIMIT)
        found += [from_row(seal, row) for row in rows]
        if len(rows) < MAX_LIMIT:
            return sorted(found, key=lambda r: (r.created_at, r.id))
        after = rows[-1].sk


def _row(seal: RowSeal, role: Role) -> Row:
    members = {
        "id": role.id,
        "name": role.name,
        "document": role.document,
        "description": role.description,
        "console": role.console_login,
        "session": role.session_duration,
        "created": role.created_at,
        "updated": role.updated_at,
        "tags": dict(role.tags),
    }
    return seal.row(*role_row_key(seal.account, role.id), members)
