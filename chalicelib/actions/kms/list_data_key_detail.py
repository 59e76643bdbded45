"""The hosted data keys with all their properties, filtered and in pages."""

from typing import Annotated, Any, Final

from chalicelib.actions.parameters import (
    HsmClusterId,
    MemberAccount,
    OptionalKeyId,
    PageLimit,
    TagFilters,
    Unsigned,
    carries,
    check_hsm_cluster,
)
from chalicelib.context import Context
from chalicelib.errors import InvalidParameter, NotRoleOperation
from chalicelib.model.data_key import DataKeyState
from chalicelib.model.key import USER
from chalicelib.params import RECORDED, Between, Characters, OneOf

_STATES: Final = (None, DataKeyState.ENABLED, DataKeyState.DISABLED, DataKeyState.PENDING_DELETE)


def list_data_key_detail(
    ctx: Context,
    *,
    offset: Unsigned = 0,
    limit: PageLimit = 10,
    role: Annotated[int, OneOf((0, 1), InvalidParameter), RECORDED] = 0,
    order_type: Annotated[int, OneOf((0, 1), InvalidParameter), RECORDED] = 0,
    key_state: Annotated[int, Between(0, 3, InvalidParameter), RECORDED] = 0,
    search_key_alias: Annotated[str, Characters(60, error=InvalidParameter), RECORDED] = "",
    origin: Annotated[str, OneOf(("", "ALL", "TENCENT_KMS", "EXTERNAL"), InvalidParameter), RECORDED] = "",
    hsm_cluster_id: HsmClusterId = "",
    key_id: OptionalKeyId = "",
    data_key_len: Unsigned = 0,
    tag_filters: TagFilters | None = None,
    member_accounts: list[MemberAccount] | None = None,
) -> dict[str, Any]:
    check_hsm_cluster(hsm_cluster_id)
    if member_accounts:
        raise NotRoleOperation
    listed = ctx.data_keys.visible()
    if key_id:
        ctx.keys.find_for_service(key_id)  # raises CmkNotFound
    found = [
        d
        for d in listed
        if (d.owner != USER) == bool(role)
        and _STATES[key_state] in (None, d.state)
        and (search_key_alias in d.name or search_key_alias in d.id)
        and origin in ("", "ALL", d.origin)
        and key_id in ("", d.key_id)
        and data_key_len in (0, d.number_of_bytes)
        and carries(d.tags, tag_filters or ())
    ]
    if order_type == 0:
        found.reverse()
    page = found[offset : offset + limit]
    return {"TotalCount": len(found), "DataKeyMetadatas": ctx.data_keys.metadata(page)}
