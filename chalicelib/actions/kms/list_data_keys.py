"""The ids of the hosted data keys, newest first."""

from typing import Annotated, Any

from chalicelib.actions.parameters import HsmClusterId, Unsigned, check_hsm_cluster
from chalicelib.context import Context
from chalicelib.model.key import USER
from chalicelib.params import RECORDED, Between, OneOf


def list_data_keys(
    ctx: Context,
    *,
    offset: Unsigned = 0,
    limit: Annotated[int, Between(1, 200), RECORDED] = 10,
    role: Annotated[int, OneOf((0, 1)), RECORDED] = 0,
    hsm_cluster_id: HsmClusterId = "",
) -> dict[str, Any]:
    check_hsm_cluster(hsm_cluster_id)
    found = [d for d in ctx.data_keys.visible() if (d.owner != USER) == bool(role)]
    found.reverse()
    return {
        "DataKeys": [{"DataKeyId": d.id} for d in found[offset : offset + limit]],
        "TotalCount": len(found),
    }
