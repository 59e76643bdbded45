"""Destroy a key after 7 to 30 days; until then the deletion can be cancelled."""

from typing import Annotated, Any, Final

from chalicelib.actions.parameters import KeyId, MemberAccount, refuse_member_account
from chalicelib.context import Context
from chalicelib.errors import CmkUsedByCloudProduct, InvalidPendingWindowInDays
from chalicelib.model.key import DAY
from chalicelib.params import RECORDED, Between
from chalicelib.table import keys

_NAMED: Final = 5
"""How many of the things that depend on a key its refusal names."""


def schedule_key_deletion(
    ctx: Context,
    *,
    key_id: KeyId,
    pending_window_in_days: Annotated[int, Between(7, 30, InvalidPendingWindowInDays), RECORDED],
    member_account: MemberAccount | None = None,
) -> dict[str, Any]:
    refuse_member_account(member_account)
    key = ctx.keys.get(key_id)
    if key.bound:
        raise CmkUsedByCloudProduct(
            f"{key.bound} cloud resources are bound to the key: {', '.join(ctx.keys.bound_to(key, _NAMED))}."
            " Unbind them first."
        )
    new = key.schedule_deletion(at=ctx.now + pending_window_in_days * DAY)
    if not ctx.settings.delete_keys_in_use:
        secrets, data_keys = ctx.secrets.sealed_under(key.id), ctx.data_keys.encrypted_under(key.id)
        # Only what the caller may list is named: the key is no way to learn of the rest.
        may_list_secrets = [s.name for s in ctx.secrets.shown(secrets)]
        may_list_data_keys = [d.name for d in ctx.data_keys.shown(data_keys)]
        for kind, count, names in (
            ("secrets", len(secrets), may_list_secrets),
            ("hosted data keys", len(data_keys), may_list_data_keys),
        ):
            if count:
                named = f": {', '.join(names[:_NAMED])}" if names else ""
                raise CmkUsedByCloudProduct(f"{count} {kind} need the key{named}. Delete them first.")
    ctx.commit(keys.replace(key, new))
    return {"KeyId": key.id, "DeletionDate": new.deletion_at}
