"""A message as a file object: written from one end to the other, read at any position.

Frames are sealed one by one under their number (docs/encryption-sdk-format.md, ESF-4), so one can be opened without the others.
What a reader of single frames would miss, it is told at the beginning: the last frame is opened first, which proves how
long the message is, and the signature of a signed message is checked over all of it.
"""

import io
from collections.abc import Callable, Iterable, Iterator
from hmac import compare_digest
from itertools import islice
from typing import TYPE_CHECKING, Final, Protocol

from cryptography.hazmat.primitives import hashes

from keystead.encryption import frames, signature
from keystead.encryption.errors import Damaged
from keystead.encryption.format import Header, exactly
from keystead.encryption.suites import FrameCipher

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer, WriteableBuffer

    from keystead.encryption.client import Sink, Source

_NO_FRAME: Final = -1


class Seekable(Protocol):
    """Where a message is: an open binary file, or what seems to be one."""

    def read(self, size: int, /) -> bytes | None:
        """At most so many bytes; none at the end."""
        ...

    def seek(self, offset: int, whence: int = ..., /) -> int:
        """As of a file; the new position."""
        ...

    def close(self) -> None:
        """Let go of it."""
        ...


class MessageReader(io.RawIOBase):
    """The plaintext of a message, read at any position; `Client.reader` makes it.

    - That it could be made says: header and context are authentic, the message ends where the source ends, and the whole of
      it is signed if its suite says so. Damaged is raised otherwise.
    - What `read` and `readinto` give is authentic, and is what was written at that position. They raise Damaged.
    - Frames that are not read are not checked, unless the message is signed.

    A signed message is read once from end to end first, and takes 32 bytes of memory for each frame. One frame is kept in memory.
    Wrap it in `io.BufferedReader` for lines and exact reads. Closing it closes the source. One thread at a time.
    """

    _is_whole = False

    def __init__(
        self,
        source: Seekable,
        header: Header,
        cipher: FrameCipher,
        context: dict[str, str],
        public_key: str,
    ) -> None:
        super().__init__()
        self.context: Final = context
        """The encryption context, authentic."""
        self._source, self._read = source, exactly(frames.reader(source))
        self._suite = header.suite
        self._frame_bytes = header.frame_bytes
        self._step = frames.size_of(header.suite, header.frame_bytes)
        self._begin = len(header.encode())
        self._cipher = cipher
        self._digests: list[bytes] | None = None
        self._position = 0
        self._number, self._frame = _NO_FRAME, b""
        end = source.seek(0, io.SEEK_END) - (signature.SIGNATURE_BYTES if header.suite.signed else 0)
        whole, rest = divmod(max(end - self._begin, 0), self._step)
        self._last = whole if rest else whole - 1
        self._last_bytes = rest or self._step
        if self._last < 0:
            raise Damaged
        if header.suite.signed:
            self._verify(header, public_key)
        self._length = self._last * self._frame_bytes + len(self._opened(self._last))
        self._is_whole = True

    def close(self) -> None:
        """Close the source as well. What refused the message leaves it open."""
        if self._is_whole and not self.closed:
            self._source.close()
        super().close()

    def readable(self) -> bool:
        """True."""
        return True

    def seekable(self) -> bool:
        """True."""
        return True

    def tell(self) -> int:
        """The position in the plaintext, in bytes."""
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        """As of a file; past the end there is nothing to read. Raises ValueError for a position before the beginning."""
        self._check_open()
        begin = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._length}
        if whence not in begin or begin[whence] + offset < 0:
            raise ValueError(
                "A position is counted from the beginning, from here or from the end, and not below 0."
            )
        self._position = begin[whence] + offset
        return self._position

    def readinto(self, buffer: "WriteableBuffer", /) -> int:
        """Fill the buffer up to the end of a frame; how many bytes were given, 0 at the end."""
        self._check_open()
        view = memoryview(buffer).cast("B")
        if self._position >= self._length or not view:
            return 0
        number, offset = divmod(self._position, self._frame_bytes)
        piece = memoryview(self._opened(number))[offset : offset + len(view)]
        view[: len(piece)] = piece
        self._position += len(piece)
        return len(piece)

    def readall(self) -> bytes:
        """All that follows, in memory."""
        pieces = []
        while piece := self.read(self._frame_bytes):
            pieces.append(piece)
        return b"".join(pieces)

    def _opened(self, number: int) -> bytes:
        """The plaintext of a frame."""
        if number != self._number:
            # Nothing is kept in memory while the next one is opened.
            self._number, self._frame = _NO_FRAME, b""
            sealed = self._sealed(number)
            if self._digests is not None and not compare_digest(_digest(sealed), self._digests[number]):
                raise Damaged
            self._frame = frames.open_at(
                self._cipher, self._suite, self._frame_bytes, number, sealed, last=number == self._last
            )
            self._number = number
        return self._frame

    def _sealed(self, number: int) -> bytes:
        self._source.seek(self._begin + number * self._step)
        return self._read(self._last_bytes if number == self._last else self._step)

    def _verify(self, header: Header, public_key: str) -> None:
        """Check the signature. The frames are remembered, because who can decrypt could change the source afterwards."""
        digest = hashes.Hash(hashes.SHA256())
        digest.update(header.core + header.commitment)
        digests = []
        for number in range(self._last + 1):
            sealed = self._sealed(number)
            digest.update(sealed)
            digests.append(_digest(sealed))
        signature.verify(public_key, self._read(signature.SIGNATURE_BYTES), digest.finalize())
        self._digests = digests

    def _check_open(self) -> None:
        if self.closed:
            raise ValueError("The file is closed.")


