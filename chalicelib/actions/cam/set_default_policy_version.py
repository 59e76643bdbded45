"""Let another version of a policy apply, at once and everywhere."""

from typing import Any

from chalicelib.actions.policy_parameters import PolicyId, VersionId
from chalicelib.context import Context
from chalicelib.errors import PolicyIdNotExist
from chalicelib.table import policies


def set_default_policy_version(ctx: Context, *, policy_id: PolicyId, version_id: VersionId) -> dict[str, Any]:
    old = ctx.policies.get_custom(policy_id, missing=PolicyIdNotExist)
    ctx.commit(policies.replace_policy(ctx.seal, old, old.set_default(version_id, now=ctx.now)))
    return {}
