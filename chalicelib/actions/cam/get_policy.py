"""A policy and the version of it that applies."""

from typing import Any

from chalicelib.actions.policy_parameters import PolicyId, tag_list, time_text
from chalicelib.context import Context


def get_policy(ctx: Context, *, policy_id: PolicyId) -> dict[str, Any]:
    policy = ctx.policies.get(policy_id)
    return {
        "PolicyName": policy.name,
        "Description": policy.description,
        "Type": policy.type,
        "AddTime": time_text(policy.created_at),
        "UpdateTime": time_text(policy.updated_at),
        "PolicyDocument": ctx.policies.document(policy, policy.default),
        "PresetAlias": "",
        "IsServiceLinkedRolePolicy": 0,
        "Tags": tag_list(policy.tags),
    }
