"""What is left in this process's memory of a data key's HMAC-SHA-512 (FIPS 180-4, FIPS 198-1; Linux only)."""

import re
import struct
from math import isqrt
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

_MASK: Final = (1 << 64) - 1


def hmac_state(data_key: bytes) -> tuple[int, ...]:
    """The eight words of the outer hash once it took the secret of this data key: what it can be derived from."""
    secret = HKDF.extract(hashes.SHA512(), b"keystead encryption sdk 1", data_key)
    return _compressed(bytes(byte ^ 0x5C for byte in secret.ljust(128, b"\0")))


def in_memory(state: tuple[int, ...]) -> int:
    """How often the state is there, as SHA-512 keeps it. The pattern is not in one piece anywhere else."""
    found = 0
    with Path("/proc/self/maps").open() as maps, Path("/proc/self/mem").open("rb", 0) as memory:
        for line in maps:
            begin, end, is_writable = re.match(r"(\w+)-(\w+) .(w?)", line).groups()  # type: ignore[union-attr]
            if not is_writable:
                continue
            try:
                memory.seek(int(begin, 16))
                content = memory.read(int(end, 16) - int(begin, 16))
            except (OSError, OverflowError):
                continue  # of the kernel
            words = struct.pack("=Q", state[3])
            for match in re.finditer(re.escape(words), content):
                at = match.start()
                found += content[at + 8 : at + 16] == struct.pack("=Q", state[4])
    return found


def _compressed(block: bytes) -> tuple[int, ...]:
    """SHA-512's state after one block (FIPS 180-4, 6.4.2)."""
    constants = [_cube_root(prime << 192) & _MASK for prime in _primes(80)]
    begin = [isqrt(prime << 128) & _MASK for prime in _primes(8)]
    w = list(struct.unpack(">16Q", block))
    for i in range(16, 80):
        x, y = w[i - 15], w[i - 2]
        w.append(
            (
                w[i - 16]
                + (_turned(x, 1) ^ _turned(x, 8) ^ x >> 7)
                + w[i - 7]
                + (_turned(y, 19) ^ _turned(y, 61) ^ y >> 6)
            )
            & _MASK
        )
    a, b, c, d, e, f, g, h = begin
    for i in range(80):
        one = h + (_turned(e, 14) ^ _turned(e, 18) ^ _turned(e, 41)) + (e & f ^ ~e & g) + constants[i] + w[i]
        two = (_turned(a, 28) ^ _turned(a, 34) ^ _turned(a, 39)) + (a & b ^ a & c ^ b & c)
        a, b, c, d, e, f, g, h = (one + two) & _MASK, a, b, c, (d + one) & _MASK, e, f, g
    return tuple((x + y) & _MASK for x, y in zip(begin, (a, b, c, d, e, f, g, h), strict=True))


def _turned(word: int, bits: int) -> int:
    return (word >> bits | word << 64 - bits) & _MASK


def _primes(count: int) -> list[int]:
    found: list[int] = []
    number = 2
    while len(found) < count:
        if all(number % prime for prime in found):
            found.append(number)
        number += 1
    return found


def _cube_root(number: int) -> int:
    root = 1 << number.bit_length() // 3 + 1
    while (less := (2 * root + number // (root * root)) // 3) < root:
        root = less
    return root
