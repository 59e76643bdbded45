"""Decrypt what was encrypted to an SM2 key's public half: DER of C1, C3, C2, at most 256 bytes."""

import base64
from typing import Annotated, Any

from chalicelib.actions.parameters import KeyId
from chalicelib.context import Context
from chalicelib.errors import DecryptError
from chalicelib.hsm.port import Padding
from chalicelib.model.key import DECRYPT_SM2
from chalicelib.params import Base64


def asymmetric_sm2_decrypt(
    ctx: Context, *, key_id: KeyId, ciphertext: Annotated[bytes, Base64(256, error=DecryptError)]
) -> dict[str, Any]:
    key = ctx.keys.to_use(key_id)
    key.check_decrypts_asymmetric(DECRYPT_SM2)
    plaintext = ctx.keys.decrypt_asymmetric(key, Padding.SM2_ASN1, ciphertext)
    return {"KeyId": key.id, "Plaintext": base64.b64encode(plaintext).decode()}
