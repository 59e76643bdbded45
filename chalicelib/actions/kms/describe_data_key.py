"""One hosted data key's properties, whatever its state."""

from typing import Any

from chalicelib.actions.parameters import DataKeyId, MemberAccount, refuse_member_account
from chalicelib.context import Context


def describe_data_key(
    ctx: Context, *, data_key_id: DataKeyId, member_account: MemberAccount | None = None
) -> dict[str, Any]:
    refuse_member_account(member_account)
    (metadata,) = ctx.data_keys.metadata([ctx.data_keys.get(data_key_id)])
    return {"DataKeyMetadata": metadata}
