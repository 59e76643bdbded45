"""Change a policy: its name, its description, or what the version says that applies."""

from dataclasses import replace
from typing import Any

from chalicelib.actions.policy_parameters import (
    Description,
    OptionalPolicyName,
    PolicyDocument,
    PolicyId,
    compile_policy,
)
from chalicelib.context import Context
from chalicelib.errors import ParamError, PolicyNameInUse
from chalicelib.model.preset_policies import IDS_BY_NAME
from chalicelib.table import policies


def update_policy(
    ctx: Context,
    *,
    policy_id: PolicyId = 0,
    policy_name: OptionalPolicyName = "",
    description: Description | None = None,
    policy_document: PolicyDocument | None = None,
    alias: Description = "",
) -> dict[str, Any]:
    old = ctx.policies.get_custom(policy_id, policy_name)
    if alias:
        raise ParamError("Alias belongs to preset policies, which cannot be changed.")
    new = replace(old, updated_at=ctx.now)
    if policy_name and policy_id:
        if policy_name.lower() in IDS_BY_NAME:
            raise PolicyNameInUse
        new = replace(new, name=policy_name)
    if description is not None:
        new = replace(new, description=description)
    if policy_document is not None:
        compile_policy(policy_document)
        new = new.replace_default(policy_document, now=ctx.now)
    refusals = {1: PolicyNameInUse} if new.name.lower() != old.name.lower() else None
    ctx.commit(policies.replace_policy(ctx.seal, old, new, policy_document), refusals)
    return {"PolicyId": new.id}
