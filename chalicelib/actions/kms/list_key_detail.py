"""The account's keys in the region with all their properties, filtered and in pages."""

from typing import Annotated, Any, Final

from chalicelib.actions.parameters import (
    HsmClusterId,
    MemberAccount,
    PageLimit,
    TagFilters,
    Unsigned,
    carries,
    check_hsm_cluster,
)
from chalicelib.context import Context
from chalicelib.errors import InvalidParameter, NotRoleOperation
from chalicelib.model.key import USER, KeyState
from chalicelib.params import RECORDED, Between, Characters, OneOf

_STATES: Final = (
    None,
    KeyState.ENABLED,
    KeyState.DISABLED,
    KeyState.PENDING_DELETE,
    KeyState.PENDING_IMPORT,
    KeyState.ARCHIVED,
)


def list_key_detail(
    ctx: Context,
    *,
    offset: Unsigned = 0,
    limit: PageLimit = 10,
    role: Annotated[int, OneOf((0, 1), InvalidParameter), RECORDED] = 0,
    order_type: Annotated[int, OneOf((0, 1), InvalidParameter), RECORDED] = 0,
    key_state: Annotated[int, Between(0, 5, InvalidParameter), RECORDED] = 0,
    search_key_alias: Annotated[str, Characters(60, error=InvalidParameter), RECORDED] = "",
    origin: Annotated[str, OneOf(("", "ALL", "TENCENT_KMS", "EXTERNAL"), InvalidParameter), RECORDED] = "",
    key_usage: Annotated[str, Characters(64, error=InvalidParameter), RECORDED] = "",
    tag_filters: TagFilters | None = None,
    hsm_cluster_id: HsmClusterId = "",
    member_accounts: list[MemberAccount] | None = None,
) -> dict[str, Any]:
    check_hsm_cluster(hsm_cluster_id)
    if member_accounts:
        raise NotRoleOperation
    found = [
        k
        for k in ctx.keys.visible()
        if (k.owner != USER) == bool(role)
        and _STATES[key_state] in (None, k.state)
        and (search_key_alias in k.alias or search_key_alias in k.id)
        and origin in ("", "ALL", k.origin)
        and (key_usage == "ALL" or k.usage == (key_usage or "ENCRYPT_DECRYPT"))
        and carries(k.tags, tag_filters or ())
    ]
    if order_type == 0:
        found.reverse()
    return {
        "TotalCount": len(found),
        "KeyMetadatas": [ctx.keys.metadata(k) for k in found[offset : offset + limit]],
    }
