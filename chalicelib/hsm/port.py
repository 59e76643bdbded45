"""The HSM port: key material leaves a domain only as a key token, wrapped under the domain key.

A token says what it is (kind, domain generation) and is bound to its place: it opens only with the `binding` that it
was made with, so a token copied to another account, region, key or version is useless.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Protocol


class KeyKind(Enum):
    """What a key token holds. The value is the token's kind byte and never changes."""

    AES_256 = 1
    SM4 = 2
    RSA_2048 = 3
    EC_P256 = 4
    EC_P384 = 5
    SM2 = 6
    ML_KEM_1024 = 7
    ML_DSA_87 = 8


class Padding(Enum):
    """How a message is encrypted to a public key; the value is the API's name."""

    RSAES_PKCS1_V1_5 = "RSAES_PKCS1_V1_5"
    RSAES_OAEP_SHA_1 = "RSAES_OAEP_SHA_1"
    RSAES_OAEP_SHA_256 = "RSAES_OAEP_SHA_256"
    SM2_RAW = "SM2"
    """C1 || C3 || C2 with C1 = x || y, no 0x04 in front (GB/T 32918.4, the API's default form)."""
    SM2_ASN1 = "SM2_C1C3C2_ASN1"
    """DER SEQUENCE {INTEGER x, INTEGER y, OCTET STRING C3, OCTET STRING C2} (GB/T 35276)."""


class SignatureAlgorithm(Enum):
    """How a message is signed; the value is the API's name."""

    RSA_PKCS1_SHA_256 = "RSA_PKCS1_SHA_256"
    RSA_PSS_SHA_256 = "RSA_PSS_SHA_256"
    """The salt has exactly 32 bytes."""
    ECC_P256_R1 = "ECC_P256_R1"
    """ECDSA with SHA-256, DER."""
    ECC_P384_R1 = "ECC_P384_R1"
    """ECDSA with SHA-384, DER."""
    SM2DSA = "SM2DSA"
    """SM2 with SM3 and the user id 1234567812345678, DER; a digest is SM3(Z_A || M) (GB/T 32918.2)."""
    ML_DSA_87 = "ML_DSA_87"
    """FIPS 204, pure, empty context; whole messages only."""


@dataclass(frozen=True, slots=True)
class HsmKey:
    """A key token and the place it is bound to."""

    kind: KeyKind
    token: bytes = field(repr=False)
    binding: bytes


class HsmError(Exception):
    """The base of what an HSM may raise."""


class HsmUnavailable(HsmError):
    """The HSM does not answer, or lost its session: nothing was done; the caller may try again."""


class HsmMisconfigured(HsmError):
    """A wrong PIN, passphrase or setting: trying again does not help."""


class Damaged(HsmError):
    """A token or ciphertext did not authenticate: wrong key, wrong binding, wrong associated data, or changed bytes."""


class Hsm(Protocol):
    """One domain: a region's CMKs, or the identity data of all regions."""

    def generate(self, kind: KeyKind, binding: bytes) -> HsmKey:
        """Make a key inside the domain."""

    def encrypt(self, key: HsmKey, plaintext: bytes, associated_data: bytes) -> bytes:
        """Authenticated encryption under a key derived freshly for this message (see docs/formats.md, `message`).

        A fresh derived key for each message keeps GCM safe for any number of messages under one key.
        """

    def decrypt(self, key: HsmKey, message: bytes, associated_data: bytes) -> bytes:
        """The plaintext, or Damaged."""

    def public_key(self, key: HsmKey) -> bytes:
        """The public half as SubjectPublicKeyInfo in DER (RFC 5280, 4.1.2.7).

        It comes out of the token, or is authenticated by it: a public key from a table row would let whoever writes
        the table have forged signatures accepted. ValueError for a symmetric kind.
        """

    def sign(self, key: HsmKey, algorithm: SignatureAlgorithm, message: bytes, *, is_digest: bool) -> bytes:
        """A signature over `message`, or over the digest that it is; ValueError for a digest of the wrong length."""

    def decrypt_asymmetric(self, key: HsmKey, padding: Padding, ciphertext: bytes) -> bytes:
        """The plaintext of an RSA or SM2 ciphertext, or Damaged: one outcome for every bad ciphertext.

        Except that PKCS #1 v1.5 padding rejects implicitly: bad padding gives bytes that nobody chose, and no error.
        """

    def decapsulate(self, key: HsmKey, encapsulated: bytes) -> bytes:
        """The shared secret of an ML-KEM ciphertext (FIPS 203), or Damaged for one of the wrong length."""

    def import_key(
        self, wrapping_key: HsmKey, padding: Padding, wrapped: bytes, kind: KeyKind, binding: bytes
    ) -> HsmKey:
        """A symmetric key of `kind` from the outside, wrapped to the public half of `wrapping_key` (RSA_2048).

        Damaged, one outcome, for whatever does not unwrap to exactly the bytes of such a key.
        """

    def check_value(self, key: HsmKey) -> bytes:
        """32 bytes that tell whether two symmetric keys are the same; nothing of the key follows from them."""

    def random(self, count: int) -> bytes:
        """`count` random bytes from the HSM."""

    def describe(self) -> Mapping[str, str]:
        """What health checks and logs may show: technology, domain generation, capabilities.

        `kinds` names the KeyKinds that can be made, with commas between.
        """

    def close(self) -> None:
        """Forget all key material."""
