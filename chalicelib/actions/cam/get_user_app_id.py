"""Who the caller is, and its account's AppId."""

from typing import Any

from chalicelib.context import Context
from chalicelib.table import accounts


def get_user_app_id(ctx: Context) -> dict[str, Any]:
    ctx.authorise()
    row = ctx.table.get(*accounts.account_row_key(ctx.caller.account))
    return {
        "Uin": ctx.caller.uin,
        "OwnerUin": ctx.caller.account,
        "AppId": accounts.app_id_of(row) if row is not None else 0,
    }
