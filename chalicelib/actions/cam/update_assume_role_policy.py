"""Change who may take a role on."""

from dataclasses import replace
from typing import Any

from chalicelib.actions.policy_parameters import OptionalRoleName, PolicyDocument, RoleId, check_trust_policy
from chalicelib.context import Context
from chalicelib.table import roles


def update_assume_role_policy(
    ctx: Context, *, policy_document: PolicyDocument, role_id: RoleId = "", role_name: OptionalRoleName = ""
) -> dict[str, Any]:
    old = ctx.roles.get(role_id, role_name)
    check_trust_policy(policy_document)
    new = replace(old, document=policy_document, updated_at=ctx.now)
    ctx.commit([roles.replace_role(ctx.seal, old, new)])
    return {}
