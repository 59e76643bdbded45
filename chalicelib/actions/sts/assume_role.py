"""Temporary credentials of a role, for a caller whom the role trusts and whose own policies allow it."""

from dataclasses import dataclass
from typing import Annotated, Any

from chalicelib.context import Context
from chalicelib.errors import (
    MFATypeNotSupported,
    OverTimeError,
    ParamError,
    RoleNotFound,
    UnauthorizedOperation,
)
from chalicelib.params import RECORDED, Characters, Items, Matches
from chalicelib.role_sessions import (
    CHAINED_SECONDS,
    DEFAULT_SECONDS,
    RoleArn,
    RoleSeconds,
    SessionName,
    SessionPolicy,
    find_role,
    open_session,
    read_arn,
    read_policy,
    trusts,
)
from chalicelib.sessions import ASSUMED_ROLE


@dataclass(frozen=True, slots=True)
class SessionTag:
    """A tag that conditions of the role's trust policy and of the caller's policies may look at."""

    key: Annotated[str, Characters(127, 1, ParamError), RECORDED]
    value: Annotated[str, Characters(255, error=ParamError), RECORDED]


def assume_role(
    ctx: Context,
    *,
    role_arn: RoleArn,
    role_session_name: SessionName,
    duration_seconds: RoleSeconds | None = None,
    policy: SessionPolicy = "",
    external_id: Annotated[
        str,
        Matches(
            r"|[A-Za-z0-9_+=,.@:/-]{2,128}", "has 2 to 128 letters, digits and + = , . @ : / -", ParamError
        ),
    ] = "",
    tags: Annotated[list[SessionTag], Items(50, error=ParamError), RECORDED] | None = None,
    source_identity: Annotated[str, Characters(128, error=ParamError), RECORDED] = "",
    serial_number: str = "",
    token_code: str = "",
) -> dict[str, Any]:
    if serial_number or token_code:
        raise MFATypeNotSupported
    ctx.request_tags = {t.key: t.value for t in tags or ()}
    if len(ctx.request_tags) != len(tags or ()):
        raise ParamError("A tag key appears more than once.")
    bounds = read_policy(policy) if policy else ""
    wanted, caller = read_arn(role_arn), ctx.caller
    is_chained = caller.type == ASSUMED_ROLE
    seconds = duration_seconds or (CHAINED_SECONDS if is_chained else DEFAULT_SECONDS)
    if is_chained and seconds > CHAINED_SECONDS:
        raise OverTimeError(
            f"A session that starts from another role's lasts {CHAINED_SECONDS} seconds at most."
        )
    role = find_role(ctx, wanted)
    principals = [f"qcs::cam::uin/{caller.account}:{name}" for name in ("root", f"uin/{caller.uin}")]
    attributes = dict(ctx.circumstances)
    if external_id:
        attributes["sts:external_id"] = (external_id,)
    is_trusted = role is not None and trusts(
        role, "sts:AssumeRole", owner_uin=wanted.account, principals=principals, attributes=attributes
    )
    # Who may not take on a role of another account learns nothing of it: not even by policies of his own making.
    known = role if is_trusted or wanted.account == caller.account else None
    ctx.authorise_one_of(*wanted.names(known), tags=known.tags if known is not None else {})
    if role is None and wanted.account == caller.account:
        raise RoleNotFound
    if role is None or not is_trusted:
        raise UnauthorizedOperation("The role's trust policy does not let you take it on.")
    if duration_seconds is None:
        seconds = min(seconds, role.session_duration)
    answer = open_session(
        ctx,
        wanted.account,
        role,
        name=role_session_name,
        seconds=seconds,
        issuer=caller.uin,
        policy=bounds,
    )
    if wanted.account != caller.account:
        ctx.tell(wanted.account)
    return answer
