"""The ids of the keys that are enabled, disabled or waiting for material, newest first."""

from typing import Annotated, Any, Final

from chalicelib.actions.parameters import HsmClusterId, PageLimit, Unsigned, check_hsm_cluster
from chalicelib.context import Context
from chalicelib.errors import InvalidParameter
from chalicelib.model.key import USER, KeyState
from chalicelib.params import RECORDED, OneOf

_LISTED: Final = (KeyState.ENABLED, KeyState.DISABLED, KeyState.PENDING_IMPORT)


def list_keys(
    ctx: Context,
    *,
    offset: Unsigned = 0,
    limit: PageLimit = 10,
    role: Annotated[int, OneOf((0, 1), InvalidParameter), RECORDED] = 0,
    hsm_cluster_id: HsmClusterId = "",
) -> dict[str, Any]:
    check_hsm_cluster(hsm_cluster_id)
    found = [k for k in ctx.keys.visible() if k.state in _LISTED and (k.owner != USER) == bool(role)]
    found.reverse()
    return {"Keys": [{"KeyId": k.id} for k in found[offset : offset + limit]], "TotalCount": len(found)}
