"""Whether a signature of a message is a post-quantum key's. A bad one is an answer, not an error."""

from typing import Any

from chalicelib.actions.parameters import KeyId, Message, SignatureValue
from chalicelib.context import Context
from chalicelib.model.key import PQC_SIGN


def post_quantum_crypto_verify(
    ctx: Context, *, key_id: KeyId, signature_value: SignatureValue, message: Message
) -> dict[str, Any]:
    key = ctx.keys.to_use(key_id)
    key.check_post_quantum(PQC_SIGN)
    key.check_public()
    valid = ctx.keys.is_signed(key, "ML_DSA_87", message, signature_value, is_digest=False)
    return {"SignatureValid": valid}
