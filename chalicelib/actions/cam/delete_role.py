"""Detach everything from a role and delete it; nobody can take it on any more."""

from typing import Any

from chalicelib.actions.policy_parameters import OptionalRoleName, RoleId
from chalicelib.context import Context
from chalicelib.table import policies, roles


def delete_role(ctx: Context, *, role_id: RoleId = "", role_name: OptionalRoleName = "") -> dict[str, Any]:
    role = ctx.roles.get(role_id, role_name)
    attached = ctx.policies.shrink(roles.target(role.id))
    ctx.commit([*roles.delete(ctx.seal, role), *policies.forget(ctx.seal, attached)])
    return {}
