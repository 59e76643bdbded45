"""Bound what a user may do: only what this policy allows, too."""

from typing import Any

from chalicelib.actions.policy_parameters import PolicyId, Uin
from chalicelib.actions.principals import get_user
from chalicelib.context import Context
from chalicelib.errors import NoSuchUser, PolicyIdNotExist
from chalicelib.table.users import user_target


def put_user_permissions_boundary(ctx: Context, *, target_uin: Uin, policy_id: PolicyId) -> dict[str, Any]:
    user = get_user(ctx, target_uin, NoSuchUser)
    policy = ctx.policies.get(policy_id, PolicyIdNotExist)
    ctx.policies.bound(policy, user_target(user.uin), PolicyIdNotExist)
    return {}
