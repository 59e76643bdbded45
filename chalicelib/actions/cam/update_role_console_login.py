"""Note whether a role may sign in to a console."""

from dataclasses import replace
from typing import Any

from chalicelib.actions.policy_parameters import ConsoleLogin, OptionalRoleName, RoleNumber
from chalicelib.context import Context
from chalicelib.table import roles


def update_role_console_login(
    ctx: Context, *, console_login: ConsoleLogin, role_id: RoleNumber = 0, role_name: OptionalRoleName = ""
) -> dict[str, Any]:
    old = ctx.roles.get(role_id, role_name)
    new = replace(old, console_login=bool(console_login), updated_at=ctx.now)
    ctx.commit([roles.replace_role(ctx.seal, old, new)])
    return {}
