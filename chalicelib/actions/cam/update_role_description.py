"""Change what is said of a role."""

from dataclasses import replace
from typing import Any

from chalicelib.actions.policy_parameters import Description, OptionalRoleName, RoleId
from chalicelib.context import Context
from chalicelib.table import roles


def update_role_description(
    ctx: Context, *, description: Description, role_id: RoleId = "", role_name: OptionalRoleName = ""
) -> dict[str, Any]:
    old = ctx.roles.get(role_id, role_name)
    new = replace(old, description=description, updated_at=ctx.now)
    ctx.commit([roles.replace_role(ctx.seal, old, new)])
    return {}
