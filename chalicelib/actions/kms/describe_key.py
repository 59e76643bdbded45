"""One key's properties, whatever its state."""

from typing import Any

from chalicelib.actions.parameters import KeyId, MemberAccount, refuse_member_account
from chalicelib.context import Context


def describe_key(
    ctx: Context, *, key_id: KeyId, member_account: MemberAccount | None = None
) -> dict[str, Any]:
    refuse_member_account(member_account)
    return {"KeyMetadata": ctx.keys.describe(ctx.keys.get(key_id))}
