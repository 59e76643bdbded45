"""Enable up to 100 keys, all or none."""

from typing import Any

from chalicelib.actions.parameters import KeyIds, MemberAccount, refuse_member_account
from chalicelib.context import Context
from chalicelib.table import keys


def enable_keys(
    ctx: Context, *, key_ids: KeyIds, member_account: MemberAccount | None = None
) -> dict[str, Any]:
    refuse_member_account(member_account)
    changes = [(key, key.enable()) for key in ctx.keys.get_many(key_ids)]
    ctx.commit([op for old, new in changes if new != old for op in keys.replace(old, new)])
    return {}
