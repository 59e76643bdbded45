"""Cancel a scheduled deletion; the key is disabled afterwards, or waits for material where it has none."""

from typing import Any

from chalicelib.actions.parameters import KeyId, MemberAccount, refuse_member_account
from chalicelib.context import Context
from chalicelib.errors import CmkLimitExceeded
from chalicelib.table import keys


def cancel_key_deletion(
    ctx: Context, *, key_id: KeyId, member_account: MemberAccount | None = None
) -> dict[str, Any]:
    refuse_member_account(member_account)
    key = ctx.keys.get(key_id)
    # The key takes a place of the quota again.
    ops = keys.replace(key, key.cancel_deletion(), ctx.settings.max_keys)
    ctx.commit(ops, {1: CmkLimitExceeded})
    return {"KeyId": key.id}
