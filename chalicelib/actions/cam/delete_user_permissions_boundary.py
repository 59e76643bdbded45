"""Let a user do all that its policies allow."""

from typing import Any

from chalicelib.actions.policy_parameters import Uin
from chalicelib.actions.principals import get_user
from chalicelib.context import Context
from chalicelib.errors import NoSuchUser
from chalicelib.table.users import user_target


def delete_user_permissions_boundary(ctx: Context, *, target_uin: Uin) -> dict[str, Any]:
    user = get_user(ctx, target_uin, NoSuchUser)
    ctx.policies.unbound(user_target(user.uin))
    return {}
