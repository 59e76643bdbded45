"""Decrypt a CiphertextBlob of PostQuantumCryptoEncrypt; it names its key itself."""

from typing import Any

from chalicelib.actions.parameters import Blob, EncryptionAlgorithm
from chalicelib.context import Context


def post_quantum_crypto_decrypt(
    ctx: Context,
    *,
    ciphertext_blob: Blob,
    encryption_public_key: str = "",
    encryption_algorithm: EncryptionAlgorithm = "",
) -> dict[str, Any]:
    key, plaintext = ctx.keys.decrypt_post_quantum(ciphertext_blob)
    return {
        "KeyId": key.id,
        "PlainText": ctx.keys.wrap_plaintext(plaintext, encryption_public_key, encryption_algorithm),
    }
