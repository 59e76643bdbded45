"""The policies that are attached to a group."""

from typing import Any

from chalicelib.actions.policy_parameters import (
    GroupId,
    Keyword,
    Page,
    PageSize,
    attached_policies,
    one_page,
)
from chalicelib.context import Context
from chalicelib.table.users import group_target


def list_attached_group_policies(
    ctx: Context, *, target_group_id: GroupId, page: Page = 1, rp: PageSize = 20, keyword: Keyword = ""
) -> dict[str, Any]:
    group = ctx.users.group(target_group_id)
    found = attached_policies(ctx, group_target(group.id), keyword)
    return {"TotalNum": len(found), "List": one_page(found, page, rp)}
