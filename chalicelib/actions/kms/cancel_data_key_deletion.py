"""Cancel a scheduled deletion; the data key is disabled afterwards."""

from typing import Any

from chalicelib.actions.parameters import DataKeyId, MemberAccount, refuse_member_account
from chalicelib.context import Context
from chalicelib.errors import DataKeyLimitExceeded
from chalicelib.table import data_keys


def cancel_data_key_deletion(
    ctx: Context, *, data_key_id: DataKeyId, member_account: MemberAccount | None = None
) -> dict[str, Any]:
    refuse_member_account(member_account)
    data_key = ctx.data_keys.get(data_key_id)
    (key,) = ctx.data_keys.keys_of([data_key])
    # The data key takes a place of the quota again.
    ctx.commit(data_keys.replace(data_key, data_key.cancel_deletion(key)), {1: DataKeyLimitExceeded})
    return {"DataKeyId": data_key.id}
