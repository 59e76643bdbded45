"""A hosted data key in plain, or encrypted to a public key of the caller's."""

from typing import Any

from chalicelib.actions.parameters import DataKeyId, EncryptionAlgorithm
from chalicelib.context import Context


def get_data_key_plaintext(
    ctx: Context,
    *,
    data_key_id: DataKeyId,
    encryption_public_key: str = "",
    encryption_algorithm: EncryptionAlgorithm = "",
) -> dict[str, Any]:
    plaintext = ctx.data_keys.plaintext(ctx.data_keys.get(data_key_id))
    return {"Plaintext": ctx.keys.wrap_plaintext(plaintext, encryption_public_key, encryption_algorithm)}
