"""Give a role tags; a key that it has gets the new value."""

from dataclasses import replace
from typing import Any

from chalicelib.actions.parameters import MAX_TAGS
from chalicelib.actions.policy_parameters import CamTags, OptionalRoleName, RoleId, tag_map
from chalicelib.context import Context
from chalicelib.errors import TagLimitExceeded
from chalicelib.table import roles


def tag_role(
    ctx: Context, *, tags: CamTags, role_name: OptionalRoleName = "", role_id: RoleId = ""
) -> dict[str, Any]:
    ctx.request_tags = tag_map(tags)
    old = ctx.roles.get(role_id, role_name)
    new = replace(old, tags={**old.tags, **ctx.request_tags}, updated_at=ctx.now)
    if len(new.tags) > MAX_TAGS:
        raise TagLimitExceeded(f"A role has at most {MAX_TAGS} tags.")
    ctx.commit([roles.replace_role(ctx.seal, old, new)])
    return {}
