"""The access keys of a user, without their SecretKeys."""

from typing import Any, Final

from chalicelib.actions.parameters import Unsigned
from chalicelib.context import Context
from chalicelib.errors import NoSuchUser, ParamError, SubUin
from chalicelib.model.user import ACTIVE

_ENABLED: Final = 2
_DISABLED: Final = 3


def query_api_key(ctx: Context, *, target_uin: Unsigned = 0) -> dict[str, Any]:
    try:
        user = ctx.users.owner_of_keys(target_uin)
    except (NoSuchUser, SubUin) as error:
        raise ParamError(str(error)) from None
    return {
        "IdKeys": [
            {
                "SecretId": key.id,
                "CreateTime": key.created_at,
                "Status": _ENABLED if key.status == ACTIVE else _DISABLED,
            }
            for key in user.keys
        ]
    }
