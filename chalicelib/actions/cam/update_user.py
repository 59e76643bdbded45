"""Change what is noted of a user; what is not given stays. Its name stays in any case."""

from dataclasses import replace
from typing import Any

from chalicelib.actions.user_parameters import (
    CountryCode,
    Email,
    Password,
    PhoneNum,
    Remark,
    Switch,
    UserName,
    refuse_console,
)
from chalicelib.context import Context
from chalicelib.table import users


def update_user(
    ctx: Context,
    *,
    name: UserName,
    remark: Remark | None = None,
    console_login: Switch = 0,
    password: Password = "",
    need_reset_password: Switch = 0,
    phone_num: PhoneNum | None = None,
    country_code: CountryCode | None = None,
    email: Email | None = None,
) -> dict[str, Any]:
    user = ctx.users.named(name)
    # Password and NeedResetPassword count with ConsoleLogin only: they go no further.
    refuse_console(console_login)
    new = replace(
        user,
        remark=user.remark if remark is None else remark,
        phone_num=user.phone_num if phone_num is None else phone_num,
        country_code=user.country_code if country_code is None else country_code,
        email=user.email if email is None else email,
    )
    ctx.commit([users.replace_user(ctx.seal, user, new)])
    return {}
