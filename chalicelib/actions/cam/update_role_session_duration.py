"""Change how long a session of a role may last."""

from dataclasses import replace
from typing import Any

from chalicelib.actions.policy_parameters import OptionalRoleName, RoleNumber, SessionDuration
from chalicelib.context import Context
from chalicelib.model.role import DEFAULT_SESSION_DURATION
from chalicelib.table import roles


def update_role_session_duration(
    ctx: Context,
    *,
    session_duration: SessionDuration,
    role_name: OptionalRoleName = "",
    role_id: RoleNumber = 0,
) -> dict[str, Any]:
    old = ctx.roles.get(role_id, role_name)
    duration = session_duration or DEFAULT_SESSION_DURATION
    new = replace(old, session_duration=duration, updated_at=ctx.now)
    ctx.commit([roles.replace_role(ctx.seal, old, new)])
    return {}
