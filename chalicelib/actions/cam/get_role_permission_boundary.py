"""The policy that bounds what a role may do, if there is one."""

from typing import Any

from chalicelib.actions.policy_parameters import RoleId, boundary_of
from chalicelib.context import Context
from chalicelib.table.roles import target


def get_role_permission_boundary(ctx: Context, *, role_id: RoleId) -> dict[str, Any]:
    return boundary_of(ctx, target(ctx.roles.get(role_id, None).id))
