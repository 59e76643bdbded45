"""Change a group's name or remark; what is not given stays."""

from dataclasses import replace
from typing import Any

from chalicelib.actions.user_parameters import Number, OptionalGroupName, Remark
from chalicelib.context import Context
from chalicelib.errors import GroupNameInUse
from chalicelib.table import users


def update_group(
    ctx: Context, *, group_id: Number, group_name: OptionalGroupName = "", remark: Remark | None = None
) -> dict[str, Any]:
    group = ctx.users.group(group_id)
    new = replace(group, name=group_name or group.name, remark=group.remark if remark is None else remark)
    if users.owner_of_group_name(ctx.table, ctx.seal, new.name) not in (None, group.id):
        raise GroupNameInUse
    ctx.commit(users.replace_group(ctx.seal, group, new))
    return {}
