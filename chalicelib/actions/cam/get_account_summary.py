"""How many users, groups, policies and roles the account has."""

from typing import Any

from chalicelib.context import Context
from chalicelib.table import users


def get_account_summary(ctx: Context) -> dict[str, Any]:
    ctx.authorise()
    counts = users.counts(ctx.table, ctx.caller.account)
    return {
        "Policies": counts["policies"],
        "Roles": counts["roles"],
        "Idps": 0,
        "User": counts["users"],
        "Group": counts["groups"],
        "Member": 0,
        "IdentityProviders": 0,
    }
