"""Encrypt up to 4 KiB to a post-quantum key (ML-KEM-1024)."""

from typing import Annotated, Any

from chalicelib.actions.parameters import KeyId, Plaintext
from chalicelib.context import Context
from chalicelib.model.key import PQC_DECRYPT
from chalicelib.params import Wire


def post_quantum_crypto_encrypt(
    ctx: Context, *, key_id: KeyId, plain_text: Annotated[Plaintext, Wire("PlainText")]
) -> dict[str, Any]:
    key = ctx.keys.to_use(key_id)
    key.check_post_quantum(PQC_DECRYPT)
    key.check_may_encrypt()
    return {"CiphertextBlob": ctx.keys.encrypt_post_quantum(key, plain_text), "KeyId": key.id}
