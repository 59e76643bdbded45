"""A fresh data key, in plain and encrypted under a key; KMS keeps it, too, if that is wished for."""

from typing import Annotated, Any, Final

from chalicelib.actions.parameters import (
    DataKeyDescription,
    EncryptionAlgorithm,
    EncryptionContext,
    HsmClusterId,
    KeyId,
    OptionalDataKeyName,
    Tags,
    check_hsm_cluster,
    tag_map,
)
from chalicelib.context import Context
from chalicelib.errors import InvalidDataKeyName, InvalidParameter
from chalicelib.model.key import Origin
from chalicelib.params import RECORDED, Between, OneOf, Wire

_SPECS: Final = {"AES_128": 16, "AES_256": 32}


def generate_data_key(
    ctx: Context,
    *,
    key_id: KeyId,
    key_spec: Annotated[str, OneOf(("", *_SPECS), InvalidParameter), RECORDED] = "",
    number_of_bytes: Annotated[int, Between(1, 1024, InvalidParameter), RECORDED] | None = None,
    encryption_context: EncryptionContext = "",
    encryption_public_key: str = "",
    encryption_algorithm: EncryptionAlgorithm = "",
    is_hosted_by_kms: Annotated[int, OneOf((0, 1), InvalidParameter), RECORDED, Wire("IsHostedByKms")] = 0,
    data_key_name: OptionalDataKeyName = "",
    description: DataKeyDescription = "",
    hsm_cluster_id: HsmClusterId = "",
    tags: Tags | None = None,
) -> dict[str, Any]:
    check_hsm_cluster(hsm_cluster_id)
    count = number_of_bytes or _SPECS.get(key_spec)
    if count is None:
        raise InvalidParameter("Set KeySpec or NumberOfBytes.")
    if is_hosted_by_kms and not data_key_name:
        raise InvalidDataKeyName("DataKeyName is required where IsHostedByKms is 1.")
    ctx.request_tags = tag_map(tags or ())
    key = ctx.keys.to_use(key_id, encryption_context)
    key.check_generates()
    plaintext = ctx.hsm.random(count)
    blob = ctx.keys.encrypt(key, plaintext, encryption_context)
    answer = {
        "KeyId": key.id,
        "Plaintext": ctx.keys.wrap_plaintext(plaintext, encryption_public_key, encryption_algorithm),
        "CiphertextBlob": blob,
    }
    if not is_hosted_by_kms:
        return answer
    # Who asks for a hosted data key sends no context: what is kept opens without one.
    kept = blob if ctx.keys.same_context(encryption_context, "") else ctx.keys.encrypt(key, plaintext, "")
    data_key = ctx.data_keys.new(
        key,
        plaintext,
        kept,
        name=data_key_name,
        origin=Origin.TENCENT_KMS,
        description=description,
        tags=ctx.request_tags,
    )
    ctx.event.is_read = False
    ctx.data_keys.create(data_key)
    return {**answer, "DataKeyId": data_key.id, "TagCode": 0, "TagMsg": ""}
