"""The policy that bounds what a user may do, if there is one."""

from typing import Any

from chalicelib.actions.policy_parameters import Uin, boundary_of
from chalicelib.actions.principals import get_user
from chalicelib.context import Context
from chalicelib.errors import ParamError
from chalicelib.table.users import user_target


def get_user_permission_boundary(ctx: Context, *, target_uin: Uin) -> dict[str, Any]:
    return boundary_of(ctx, user_target(get_user(ctx, target_uin, ParamError).uin))
