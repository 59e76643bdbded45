"""The access keys of oneself or of a user, oldest first, without their SecretKeys."""

from typing import Any

from chalicelib.actions.user_parameters import TargetUin, access_key
from chalicelib.context import Context


def list_access_keys(ctx: Context, *, target_uin: TargetUin = 0) -> dict[str, Any]:
    return {"AccessKeys": [access_key(key) for key in ctx.users.owner_of_keys(target_uin).keys]}
