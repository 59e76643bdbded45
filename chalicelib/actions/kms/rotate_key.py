"""Rotate a key's material now, at most once in 24 hours; old ciphertexts still open."""

from typing import Any

from chalicelib import ids
from chalicelib.actions.parameters import KeyId, MemberAccount, refuse_member_account
from chalicelib.context import Context
from chalicelib.errors import RotateRateLimited
from chalicelib.model.key import DAY
from chalicelib.table import keys


def rotate_key(ctx: Context, *, key_id: KeyId, member_account: MemberAccount | None = None) -> dict[str, Any]:
    refuse_member_account(member_account)
    key = ctx.keys.get(key_id)
    key.check_rotatable()
    if ctx.now < key.last_rotated_at + DAY:
        raise RotateRateLimited
    ctx.commit(keys.replace(key, ctx.keys.rotated(key)))
    # The rotation is complete: the id is for clients that want to log one, and DescribeKey shows LastRotateTime.
    return {"TaskId": ids.request_id(ctx.now_ms)}
