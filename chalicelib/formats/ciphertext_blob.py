"""CiphertextBlob, what KMS clients keep: canonical base64 of these bytes (docs/formats.md, KS-FMT-6).

version = 1 (1 byte) | key id (16) | backing key version (4) | message (KS-FMT-4)
"""

import binascii
import functools
import uuid
from dataclasses import dataclass
from typing import Final

from chalicelib.formats.canonical import associated_data
from chalicelib.hsm.port import Damaged

VERSION: Final = b"\x01"
MAX_CHARACTERS: Final = 8192
"""Of a blob: a plaintext of 4096 bytes makes 5544."""
_HEADER: Final = 21


@dataclass(frozen=True, slots=True)
class CiphertextBlob:
    """What a blob says; nothing in it is authenticated until the HSM has opened the message."""

    key_id: str
    backing_version: int
    message: bytes


def encode(key_id: str, backing_version: int, message: bytes) -> str:
    """The blob. Raises ValueError unless `key_id` is a UUID in lower case, OverflowError past 32 bits of version."""
    return _base64(VERSION + _bytes(key_id) + backing_version.to_bytes(4) + message)


def decode(text: str) -> CiphertextBlob:
    """The parts of a blob; Damaged for whatever `encode` cannot have made."""
    if len(text) > MAX_CHARACTERS:
        raise Damaged
    try:
        blob = binascii.a2b_base64(text, strict_mode=True)
    except ValueError:
        raise Damaged from None
    if blob[:1] != VERSION or len(blob) <= _HEADER or _base64(blob) != text:
        raise Damaged
    return CiphertextBlob(
        key_id=_text(blob[1:17]),
        backing_version=int.from_bytes(blob[17:_HEADER]),
        message=blob[_HEADER:],
    )


def associated_data_for(key_id: str, backing_version: int, context: bytes) -> bytes:
    """What the message of a blob authenticates; `context` is the canonical encryption context.

    Account and region are authenticated by the key token's binding.
    """
    return associated_data("ciphertext-blob", VERSION, key_id, backing_version, context)


@functools.lru_cache(maxsize=1024)
def _bytes(key_id: str) -> bytes:
    key_uuid = uuid.UUID(key_id)
    if str(key_uuid) != key_id:
        raise ValueError("a key id is a UUID in lower case")
    return key_uuid.bytes


@functools.lru_cache(maxsize=1024)
def _text(key_uuid: bytes) -> str:
    return str(uuid.UUID(bytes=key_uuid))


def _base64(blob: bytes) -> str:
    return binascii.b2a_base64(blob, newline=False).decode()
