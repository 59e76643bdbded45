"""Who the caller is; everybody may ask."""

from typing import Any

from chalicelib.context import Context
from chalicelib.sessions import ASSUMED_ROLE, FEDERATED_USER


def get_caller_identity(ctx: Context) -> dict[str, Any]:
    ctx.authorise_anyway()
    caller = ctx.caller
    user_id = f"{caller.uin}:{caller.session}" if caller.session else caller.uin
    kind, principal_id = "CAMUser", caller.uin
    arn = f"qcs::cam:{caller.account}:uin/{caller.uin}"
    if caller.type == ASSUMED_ROLE:
        kind, principal_id = "CAMRole", caller.issuer
        arn = f"qcs::sts:{caller.account}:assumed-role/{caller.uin}"
    elif caller.type == FEDERATED_USER:
        arn = f"qcs::sts:{caller.account}:federated-user/{caller.uin}"
    return {
        "Type": kind,
        "AccountId": caller.account,
        "UserId": user_id,
        "PrincipalId": principal_id,
        "Arn": arn,
    }
