"""Replace a key's description; an empty one clears it."""

from typing import Any

from chalicelib.actions.parameters import KeyDescription, KeyId, MemberAccount, refuse_member_account
from chalicelib.context import Context
from chalicelib.table import keys


def update_key_description(
    ctx: Context, *, key_id: KeyId, description: KeyDescription, member_account: MemberAccount | None = None
) -> dict[str, Any]:
    refuse_member_account(member_account)
    key = ctx.keys.get(key_id)
    ctx.commit(keys.replace(key, key.describe(description)))
    return {}
