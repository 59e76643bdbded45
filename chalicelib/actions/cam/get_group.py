"""One group with its users."""

from typing import Any

from chalicelib.actions.user_parameters import Number, group_info, group_members
from chalicelib.context import Context


def get_group(ctx: Context, *, group_id: Number) -> dict[str, Any]:
    group = ctx.users.group(group_id)
    members = group_members(ctx.users.members(group))
    return {**group_info(group), "GroupNum": len(members), "UserInfo": members}
