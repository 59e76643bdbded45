"""Make a user, and an access key for it if it shall use the API; its SecretKey is shown this one time."""

from typing import Any

from chalicelib import ids
from chalicelib.access_keys import add_access_key
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
from chalicelib.context import IDENTITY, Context
from chalicelib.errors import SubUserFull, SubUserNameInUse
from chalicelib.model.user import User
from chalicelib.table import users


def add_user(
    ctx: Context,
    *,
    name: UserName,
    remark: Remark = "",
    console_login: Switch = 0,
    use_api: Switch = 0,
    password: Password = "",
    need_reset_password: Switch = 0,
    phone_num: PhoneNum = "",
    country_code: CountryCode = "",
    email: Email = "",
) -> dict[str, Any]:
    ctx.authorise()
    # Password and NeedResetPassword count with ConsoleLogin only: they go no further.
    refuse_console(console_login)
    user = User(
        account=ctx.caller.account,
        uin=ids.uin(),
        name=name,
        created_at=ctx.now,
        remark=remark,
        phone_num=phone_num,
        country_code=country_code,
        email=email,
    )
    ctx.event.note("user", user.uin)
    secret_id = secret_key = ""
    keys = []
    if use_api:
        secret_id, secret_key = ids.secret_id(), ids.secret_key()
        user, key = add_access_key(ctx.service.hsm(IDENTITY), user, secret_id, secret_key, ctx.now)
        ctx.event.note("accessKey", secret_id)
        keys = [key]
    ctx.commit([*users.create_user(ctx.seal, user), *keys], {1: SubUserNameInUse, 2: SubUserFull})
    return {
        "Uin": int(user.uin),
        "Name": user.name,
        "Password": "",
        "SecretId": secret_id,
        "SecretKey": secret_key,
        "Uid": int(user.uin),
    }
