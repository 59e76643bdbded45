"""Private keys in process memory: RSA, ECDSA, ML-KEM, ML-DSA by `cryptography`, SM2 by `sm2`. All are thread-safe.

Key material is what a key token seals, docs/formats.md KS-FMT-5.3. That it is genuine is the caller's to know: it is not
checked again.
"""

import hashlib
import hmac
from collections.abc import Callable
from typing import Final

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
ML_KEM_SEED_BYTES: Final = 64
"""`d || z` (FIPS 203, 7.1)."""
ML_DSA_SEED_BYTES: Final = 32
"""`xi` (FIPS 204, 6.1)."""
ENCAPSULATED_BYTES: Final = 1568
"""An ML-KEM-1024 ciphertext."""
PSS_SALT_BYTES: Final = 32
"""Exactly, also where signatures are checked (the product's `openssl` line has rsa_pss_saltlen:-1)."""

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
PADDINGS: Final = {
    Padding.RSAES_PKCS1_V1_5: padding.PKCS1v15(),
    Padding.RSAES_OAEP_SHA_1: padding.OAEP(padding.MGF1(SHA1()), SHA1(), None),  # noqa: S303 - safe in OAEP
    Padding.RSAES_OAEP_SHA_256: padding.OAEP(padding.MGF1(SHA256()), SHA256(), None),
}
"""MGF1 hashes as OAEP does (the product's `openssl` line)."""
RSA_SIGNATURES: Final = {
    SignatureAlgorithm.RSA_PKCS1_SHA_256: padding.PKCS1v15(),
    SignatureAlgorithm.RSA_PSS_SHA_256: padding.PSS(padding.MGF1(SHA256()), PSS_SALT_BYTES),
}

_RSA_BYTES: Final = RSA_BITS // 8
_Key = (
    rsa.RSAPrivateKey
    | ec.EllipticCurvePrivateKey
    | mlkem.MLKEM1024PrivateKey
    | mldsa.MLDSA87PrivateKey
    | sm2.PrivateKey
)


class WrongUse(ValueError):
    """A key, what it is used for, and what it is used on, do not fit together."""

    def __init__(self) -> None:
        super().__init__(
            "the kind of the key, the algorithm and the length of the digest do not fit together"
        )


class PrivateKey:
    """One key."""

    def __init__(self, kind: KeyKind, material: bytes) -> None:
        """The key of material that `generate` made. WrongUse for a symmetric kind."""
        self._kind = kind
        self._key = _load(kind, material)
        self.public_key = (
            self._key.public.spki()
            if isinstance(self._key, sm2.PrivateKey)
            else _spki(self._key.public_key())
        )
        """SubjectPublicKeyInfo in DER."""

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._kind.name})"

    def sign(self, algorithm: SignatureAlgorithm, message: bytes, *, is_digest: bool) -> bytes:
        """See `Hsm.sign`."""
        if SIGNED_BY[algorithm] is not self._kind:
            raise WrongUse
        match self._key:
            case rsa.RSAPrivateKey():
                digest = hash_of(algorithm, message, is_digest=is_digest)
                return self._key.sign(message, RSA_SIGNATURES[algorithm], digest)
            case ec.EllipticCurvePrivateKey():
                return self._key.sign(message, ec.ECDSA(hash_of(algorithm, message, is_digest=is_digest)))
            case sm2.PrivateKey():
                return self._key.sign(message if is_digest else self._key.public.digest(message))
            case mldsa.MLDSA87PrivateKey() if not is_digest:
                return self._key.sign(message)
            case _:
                raise WrongUse

    def decrypt(self, padding: Padding, ciphertext: bytes) -> bytes:
        """See `Hsm.decrypt_asymmetric`.

        PKCS #1 v1.5 with bad padding gives other bytes and no error (implicit rejection): OpenSSL makes their number and
        values from the private key and the ciphertext, so neither the outcome nor the time tells about the padding
        (draft-irtf-cfrg-rsa-guidance, 7).
        """
        if OPENED_BY[padding] is not self._kind:
            raise WrongUse
        match self._key:
            case rsa.RSAPrivateKey():
                try:
                    return self._key.decrypt(ciphertext, PADDINGS[padding])
                except ValueError:
                    raise Damaged from None
            case sm2.PrivateKey():
                return self._key.decrypt(ciphertext, is_raw=padding is Padding.SM2_RAW)
            case _:
                raise WrongUse

    def unwrap(self, padding: Padding, wrapped: bytes) -> bytes:
        """As `decrypt`, with an RSA key, but bad PKCS #1 v1.5 padding is Damaged, too.

        Implicit rejection would import one damaged key in 245 as a key that nobody knows. So what it answers is made
        again and compared, with good padding as with bad.
        """
        if not isinstance(self._key, rsa.RSAPrivateKey):
            raise WrongUse
        material = self.decrypt(padding, wrapped)
        if padding is Padding.RSAES_PKCS1_V1_5 and hmac.compare_digest(
            material, rejection_message(self._key.private_numbers().d, wrapped)
        ):
            raise Damaged
        return material

    def decapsulate(self, encapsulated: bytes) -> bytes:
        """See `Hsm.decapsulate`."""
        if not isinstance(self._key, mlkem.MLKEM1024PrivateKey):
            raise WrongUse
        if len(encapsulated) != ENCAPSULATED_BYTES:
            raise Damaged
        return self._key.decapsulate(encapsulated)


