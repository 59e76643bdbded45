"""The users that actions on policies name."""

from chalicelib.context import Context
from chalicelib.errors import ApiError, UserNotExist
from chalicelib.model.user import User


def get_user(ctx: Context, uin: int, missing: type[ApiError] = UserNotExist) -> User:
    """The user, once the caller is authorised for it; raises `missing`, for the account itself as well.

    Policies say nothing about the account.
    """
    user = ctx.users.get(str(uin), missing)
    if user.is_root:
        raise missing
    return user
