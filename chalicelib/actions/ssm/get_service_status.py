"""Whether Secrets Manager is open for the account: always."""

from typing import Any

from chalicelib.context import Context


def get_service_status(ctx: Context) -> dict[str, Any]:
    ctx.authorise()
    return {
        "ServiceEnabled": True,
        "InvalidType": 1,
        "AccessKeyEscrowEnabled": False,
        "SecretLimit": ctx.settings.max_secrets,
    }
