"""Make a role that the principals of its trust policy may take on."""

from typing import Any

from chalicelib import ids
from chalicelib.actions.policy_parameters import (
    CamTags,
    ConsoleLogin,
    Description,
    PolicyDocument,
    RoleName,
    SessionDuration,
    check_trust_policy,
    tag_map,
)
from chalicelib.context import Context
from chalicelib.errors import RoleFull, RoleNameInUse
from chalicelib.model.role import DEFAULT_SESSION_DURATION, Role
from chalicelib.table import roles


def create_role(
    ctx: Context,
    *,
    role_name: RoleName,
    policy_document: PolicyDocument,
    description: Description = "",
    console_login: ConsoleLogin = 0,
    session_duration: SessionDuration = 0,
    tags: CamTags | None = None,
) -> dict[str, Any]:
    ctx.request_tags = tag_map(tags or ())
    ctx.authorise()
    check_trust_policy(policy_document)
    role = Role(
        id=ids.role_id(),
        name=role_name,
        document=policy_document,
        description=description,
        console_login=bool(console_login),
        session_duration=session_duration or DEFAULT_SESSION_DURATION,
        created_at=ctx.now,
        updated_at=ctx.now,
        tags=ctx.request_tags,
    )
    ctx.event.note("role", role.id)
    ctx.commit(roles.create(ctx.seal, role), {1: RoleNameInUse, 2: RoleFull})
    return {"RoleId": role.id}
