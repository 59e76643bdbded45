"""The properties of up to 100 keys, all or none."""

from typing import Any

from chalicelib.actions.parameters import KeyIds, MemberAccount, refuse_member_account
from chalicelib.context import Context


def describe_keys(
    ctx: Context, *, key_ids: KeyIds, member_account: MemberAccount | None = None
) -> dict[str, Any]:
    refuse_member_account(member_account)
    return {"KeyMetadatas": [ctx.keys.metadata(key) for key in ctx.keys.get_many(key_ids)]}
