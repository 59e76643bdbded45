"""Give a key another alias, unique in the region."""

from typing import Any

from chalicelib.actions.parameters import Alias, KeyId, MemberAccount, refuse_member_account
from chalicelib.context import Context
from chalicelib.errors import AliasAlreadyExists
from chalicelib.table import keys


def update_alias(
    ctx: Context, *, key_id: KeyId, alias: Alias, member_account: MemberAccount | None = None
) -> dict[str, Any]:
    refuse_member_account(member_account)
    key = ctx.keys.get(key_id)
    new = key.rename(alias)
    ctx.commit(keys.replace(key, new), {1: AliasAlreadyExists} if new.alias != key.alias else None)
    return {}
