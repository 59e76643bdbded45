"""The users, groups and roles that a policy is attached to."""

from typing import Annotated, Any, Final

from chalicelib.actions.policy_parameters import Page, PageSize, PolicyId, one_page, time_text
from chalicelib.context import Context
from chalicelib.errors import EntityFilterError
from chalicelib.params import RECORDED, OneOf
from chalicelib.table import roles, users
from chalicelib.table.port import MAX_OPS

_KINDS: Final = {"All": "", "User": "user", "Group": "group", "Role": "role"}
_RELATED_TYPES: Final = {"user": 1, "group": 2, "role": 3}


def list_entities_for_policy(
    ctx: Context,
    *,
    policy_id: PolicyId,
    page: Page = 1,
    rp: PageSize = 20,
    entity_filter: Annotated[str, OneOf(tuple(_KINDS), EntityFilterError), RECORDED] = "All",
) -> dict[str, Any]:
    policy = ctx.policies.get(policy_id)
    found = ctx.policies.targets(policy, _KINDS[entity_filter])
    shown = one_page(found, page, rp)
    names = _names(ctx, [target for target, _ in shown])
    listed = [_entity(target, names.get(target, ""), at) for target, at in shown]
    return {"TotalNum": len(found), "List": listed}


def _names(ctx: Context, targets: list[str]) -> dict[str, str]:
    by_kind: dict[str, list[str]] = {kind: [] for kind in _RELATED_TYPES}
    for target in targets:
        kind, _, name = target.partition("/")
        by_kind[kind].append(name)
    found: dict[str, str] = {}
    for start in range(0, len(targets), MAX_OPS):
        end = start + MAX_OPS
        some_users = users.find_users(ctx.table, ctx.seal, by_kind["user"][start:end])
        some_groups = users.find_groups(ctx.table, ctx.seal, map(int, by_kind["group"][start:end]))
        some_roles = roles.find_all(ctx.table, ctx.seal, by_kind["role"][start:end])
        found |= {f"user/{uin}": user.name for uin, user in some_users.items()}
        found |= {f"group/{group_id}": group.name for group_id, group in some_groups.items()}
        found |= {f"role/{role_id}": role.name for role_id, role in some_roles.items()}
    return found


def _entity(target: str, name: str, at: int) -> dict[str, Any]:
    kind, _, entity_id = target.partition("/")
    return {
        "Id": entity_id,
        "Name": name,
        "Uin": int(entity_id) if kind == "user" else 0,
        "RelatedType": _RELATED_TYPES[kind],
        "AttachmentTime": time_text(at),
    }
