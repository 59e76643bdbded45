"""The software HSM's key file: a domain's keys, sealed (docs/formats.md, KS-FMT-8).

    version = 1 (1 byte) | sealed by (1) | salt (16) | iv (12) | ciphertext | tag (16)

The plaintext is `generation (4) | key (32)` for each domain key. A change seals the whole list again under the same
seal key with a fresh iv.
"""

import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Final, Self

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from chalicelib.formats import aead
from chalicelib.formats.canonical import associated_data
from chalicelib.hsm.port import Damaged, KeyKind

VERSION: Final = b"\x01"
KEY_BYTES: Final = 32
SALT_BYTES: Final = 16
_HEADER: Final = 2 + SALT_BYTES
_BODY: Final = _HEADER + aead.IV_BYTES
_ENTRY: Final = 4 + KEY_BYTES


class SealedBy(Enum):
    """Where the seal key comes from. The value is the file's second byte and never changes."""

    PASSPHRASE = 1
    """scrypt (RFC 7914) with N = 2**15, r = 8, p = 1: 32 MiB for each guess."""
    RANDOM_KEY = 2
    """HKDF-SHA256 (RFC 5869): the secret has 256 random bits, nothing has to be slow."""


@dataclass(frozen=True, slots=True)
class Header:
    """The readable part of the file."""

    sealed_by: SealedBy
    salt: bytes

    @classmethod
    def read(cls, file: bytes) -> Self:
        """The file's header; Damaged if it is no file of this version."""
        if len(file) < _BODY or file[:1] != VERSION:
            raise Damaged
        try:
            return cls(SealedBy(file[1]), file[2:_HEADER])
        except ValueError:
            raise Damaged from None

    def encode(self) -> bytes:
        """The first 18 bytes of the file."""
        return VERSION + bytes([self.sealed_by.value]) + self.salt

    def seal_key(self, secret: bytes) -> bytes:
        """The key, 32 bytes, that `secret` gives for files with this header."""
        if self.sealed_by is SealedBy.PASSPHRASE:
            return Scrypt(salt=self.salt, length=KEY_BYTES, n=2**15, r=8, p=1).derive(secret)
        return HKDF(SHA256(), KEY_BYTES, self.salt, b"keystead domain keys").derive(secret)


def seal(
    domain: str,
    header: Header,
    seal_key: bytes,
    domain_keys: Mapping[int, bytes],
    random: Callable[[int], bytes] = secrets.token_bytes,
) -> bytes:
    """The file; `domain_keys` has the key, 32 bytes, of each generation."""
    entries = b"".join(
        [generation.to_bytes(4) + domain_keys[generation] for generation in sorted(domain_keys)]
    )
    iv = random(aead.IV_BYTES)
    ad = _associated_data(domain, header)
    return header.encode() + iv + aead.seal(KeyKind.AES_256, seal_key, iv, entries, ad)


def open_sealed(domain: str, seal_key: bytes, file: bytes) -> dict[int, bytes]:
    """The key of each generation; Damaged unless `seal` made the file with the same domain and seal key."""
    ad = _associated_data(domain, Header.read(file))
    entries = aead.open_sealed(KeyKind.AES_256, seal_key, file[_HEADER:_BODY], file[_BODY:], ad)
    return {
        int.from_bytes(entries[at : at + 4]): entries[at + 4 : at + _ENTRY]
        for at in range(0, len(entries), _ENTRY)
    }


def seal_transport_key(domain: str, header: Header, seal_key: bytes, private_key: bytes) -> bytes:
    """The file of a transport key (KS-FMT-8.6): laid out like the other one, but with a private key in it, PKCS#8 in DER."""
    iv = secrets.token_bytes(aead.IV_BYTES)
    ad = associated_data("transport-key", domain, header.encode())
    return header.encode() + iv + aead.seal(KeyKind.AES_256, seal_key, iv, private_key, ad)


def open_transport_key(domain: str, seal_key: bytes, file: bytes) -> bytes:
    """The private key; Damaged unless `seal_transport_key` made the file with the same domain and seal key."""
    ad = associated_data("transport-key", domain, Header.read(file).encode())
    return aead.open_sealed(KeyKind.AES_256, seal_key, file[_HEADER:_BODY], file[_BODY:], ad)


def _associated_data(domain: str, header: Header) -> bytes:
    return associated_data("domain-keys", domain, header.encode())
