"""Private keys in process memory: RSA, ECDSA, ML-KEM, ML-DSA by `cryptography`, SM2 by `sm2`.

Key material, the bytes that a key token seals (docs/formats.md, KS-FMT-5):

| kind | bytes |
| --- | --- |
| RSA_2048, EC_P256, EC_P384, SM2 | PKCS#8 in DER (RFC 5208), with the public key |
| ML_KEM_1024 | the seed d || z, 64 bytes (FIPS 203, 7.1) |
| ML_DSA_87 | the seed xi, 32 bytes (FIPS 204, 6.1) |
"""

import hashlib
import hmac
from collections.abc import Callable
from typing import Final, Protocol, assert_never

from cryptography.hazmat.primitives.asymmetric import ec, mldsa, mlkem, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed
from cryptography.hazmat.primitives.hashes import SHA1, SHA256, SHA384, HashAlgorithm
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_der_private_key,
)

from chalicelib.hsm import sm2
from chalicelib.hsm.port import Damaged, KeyKind, Padding, SignatureAlgorithm

RSA_BITS: Final = 2048
RSA_BYTES: Final = RSA_BITS // 8
PSS_SALT_BYTES: Final = 32
ENCAPSULATED_BYTES: Final = 1568
"""An ML-KEM-1024 ciphertext."""
PADDINGS: Final = {
    Padding.RSAES_PKCS1_V1_5: padding.PKCS1v15(),
    Padding.RSAES_OAEP_SHA_1: padding.OAEP(padding.MGF1(SHA1()), SHA1(), None),  # noqa: S303 - the API's
    Padding.RSAES_OAEP_SHA_256: padding.OAEP(padding.MGF1(SHA256()), SHA256(), None),
}
"""MGF1 hashes as OAEP does."""
RSA_SIGNATURES: Final = {
    SignatureAlgorithm.RSA_PKCS1_SHA_256: padding.PKCS1v15(),
    SignatureAlgorithm.RSA_PSS_SHA_256: padding.PSS(padding.MGF1(SHA256()), PSS_SALT_BYTES),
}
CURVES: Final[dict[KeyKind, ec.EllipticCurve]] = {
    KeyKind.EC_P256: ec.SECP256R1(),
    KeyKind.EC_P384: ec.SECP384R1(),
}
SIGNED_BY: Final = {
    SignatureAlgorithm.RSA_PKCS1_SHA_256: KeyKind.RSA_2048,
    SignatureAlgorithm.RSA_PSS_SHA_256: KeyKind.RSA_2048,
    SignatureAlgorithm.ECC_P256_R1: KeyKind.EC_P256,
    SignatureAlgorithm.ECC_P384_R1: KeyKind.EC_P384,
    SignatureAlgorithm.SM2DSA: KeyKind.SM2,
    SignatureAlgorithm.ML_DSA_87: KeyKind.ML_DSA_87,
}
"""The kind of key that each algorithm takes."""
OPENED_BY: Final = {
    Padding.RSAES_PKCS1_V1_5: KeyKind.RSA_2048,
    Padding.RSAES_OAEP_SHA_1: KeyKind.RSA_2048,
    Padding.RSAES_OAEP_SHA_256: KeyKind.RSA_2048,
    Padding.SM2_RAW: KeyKind.SM2,
    Padding.SM2_ASN1: KeyKind.SM2,
}
"""The kind of key that each padding takes."""


class WrongUse(ValueError):
    """The key cannot do that, or the digest has the wrong length."""

    def __init__(self) -> None:
        super().__init__("the key's kind, the algorithm and the length of the message do not fit together")


class PrivateKey(Protocol):
    """One key. Thread-safe. Each method raises WrongUse for what the kind of key cannot do."""

    def public_key(self) -> bytes:
        """SubjectPublicKeyInfo in DER."""

    def sign(self, algorithm: SignatureAlgorithm, message: bytes, *, is_digest: bool) -> bytes:
        """As `Hsm.sign`."""

    def decrypt(self, padding: Padding, ciphertext: bytes) -> bytes:
        """As `Hsm.decrypt_asymmetric`."""

    def unwrap(self, padding: Padding, wrapped: bytes) -> bytes:
        """As `decrypt`, but Damaged also for bad PKCS #1 v1.5 padding. For import, which must tell."""

    def decapsulate(self, encapsulated: bytes) -> bytes:
        """As `Hsm.decapsulate`."""


