"""Temporary credentials of a role, for whom an OpenID Connect provider has vouched; the call is not signed."""

from typing import Annotated, Any

from chalicelib.context import Context
from chalicelib.errors import ParamError, UnauthorizedOperation, WebIdentityTokenError
from chalicelib.params import RECORDED, Characters
from chalicelib.role_sessions import (
    DEFAULT_SECONDS,
    RoleArn,
    RoleSeconds,
    SessionName,
    find_role,
    open_session,
    read_arn,
    trusts,
)


def assume_role_with_web_identity(
    ctx: Context,
    *,
    provider_id: Annotated[str, Characters(128, 1, ParamError), RECORDED],
    web_identity_token: Annotated[str, Characters(16384, 1, WebIdentityTokenError)],
    role_arn: RoleArn,
    role_session_name: SessionName,
    duration_seconds: RoleSeconds | None = None,
) -> dict[str, Any]:
    wanted = read_arn(role_arn)
    # The token first: who has none learns nothing about roles.
    identity = ctx.service.web_identities.verify(provider_id, web_identity_token)
    ctx.event.authentication = "OIDC"
    role = find_role(ctx, wanted)
    attributes = {
        **ctx.circumstances,
        "oidc:iss": (identity.issuer,),
        "oidc:aud": identity.audiences,
        "oidc:sub": (identity.subject,),
    }
    if role is None or not trusts(
        role,
        "sts:AssumeRoleWithWebIdentity",
        owner_uin=wanted.account,
        principals=[f"qcs::cam::uin/{wanted.account}:oidc-provider/{provider_id}"],
        attributes=attributes,
    ):
        raise UnauthorizedOperation(
            "The role does not exist, or its trust policy does not let you take it on."
        )
    # The role's own account gets the event.
    event = ctx.event
    event.account, event.user_type, event.user_name = wanted.account, "WebIdentityUser", provider_id
    event.session = role_session_name
    ctx.authorise_anyway()
    seconds = min(DEFAULT_SECONDS, role.session_duration) if duration_seconds is None else duration_seconds
    return open_session(
        ctx, wanted.account, role, name=role_session_name, seconds=seconds, issuer=wanted.account
    )
