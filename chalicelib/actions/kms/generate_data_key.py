"""A fresh data key, in plain and encrypted under a key."""

import base64
from typing import Annotated, Any, Final

from chalicelib.actions.parameters import (
    EncryptionContext,
    HsmClusterId,
    KeyId,
    Tags,
    Unsigned,
    check_hsm_cluster,
)
from chalicelib.context import Context
from chalicelib.errors import InvalidParameter, UnsupportedOperation
from chalicelib.params import RECORDED, Between, OneOf, Utf8, Wire

_SPECS: Final = {"AES_128": 16, "AES_256": 32}


def generate_data_key(
    ctx: Context,
    *,
    key_id: KeyId,
    key_spec: Annotated[str, OneOf(("", *_SPECS), InvalidParameter), RECORDED] = "",
    number_of_bytes: Annotated[int, Between(1, 1024, InvalidParameter), RECORDED] | None = None,
    encryption_context: EncryptionContext = "",
    encryption_public_key: str = "",
    encryption_algorithm: str = "",
    is_hosted_by_kms: Annotated[Unsigned, Wire("IsHostedByKms")] = 0,
    data_key_name: str = "",
    description: Annotated[str, Utf8(100, error=InvalidParameter)] = "",
    hsm_cluster_id: HsmClusterId = "",
    tags: Tags | None = None,
) -> dict[str, Any]:
    del encryption_algorithm  # has a meaning with EncryptionPublicKey only
    if encryption_public_key or is_hosted_by_kms or data_key_name or description or tags:
        raise UnsupportedOperation(
            "EncryptionPublicKey and hosted data keys are not supported yet: leave them out."
        )
    check_hsm_cluster(hsm_cluster_id)
    count = number_of_bytes or _SPECS.get(key_spec)
    if count is None:
        raise InvalidParameter("Set KeySpec or NumberOfBytes.")
    key = ctx.keys.to_use(key_id)
    key.check_generates()
    plaintext = ctx.hsm.random(count)
    return {
        "KeyId": key.id,
        "Plaintext": base64.b64encode(plaintext).decode(),
        "CiphertextBlob": ctx.keys.encrypt(key, plaintext, encryption_context),
    }
