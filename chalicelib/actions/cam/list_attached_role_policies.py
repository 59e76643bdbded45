"""The policies that are attached to a role."""

from typing import Annotated, Any

from chalicelib.actions.policy_parameters import (
    PRESET_POLICY,
    USER_POLICY,
    Keyword,
    OptionalRoleName,
    Page,
    PageSize,
    RoleId,
    attached_policies,
    one_page,
)
from chalicelib.context import Context
from chalicelib.errors import ParamError
from chalicelib.params import RECORDED, OneOf
from chalicelib.table.roles import target


def list_attached_role_policies(
    ctx: Context,
    *,
    page: Page,
    rp: PageSize,
    role_id: RoleId = "",
    role_name: OptionalRoleName = "",
    policy_type: Annotated[str, OneOf(("", USER_POLICY, PRESET_POLICY), ParamError), RECORDED] = "",
    keyword: Keyword = "",
) -> dict[str, Any]:
    role = ctx.roles.get(role_id, role_name)
    found = [
        # Other lists call it a remark.
        {"Description": policy.pop("Remark"), **policy}
        for policy in attached_policies(ctx, target(role.id), keyword)
        if policy_type in ("", policy["PolicyType"])
    ]
    return {"List": one_page(found, page, rp), "TotalNum": len(found)}
