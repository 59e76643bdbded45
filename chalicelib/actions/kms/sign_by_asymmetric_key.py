"""Sign a message, or its digest, with an asymmetric key."""

import base64
from typing import Annotated, Any

from chalicelib.actions.parameters import KeyId, Message, MessageType
from chalicelib.context import Context
from chalicelib.params import RECORDED


def sign_by_asymmetric_key(
    ctx: Context,
    *,
    algorithm: Annotated[str, RECORDED],
    message: Message,
    key_id: KeyId,
    message_type: MessageType = "RAW",
) -> dict[str, Any]:
    key = ctx.keys.to_use(key_id)
    key.check_signs(algorithm)
    signature = ctx.keys.sign(key, algorithm, message, is_digest=message_type == "DIGEST")
    return {"Signature": base64.b64encode(signature).decode()}
