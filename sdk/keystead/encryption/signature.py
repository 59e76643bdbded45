"""The optional signature: ECDSA P-256 with SHA-256 (FIPS 186-5) by a key that lives as long as its data key.

The public key is in the encryption context, and KMS binds that to the EDKs: who may decrypt a message still cannot
forge another one under its name, because that takes a call that encrypts at KMS.
"""

import base64
from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import (
    Prehashed,
    decode_dss_signature,
    encode_dss_signature,
)
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from keystead.encryption.errors import Damaged

SIGNATURE_BYTES: Final = 64
"""r and s."""
_ALGORITHM: Final = ec.ECDSA(Prehashed(hashes.SHA256()))


def public_key(key: ec.EllipticCurvePrivateKey) -> str:
    """As it stands in the context: the compressed point (SEC 1, 2.3.3; 33 bytes) in base64."""
    point = key.public_key().public_bytes(Encoding.X962, PublicFormat.CompressedPoint)
    return base64.b64encode(point).decode()


def sign(key: ec.EllipticCurvePrivateKey, digest: bytes) -> bytes:
    """The signature: r and s, 32 bytes each."""
    r, s = decode_dss_signature(key.sign(digest, _ALGORITHM))
    return r.to_bytes(32, "big") + s.to_bytes(32, "big")


def verify(public: str, signature: bytes, digest: bytes) -> None:
    """Raise Damaged unless `public` signed the digest."""
    try:
        point = base64.b64decode(public, validate=True)
        key = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), point)
        r, s = int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:], "big")
        key.verify(encode_dss_signature(r, s), digest, _ALGORITHM)
    except (InvalidSignature, ValueError):
        raise Damaged from None
