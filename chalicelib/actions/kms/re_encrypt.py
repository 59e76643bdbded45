"""Encrypt a ciphertext anew: under another key, another context, or the newest material of its key."""

from typing import Any

from chalicelib.actions.parameters import Blob, EncryptionContext, OptionalKeyId
from chalicelib.context import Context


def re_encrypt(
    ctx: Context,
    *,
    ciphertext_blob: Blob,
    destination_key_id: OptionalKeyId = "",
    source_encryption_context: EncryptionContext = "",
    destination_encryption_context: EncryptionContext = "",
) -> dict[str, Any]:
    source, version, plaintext = ctx.keys.open_blob(ciphertext_blob, source_encryption_context)
    if destination_key_id in ("", source.id):
        key = source
        ctx.keys.authorise(key, destination_encryption_context)
    else:
        key = ctx.keys.to_use(destination_key_id, destination_encryption_context)
    key.check_encrypts()
    unchanged = (key.id, key.current.version) == (source.id, version) and ctx.keys.same_context(
        source_encryption_context, destination_encryption_context
    )
    blob = ciphertext_blob if unchanged else ctx.keys.encrypt(key, plaintext, destination_encryption_context)
    return {"CiphertextBlob": blob, "KeyId": key.id, "SourceKeyId": source.id, "ReEncrypted": not unchanged}
