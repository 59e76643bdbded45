"""Delete a user, with its memberships and whatever is attached to it; with its access keys only if that is forced."""

from typing import Annotated, Any

from chalicelib.actions.user_parameters import UserName
from chalicelib.context import Context
from chalicelib.errors import HaveKeys, ParamError
from chalicelib.params import RECORDED, Between


def delete_user(
    ctx: Context, *, name: UserName, force: Annotated[int, Between(0, 1, ParamError), RECORDED] = 0
) -> dict[str, Any]:
    user = ctx.users.named(name)
    if user.keys and not force:
        raise HaveKeys
    ctx.users.delete(user)
    return {}
