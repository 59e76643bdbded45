"""A role and its trust policy."""

from typing import Any

from chalicelib.actions.policy_parameters import OptionalRoleName, RoleId, role_info
from chalicelib.context import Context


def get_role(ctx: Context, *, role_id: RoleId = "", role_name: OptionalRoleName = "") -> dict[str, Any]:
    return {"RoleInfo": role_info(ctx.caller.account, ctx.roles.get(role_id, role_name))}
