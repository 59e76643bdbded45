"""Delete a group, with its memberships and whatever is attached to it; its users stay."""

from typing import Any

from chalicelib.actions.user_parameters import Number
from chalicelib.context import Context


def delete_group(ctx: Context, *, group_id: Number) -> dict[str, Any]:
    ctx.users.delete_group(ctx.users.group(group_id))
    return {}
