"""The groups that a user is in, in pages, oldest first; without a user, the caller's own."""

from typing import Any

from chalicelib.actions.policy_parameters import one_page
from chalicelib.actions.user_parameters import Number, Page, PageSize, group_info, uin_of
from chalicelib.context import Context
from chalicelib.table import users


def list_groups_for_user(
    ctx: Context, *, uid: Number = 0, rp: PageSize = 20, page: Page = 1, sub_uin: Number = 0
) -> dict[str, Any]:
    user = ctx.users.get(uin_of(sub_uin, uid) if sub_uin or uid else ctx.caller.uin)
    groups = users.find_groups(ctx.table, ctx.seal, user.groups).values()
    found = sorted(groups, key=lambda g: (g.created_at, g.id))
    return {"TotalNum": len(found), "GroupInfo": [group_info(group) for group in one_page(found, page, rp)]}
