"""Every small change to some bytes."""

from collections.abc import Iterator


def damaged_copies(whole: bytes) -> Iterator[bytes]:
    """Each bit flipped, each prefix, and a byte too many at either end."""
    for bit in range(len(whole) * 8):
        changed = bytearray(whole)
        changed[bit // 8] ^= 1 << bit % 8
        yield bytes(changed)
    for length in range(len(whole)):
        yield whole[:length]
    yield whole + b"\0"
    yield b"\0" + whole
