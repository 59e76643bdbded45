"""Temporary credentials of the caller itself, with the same rights."""

from typing import Annotated, Any

from chalicelib.context import Context
from chalicelib.errors import MFATypeNotSupported, OverTimeError, TempKeyNotAllowed
from chalicelib.params import RECORDED, Between
from chalicelib.role_sessions import issue
from chalicelib.sessions import Session, check_seconds


def get_session_token(
    ctx: Context,
    *,
    serial_number: str = "",
    token_code: str = "",
    duration_seconds: Annotated[int, Between(1, 129600, OverTimeError), RECORDED] = 1800,
) -> dict[str, Any]:
    ctx.authorise()
    if serial_number or token_code:
        # A code that nobody checks must not pass for one that was checked.
        raise MFATypeNotSupported
    if ctx.caller.expires_at:
        raise TempKeyNotAllowed
    check_seconds(ctx.caller, duration_seconds)
    return issue(
        ctx,
        Session(
            account=ctx.caller.account,
            uin=ctx.caller.uin,
            name=ctx.caller.name,
            type=ctx.caller.type,
            expires_at=ctx.now + duration_seconds,
            issuer=ctx.caller.uin,
            issued_by=ctx.caller.secret_id,
        ),
    )
