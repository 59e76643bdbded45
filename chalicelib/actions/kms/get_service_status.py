"""Whether KMS is open for the account: always, and with every feature."""

from typing import Any

from chalicelib.context import Context
from chalicelib.model.data_key import MAX_DATA_KEYS, DataKeyState
from chalicelib.model.key import USER, KeyState


def get_service_status(ctx: Context) -> dict[str, Any]:
    ctx.authorise()
    used = sum(k.owner == USER and k.state is not KeyState.PENDING_DELETE for k in ctx.keys.list_all())
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
        "CmkUserCount": used,
        "CmkLimit": ctx.settings.max_keys,
        "IsAllowedDataKeyHosted": True,
        "DataKeyLimit": MAX_DATA_KEYS,
        "FreeDataKeyLimit": MAX_DATA_KEYS,
        "DataKeyUsedCount": sum(d.state is not DataKeyState.PENDING_DELETE for d in ctx.data_keys.list_all()),
    }
