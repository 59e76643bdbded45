"""Delete an access key of oneself or of a user, whether it is switched off or not."""

from typing import Any

from chalicelib.access_keys import remove_access_key
from chalicelib.actions.user_parameters import AccessKeyId, TargetUin
from chalicelib.context import Context
from chalicelib.table import users


def delete_access_key(
    ctx: Context, *, access_key_id: AccessKeyId, target_uin: TargetUin = 0
) -> dict[str, Any]:
    user = ctx.users.owner_of_keys(target_uin)
    new, ops = remove_access_key(user, access_key_id, ctx.now)
    ctx.event.note("accessKey", access_key_id)
    ctx.commit([users.replace_user(ctx.seal, user, new), *ops])
    return {}
