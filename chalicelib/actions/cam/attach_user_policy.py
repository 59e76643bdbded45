"""Attach a policy to a user."""

from typing import Any

from chalicelib.actions.policy_parameters import PolicyId, Uin
from chalicelib.actions.principals import get_user
from chalicelib.context import Context
from chalicelib.errors import PolicyIdNotFound
from chalicelib.table.users import user_target


def attach_user_policy(ctx: Context, *, policy_id: PolicyId, attach_uin: Uin) -> dict[str, Any]:
    user = get_user(ctx, attach_uin)
    policy = ctx.policies.get(policy_id)
    ctx.policies.attach(policy, user_target(user.uin), PolicyIdNotFound)
    return {}
