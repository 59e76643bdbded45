"""One version of a policy, with its document."""

from typing import Any

from chalicelib.actions.policy_parameters import PolicyId, VersionId, time_text
from chalicelib.context import Context


def get_policy_version(ctx: Context, *, policy_id: PolicyId, version_id: VersionId) -> dict[str, Any]:
    policy = ctx.policies.get(policy_id)
    version = policy.version(version_id)
    detail = {
        "VersionId": version.id,
        "CreateDate": time_text(version.created_at),
        "IsDefaultVersion": int(version.id == policy.default_id),
        "Document": ctx.policies.document(policy, version),
    }
    return {"PolicyVersion": detail}
