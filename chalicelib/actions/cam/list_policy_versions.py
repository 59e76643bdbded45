"""The versions of a policy, newest first."""

from typing import Any

from chalicelib.actions.policy_parameters import PolicyId, time_text
from chalicelib.context import Context


def list_policy_versions(ctx: Context, *, policy_id: PolicyId) -> dict[str, Any]:
    policy = ctx.policies.get(policy_id)
    versions = [
        {
            "VersionId": v.id,
            "CreateDate": time_text(v.created_at),
            "IsDefaultVersion": int(v.id == policy.default_id),
        }
        for v in reversed(policy.versions)
    ]
    return {"Versions": versions}
