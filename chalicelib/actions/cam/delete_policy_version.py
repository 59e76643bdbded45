"""Delete versions of a policy that do not apply."""

from typing import Any

from chalicelib.actions.policy_parameters import PolicyId, VersionIds
from chalicelib.context import Context
from chalicelib.errors import PolicyIdNotExist
from chalicelib.table import policies


def delete_policy_version(ctx: Context, *, policy_id: PolicyId, version_id: VersionIds) -> dict[str, Any]:
    old = new = ctx.policies.get_custom(policy_id, missing=PolicyIdNotExist)
    for each in dict.fromkeys(version_id):
        new = new.delete_version(each, now=ctx.now)
    ctx.commit(policies.replace_policy(ctx.seal, old, new))
    return {}
