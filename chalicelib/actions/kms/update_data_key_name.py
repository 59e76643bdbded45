"""Give a data key another name, unique in the region."""

from typing import Any

from chalicelib.actions.parameters import DataKeyId, DataKeyName, MemberAccount, refuse_member_account
from chalicelib.context import Context


def update_data_key_name(
    ctx: Context,
    *,
    data_key_id: DataKeyId,
    data_key_name: DataKeyName,
    member_account: MemberAccount | None = None,
) -> dict[str, Any]:
    refuse_member_account(member_account)
    ctx.data_keys.rename(ctx.data_keys.get(data_key_id), data_key_name)
    return {}
