"""What needs only the public half of a key: checking signatures, encrypting to a key, PEM."""

import binascii
import functools
import re
import textwrap
from typing import Final

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, mldsa, mlkem, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_der_public_key

from chalicelib.hsm import asymmetric, sm2, sm2_encoding
from chalicelib.hsm.port import KeyKind, Padding, SignatureAlgorithm

MAX_PEM_CHARACTERS: Final = 1024
"""RSA-2048 takes 451, SM2 178."""

_PEM: Final = re.compile(
    r"[ \t\r\n]*-----BEGIN PUBLIC KEY-----[ \t]*\r?\n"
    r"((?:[A-Za-z0-9+/=]+[ \t]*\r?\n)+)"
    r"-----END PUBLIC KEY-----[ \t\r\n]*"
)
_MAX_EXPONENT: Final = 2**32
_CACHED_KEYS: Final = 256

_Key = (
    rsa.RSAPublicKey
    | ec.EllipticCurvePublicKey
    | mlkem.MLKEM1024PublicKey
    | mldsa.MLDSA87PublicKey
    | sm2.PublicKey
)


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
    kind, key = _load(public_key)
    if asymmetric.SIGNED_BY[algorithm] is not kind:
        raise asymmetric.WrongUse
    try:
        match key:
            case rsa.RSAPublicKey():
                digest = asymmetric.hash_of(algorithm, message, is_digest=is_digest)
                key.verify(signature, message, asymmetric.RSA_SIGNATURES[algorithm], digest)
            case ec.EllipticCurvePublicKey():
                digest = asymmetric.hash_of(algorithm, message, is_digest=is_digest)
                key.verify(signature, message, ec.ECDSA(digest))
            case sm2.PublicKey():
                if not key.verify(message if is_digest else key.digest(message), signature):
                    raise BadSignature
            case mldsa.MLDSA87PublicKey() if not is_digest:
                key.verify(signature, message)
            case _:
                raise asymmetric.WrongUse
    except InvalidSignature:
        raise BadSignature from None


def encrypt_to(public_key_pem: str, padding: Padding, plaintext: bytes) -> bytes:
    """`plaintext` encrypted to a public key in PEM: an RSA-2048 or SM2 key, as the padding needs.

    Raises BadPublicKey for anything else in place of the key, and ValueError for a plaintext that does not fit: RSA takes
    245 (PKCS #1 v1.5), 214 (OAEP, SHA-1) or 190 bytes (OAEP, SHA-256), SM2 at least 1.
    """
    kind, key = _load(from_pem(public_key_pem))
    if asymmetric.OPENED_BY[padding] is not kind:
        raise BadPublicKey
    match key:
        case rsa.RSAPublicKey():
            return key.encrypt(plaintext, asymmetric.PADDINGS[padding])
        case sm2.PublicKey():
            return key.encrypt(plaintext, is_raw=padding is Padding.SM2_RAW)
        case _:
            raise BadPublicKey


def encapsulate(public_key: bytes) -> tuple[bytes, bytes]:
    """A fresh shared secret (32 bytes) and the ciphertext (1568) that carries it to an ML-KEM-1024 key (FIPS 203).

    `public_key` is what `Hsm.public_key` gave; ValueError for a key of another kind.
    """
    _, key = _load(public_key)
    if not isinstance(key, mlkem.MLKEM1024PublicKey):
        raise asymmetric.WrongUse
    return key.encapsulate()


@functools.lru_cache(_CACHED_KEYS)
def _load(der: bytes) -> tuple[KeyKind, _Key]:
    """The key of a SubjectPublicKeyInfo in its one spelling, of a kind that has a name here; or BadPublicKey."""
    if der.startswith(sm2_encoding.SPKI):
        try:
            return KeyKind.SM2, sm2.PublicKey.from_spki(der)
        except sm2_encoding.Malformed:
            raise BadPublicKey from None
    try:
        key = load_der_public_key(der)
    except (ValueError, UnsupportedAlgorithm):
        raise BadPublicKey from None
    if key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo) != der:
        raise BadPublicKey
    match key:
        case rsa.RSAPublicKey() if key.key_size == asymmetric.RSA_BITS and _are_usable(key.public_numbers()):
            return KeyKind.RSA_2048, key
        case ec.EllipticCurvePublicKey() if key.curve.name == ec.SECP256R1.name:
            return KeyKind.EC_P256, key
        case ec.EllipticCurvePublicKey() if key.curve.name == ec.SECP384R1.name:
            return KeyKind.EC_P384, key
        case mlkem.MLKEM1024PublicKey():
            return KeyKind.ML_KEM_1024, key
        case mldsa.MLDSA87PublicKey():
            return KeyKind.ML_DSA_87, key
        case _:
            raise BadPublicKey


def _are_usable(numbers: rsa.RSAPublicNumbers) -> bool:
    return numbers.n % 2 == 1 and numbers.e % 2 == 1 and 3 <= numbers.e < _MAX_EXPONENT  # noqa: PLR2004


def from_pem(pem: str) -> bytes:
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
