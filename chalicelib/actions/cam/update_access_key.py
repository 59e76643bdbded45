"""Switch an access key off, or on again. Repeating it succeeds."""

from typing import Annotated, Any

from chalicelib.access_keys import change_access_key
from chalicelib.actions.user_parameters import AccessKeyId, TargetUin
from chalicelib.context import IDENTITY, Context
from chalicelib.errors import ParamError
from chalicelib.model.user import ACTIVE, INACTIVE
from chalicelib.params import RECORDED, OneOf
from chalicelib.table import users


def update_access_key(
    ctx: Context,
    *,
    access_key_id: AccessKeyId,
    status: Annotated[str, OneOf((ACTIVE, INACTIVE), ParamError), RECORDED],
    target_uin: TargetUin = 0,
) -> dict[str, Any]:
    user = ctx.users.owner_of_keys(target_uin)
    key = ctx.users.access_key(user, access_key_id)
    # As the user's sealed row says: what the key's own row says is proven only when it is opened, to be changed.
    if user.key(access_key_id).status != status:
        new, changed = change_access_key(ctx.service.hsm(IDENTITY), user, key, status)
        ctx.commit([users.replace_user(ctx.seal, user, new), changed])
    return {}
