"""Every user of the account, oldest first."""

from typing import Any

from chalicelib.actions.user_parameters import sub_account
from chalicelib.context import Context
from chalicelib.table import users


def list_users(ctx: Context) -> dict[str, Any]:
    ctx.authorise()
    return {"Data": [sub_account(user) for user in users.list_users(ctx.table, ctx.seal)]}
