"""The public half of an enabled asymmetric key."""

import base64
from typing import Any

from chalicelib.actions.parameters import KeyId
from chalicelib.context import Context
from chalicelib.hsm.public import to_pem


def get_public_key(ctx: Context, *, key_id: KeyId) -> dict[str, Any]:
    key = ctx.keys.get(key_id)
    key.check_public()
    der = ctx.keys.public_key(key)
    return {"KeyId": key.id, "PublicKey": base64.b64encode(der).decode(), "PublicKeyPem": to_pem(der)}
