"""Encrypt up to 4 KiB under a key."""

from typing import Any

from chalicelib.actions.parameters import EncryptionContext, KeyId, Plaintext
from chalicelib.context import Context


def encrypt(
    ctx: Context, *, key_id: KeyId, plaintext: Plaintext, encryption_context: EncryptionContext = ""
) -> dict[str, Any]:
    key = ctx.keys.to_use(key_id, encryption_context)
    key.check_encrypts()
    return {"CiphertextBlob": ctx.keys.encrypt(key, plaintext, encryption_context), "KeyId": key.id}
