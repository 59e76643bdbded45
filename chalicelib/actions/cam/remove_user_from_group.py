"""Take users out of groups: all of them, or none. Repeating it succeeds."""

from typing import Any

from chalicelib.actions.user_parameters import Memberships, pairs_of
from chalicelib.context import Context
from chalicelib.errors import GroupNotExist
from chalicelib.table import users as rows


def remove_user_from_group(ctx: Context, *, info: Memberships) -> dict[str, Any]:
    pairs = pairs_of(info)
    groups = ctx.users.groups(dict.fromkeys(g for g, _ in pairs), GroupNotExist)
    users = ctx.users.users(dict.fromkeys(u for _, u in pairs))
    there = rows.joined(ctx.table, ctx.seal, pairs)
    gone = [pair for pair in pairs if pair in there]
    if gone:
        ctx.commit(ctx.users.change_memberships(users, groups, gone, -1))
    return {}
