"""Create a customer master key."""

from typing import Annotated, Any, Final

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
    UnsupportedKeyUsageInCurrentRegion,
)
from chalicelib.model.key import SYMMETRIC_USAGES, Origin, algorithm
from chalicelib.params import RECORDED, Between
from chalicelib.table import keys

IMPORTED: Final = 2


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
    ctx.request_tags = tag_map(tags or ())
    ctx.authorise()
    check_hsm_cluster(hsm_cluster_id)
    usage = key_usage or "ENCRYPT_DECRYPT"
    if algorithm(usage, ctx.standard) not in ctx.keys.kinds():
        raise UnsupportedKeyUsageInCurrentRegion
    if type == IMPORTED and usage not in SYMMETRIC_USAGES:
        raise InvalidType
    key = ctx.keys.new(
        alias=alias,
        usage=usage,
        description=description,
        origin=Origin.EXTERNAL if type == IMPORTED else Origin.TENCENT_KMS,
        tags=ctx.request_tags,
    )
    ctx.event.note("key", key.id)
    ctx.commit(keys.create(key, ctx.settings.max_keys), {1: AliasAlreadyExists, 3: CmkLimitExceeded})
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
