"""Give a data key another description; an empty one clears it."""

from typing import Any

from chalicelib.actions.parameters import (
    DataKeyDescription,
    DataKeyId,
    MemberAccount,
    refuse_member_account,
)
from chalicelib.context import Context
from chalicelib.table import data_keys


def update_data_key_description(
    ctx: Context,
    *,
    data_key_id: DataKeyId,
    description: DataKeyDescription,
    member_account: MemberAccount | None = None,
) -> dict[str, Any]:
    refuse_member_account(member_account)
    data_key = ctx.data_keys.get(data_key_id)
    ctx.commit(data_keys.replace(data_key, data_key.describe(description)))
    return {}