def is_asymmetric(kind: KeyKind) -> bool:
    """Whether keys of the kind have a public half."""
    return kind not in (KeyKind.AES_256, KeyKind.SM4)


def generate(kind: KeyKind, random: Callable[[int], bytes]) -> bytes:
    """The key material of a new key. Seeds come from `random`, the rest from OpenSSL's generator."""
    match kind:
        case KeyKind.RSA_2048:
            return _pkcs8(rsa.generate_private_key(65537, RSA_BITS))
        case KeyKind.EC_P256 | KeyKind.EC_P384:
            return _pkcs8(ec.generate_private_key(CURVES[kind]))
        case KeyKind.SM2:
            return sm2.PrivateKey.generate().pkcs8()
        case KeyKind.ML_KEM_1024:
            return random(64)
        case KeyKind.ML_DSA_87:
            return random(32)
        case KeyKind.AES_256 | KeyKind.SM4:
            raise WrongUse
    assert_never(kind)


def load(kind: KeyKind, material: bytes) -> PrivateKey:
    """The key of authenticated material: RSA numbers are not checked again, which would take 50 ms."""
    match kind:
        case KeyKind.RSA_2048 | KeyKind.EC_P256 | KeyKind.EC_P384:
            key = load_der_private_key(material, None, unsafe_skip_rsa_key_validation=True)
            if isinstance(key, rsa.RSAPrivateKey) and kind is KeyKind.RSA_2048:
                return _Rsa(key)
            if isinstance(key, ec.EllipticCurvePrivateKey) and key.curve.name == CURVES[kind].name:
                return _Ec(kind, key)
            raise Damaged
        case KeyKind.SM2:
            return _Sm2(sm2.PrivateKey.load(material))
        case KeyKind.ML_KEM_1024:
            return _MlKem(mlkem.MLKEM1024PrivateKey.from_seed_bytes(material))
        case KeyKind.ML_DSA_87:
            return _MlDsa(mldsa.MLDSA87PrivateKey.from_seed_bytes(material))
        case KeyKind.AES_256 | KeyKind.SM4:
            raise WrongUse
    assert_never(kind)


def digest_of(algorithm: SignatureAlgorithm, message: bytes, *, is_digest: bool) -> HashAlgorithm | Prehashed:
    """How `cryptography` hashes a message, or takes a digest, for RSA and ECDSA; WrongUse for a bad length.

    ECDSA P-384 hashes with SHA-384 and takes digests of 48 bytes, and of 32 because the product's document says that
    digests have 32 bytes.
    """
    whole: HashAlgorithm = SHA384() if algorithm is SignatureAlgorithm.ECC_P384_R1 else SHA256()
    if not is_digest:
        return whole
    if len(message) not in (whole.digest_size, SHA256.digest_size):
        raise WrongUse
    return Prehashed(whole if len(message) == whole.digest_size else SHA256())


class _Base:
    """What a kind of key cannot do."""

    def sign(self, algorithm: SignatureAlgorithm, message: bytes, *, is_digest: bool) -> bytes:
        raise WrongUse

    def decrypt(self, padding: Padding, ciphertext: bytes) -> bytes:
        raise WrongUse

    def unwrap(self, padding: Padding, wrapped: bytes) -> bytes:
        raise WrongUse

    def decapsulate(self, encapsulated: bytes) -> bytes:
        raise WrongUse


class _Rsa(_Base):
    def __init__(self, key: rsa.RSAPrivateKey) -> None:
        self._key = key
        self._rejection_key = hashlib.sha256(key.private_numbers().d.to_bytes(RSA_BYTES)).digest()
        self._public = _spki(key.public_key())

    def public_key(self) -> bytes:
        return self._public

    def sign(self, algorithm: SignatureAlgorithm, message: bytes, *, is_digest: bool) -> bytes:
        if algorithm not in RSA_SIGNATURES:
            raise WrongUse
        digest = digest_of(algorithm, message, is_digest=is_digest)
        return self._key.sign(message, RSA_SIGNATURES[algorithm], digest)

    def decrypt(self, padding: Padding, ciphertext: bytes) -> bytes:
        """With PKCS #1 v1.5, bad padding gives other bytes and no error: implicit rejection.

        draft-irtf-cfrg-rsa-guidance, 7: OpenSSL answers bytes of a length and content that follow from the private key
        and the ciphertext, so that the padding's correctness is neither told nor timed.
        """
        if padding not in PADDINGS:
            raise WrongUse
        try:
            return self._key.decrypt(ciphertext, PADDINGS[padding])
        except ValueError:
            raise Damaged from None

    def unwrap(self, padding: Padding, wrapped: bytes) -> bytes:
        material = self.decrypt(padding, wrapped)
        if padding is Padding.RSAES_PKCS1_V1_5:
            # One in 250 rejected messages would pass as a key of the wanted length: they are made again and compared.
            if hmac.compare_digest(material, rejection_message(self._rejection_key, wrapped)):
                raise Damaged
        return material


