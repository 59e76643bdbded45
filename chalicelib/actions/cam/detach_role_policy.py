"""Detach a policy from a role."""

from typing import Any

from chalicelib.actions.policy_parameters import OptionalPolicyName, OptionalRoleName, PolicyId, RoleId
from chalicelib.context import Context
from chalicelib.errors import PolicyIdNotExist
from chalicelib.table.roles import target


def detach_role_policy(
    ctx: Context,
    *,
    policy_id: PolicyId = 0,
    detach_role_id: RoleId = "",
    detach_role_name: OptionalRoleName = "",
    policy_name: OptionalPolicyName = "",
) -> dict[str, Any]:
    role = ctx.roles.get(detach_role_id, detach_role_name)
    policy = ctx.policies.get_named(policy_id, policy_name, PolicyIdNotExist)
    ctx.policies.detach(policy, target(role.id))
    return {}
