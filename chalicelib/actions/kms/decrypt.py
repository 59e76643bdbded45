"""Decrypt a CiphertextBlob; it names its key itself."""

import base64
from typing import Any

from chalicelib.actions.parameters import Blob, EncryptionContext
from chalicelib.context import Context
from chalicelib.errors import UnsupportedOperation


def decrypt(
    ctx: Context,
    *,
    ciphertext_blob: Blob,
    encryption_context: EncryptionContext = "",
    encryption_public_key: str = "",
    encryption_algorithm: str = "",
) -> dict[str, Any]:
    del encryption_algorithm  # has a meaning with EncryptionPublicKey only
    if encryption_public_key:
        raise UnsupportedOperation("EncryptionPublicKey is not supported yet: leave it out.")
    key, _, plaintext = ctx.keys.open_blob(ciphertext_blob, encryption_context)
    return {"KeyId": key.id, "Plaintext": base64.b64encode(plaintext).decode()}
