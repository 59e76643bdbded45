"""The policies that apply to a user: its own, and with them or apart those of its groups."""

from typing import Annotated, Any

from chalicelib.actions.policy_parameters import (
    BY_SYNTAX,
    Keyword,
    Page,
    PageSize,
    Uin,
    has_keyword,
    one_page,
    time_text,
)
from chalicelib.actions.principals import get_user
from chalicelib.context import Context
from chalicelib.errors import ParamError
from chalicelib.model.policy import CUSTOM, PRESET
from chalicelib.params import RECORDED, OneOf
from chalicelib.table import users


def list_attached_user_all_policies(
    ctx: Context,
    *,
    target_uin: Uin,
    rp: PageSize,
    page: Page,
    attach_type: Annotated[int, OneOf((0, 1, 2), ParamError), RECORDED],
    strategy_type: Annotated[int, OneOf((0, CUSTOM, PRESET), ParamError), RECORDED] = 0,
    keyword: Keyword = "",
) -> dict[str, Any]:
    user = get_user(ctx, target_uin)
    attached: dict[int, int] = {}
    if attach_type != 2:  # noqa: PLR2004 - 0 is both, 1 its own, 2 those of groups
        attached |= ctx.policies.attachments(users.user_target(user.uin)).policies
    through: dict[int, list[dict[str, Any]]] = {}
    if attach_type != 1:
        for group in users.find_groups(ctx.table, ctx.seal, user.groups).values():
            for policy_id, at in ctx.policies.attachments(users.group_target(group.id)).policies.items():
                attached.setdefault(policy_id, at)
                through.setdefault(policy_id, []).append({"GroupId": group.id, "GroupName": group.name})
    found = [
        policy
        for policy in ctx.policies.find_all(attached).values()
        if strategy_type in (0, policy.type) and has_keyword(policy, keyword)
    ]
    found.sort(key=lambda policy: (attached[policy.id], policy.id))
    listed = [
        {
            "PolicyId": str(policy.id),
            "PolicyName": policy.name,
            "Description": policy.description,
            "AddTime": time_text(attached[policy.id]),
            "StrategyType": str(policy.type),
            "CreateMode": str(BY_SYNTAX),
            "Groups": through.get(policy.id, []),
            "Deactived": 0,
            "DeactivedDetail": [],
        }
        for policy in one_page(found, page, rp)
    ]
    return {"PolicyList": listed, "TotalNum": len(found)}
