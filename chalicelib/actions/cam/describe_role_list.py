"""The account's roles, oldest first."""

from typing import Any

from chalicelib.actions.policy_parameters import CamTags, Page, PageSize, one_page, role_info
from chalicelib.context import Context


def describe_role_list(
    ctx: Context, *, page: Page, rp: PageSize, tags: CamTags | None = None
) -> dict[str, Any]:
    ctx.authorise()
    wanted = [(tag.key, tag.value) for tag in tags or ()]
    found = [role for role in ctx.roles.list_all() if all(role.tags.get(k) == v for k, v in wanted)]
    listed = [role_info(ctx.caller.account, role) for role in one_page(found, page, rp)]
    return {"List": listed, "TotalNum": len(found)}