class _Ec(_Base):
    def __init__(self, kind: KeyKind, key: ec.EllipticCurvePrivateKey) -> None:
        self._kind = kind
        self._key = key
        self._public = _spki(key.public_key())

    def public_key(self) -> bytes:
        return self._public

    def sign(self, algorithm: SignatureAlgorithm, message: bytes, *, is_digest: bool) -> bytes:
        if SIGNED_BY[algorithm] is not self._kind:
            raise WrongUse
        return self._key.sign(message, ec.ECDSA(digest_of(algorithm, message, is_digest=is_digest)))


class _Sm2(_Base):
    def __init__(self, key: sm2.PrivateKey) -> None:
        self._key = key

    def public_key(self) -> bytes:
        return self._key.public.spki()

    def sign(self, algorithm: SignatureAlgorithm, message: bytes, *, is_digest: bool) -> bytes:
        if algorithm is not SignatureAlgorithm.SM2DSA:
            raise WrongUse
        return self._key.sign(message, is_digest=is_digest)

    def decrypt(self, padding: Padding, ciphertext: bytes) -> bytes:
        if OPENED_BY[padding] is not KeyKind.SM2:
            raise WrongUse
        return self._key.decrypt(ciphertext, is_raw=padding is Padding.SM2_RAW)


class _MlKem(_Base):
    def __init__(self, key: mlkem.MLKEM1024PrivateKey) -> None:
        self._key = key
        self._public = _spki(key.public_key())

    def public_key(self) -> bytes:
        return self._public

    def decapsulate(self, encapsulated: bytes) -> bytes:
        if len(encapsulated) != ENCAPSULATED_BYTES:
            raise Damaged
        return self._key.decapsulate(encapsulated)


class _MlDsa(_Base):
    def __init__(self, key: mldsa.MLDSA87PrivateKey) -> None:
        self._key = key
        self._public = _spki(key.public_key())

    def public_key(self) -> bytes:
        return self._public

    def sign(self, algorithm: SignatureAlgorithm, message: bytes, *, is_digest: bool) -> bytes:
        if algorithm is not SignatureAlgorithm.ML_DSA_87 or is_digest:
            raise WrongUse
        return self._key.sign(message)


def rejection_message(rejection_key: bytes, ciphertext: bytes) -> bytes:
    """What implicit rejection answers for a ciphertext of 256 bytes (draft-irtf-cfrg-rsa-guidance, 7.2).

    `rejection_key` is SHA-256 of the private exponent as 256 bytes.
    """
    message_key = hmac.digest(rejection_key, ciphertext, "sha256")
    message = _prf(message_key, b"message", RSA_BYTES)
    lengths = _prf(message_key, b"length", 256)
    most = RSA_BYTES - 11
    mask = (1 << most.bit_length()) - 1
    length = 0
    for at in range(0, len(lengths), 2):
        candidate = int.from_bytes(lengths[at : at + 2]) & mask
        length = candidate if candidate < most else length
    return message[RSA_BYTES - length :]


def _prf(key: bytes, label: bytes, count: int) -> bytes:
    blocks = [
        hmac.digest(key, number.to_bytes(2) + label + (count * 8).to_bytes(2), "sha256")
        for number in range((count + 31) // 32)
    ]
    return b"".join(blocks)[:count]


def _pkcs8(key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())


def _spki(
    key: rsa.RSAPublicKey | ec.EllipticCurvePublicKey | mlkem.MLKEM1024PublicKey | mldsa.MLDSA87PublicKey,
) -> bytes:
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