def is_asymmetric(kind: KeyKind) -> bool:
    """Whether keys of the kind have a public half."""
    return kind not in (KeyKind.AES_256, KeyKind.SM4)


def generate(kind: KeyKind, random: Callable[[int], bytes]) -> bytes:
    """The key material of a new key. Seeds come from `random`, other keys from OpenSSL's generator."""
    match kind:
        case KeyKind.RSA_2048:
            return _pkcs8(rsa.generate_private_key(65537, RSA_BITS))
        case KeyKind.EC_P256:
            return _pkcs8(ec.generate_private_key(ec.SECP256R1()))
        case KeyKind.EC_P384:
            return _pkcs8(ec.generate_private_key(ec.SECP384R1()))
        case KeyKind.SM2:
            return sm2.generate()
        case KeyKind.ML_KEM_1024:
            return random(ML_KEM_SEED_BYTES)
        case KeyKind.ML_DSA_87:
            return random(ML_DSA_SEED_BYTES)
        case _:
            raise WrongUse


def hash_of(algorithm: SignatureAlgorithm, message: bytes, *, is_digest: bool) -> HashAlgorithm | Prehashed:
    """How `cryptography` is to hash a message, or take a digest, for RSA and ECDSA; WrongUse for a bad length.

    ECDSA P-384 takes digests of 48 bytes (SHA-384), and of 32 because the product's document says that all digests have
    as many.
    """
    whole: HashAlgorithm = SHA384() if algorithm is SignatureAlgorithm.ECC_P384_R1 else SHA256()
    if not is_digest:
        return whole
    if len(message) == whole.digest_size:
        return Prehashed(whole)
    if len(message) != SHA256.digest_size:
        raise WrongUse
    return Prehashed(SHA256())


def rejection_message(private_exponent: int, ciphertext: bytes) -> bytes:
    """What implicit rejection answers for a ciphertext of 256 bytes (draft-irtf-cfrg-rsa-guidance, 7.2 and 7.3)."""
    return rejection_message_of(hashlib.sha256(private_exponent.to_bytes(_RSA_BYTES)).digest(), ciphertext)


def rejection_message_of(secret: bytes, ciphertext: bytes) -> bytes:
    """As `rejection_message`, with a secret of 32 bytes that follows from the private key and from nothing else."""
    key = hmac.digest(secret, ciphertext, "sha256")
    lengths = _expand(key, b"length", 256)
    longest = _RSA_BYTES - 11
    length = 0
    for at in range(0, len(lengths), 2):
        candidate = int.from_bytes(lengths[at : at + 2]) % 2 ** longest.bit_length()
        length = candidate if candidate < longest else length
    return _expand(key, b"message", _RSA_BYTES)[_RSA_BYTES - length :]


def _expand(key: bytes, label: bytes, count: int) -> bytes:
    suffix = label + (count * 8).to_bytes(2)
    return b"".join([hmac.digest(key, block.to_bytes(2) + suffix, "sha256") for block in range(count // 32)])


def _load(kind: KeyKind, material: bytes) -> _Key:
    match kind:
        case KeyKind.SM2:
            return sm2.PrivateKey(material)
        case KeyKind.ML_KEM_1024:
            return mlkem.MLKEM1024PrivateKey.from_seed_bytes(material)
        case KeyKind.ML_DSA_87:
            return mldsa.MLDSA87PrivateKey.from_seed_bytes(material)
        case KeyKind.RSA_2048 | KeyKind.EC_P256 | KeyKind.EC_P384:
            # The token authenticates the numbers; to validate those of an RSA key again takes 50 ms.
            key = load_der_private_key(material, None, unsafe_skip_rsa_key_validation=True)
            if isinstance(key, rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey):
                return key
    raise WrongUse


def _pkcs8(key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())


def _spki(
    key: rsa.RSAPublicKey | ec.EllipticCurvePublicKey | mlkem.MLKEM1024PublicKey | mldsa.MLDSA87PublicKey,
) -> bytes:
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
