"""Give a policy one more version, of at most five."""

from typing import Any

from chalicelib.actions.parameters import Flag
from chalicelib.actions.policy_parameters import PolicyDocument, PolicyId, compile_policy
from chalicelib.context import Context
from chalicelib.errors import PolicyIdNotExist
from chalicelib.table import policies


def create_policy_version(
    ctx: Context, *, policy_id: PolicyId, policy_document: PolicyDocument, set_as_default: Flag
) -> dict[str, Any]:
    old = ctx.policies.get_custom(policy_id, missing=PolicyIdNotExist)
    compile_policy(policy_document)
    new = old.add_version(policy_document, now=ctx.now, as_default=set_as_default)
    ctx.commit(policies.replace_policy(ctx.seal, old, new, policy_document))
    return {"VersionId": new.last_id}
