"""One user, by name."""

from typing import Any

from chalicelib.actions.user_parameters import UserName
from chalicelib.context import Context


def get_user(ctx: Context, *, name: UserName) -> dict[str, Any]:
    user = ctx.users.named(name)
    return {
        "Uin": int(user.uin),
        "Name": user.name,
        "Uid": int(user.uin),
        "Remark": user.remark,
        "ConsoleLogin": 0,
        "PhoneNum": user.phone_num,
        "CountryCode": user.country_code,
        "Email": user.email,
        "RecentlyLoginIP": "",
        "RecentlyLoginTime": "",
    }
