"""The account's own policies, newest first, then the preset ones."""

from typing import Annotated, Any

from chalicelib.actions.policy_parameters import (
    BY_SYNTAX,
    Keyword,
    Page,
    PageSize,
    has_keyword,
    one_page,
    tag_list,
    time_text,
)
from chalicelib.context import Context
from chalicelib.errors import ScopeError
from chalicelib.model.policy import ManagedPolicy
from chalicelib.model.preset_policies import PRESET_POLICIES
from chalicelib.params import RECORDED, OneOf
from chalicelib.table.port import Row


def list_policies(
    ctx: Context,
    *,
    rp: PageSize = 20,
    page: Page = 1,
    scope: Annotated[str, OneOf(("All", "QCS", "Local"), ScopeError), RECORDED] = "All",
    keyword: Keyword = "",
) -> dict[str, Any]:
    ctx.authorise()
    found: list[ManagedPolicy] = []
    if scope != "QCS":
        found += reversed(ctx.policies.list_all())
    if scope != "Local":
        found += PRESET_POLICIES.values()
    found = [p for p in found if has_keyword(p, keyword)]
    shown = one_page(found, page, rp)
    counts = ctx.policies.counts(shown)
    listed = [_info(p, *counts[2 * i : 2 * i + 2]) for i, p in enumerate(shown)]
    return {"TotalNum": len(found), "List": listed, "ServiceTypeList": []}


def _info(policy: ManagedPolicy, attached: Row | None, bounds: Row | None) -> dict[str, Any]:
    count = attached.number if attached is not None else 0
    return {
        "PolicyId": policy.id,
        "PolicyName": policy.name,
        "AddTime": time_text(policy.created_at),
        "UpdateTime": time_text(policy.updated_at),
        "Type": policy.type,
        "Description": policy.description,
        "CreateMode": BY_SYNTAX,
        "Attachments": count,
        "AttachEntityCount": count,
        "AttachEntityBoundaryCount": bounds.number if bounds is not None else 0,
        "ServiceType": "",
        "IsAttached": None,
        "Deactived": 0,
        "DeactivedDetail": [],
        "IsServiceLinkedPolicy": 0,
        "Tags": tag_list(policy.tags),
    }
