"""What policies would say about a call, and which of their statements: an action of Keystead's own.

Nothing is looked up but policies: the answer is the same whether or not the resource exists. The parameter is ActionName,
since Action is what older signature methods call the action itself.
"""

import ipaddress
import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any, Final

from chalicelib import grants
from chalicelib.actions.parameters import EncryptionContext
from chalicelib.actions.policy_parameters import (
    CamTags,
    GroupId,
    PolicyDocument,
    RoleId,
    Uin,
    compile_policy,
    tag_map,
)
from chalicelib.actions.principals import get_user
from chalicelib.authority import Authority
from chalicelib.context import EVERYTHING, IDENTITY, Context, domain
from chalicelib.errors import ParamError, ResourceQcsError
from chalicelib.formats.canonical import MalformedContext, encryption_context_members
from chalicelib.grants import Grants
from chalicelib.params import RECORDED, Characters, Matches
from chalicelib.policy.condition import (
    CURRENT_TIME,
    ENCRYPTION_CONTEXT,
    IP,
    MFA,
    REQUEST_TAG,
    RESOURCE_TAG,
)
from chalicelib.policy.decide import Decision, decide_within, matching
from chalicelib.policy.document import Policy, PolicyError, split_resource
from chalicelib.policy.request import Request, pairs
from chalicelib.table import accounts

_CREATOR: Final = re.compile(r"[A-Za-z]+/creatorUin/([0-9]+)/.+")
_ROOT_MAY: Final = "the account itself may do everything"


@dataclass(frozen=True, slots=True)
class _Subject:
    """Who would make the call, and what applies to it."""

    uin: str
    policies: tuple[Policy, ...]
    bounds: tuple[Policy, ...] = ()
    is_root: bool = False


def simulate_policy(
    ctx: Context,
    *,
    action_name: Annotated[str, Matches(r"[a-z]+:[A-Za-z0-9]+", "is service:Action", ParamError), RECORDED],
    resource: Annotated[str, Characters(1024, error=ParamError), RECORDED] = "*",
    target_uin: Uin = 0,
    role_id: RoleId = "",
    group_id: GroupId = 0,
    policy_document: PolicyDocument | None = None,
    source_ip: Annotated[str, Characters(64, error=ParamError)] = "",
    current_time: Annotated[str, Characters(64, error=ParamError)] = "",
    resource_tags: CamTags | None = None,
    request_tags: CamTags | None = None,
    encryption_context: EncryptionContext = "",
) -> dict[str, Any]:
    if sum(map(bool, (target_uin, role_id, group_id))) > 1:
        raise ParamError("TargetUin, RoleId and GroupId exclude each other.")
    subject = _subject(ctx, target_uin, role_id, group_id)
    if policy_document is not None:
        subject = _Subject(
            subject.uin, (*subject.policies, compile_policy(policy_document)), subject.bounds, subject.is_root
        )
    if resource == "*":
        service = action_name.partition(":")[0]
        region = "" if domain(service, ctx.region) == IDENTITY else ctx.region
        resource = f"qcs::{service}:{region}:uin/{ctx.caller.account}:{EVERYTHING.get(service, '*')}"
    account = ctx.table.get(*accounts.account_row_key(ctx.caller.account))
    request = Request(
        action_name,
        _checked(resource),
        uin=subject.uin,
        owner_uin=ctx.caller.account,
        app_id=str(accounts.app_id_of(account)) if account is not None else "",
        attributes={
            "qcs:uin": (subject.uin,) if subject.uin else (),
            "qcs:owner_uin": (ctx.caller.account,),
            "qcs:create_uin": tuple(_CREATOR.findall(resource.rpartition(":")[2])),
            CURRENT_TIME: (_time(current_time, ctx.now),),
            MFA: ("false",),
            IP: (_address(source_ip),) if source_ip else (),
            RESOURCE_TAG: (tags := pairs(tag_map(resource_tags or ()))),
            "qcs:tag": tags,
            REQUEST_TAG: pairs(tag_map(request_tags or ())),
            ENCRYPTION_CONTEXT: pairs(_members(encryption_context)),
        },
    )
    if subject.is_root:
        decision = Decision(allowed=True)
    else:
        decision = decide_within(subject.policies, subject.bounds, request)
    return {
        "Decision": "allow" if decision.allowed else "deny",
        "Explanation": _ROOT_MAY if subject.is_root else decision.explanation,
        "PolicyId": decision.policy_id or None,
        "PolicyName": decision.policy or None,
        "StatementIndex": decision.statement if decision.statement >= 0 else None,
        "MatchedStatements": _matched((*subject.policies, *subject.bounds), request),
    }


def _subject(ctx: Context, target_uin: int, role_id: str, group_id: int) -> _Subject:
    """Whom the call is about; the caller where it names nobody."""
    if target_uin and str(target_uin) != ctx.caller.account:
        user = get_user(ctx, target_uin)
        return _of(user.uin, _load(ctx, grants.USER + user.uin))
    if role_id:
        role = ctx.roles.get(role_id, None)
        return _of(role.id, _load(ctx, grants.ROLE + role.id))
    if group_id:
        return _of("", _load(ctx, f"{grants.GROUP}{ctx.users.group(group_id).id}"))
    uin = str(target_uin) if target_uin else ctx.caller.uin
    ctx.authorise(ctx.resource(f"uin/{uin}"))
    authority = ctx.caller.authority
    if target_uin or not isinstance(authority, Authority):
        return _Subject(uin, (), is_root=bool(target_uin) or ctx.caller.is_root)
    session = (authority.session,) if authority.session is not None else ()
    if authority.grants is None:
        return _Subject(uin, session)
    own = _of(uin, authority.grants)
    return _Subject(uin, own.policies, own.bounds + session)


def _of(uin: str, granted: Grants) -> _Subject:
    return _Subject(uin, granted.policies, (granted.boundary,) if granted.boundary is not None else ())


def _load(ctx: Context, principal: str) -> Grants:
    return grants.load(ctx.table, ctx.service.seals, ctx.caller.account, principal)


def _matched(policies: Iterable[Policy], request: Request) -> list[dict[str, Any]]:
    return [
        {
            "PolicyId": policy.id,
            "PolicyName": policy.name,
            "StatementIndex": statement.position,
            "Effect": "allow" if statement.allows else "deny",
        }
        for policy, statement in matching(policies, request)
    ]


def _checked(resource: str) -> str:
    try:
        split_resource(resource)
    except PolicyError as error:
        raise ResourceQcsError(str(error)) from None
    return resource


def _address(text: str) -> str:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        raise ParamError("SourceIp is an IPv4 or IPv6 address.") from None
    return text


def _time(text: str, now: int) -> str:
    if not text:
        return f"{datetime.fromtimestamp(now, UTC):%Y-%m-%dT%H:%M:%SZ}"
    try:
        datetime.fromisoformat(text)
    except ValueError:
        raise ParamError("CurrentTime is a time such as 2026-01-31T12:00:00Z.") from None
    return text


def _members(text: str) -> dict[str, str]:
    try:
        return dict(encryption_context_members(text)) if text else {}
    except MalformedContext:
        raise ParamError("EncryptionContext is a JSON object of strings, without duplicate names.") from None
