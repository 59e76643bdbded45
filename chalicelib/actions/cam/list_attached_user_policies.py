"""The policies that are attached to a user itself."""

from typing import Any

from chalicelib.actions.policy_parameters import Page, PageSize, Uin, attached_policies, one_page
from chalicelib.actions.principals import get_user
from chalicelib.context import Context
from chalicelib.table.users import user_target


def list_attached_user_policies(
    ctx: Context, *, target_uin: Uin, page: Page = 1, rp: PageSize = 20
) -> dict[str, Any]:
    user = get_user(ctx, target_uin)
    found = attached_policies(ctx, user_target(user.uin))
    return {"TotalNum": len(found), "List": one_page(found, page, rp)}
