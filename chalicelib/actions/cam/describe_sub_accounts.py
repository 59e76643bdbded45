"""Users by uin; those that do not exist are left out."""

from typing import Annotated, Any

from chalicelib.actions.policy_parameters import time_text
from chalicelib.actions.user_parameters import SUB_USER
from chalicelib.context import Context
from chalicelib.errors import InvalidParameter
from chalicelib.params import RECORDED, Between, Items
from chalicelib.table import users


def describe_sub_accounts(
    ctx: Context,
    *,
    filter_sub_account_uin: Annotated[
        list[Annotated[int, Between(0, 2**63 - 1, InvalidParameter)]],
        Items(50, 1, InvalidParameter),
        RECORDED,
    ],
) -> dict[str, Any]:
    ctx.authorise()
    found = users.find_users(ctx.table, ctx.seal, map(str, filter_sub_account_uin))
    return {
        "SubAccounts": [
            {
                "Uin": int(user.uin),
                "Name": user.name,
                "Uid": int(user.uin),
                "Remark": user.remark,
                "CreateTime": time_text(user.created_at),
                "UserType": SUB_USER,
                "LastLoginIp": "",
                "LastLoginTime": "",
            }
            for user in found.values()
            if not user.is_root
        ]
    }
