"""Attach a policy to a group: it applies to all of its users."""

from typing import Any

from chalicelib.actions.policy_parameters import GroupId, PolicyId
from chalicelib.context import Context
from chalicelib.errors import PolicyIdNotFound
from chalicelib.table.users import group_target


def attach_group_policy(ctx: Context, *, policy_id: PolicyId, attach_group_id: GroupId) -> dict[str, Any]:
    group = ctx.users.group(attach_group_id)
    policy = ctx.policies.get(policy_id)
    ctx.policies.attach(policy, group_target(group.id), PolicyIdNotFound)
    return {}
