"""Enable up to 100 data keys, all or none."""

from typing import Any

from chalicelib.actions.parameters import DataKeyIds, MemberAccount, refuse_member_account
from chalicelib.context import Context
from chalicelib.table import data_keys


def enable_data_keys(
    ctx: Context, *, data_key_ids: DataKeyIds, member_account: MemberAccount | None = None
) -> dict[str, Any]:
    refuse_member_account(member_account)
    found = ctx.data_keys.get_many(data_key_ids)
    changes = [(d, d.enable(key)) for d, key in zip(found, ctx.data_keys.keys_of(found), strict=True)]
    ctx.commit([op for old, new in changes if new != old for op in data_keys.replace(old, new)])
    return {}
