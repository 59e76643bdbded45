"""The key token of PKCS#11 backends (docs/formats.md, KS-FMT-22).

    version = 2 (1 byte) | kind (1) | generation (4) | length of the public key (2) | public key | wrapped key | MAC (32)

The key is wrapped by AES-KWP (RFC 5649) and the MAC made by HMAC-SHA256, both inside the token, under the two domain keys
of the generation. The public key is SubjectPublicKeyInfo in DER, empty for symmetric kinds. Nothing is unwrapped whose MAC
has not been checked.
"""

from dataclasses import dataclass, field
from typing import Final, Self

from chalicelib.formats.canonical import associated_data
from chalicelib.hsm.port import Damaged, HsmKey, KeyKind

VERSION: Final = b"\x02"
MAC_BYTES: Final = 32
_HEADER: Final = 8
_SHORTEST_WRAPPED: Final = 16
_BLOCK: Final = 8
"""What AES-KWP pads to."""


@dataclass(frozen=True, slots=True)
class Pkcs11Token:
    """The parts of a token. They are authentic once the MAC over `authenticated` is checked."""

    kind: KeyKind
    generation: int
    public_key: bytes
    wrapped: bytes = field(repr=False)
    mac: bytes = field(default=b"", repr=False)

    @classmethod
    def decode(cls, key: HsmKey) -> Self:
        """The parts; Damaged for what is no token of this version and of the key's kind."""
        token = key.token
        size = int.from_bytes(token[6:_HEADER])
        wrapped = token[_HEADER + size : -MAC_BYTES]
        if token[:2] != VERSION + bytes([key.kind.value]) or len(wrapped) < _SHORTEST_WRAPPED:
            raise Damaged
        if len(wrapped) % _BLOCK:
            raise Damaged
        generation = int.from_bytes(token[2:6])
        return cls(key.kind, generation, token[_HEADER : _HEADER + size], wrapped, token[-MAC_BYTES:])

    def authenticated(self, binding: bytes) -> bytes:
        """What the MAC is made over."""
        return associated_data("pkcs11-key-token", self._front(), binding)

    def encode(self) -> bytes:
        """The bytes."""
        return self._front() + self.mac

    def _front(self) -> bytes:
        header = VERSION + bytes([self.kind.value]) + self.generation.to_bytes(4)
        return header + len(self.public_key).to_bytes(2) + self.public_key + self.wrapped
