"""Rotate a key's material automatically, every 7 to 365 days."""

from typing import Annotated, Any

from chalicelib.actions.parameters import KeyId, MemberAccount, refuse_member_account
from chalicelib.context import Context
from chalicelib.model.key import DEFAULT_ROTATE_DAYS
from chalicelib.params import RECORDED, Between
from chalicelib.table import keys


def enable_key_rotation(
    ctx: Context,
    *,
    key_id: KeyId,
    rotate_days: Annotated[int, Between(7, 365), RECORDED] = DEFAULT_ROTATE_DAYS,
    member_account: MemberAccount | None = None,
) -> dict[str, Any]:
    refuse_member_account(member_account)
    key = ctx.keys.get(key_id)
    ctx.commit(keys.replace(key, key.enable_rotation(rotate_days)))
    return {}
