"""A generation of a domain key on its way to another HSM or into a backup (docs/formats.md, KS-FMT-21).

    version = 1 (1 byte) | technology (1) | OAEP hash (1) | generation (4) | length of the domain's name (1) | the name
    | number of keys (1) | for each: length (2), ciphertext
    | proof (32) | number of vouchers (1) | for each: generation (4), proof (32)

A proof is an HMAC-SHA256 over everything in front of the first one. The first is made with the new generation itself, so
it tells the number and the domain; the vouchers are made with older generations, so that one who knows none of them cannot
put a key of his own in place of the new one.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Final, Self

from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.hashes import SHA1, SHA256, HashAlgorithm
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_der_private_key,
    load_der_public_key,
)

from chalicelib.formats.canonical import associated_data
from chalicelib.hsm.port import Damaged

VERSION: Final = b"\x01"
PROOF_BYTES: Final = 32
MIN_RSA_BITS: Final = 3072
MAX_RSA_BITS: Final = 8192
MAX_VOUCHERS: Final = 16


Prove = Callable[[bytes], bytes]
"""Makes a proof (32 bytes)."""


class Technology(Enum):
    """What makes and takes the keys. The value is the second byte and never changes."""

    SOFTWARE = 1
    """One key: the domain key."""
    PKCS11 = 2
    """Two keys: the wrapping key, the MAC key."""


class OaepHash(Enum):
    """The hash of RSAES-OAEP (RFC 8017, 7.1; no label), and of its MGF1. The value is the third byte and never changes."""

    SHA_1 = 1
    """What tokens have. OAEP does not need a hash without collisions."""
    SHA_256 = 2


_HASHES: Final[dict[OaepHash, HashAlgorithm]] = {OaepHash.SHA_1: SHA1(), OaepHash.SHA_256: SHA256()}  # noqa: S303


@dataclass(frozen=True, slots=True)
class SealedGeneration:
    """The parts. Nothing is authenticated until `proof`, and a voucher where one is needed, is checked."""

    technology: Technology
    oaep_hash: OaepHash
    domain: str
    generation: int
    keys: tuple[bytes, ...] = field(repr=False)
    """The ciphertexts."""
    proof: bytes = field(default=b"", repr=False)
    vouchers: Mapping[int, bytes] = field(default_factory=dict, repr=False)

    @classmethod
    def decode(cls, sealed: bytes) -> Self:
        """The parts; Damaged for whatever `encode` cannot have made."""
        reader = _Reader(sealed)
        if reader.take(1) != VERSION:
            raise Damaged
        try:
            technology, oaep_hash = Technology(reader.number(1)), OaepHash(reader.number(1))
            generation = reader.number(4)
            domain = reader.take(reader.number(1)).decode()
        except ValueError:
            raise Damaged from None
        keys = tuple(reader.take(reader.number(2)) for _ in range(reader.number(1)))
        proof = reader.take(PROOF_BYTES)
        vouchers = {reader.number(4): reader.take(PROOF_BYTES) for _ in range(reader.number(1))}
        found = cls(technology, oaep_hash, domain, generation, keys, proof, vouchers)
        if found.encode() != sealed:  # one spelling
            raise Damaged
        return found

    def encode(self) -> bytes:
        """The bytes."""
        vouchers = [number.to_bytes(4) + proof for number, proof in sorted(self.vouchers.items())]
        return self._body() + self.proof + bytes([len(vouchers)]) + b"".join(vouchers)

    def proven(self) -> bytes:
        """What proofs are made over."""
        return associated_data("sealed-generation", self._body())

    def proved(self, prove: Prove, older: Mapping[int, Prove]) -> Self:
        """With its proof, and the vouchers of the newest of the older generations."""
        proven = self.proven()
        vouching = sorted(older)[-MAX_VOUCHERS:]
        return replace(
            self, proof=prove(proven), vouchers={number: older[number](proven) for number in vouching}
        )

    def check(self, technology: Technology, domain: str, generation: int) -> None:
        """Damaged if this is something else than what is expected. What it says of itself is not authenticated yet."""
        if (self.technology, self.domain, self.generation) != (technology, domain, generation):
            raise Damaged

    def voucher_of(self, held: Collection[int], *, is_trusted: bool) -> int:
        """The generation of `held` whose voucher has to be checked; 0 for none. Damaged where one is missing.

        The first generation that an HSM takes has nobody to vouch for it, nor needs one who is trusted.
        """
        common = self.vouchers.keys() & set(held)
        if not common and held and not is_trusted:
            raise Damaged
        return max(common, default=0)

    def _body(self) -> bytes:
        name = self.domain.encode()
        header = VERSION + bytes([self.technology.value, self.oaep_hash.value])
        header += self.generation.to_bytes(4) + bytes([len(name)]) + name + bytes([len(self.keys)])
        return header + b"".join([len(key).to_bytes(2) + key for key in self.keys])


def recipient(spki: bytes) -> rsa.RSAPublicKey:
    """A recipient's public key; ValueError unless it is RSA with 3072 to 8192 bits."""
    try:
        key = load_der_public_key(spki)
    except ValueError:
        key = None
    if not isinstance(key, rsa.RSAPublicKey) or not MIN_RSA_BITS <= key.key_size <= MAX_RSA_BITS:
        raise ValueError(f"a recipient is an RSA key of {MIN_RSA_BITS} bits or more")
    return key


def new_private_key() -> bytes:
    """An RSA key of a recipient, PKCS#8 in DER."""
    key = rsa.generate_private_key(65537, MIN_RSA_BITS)
    return key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())


def public_half(private_key: bytes) -> bytes:
    """SubjectPublicKeyInfo in DER."""
    key = load_der_private_key(private_key, None)
    return key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def seal_keys(spki: bytes, oaep_hash: OaepHash, keys: Sequence[bytes]) -> tuple[bytes, ...]:
    """Each key encrypted to a recipient; ValueError as `recipient`."""
    public = recipient(spki)
    return tuple(public.encrypt(key, _padding(oaep_hash)) for key in keys)


def open_keys(sealed: SealedGeneration, private_key: bytes) -> tuple[bytes, ...]:
    """The keys, with the recipient's private key (PKCS#8 in DER); Damaged for another one, or what is none."""
    try:
        key = load_der_private_key(private_key, None)
        if not isinstance(key, rsa.RSAPrivateKey):
            raise Damaged
        return tuple(key.decrypt(ciphertext, _padding(sealed.oaep_hash)) for ciphertext in sealed.keys)
    except (ValueError, TypeError):
        raise Damaged from None


def _padding(oaep_hash: OaepHash) -> padding.OAEP:
    found = _HASHES[oaep_hash]
    return padding.OAEP(padding.MGF1(found), found, None)


class _Reader:
    """Takes bytes from the front; Damaged at the end."""

    def __init__(self, rest: bytes) -> None:
        self._rest = rest

    def take(self, count: int) -> bytes:
        taken, self._rest = self._rest[:count], self._rest[count:]
        if len(taken) != count:
            raise Damaged
        return taken

    def number(self, size: int) -> int:
        return int.from_bytes(self.take(size))
