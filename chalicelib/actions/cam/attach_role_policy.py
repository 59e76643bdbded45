"""Attach a policy to a role."""

from typing import Any

from chalicelib.actions.policy_parameters import OptionalPolicyName, OptionalRoleName, PolicyId, RoleId
from chalicelib.context import Context
from chalicelib.errors import PolicyIdNotExist
from chalicelib.table.roles import target


def attach_role_policy(
    ctx: Context,
    *,
    policy_id: PolicyId = 0,
    attach_role_id: RoleId = "",
    attach_role_name: OptionalRoleName = "",
    policy_name: OptionalPolicyName = "",
) -> dict[str, Any]:
    role = ctx.roles.get(attach_role_id, attach_role_name)
    policy = ctx.policies.get_named(policy_id, policy_name, PolicyIdNotExist)
    ctx.policies.attach(policy, target(role.id), PolicyIdNotExist)
    return {}
