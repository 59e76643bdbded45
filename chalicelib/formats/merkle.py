"""Merkle trees as RFC 6962, 2.1 has them, with SHA-256 or SM3 (docs/formats.md, KS-FMT-30)."""

import hashlib
from collections.abc import Callable
from enum import Enum
from typing import Final

from cryptography.hazmat.primitives.hashes import SM3
from cryptography.hazmat.primitives.hashes import Hash as _Hash

Hash = Callable[[bytes], bytes]
"""Bytes -> 32 bytes."""


def _sha256(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


def _sm3(data: bytes) -> bytes:
    state = _Hash(SM3())
    state.update(data)
    return state.finalize()


class Standard(Enum):
    """Which hash a tree is made with: the value is the standard of the region."""

    SM = "sm"
    FIPS = "fips"

    @property
    def hash(self) -> Hash:
        """SM3 (GB/T 32905) or SHA-256 (FIPS 180-4)."""
        return _HASHES[self]


_HASHES: Final = {Standard.SM: _sm3, Standard.FIPS: _sha256}


class Tree:
    """A tree that grows leaf by leaf; it keeps one hash for each bit of its size."""

    def __init__(self, hash_: Hash) -> None:
        self._hash = hash_
        self._whole: list[tuple[int, bytes]] = []
        """Complete subtrees from left to right: how many leaves, and their root. Sizes fall, each a power of two."""
        self.size = 0

    def add(self, leaf: bytes) -> None:
        """Append a leaf: the data, not its hash."""
        size, node = 1, self._hash(b"\x00" + leaf)
        while self._whole and self._whole[-1][0] == size:
            _, left = self._whole.pop()
            size, node = size * 2, self._hash(b"\x01" + left + node)
        self._whole.append((size, node))
        self.size += 1

    def root(self) -> bytes:
        """The root over the leaves so far; the hash of nothing for none."""
        if not self._whole:
            return self._hash(b"")
        node = self._whole[-1][1]
        for _, left in reversed(self._whole[:-1]):
            node = self._hash(b"\x01" + left + node)
        return node
