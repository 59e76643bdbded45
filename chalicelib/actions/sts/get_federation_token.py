"""Temporary credentials for somebody else: the caller's own rights within a policy, which has to be given."""

from typing import Annotated, Any

from chalicelib.context import Context
from chalicelib.errors import OverTimeError, ParamError, UnsupportedOperation
from chalicelib.params import RECORDED, Between, Characters, Matches
from chalicelib.role_sessions import issue, read_policy
from chalicelib.sessions import FEDERATED_USER, Session, check_seconds


def get_federation_token(
    ctx: Context,
    *,
    name: Annotated[
        str,
        Matches(r"[A-Za-z0-9_+=,.@-]{1,128}", "has 1 to 128 letters, digits and + = , . @ - _", ParamError),
        RECORDED,
    ],
    policy: Annotated[str, Characters(32768, 1, ParamError)],
    duration_seconds: Annotated[int, Between(1, 129600, OverTimeError), RECORDED] = 1800,
) -> dict[str, Any]:
    bounds = read_policy(policy)
    ctx.authorise()
    if ctx.caller.expires_at:
        raise UnsupportedOperation("Federation tokens are made with permanent keys only.")
    check_seconds(ctx.caller, duration_seconds)
    return issue(
        ctx,
        Session(
            account=ctx.caller.account,
            uin=ctx.caller.uin,
            name=ctx.caller.name,
            type=FEDERATED_USER,
            session=name,
            expires_at=ctx.now + duration_seconds,
            issuer=ctx.caller.uin,
            issued_by=ctx.caller.secret_id,
            policy=bounds,
        ),
    )
