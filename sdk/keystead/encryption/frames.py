"""The frames of a message: each is sealed on its own, and each says its number, its length and whether it is the last.

    word (4) | ciphertext | tag

The word's highest bit marks the last frame, the others are the length of its plaintext. The nonce is the frame's
number in 8 bytes and the word: a frame that is moved, repeated, cut, or marked otherwise does not open.
"""

from collections.abc import Callable, Iterable, Iterator
from itertools import count
from typing import Final

from cryptography.exceptions import InvalidTag

from keystead.encryption.errors import Damaged
from keystead.encryption.format import MAX_FRAMES, Reader
from keystead.encryption.suites import FrameCipher, Suite

_LAST: Final = 1 << 31
_WORD_BYTES: Final = 4


def seal(cipher: FrameCipher, frame_bytes: int, read: Callable[[int], bytes]) -> Iterator[bytes]:
    """The bytes of the frames of what `read` gives, until it gives less than it was asked for."""
    for number in range(MAX_FRAMES):
        plaintext = read(frame_bytes)
        last = len(plaintext) < frame_bytes
        yield from seal_one(cipher, number, plaintext, last=last)
        if last:
            return
    raise ValueError("A message has at most 2**32 frames; choose longer ones.")


def seal_one(cipher: FrameCipher, number: int, plaintext: bytes, *, last: bool) -> tuple[bytes, bytes]:
    """One frame: its word, and its ciphertext with the tag. A number is used once in a message."""
    word = (len(plaintext) | _LAST if last else len(plaintext)).to_bytes(_WORD_BYTES, "big")
    return word, cipher.encrypt(number.to_bytes(8, "big") + word, plaintext, None)


def open_sealed(
    cipher: FrameCipher,
    suite: Suite,
    frame_bytes: int,
    read: Reader,
    seen: Callable[[bytes], object] | None = None,
) -> Iterator[bytes]:
    """The plaintext of each frame, as soon as it is authentic. Raises Damaged; ends after the last frame.

    `seen` is told all bytes of the frames that were read: what a signature covers.
    """
    for number in count():
        word = read(_WORD_BYTES)
        length = int.from_bytes(word, "big")
        last = length >= _LAST
        length &= _LAST - 1
        if length > frame_bytes or (not last and length < frame_bytes) or number >= MAX_FRAMES:
            raise Damaged
        sealed = read(suite.sealed_bytes(length))
        try:
            plaintext = cipher.decrypt(number.to_bytes(8, "big") + word, sealed, None)
        except InvalidTag:
            raise Damaged from None
        if len(plaintext) != length:  # only where padding without a tag was changed
            raise Damaged
        if seen is not None:
            seen(word)
            seen(sealed)
        yield plaintext
        if last:
            return


def copy(pieces: Iterable[bytes], write: Callable[[bytes], object]) -> int:
    """Write all pieces; how many bytes they had. A sink without a buffer may take less than it is given."""
    total = 0
    for piece in pieces:
        total += len(piece)
        taken = write(piece)
        while isinstance(taken, int) and taken < len(piece):
            piece = piece[taken:]  # noqa: PLW2901 - what is left of it
            taken = write(piece)
    return total
