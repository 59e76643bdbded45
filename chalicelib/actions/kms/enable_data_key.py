"""Enable a disabled data key, if its CMK can decrypt; repeating it succeeds."""

from typing import Any

from chalicelib.actions.parameters import DataKeyId, MemberAccount, refuse_member_account
from chalicelib.context import Context
from chalicelib.table import data_keys


def enable_data_key(
    ctx: Context, *, data_key_id: DataKeyId, member_account: MemberAccount | None = None
) -> dict[str, Any]:
    refuse_member_account(member_account)
    data_key = ctx.data_keys.get(data_key_id)
    (key,) = ctx.data_keys.keys_of([data_key])
    ctx.commit(data_keys.replace(data_key, data_key.enable(key)))
    return {}
