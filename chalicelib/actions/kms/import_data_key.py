"""Let KMS keep a data key: a ciphertext of GenerateDataKey, or a plaintext from elsewhere."""

from typing import Annotated, Any, Final

from chalicelib.actions.parameters import (
    DataKeyDescription,
    DataKeyName,
    HsmClusterId,
    OptionalKeyId,
    Tags,
    check_hsm_cluster,
    tag_map,
)
from chalicelib.context import Context
from chalicelib.errors import InvalidImportKeyMaterial, InvalidKeyId, InvalidPlaintext, InvalidType
from chalicelib.model.key import Origin
from chalicelib.params import RECORDED, Base64, Characters, OneOf

_CIPHERTEXT: Final = 1
_PLAINTEXT: Final = 2
_MAX_BYTES: Final = 1024


def import_data_key(
    ctx: Context,
    *,
    data_key_name: DataKeyName,
    import_key_material: Annotated[str, Characters(8192, 1, InvalidImportKeyMaterial)],
    import_type: Annotated[int, OneOf((_CIPHERTEXT, _PLAINTEXT), InvalidType), RECORDED],
    description: DataKeyDescription = "",
    key_id: OptionalKeyId = "",
    hsm_cluster_id: HsmClusterId = "",
    tags: Tags | None = None,
) -> dict[str, Any]:
    check_hsm_cluster(hsm_cluster_id)
    ctx.request_tags = tag_map(tags or ())
    if import_type == _CIPHERTEXT:
        key, plaintext = ctx.data_keys.open_import(import_key_material, key_id)
        if len(plaintext) > _MAX_BYTES:
            raise InvalidImportKeyMaterial(f"A data key has up to {_MAX_BYTES} bytes.")
        blob, origin = import_key_material, Origin.TENCENT_KMS
    else:
        if not key_id:
            raise InvalidKeyId("KeyId is required where ImportType is 2.")
        plaintext = Base64(_MAX_BYTES, error=InvalidPlaintext).decode(
            import_key_material, "ImportKeyMaterial"
        )
        key = ctx.keys.to_use(key_id)
        key.check_generates()
        blob, origin = ctx.keys.encrypt(key, plaintext, ""), Origin.EXTERNAL
    data_key = ctx.data_keys.new(
        key,
        plaintext,
        blob,
        name=data_key_name,
        origin=origin,
        description=description,
        tags=ctx.request_tags,
    )
    ctx.data_keys.create(data_key)
    return {"KeyId": key.id, "DataKeyId": data_key.id, "TagCode": 0, "TagMsg": ""}
