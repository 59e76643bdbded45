"""The properties of up to 100 hosted data keys, all or none."""

from typing import Any

from chalicelib.actions.parameters import DataKeyIds, MemberAccount, refuse_member_account
from chalicelib.context import Context


def describe_data_keys(
    ctx: Context, *, data_key_ids: DataKeyIds, member_account: MemberAccount | None = None
) -> dict[str, Any]:
    refuse_member_account(member_account)
    return {"DataKeyMetadatas": ctx.data_keys.metadata(ctx.data_keys.get_many(data_key_ids))}
