"""The account's groups in pages, oldest first; Keyword is part of a name, in any case."""

from typing import Any

from chalicelib.actions.policy_parameters import Keyword, one_page
from chalicelib.actions.user_parameters import Page, PageSize, group_info
from chalicelib.context import Context
from chalicelib.table import users


def list_groups(ctx: Context, *, page: Page = 1, rp: PageSize = 20, keyword: Keyword = "") -> dict[str, Any]:
    ctx.authorise()
    found = [g for g in users.list_groups(ctx.table, ctx.seal) if keyword.lower() in g.name.lower()]
    return {"TotalNum": len(found), "GroupInfo": [group_info(group) for group in one_page(found, page, rp)]}
