"""Whether a key is rotated automatically; DescribeKey answers when."""

from typing import Any

from chalicelib.actions.parameters import KeyId, MemberAccount, refuse_member_account
from chalicelib.context import Context


def get_key_rotation_status(
    ctx: Context, *, key_id: KeyId, member_account: MemberAccount | None = None
) -> dict[str, Any]:
    refuse_member_account(member_account)
    return {"KeyRotationEnabled": ctx.keys.get(key_id).rotation_enabled}
