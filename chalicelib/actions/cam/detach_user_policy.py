"""Detach a policy from a user."""

from typing import Any

from chalicelib.actions.policy_parameters import PolicyId, Uin
from chalicelib.actions.principals import get_user
from chalicelib.context import Context
from chalicelib.table.users import user_target


def detach_user_policy(ctx: Context, *, policy_id: PolicyId, detach_uin: Uin) -> dict[str, Any]:
    user = get_user(ctx, detach_uin)
    ctx.policies.detach(ctx.policies.get(policy_id), user_target(user.uin))
    return {}
