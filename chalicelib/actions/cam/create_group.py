"""Make a group."""

from typing import Any

from chalicelib import ids
from chalicelib.actions.user_parameters import GroupName, Remark
from chalicelib.context import Context
from chalicelib.errors import GroupFull, GroupNameInUse
from chalicelib.model.group import Group
from chalicelib.table import users


def create_group(ctx: Context, *, group_name: GroupName, remark: Remark = "") -> dict[str, Any]:
    ctx.authorise()
    group = Group(
        account=ctx.caller.account, id=ids.group_id(), name=group_name, created_at=ctx.now, remark=remark
    )
    ctx.event.note("group", str(group.id))
    ctx.commit(users.create_group(ctx.seal, group), {1: GroupNameInUse, 2: GroupFull})
    return {"GroupId": group.id}
