"""What needs only the public half of a key: checking signatures, encrypting to a key, PEM."""

import binascii
import re
import textwrap
from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec, mldsa, mlkem, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_der_public_key

from chalicelib.hsm import asymmetric, sm2
from chalicelib.hsm.port import KeyKind, Padding, SignatureAlgorithm
from chalicelib.hsm.sm2_encoding import Malformed

MAX_PEM_CHARACTERS: Final = 1024
"""RSA-2048 takes 451, SM2 178."""

_PEM: Final = re.compile(
    r"\s*-----BEGIN PUBLIC KEY-----[ \t]*\r?\n((?:[A-Za-z0-9+/=]{1,76}[ \t]*\r?\n)+)-----END PUBLIC KEY-----\s*"
)
_MAX_EXPONENT: Final = 2**32


class BadSignature(Exception):
    """The signature is not the key's."""


class BadPublicKey(ValueError):
    """Not a public key in PEM that fits the padding."""


def to_pem(der: bytes) -> str:
    """The PEM form of a SubjectPublicKeyInfo: 64 columns and a newline at the end (RFC 7468)."""
    body = "\n".join(textwrap.wrap(_base64(der), 64))
    return f"-----BEGIN PUBLIC KEY-----\n{body}\n-----END PUBLIC KEY-----\n"


def verify(
    public_key: bytes, algorithm: SignatureAlgorithm, message: bytes, signature: bytes, *, is_digest: bool
) -> None:
    """Check a signature over `message`, or over the digest that it is.

    `public_key` is what `Hsm.public_key` gave. Raises BadSignature, and ValueError for a digest of the wrong length or a
    key of another kind than the algorithm's.
    """
    if algorithm is SignatureAlgorithm.SM2DSA:
        sm2_key = sm2.PublicKey.from_spki(public_key)
        if not sm2_key.verify(message if is_digest else sm2_key.digest(message), signature):
            raise BadSignature
        return
    key = load_der_public_key(public_key)
    kind = asymmetric.SIGNED_BY[algorithm]
    try:
        if isinstance(key, mldsa.MLDSA87PublicKey) and kind is KeyKind.ML_DSA_87 and not is_digest:
            key.verify(signature, message)
            return
        digest = asymmetric.digest_of(algorithm, message, is_digest=is_digest)
        if isinstance(key, rsa.RSAPublicKey) and kind is KeyKind.RSA_2048:
            key.verify(signature, message, asymmetric.RSA_SIGNATURES[algorithm], digest)
        elif (
            isinstance(key, ec.EllipticCurvePublicKey)
            and kind in asymmetric.CURVES
            and key.curve.name == asymmetric.CURVES[kind].name
        ):
            key.verify(signature, message, ec.ECDSA(digest))
        else:
            raise asymmetric.WrongUse
    except InvalidSignature:
        raise BadSignature from None


def encrypt_to(public_key_pem: str, padding: Padding, plaintext: bytes) -> bytes:
    """`plaintext` encrypted to a public key in PEM: an RSA-2048 or SM2 key, as the padding needs.

    Raises BadPublicKey for anything else in place of the key, and ValueError for a plaintext that does not fit: RSA takes
    245 (PKCS #1 v1.5), 214 (OAEP, SHA-1) or 190 bytes (OAEP, SHA-256), SM2 at least 1.
    """
    der = _from_pem(public_key_pem)
    if asymmetric.OPENED_BY[padding] is KeyKind.SM2:
        try:
            sm2_key = sm2.PublicKey.from_spki(der)
        except Malformed:
            raise BadPublicKey from None
        return sm2_key.encrypt(plaintext, is_raw=padding is Padding.SM2_RAW)
    try:
        key = load_der_public_key(der)
    except Exception:  # noqa: BLE001 - whatever the parser makes of a user's bytes
        raise BadPublicKey from None
    if (
        not isinstance(key, rsa.RSAPublicKey)
        or key.key_size != asymmetric.RSA_BITS
        or key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo) != der
        or not _are_usable(key.public_numbers())
    ):
        raise BadPublicKey
    return key.encrypt(plaintext, asymmetric.PADDINGS[padding])


def encapsulate(public_key: bytes) -> tuple[bytes, bytes]:
    """A fresh shared secret (32 bytes) and the ciphertext (1568) that carries it to an ML-KEM-1024 key (FIPS 203).

    `public_key` is what `Hsm.public_key` gave; ValueError for a key of another kind.
    """
    key = load_der_public_key(public_key)
    if not isinstance(key, mlkem.MLKEM1024PublicKey):
        raise asymmetric.WrongUse
    return key.encapsulate()


def _are_usable(numbers: rsa.RSAPublicNumbers) -> bool:
    return numbers.n % 2 == 1 and numbers.e % 2 == 1 and 3 <= numbers.e < _MAX_EXPONENT  # noqa: PLR2004


def _from_pem(pem: str) -> bytes:
    """The bytes in a PEM block "PUBLIC KEY", the only thing in the text (RFC 7468, 3); raises BadPublicKey."""
    found = _PEM.fullmatch(pem) if len(pem) <= MAX_PEM_CHARACTERS else None
    if not found:
        raise BadPublicKey
    body = "".join(found[1].split())
    try:
        der = binascii.a2b_base64(body, strict_mode=True)
    except ValueError:
        raise BadPublicKey from None
    if _base64(der) != body:
        raise BadPublicKey
    return der


def _base64(der: bytes) -> str:
    return binascii.b2a_base64(der, newline=False).decode()
