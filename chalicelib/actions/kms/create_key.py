"""Create a customer master key."""

from typing import Annotated, Any

from chalicelib.actions.parameters import (
    Alias,
    HsmClusterId,
    KeyDescription,
    Tags,
    check_hsm_cluster,
    tag_map,
)
from chalicelib.context import Context
from chalicelib.errors import (
    AliasAlreadyExists,
    CmkLimitExceeded,
    InvalidType,
)
from chalicelib.params import RECORDED, Between
from chalicelib.table import keys


def create_key(
    ctx: Context,
    *,
    alias: Alias,
    description: KeyDescription = "",
    key_usage: Annotated[str, RECORDED] = "",
    type: Annotated[int, Between(1, 2, InvalidType), RECORDED] = 1,
    tags: Tags | None = None,
    hsm_cluster_id: HsmClusterId = "",
) -> dict[str, Any]:
    ctx.authorise()
    check_hsm_cluster(hsm_cluster_id)
    if type != 1:
        raise InvalidType("Type is 1: importing key material is not supported yet.")
    key = ctx.keys.new(
        alias=alias, usage=key_usage or "ENCRYPT_DECRYPT", description=description, tags=tag_map(tags or ())
    )
    key = ctx.keys.with_new_backing(key)
    ctx.event.note("key", key.id)
    ctx.commit(keys.create(key), {1: AliasAlreadyExists, 3: CmkLimitExceeded})
    return {
        "KeyId": key.id,
        "Alias": key.alias,
        "CreateTime": key.created_at,
        "Description": key.description,
        "KeyState": key.state.value,
        "KeyUsage": key.usage,
        "TagCode": 0,
        "TagMsg": "",
        "HsmClusterId": "",
    }
