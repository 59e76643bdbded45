"""Let a role do all that its policies allow."""

from typing import Any

from chalicelib.actions.policy_parameters import OptionalRoleName, RoleId
from chalicelib.context import Context
from chalicelib.table.roles import target


def delete_role_permissions_boundary(
    ctx: Context, *, role_id: RoleId = "", role_name: OptionalRoleName = ""
) -> dict[str, Any]:
    role = ctx.roles.get(role_id, role_name)
    ctx.policies.unbound(target(role.id))
    return {}
