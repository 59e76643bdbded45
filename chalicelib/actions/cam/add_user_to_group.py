"""Put users into groups: all of them, or none. Repeating it succeeds."""

from typing import Any

from chalicelib.actions.user_parameters import Memberships, pairs_of
from chalicelib.context import Context
from chalicelib.errors import NoSuchGroup
from chalicelib.table import users as rows


def add_user_to_group(ctx: Context, *, info: Memberships) -> dict[str, Any]:
    pairs = pairs_of(info)
    groups = ctx.users.groups(dict.fromkeys(g for g, _ in pairs), NoSuchGroup)
    users = ctx.users.users(dict.fromkeys(u for _, u in pairs))
    there = rows.joined(ctx.table, ctx.seal, pairs)
    new = [pair for pair in pairs if pair not in there]
    if new:
        ctx.commit(ctx.users.change_memberships(users, groups, new, 1))
    return {}
