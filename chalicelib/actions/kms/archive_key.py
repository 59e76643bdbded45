"""Archive a key: it decrypts what there is and encrypts no more. Repeating it succeeds."""

from typing import Any

from chalicelib.actions.parameters import KeyId, MemberAccount, refuse_member_account
from chalicelib.context import Context
from chalicelib.table import keys


def archive_key(
    ctx: Context, *, key_id: KeyId, member_account: MemberAccount | None = None
) -> dict[str, Any]:
    refuse_member_account(member_account)
    key = ctx.keys.get(key_id)
    ctx.commit(keys.replace(key, key.archive()))
    return {}
