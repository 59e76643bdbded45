"""The users of a group in pages, oldest first."""

from typing import Any

from chalicelib.actions.policy_parameters import one_page
from chalicelib.actions.user_parameters import Number, Page, PageSize, group_members
from chalicelib.context import Context


def list_users_for_group(
    ctx: Context, *, group_id: Number, page: Page = 1, rp: PageSize = 20
) -> dict[str, Any]:
    members = group_members(ctx.users.members(ctx.users.group(group_id)))
    return {"TotalNum": len(members), "UserInfo": one_page(members, page, rp)}
