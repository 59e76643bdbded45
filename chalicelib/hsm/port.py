"""The HSM port: key material leaves a domain only as a key token, wrapped under the domain key.

A token says what it is (kind, domain generation) and is bound to its place: it opens only with the `binding` that it
was made with, so a token copied to another account, region, key or version is useless.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum, StrEnum
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


@dataclass(frozen=True, slots=True)
class NewGeneration:
    """What `Hsm.rotate` made."""

    number: int
    sealed: tuple[bytes, ...] = field(repr=False)
    """The generation's key for each recipient (docs/formats.md, KS-FMT-21)."""


class Protection(StrEnum):
    """Where the material of a key is while it is used; the value is the API's extension `ProtectionLevel`."""

    HSM = "HSM"
    """It never leaves the HSM."""
    PROCESS = "PROCESS"
    """In the memory of the process."""


class HsmError(Exception):
    """The base of what an HSM may raise."""


class HsmUnavailable(HsmError):
    """The HSM does not answer, or lost its session: nothing was done; the caller may try again."""


class HsmMisconfigured(HsmError):
    """A wrong PIN, passphrase or setting, or a lost domain key: trying again does not help."""


class Damaged(HsmError):
    """A token or ciphertext did not authenticate: wrong key, wrong binding, wrong associated data, or changed bytes."""


class Hsm(Protocol):
    """One domain: a region's CMKs, or the identity data of all regions."""

    def generate(self, kind: KeyKind, binding: bytes) -> HsmKey:
        """Make a key inside the domain."""

    def encrypt(self, key: HsmKey, plaintext: bytes, associated_data: bytes) -> bytes:
        """Authenticated encryption, safe for any number of messages under one key.

        GCM alone is not: a backend derives a key for each message (docs/formats.md, KS-FMT-4), or makes one for a bounded
        number of messages (KS-FMT-20). At least 16,224 bytes of plaintext are taken; ValueError for more than the HSM takes.
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

    def protection(self, kind: KeyKind) -> Protection:
        """Where the material of a key of `kind` is while it is used."""

    def generations(self) -> Sequence[int]:
        """The generations of the domain key that can be used now, oldest first; the newest makes tokens.

        A generation that another process makes or destroys is noticed within 30 seconds, and a new one as soon as a token
        names it.
        """

    def rewrap(self, key: HsmKey) -> HsmKey:
        """The same key material in a token of the newest generation."""

    def rotate(
        self, recipients: Sequence[bytes] = (), keep: Callable[[NewGeneration], None] | None = None
    ) -> NewGeneration:
        """Make a generation of the domain key; tokens of older ones go on opening. The first one, where there is none.

        It is sealed to each recipient, a public key (RSA, 3072 bits or more, SubjectPublicKeyInfo in DER); ValueError for
        another key. `keep` gets it before anybody can use it, so that it is stored first; if that raises, there is no new
        generation.
        """

    def use_generation(self, generation: int | None) -> None:
        """Make tokens with this generation from now on, in this process, while it is there; None: with the newest."""

    def export(self, generation: int, recipient: bytes) -> bytes:
        """A generation that is there already, sealed as `rotate` does; ValueError where the HSM lets none out."""

    def retire(self, generation: int) -> None:
        """Destroy a generation: its tokens never open again. ValueError for the newest; nothing where it is gone already."""

    def transport_key(self) -> bytes:
        """A public key, as `rotate` takes it, whose private half this HSM keeps to itself. The first call makes it."""

    def receive(self, generation: int, sealed: bytes) -> None:
        """Take a generation that `rotate`, in another HSM of this domain, sealed to `transport_key`.

        Nothing where it is there already; ValueError where another key has its number. Damaged for what was sealed to another key, or as another generation or domain,
        and for what no generation vouches for that this HSM has; an HSM that has none yet takes what it gets.
        """

    def restore(self, generation: int, sealed: bytes, private_key: bytes) -> None:
        """As `receive`, with the private half of the recipient (PKCS#8 in DER): a backup.

        Who has that key is trusted: where no generation at hand is one that could vouch, none has to.
        """

    def describe(self) -> Mapping[str, str]:
        """What health checks and logs may show: technology, domain generation, capabilities.

        `kinds` names the KeyKinds that can be made, with commas between.
        """

    def close(self) -> None:
        """Forget all key material."""
