"""Decrypt what was encrypted to an RSA key's public half."""

import base64
from typing import Annotated, Any

from chalicelib.actions.parameters import KeyId, RsaPadding
from chalicelib.context import Context
from chalicelib.errors import DecryptError
from chalicelib.hsm.port import Padding
from chalicelib.model.key import DECRYPT_RSA
from chalicelib.params import Base64


def asymmetric_rsa_decrypt(
    ctx: Context,
    *,
    key_id: KeyId,
    ciphertext: Annotated[bytes, Base64(256, error=DecryptError)],
    algorithm: RsaPadding,
) -> dict[str, Any]:
    key = ctx.keys.to_use(key_id)
    key.check_decrypts_asymmetric(DECRYPT_RSA)
    plaintext = ctx.keys.decrypt_asymmetric(key, Padding(algorithm), ciphertext)
    return {"KeyId": key.id, "Plaintext": base64.b64encode(plaintext).decode()}
