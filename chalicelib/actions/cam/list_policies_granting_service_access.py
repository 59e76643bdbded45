"""Which services the policies of a user, a group or a role give access to, and which policies do.

With ServiceType, also which of the service's actions. Resources and conditions are not looked at.
"""

from typing import Annotated, Any, Final

from chalicelib import grants
from chalicelib.actions import names
from chalicelib.actions.policy_parameters import GroupId, RoleNumber, Uin, source
from chalicelib.actions.principals import get_user
from chalicelib.context import Context
from chalicelib.errors import ParamError
from chalicelib.model.policy import ManagedPolicy
from chalicelib.params import RECORDED, OneOf
from chalicelib.policy.document import Policy

_SERVICES: Final = {
    "kms": "Key Management Service",
    "ssm": "Secrets Manager",
    "cam": "Cloud Access Management",
    "sts": "Security Token Service",
    "tag": "Tag",
    "cloudaudit": "CloudAudit",
}


def list_policies_granting_service_access(
    ctx: Context,
    *,
    target_uin: Uin = 0,
    role_id: RoleNumber = 0,
    group_id: GroupId = 0,
    service_type: Annotated[str, OneOf(("", *_SERVICES), ParamError), RECORDED] = "",
) -> dict[str, Any]:
    granted = grants.load(
        ctx.table, ctx.service.seals, ctx.caller.account, _principal(ctx, target_uin, role_id, group_id)
    ).policies
    known = ctx.policies.find_all(policy.id for policy in granted)
    found = []
    for service, name in _SERVICES.items():
        if service_type not in ("", service):
            continue
        actions = {a: [p for p in granted if _allows(p, f"{service}:{a}")] for a in names(service)}
        allowed = [a for a, policies in actions.items() if policies]
        if allowed:
            giving = [p for p in granted if any(p in policies for policies in actions.values())]
            found.append(
                {
                    "Service": {"ServiceType": service, "ServiceName": name},
                    "Action": [{"Name": a, "Description": ""} for a in allowed] if service_type else [],
                    "Policy": [_policy(known[p.id]) for p in giving if p.id in known],
                }
            )
    return {"List": found}


def _principal(ctx: Context, target_uin: int, role_id: int, group_id: int) -> str:
    if sum(map(bool, (target_uin, role_id, group_id))) != 1:
        raise ParamError("One of TargetUin, RoleId and GroupId is required.")
    if target_uin:
        return grants.USER + get_user(ctx, target_uin, ParamError).uin
    if group_id:
        return f"{grants.GROUP}{ctx.users.group(group_id).id}"
    return grants.ROLE + ctx.roles.get(role_id, None).id


def _allows(policy: Policy, action: str) -> bool:
    return any(statement.allows for statement in policy.about(action))


def _policy(policy: ManagedPolicy) -> dict[str, str]:
    return {
        "PolicyId": str(policy.id),
        "PolicyName": policy.name,
        "PolicyType": source(policy),
        "PolicyDescription": policy.description,
    }
