"""Take tags from a role, those of the keys that it has."""

from dataclasses import replace
from typing import Any

from chalicelib.actions.policy_parameters import CamTagKeys, OptionalRoleName, RoleId
from chalicelib.context import Context
from chalicelib.table import roles


def untag_role(
    ctx: Context, *, tag_keys: CamTagKeys, role_name: OptionalRoleName = "", role_id: RoleId = ""
) -> dict[str, Any]:
    old = ctx.roles.get(role_id, role_name)
    kept = {key: value for key, value in old.tags.items() if key not in tag_keys}
    ctx.commit([roles.replace_role(ctx.seal, old, replace(old, tags=kept, updated_at=ctx.now))])
    return {}
