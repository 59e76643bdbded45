"""Whether Secrets Manager is open for the account: always."""

from typing import Any

from chalicelib.context import Context
from chalicelib.table.secrets import MAX_SECRETS


def get_service_status(ctx: Context) -> dict[str, Any]:
    ctx.authorise()
    return {
        "ServiceEnabled": True,
        "InvalidType": 1,
        "AccessKeyEscrowEnabled": False,
        "SecretLimit": MAX_SECRETS,
    }
