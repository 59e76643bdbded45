"""Decrypt a CiphertextBlob; it names its key itself."""

from typing import Any

from chalicelib.actions.parameters import Blob, EncryptionAlgorithm, EncryptionContext
from chalicelib.context import Context


def decrypt(
    ctx: Context,
    *,
    ciphertext_blob: Blob,
    encryption_context: EncryptionContext = "",
    encryption_public_key: str = "",
    encryption_algorithm: EncryptionAlgorithm = "",
) -> dict[str, Any]:
    key, _, plaintext = ctx.keys.open_blob(ciphertext_blob, encryption_context)
    return {
        "KeyId": key.id,
        "Plaintext": ctx.keys.wrap_plaintext(plaintext, encryption_public_key, encryption_algorithm),
    }
