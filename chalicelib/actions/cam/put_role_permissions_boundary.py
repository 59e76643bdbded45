"""Bound what a role may do: only what this policy allows, too."""

from typing import Any

from chalicelib.actions.policy_parameters import OptionalRoleName, PolicyId, RoleId
from chalicelib.context import Context
from chalicelib.errors import PolicyIdNotExist
from chalicelib.table.roles import target


def put_role_permissions_boundary(
    ctx: Context, *, policy_id: PolicyId, role_id: RoleId = "", role_name: OptionalRoleName = ""
) -> dict[str, Any]:
    role = ctx.roles.get(role_id, role_name)
    policy = ctx.policies.get(policy_id, PolicyIdNotExist)
    ctx.policies.bound(policy, target(role.id), PolicyIdNotExist)
    return {}
