"""Detach a policy from a group."""

from typing import Any

from chalicelib.actions.policy_parameters import GroupId, PolicyId
from chalicelib.context import Context
from chalicelib.errors import PolicyIdNotExist
from chalicelib.table.users import group_target


def detach_group_policy(ctx: Context, *, policy_id: PolicyId, detach_group_id: GroupId) -> dict[str, Any]:
    group = ctx.users.group(detach_group_id)
    ctx.policies.detach(ctx.policies.get(policy_id, PolicyIdNotExist), group_target(group.id))
    return {}
