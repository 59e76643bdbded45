"""Sign a message with a post-quantum key (ML-DSA-87)."""

import base64
from typing import Any

from chalicelib.actions.parameters import KeyId, Message
from chalicelib.context import Context
from chalicelib.model.key import PQC_SIGN


def post_quantum_crypto_sign(ctx: Context, *, message: Message, key_id: KeyId) -> dict[str, Any]:
    key = ctx.keys.to_use(key_id)
    key.check_post_quantum(PQC_SIGN)
    key.check_public()
    signature = ctx.keys.sign(key, "ML_DSA_87", message, is_digest=False)
    return {"Signature": base64.b64encode(signature).decode()}
