"""Delete a data key after 7 to 30 days, enabled or not; until then the deletion can be cancelled."""

from typing import Annotated, Any

from chalicelib.actions.parameters import DataKeyId, MemberAccount, refuse_member_account
from chalicelib.context import Context
from chalicelib.errors import InvalidPendingWindowInDays
from chalicelib.model.key import DAY
from chalicelib.params import RECORDED, Between
from chalicelib.table import data_keys


def schedule_data_key_deletion(
    ctx: Context,
    *,
    data_key_id: DataKeyId,
    pending_window_in_days: Annotated[int, Between(7, 30, InvalidPendingWindowInDays), RECORDED],
    member_account: MemberAccount | None = None,
) -> dict[str, Any]:
    refuse_member_account(member_account)
    data_key = ctx.data_keys.get(data_key_id)
    new = data_key.schedule_deletion(at=ctx.now + pending_window_in_days * DAY)
    ctx.commit(data_keys.replace(data_key, new))
    return {"DataKeyId": data_key.id, "DeletionDate": new.deletion_at}
