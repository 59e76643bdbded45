"""Whether KMS is open for the account: always, and with every feature."""

from typing import Any

from chalicelib.context import Context
from chalicelib.model.data_key import MAX_DATA_KEYS
from chalicelib.table import data_keys, keys


def get_service_status(ctx: Context) -> dict[str, Any]:
    ctx.authorise()
    place = (ctx.table, ctx.caller.account, ctx.region)
    # The Encryption SDK refuses to start unless the service is enabled and of the flagship edition (UserLevel 1).
    return {
        "ServiceEnabled": True,
        "InvalidType": 1,
        "UserLevel": 1,
        "ProExpireTime": 0,
        "ProRenewFlag": 0,
        "ProResourceId": "",
        "ExclusiveVSMEnabled": False,
        "ExclusiveHSMEnabled": False,
        "SubscriptionInfo": "",
        "CmkUserCount": keys.count(*place),
        "CmkLimit": ctx.settings.max_keys,
        "IsAllowedDataKeyHosted": True,
        "DataKeyLimit": MAX_DATA_KEYS,
        "FreeDataKeyLimit": MAX_DATA_KEYS,
        "DataKeyUsedCount": data_keys.count(*place),
    }
