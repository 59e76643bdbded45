"""What needs only the public half of a key: checking signatures, encrypting to a key, PEM."""

import base64
import textwrap

from chalicelib.hsm.port import Padding, SignatureAlgorithm


class BadSignature(Exception):
    """The signature is not the key's."""


class BadPublicKey(ValueError):
    """Not a public key in PEM that fits the padding."""


def to_pem(der: bytes) -> str:
    """The PEM form of a SubjectPublicKeyInfo: 64 columns and a newline at the end (RFC 7468)."""
    body = "\n".join(textwrap.wrap(base64.b64encode(der).decode(), 64))
    return f"-----BEGIN PUBLIC KEY-----\n{body}\n-----END PUBLIC KEY-----\n"


def verify(
    public_key: bytes, algorithm: SignatureAlgorithm, message: bytes, signature: bytes, *, is_digest: bool
) -> None:
    raise BadSignature


def encrypt_to(public_key_pem: str, padding: Padding, plaintext: bytes) -> bytes:
    raise BadPublicKey


def encapsulate(public_key: bytes) -> tuple[bytes, bytes]:
    raise BadPublicKey
