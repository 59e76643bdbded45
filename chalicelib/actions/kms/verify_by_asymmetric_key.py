"""Whether a signature of a message, or of its digest, is an asymmetric key's. A bad one is an answer, not an error."""

from typing import Annotated, Any

from chalicelib.actions.parameters import KeyId, Message, MessageType, SignatureValue
from chalicelib.context import Context
from chalicelib.params import RECORDED


def verify_by_asymmetric_key(
    ctx: Context,
    *,
    key_id: KeyId,
    signature_value: SignatureValue,
    message: Message,
    algorithm: Annotated[str, RECORDED],
    message_type: MessageType = "RAW",
) -> dict[str, Any]:
    key = ctx.keys.to_use(key_id)
    key.check_signs(algorithm)
    valid = ctx.keys.is_signed(key, algorithm, message, signature_value, is_digest=message_type == "DIGEST")
    return {"SignatureValid": valid}
