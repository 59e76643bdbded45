"""Make a policy; its name is free once in every account."""

from typing import Any

from chalicelib import ids
from chalicelib.actions.policy_parameters import (
    CamTags,
    Description,
    PolicyDocument,
    PolicyName,
    compile_policy,
    tag_map,
)
from chalicelib.context import Context
from chalicelib.errors import PolicyFull, PolicyNameInUse
from chalicelib.model.policy import ManagedPolicy
from chalicelib.model.preset_policies import IDS_BY_NAME
from chalicelib.table import policies


def create_policy(
    ctx: Context,
    *,
    policy_name: PolicyName,
    policy_document: PolicyDocument,
    description: Description = "",
    tags: CamTags | None = None,
) -> dict[str, Any]:
    ctx.request_tags = tag_map(tags or ())
    ctx.authorise()
    compile_policy(policy_document)
    if policy_name.lower() in IDS_BY_NAME:
        raise PolicyNameInUse
    policy = ManagedPolicy.new(
        ids.policy_id(),
        policy_name,
        policy_document,
        now=ctx.now,
        description=description,
        tags=ctx.request_tags,
    )
    ctx.event.note("policy", str(policy.id))
    ctx.commit(policies.create(ctx.seal, policy, policy_document), {1: PolicyNameInUse, 3: PolicyFull})
    return {"PolicyId": policy.id}
