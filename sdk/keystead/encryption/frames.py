"""The frames of a message: each is sealed on its own, and each says its number, its length and whether it is the last.

    word (4) | ciphertext | tag

The word's highest bit marks the last frame, the others are the length of its plaintext. The nonce is the frame's
number in 8 bytes and the word: a frame that is moved, repeated, cut, or marked otherwise does not open.
"""

import io
from collections.abc import Callable, Iterable, Iterator
from itertools import count
from typing import TYPE_CHECKING, Any, Final

from cryptography.exceptions import InvalidTag

from keystead.encryption.errors import Damaged
from keystead.encryption.format import MAX_FRAMES, Reader
from keystead.encryption.suites import FrameCipher, Suite

if TYPE_CHECKING:
    from keystead.encryption.client import Sink, Source

_LAST: Final = 1 << 31
_WORD_BYTES: Final = 4


def seal(
    cipher: FrameCipher, suite: Suite, frame_bytes: int, read: Callable[[int], bytes]
) -> Iterator[memoryview]:
    """Each frame of what `read` gives, until it gives less than it was asked for.

    The frames are made in one buffer: each is there until the next one is asked for. Raises ValueError after 2^32.
    """
    frame = memoryview(b"")
    for number in range(MAX_FRAMES):
        plaintext = read(frame_bytes)
        last = len(plaintext) < frame_bytes
        size = _WORD_BYTES + suite.sealed_bytes(len(plaintext))
        if len(frame) != size:
            frame = memoryview(bytearray(size))
        word = _word(len(plaintext), last=last)
        frame[:_WORD_BYTES] = word
        cipher.encrypt_into(number.to_bytes(8, "big") + word, plaintext, None, frame[_WORD_BYTES:])
        yield frame
        if last:
            return
    raise ValueError("A message has at most 2**32 frames; choose longer ones.")


def seal_only(cipher: FrameCipher, plaintext: bytes) -> tuple[bytes, bytes]:
    """The frame of a message that has one: its word, and its ciphertext with the tag."""
    word = _word(len(plaintext), last=True)
    return word, cipher.encrypt(bytes(8) + word, plaintext, None)


def _word(length: int, *, last: bool) -> bytes:
    return (length | _LAST if last else length).to_bytes(_WORD_BYTES, "big")


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
        length, last = _said(word, frame_bytes)
        sealed = read(suite.sealed_bytes(length))
        plaintext = _opened(cipher, number, word, sealed, length)
        if seen is not None:
            seen(word)
            seen(sealed)
        yield plaintext
        if last:
            return


def size_of(suite: Suite, length: int) -> int:
    """Bytes of a frame with so many bytes of plaintext."""
    return _WORD_BYTES + suite.sealed_bytes(length)


def open_at(
    cipher: FrameCipher, suite: Suite, frame_bytes: int, number: int, frame: bytes, *, last: bool
) -> bytes:
    """The plaintext of the frame with this number, whole and on its own. Raises Damaged, also where `last` is not so."""
    word = frame[:_WORD_BYTES]
    length, is_last = _said(word, frame_bytes)
    if is_last != last or len(frame) != size_of(suite, length):
        raise Damaged
    return _opened(cipher, number, word, frame[_WORD_BYTES:], length)


def _said(word: bytes, frame_bytes: int) -> tuple[int, bool]:
    """The length that a word says, and whether it marks the last frame. Nothing of it is authentic yet."""
    said = int.from_bytes(word, "big")
    length, last = said & (_LAST - 1), said >= _LAST
    if length > frame_bytes or (length < frame_bytes and not last):
        raise Damaged
    return length, last


def _opened(cipher: FrameCipher, number: int, word: bytes, sealed: bytes, length: int) -> bytes:
    if number >= MAX_FRAMES:
        raise Damaged
    try:
        plaintext = cipher.decrypt(number.to_bytes(8, "big") + word, sealed, None)
    except InvalidTag:
        raise Damaged from None
    if len(plaintext) != length:  # only where padding without a tag was changed
        raise Damaged
    return plaintext


def reader(source: "Source") -> Reader:
    """`read` that gives less than it is asked for only at the end. Raises BlockingIOError for None, nothing yet."""

    def read(size: int) -> bytes:
        piece = some(size)
        if len(piece) == size or not piece:
            return piece
        pieces = [piece]
        left = size - len(piece)
        while left and (more := some(left)):
            pieces.append(more)
            left -= len(more)
        return b"".join(pieces)

    def some(size: int) -> bytes:
        piece = source.read(size)
        if piece is None:  # what came so far would pass for everything
            raise BlockingIOError("The source has nothing yet: use one that blocks.")
        return piece

    return read


def copy(pieces: Iterable[bytes | memoryview], sink: "Sink") -> int:
    """Write all pieces; how many bytes they had. A sink without a buffer may take less than it is given.

    Raises BlockingIOError where it takes nothing: a file that does not block says so by 0 or, of Python's raw ones, by None.
    """
    is_file, is_raw = isinstance(sink, io.IOBase), isinstance(sink, io.RawIOBase)
    total = 0
    for piece in pieces:
        total += len(piece)
        # What a frame is in is used again for the next one, which a sink of the caller's own may not expect.
        left: Any = piece if is_file else bytes(piece)
        while left:
            taken = sink.write(left)
            if taken == 0 or (taken is None and is_raw):
                raise BlockingIOError("The sink takes nothing now: use one that blocks.")
            left = left[taken:] if isinstance(taken, int) else b""
    return total
