"""A message to an ML-KEM key: what a post-quantum CiphertextBlob carries (docs/formats.md, KS-FMT-9).

    version = 1 (1 byte) | encapsulated secret (1568, ML-KEM-1024, FIPS 203) | iv (12) | ciphertext | tag (16)

The 32-byte shared secret is the key of AES-256-GCM: it is fresh for each message. The place and everything in front of
the ciphertext are authenticated.
"""

import secrets
from collections.abc import Callable
from typing import Final

from chalicelib.formats import aead
from chalicelib.formats.canonical import associated_data
from chalicelib.hsm.port import Damaged, KeyKind

VERSION: Final = b"\x01"
ENCAPSULATED_BYTES: Final = 1568
_HEADER: Final = 1 + ENCAPSULATED_BYTES


def seal(
    secret: bytes,
    encapsulated_secret: bytes,
    place: bytes,
    plaintext: bytes,
    random: Callable[[int], bytes] = secrets.token_bytes,
) -> bytes:
    """The message, under a shared secret (32 bytes) and the ciphertext that carries it to the key's holder."""
    header = VERSION + encapsulated_secret
    iv = random(aead.IV_BYTES)
    return header + iv + aead.seal(KeyKind.AES_256, secret, iv, plaintext, _associated_data(header, place))


def encapsulated(message: bytes) -> bytes:
    """The encapsulated secret of a message; Damaged for what `seal` cannot have made."""
    if message[:1] != VERSION or len(message) < _HEADER + aead.IV_BYTES:
        raise Damaged
    return message[1:_HEADER]


def open_sealed(secret: bytes, message: bytes, place: bytes) -> bytes:
    """The plaintext, or Damaged."""
    header, iv, rest = (
        message[:_HEADER],
        message[_HEADER:][: aead.IV_BYTES],
        message[_HEADER + aead.IV_BYTES :],
    )
    return aead.open_sealed(KeyKind.AES_256, secret, iv, rest, _associated_data(header, place))


def _associated_data(header: bytes, place: bytes) -> bytes:
    return associated_data("post-quantum-message", header, place)
