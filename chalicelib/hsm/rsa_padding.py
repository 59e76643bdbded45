"""What an RSA private key left of a ciphertext, unpadded in process memory: for tokens that do not do it, or not safely.

`block` has 256 bytes. Python has no constant time; so every step is taken whatever the others found, and one outcome is
chosen in the end.
"""

import hashlib
import hmac
from typing import Final

from chalicelib.hsm.port import Damaged

_BLOCK_BYTES: Final = 256
_HASH_BYTES: Final = 32
_LABEL_HASH: Final = hashlib.sha256(b"").digest()
_SHORTEST_PADDING: Final = 8


def unpad_oaep_sha256(block: bytes) -> bytes:
    """RSAES-OAEP with SHA-256, MGF1 with SHA-256, no label (RFC 8017, 7.1.2, step 3); or Damaged."""
    if len(block) != _BLOCK_BYTES:
        raise Damaged
    masked_seed, masked = block[1 : 1 + _HASH_BYTES], block[1 + _HASH_BYTES :]
    seed = _xor(masked_seed, _mgf1(masked, _HASH_BYTES))
    data = _xor(masked, _mgf1(seed, len(masked)))
    end_of_zeros = data.find(b"\x01", _HASH_BYTES)
    good = (
        hmac.compare_digest(block[:1], b"\0")
        & hmac.compare_digest(data[:_HASH_BYTES], _LABEL_HASH)
        & (end_of_zeros >= 0)
        & hmac.compare_digest(data[_HASH_BYTES:end_of_zeros], bytes(len(data[_HASH_BYTES:end_of_zeros])))
    )
    if not good:
        raise Damaged
    return data[end_of_zeros + 1 :]


def unpad_pkcs1(block: bytes, otherwise: bytes) -> tuple[bytes, bool]:
    """RSAES-PKCS1-v1_5 (RFC 8017, 7.2.2, step 3) and whether the padding was good; `otherwise` where it was not."""
    end = block.find(b"\0", 2)
    good = (
        (len(block) == _BLOCK_BYTES)
        & hmac.compare_digest(block[:2], b"\x00\x02")
        & (end >= 2 + _SHORTEST_PADDING)
    )
    return (otherwise, block[end + 1 :])[good], good


def _mgf1(seed: bytes, count: int) -> bytes:
    rounds = -(-count // _HASH_BYTES)
    return b"".join([hashlib.sha256(seed + index.to_bytes(4)).digest() for index in range(rounds)])[:count]


def _xor(some: bytes, other: bytes) -> bytes:
    return (int.from_bytes(some) ^ int.from_bytes(other)).to_bytes(len(some))
