"""Make an access key, for oneself or for a user; its SecretKey is shown this one time."""

from typing import Annotated, Any

from chalicelib import ids
from chalicelib.access_keys import add_access_key
from chalicelib.actions.user_parameters import TargetUin, access_key
from chalicelib.context import IDENTITY, Context
from chalicelib.errors import ParamError
from chalicelib.params import Matches
from chalicelib.table import users


def create_access_key(
    ctx: Context,
    *,
    target_uin: TargetUin = 0,
    description: Annotated[
        str, Matches(r"[\w+=,.@:/-]{0,1024}", "has up to 1024 letters, digits and +=,.@:/_-", ParamError)
    ] = "",
) -> dict[str, Any]:
    user = ctx.users.owner_of_keys(target_uin)
    secret_id, secret_key = ids.secret_id(), ids.secret_key()
    new, key = add_access_key(ctx.service.hsm(IDENTITY), user, secret_id, secret_key, ctx.now, description)
    ctx.event.note("accessKey", secret_id)
    ctx.commit([users.replace_user(ctx.seal, user, new), key])
    return {"AccessKey": {**access_key(new.key(secret_id)), "SecretAccessKey": secret_key}}