class MessageWriter(io.BufferedIOBase):
    """A message, made of what is written; `Client.writer` makes it.

    Whole frames go to the sink as soon as they are full. `finish` writes what is left; a message that is only closed, or
    whose sink failed, has no end, and no reader takes it. The sink stays open. One thread at a time.
    """

    def __init__(
        self, pieces: "Callable[[Source], Iterator[bytes | memoryview]]", frame_bytes: int, sink: "Sink"
    ) -> None:
        super().__init__()
        self._waiting = _Waiting()
        self._frame_bytes = frame_bytes
        self._sink = sink
        self._written = 0
        self._pieces = pieces(self._waiting)
        self._put(islice(self._pieces, 1))

    def writable(self) -> bool:
        """True."""
        return True

    def tell(self) -> int:
        """How many bytes were written."""
        return self._written

    def write(self, data: "ReadableBuffer", /) -> int:
        """Take all of the bytes; how many there were."""
        self._check_open()
        with memoryview(data).cast("B") as view:
            for begin in range(0, len(view), self._frame_bytes):
                self._waiting.data += view[begin : begin + self._frame_bytes]
                while len(self._waiting.data) >= self._frame_bytes:
                    self._put(islice(self._pieces, 1))
            self._written += len(view)
            return len(view)

    def finish(self) -> None:
        """Write the last frame, and the signature of a signed message, and close."""
        self._check_open()
        self._put(self._pieces)
        self.close()

    def _check_open(self) -> None:
        if self.closed:
            raise ValueError("The file is closed.")

    def _put(self, pieces: Iterable[bytes | memoryview]) -> None:
        try:
            frames.copy(pieces, self._sink)
        except BaseException:
            self.close()  # a part of a frame may be in the sink: nothing may follow it
            raise


class _Waiting:
    """What was written and has no frame yet."""

    def __init__(self) -> None:
        self.data = bytearray()

    def read(self, size: int, /) -> bytes:
        piece = bytes(self.data[:size])
        del self.data[:size]
        return piece


def _digest(sealed: bytes) -> bytes:
    digest = hashes.Hash(hashes.SHA256())
    digest.update(sealed)
    return digest.finalize()
