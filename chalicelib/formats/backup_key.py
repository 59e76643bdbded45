"""The backup key: an RSA-4096 pair, its private half sealed under a secret that is split into shares (docs/formats.md, KS-FMT-23).

    version = 1 (1 byte) | message (KS-FMT-4, suite 1) under the secret: the private half, PKCS#8 in DER

The shares are SLIP-39 mnemonics of the secret; https://github.com/satoshilabs/slips/blob/master/slip-0039.md.
"""

import hashlib
from typing import Final

from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from chalicelib.formats import sealed_generation
from chalicelib.formats.canonical import associated_data
from chalicelib.formats.message import MessageKey
from chalicelib.hsm.port import Damaged, KeyKind

VERSION: Final = b"\x01"
SECRET_BYTES: Final = 32
RSA_BITS: Final = 4096


def generate() -> tuple[bytes, bytes]:
    """A pair: SubjectPublicKeyInfo and PKCS#8, both in DER."""
    key = rsa.generate_private_key(65537, RSA_BITS)
    private_key = key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
    return sealed_generation.public_half(private_key), private_key


def fingerprint(public_key: bytes) -> str:
    """SHA-256 of the SubjectPublicKeyInfo, 64 hexadecimal digits."""
    return hashlib.sha256(public_key).hexdigest()


def binding(public_key: bytes) -> bytes:
    """What the key token is bound to by which the domain `identity` vouches for a backup key."""
    return associated_data("backup-key", public_key)


def seal(secret: bytes, public_key: bytes, private_key: bytes) -> bytes:
    """The private half, to be kept beside the public one."""
    return VERSION + MessageKey(KeyKind.AES_256, secret).seal(private_key, _associated_data(public_key))


def open_sealed(secret: bytes, public_key: bytes, sealed: bytes) -> bytes:
    """The private half; Damaged for another secret, another public half, or changed bytes."""
    if sealed[:1] != VERSION or len(secret) != SECRET_BYTES:
        raise Damaged
    return MessageKey(KeyKind.AES_256, secret).open_sealed(sealed[1:], _associated_data(public_key))


def _associated_data(public_key: bytes) -> bytes:
    return associated_data("backup-key-private", VERSION, public_key)
