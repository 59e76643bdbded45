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

    def random(self, count: int) -> bytes:
        """`count` random bytes from the HSM."""

    def describe(self) -> Mapping[str, str]:
        """What health checks and logs may show: technology, domain generation, capabilities."""

    def close(self) -> None:
        """Forget all key material."""
