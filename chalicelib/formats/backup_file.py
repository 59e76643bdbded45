"""An encrypted backup file, written and read as a stream (docs/formats.md, KS-FMT-40).

    "KSBK" | version = 1 (1 byte) | salt (16) | frames

A frame is its message's length (4 bytes) and a message (KS-FMT-4, suite 1) of up to 1 MiB under a key that scrypt
makes of the passphrase. Frames are numbered and the last one is marked: a frame that was changed, moved, repeated,
left out or added is damage, and so is a file that ends early.
"""

import io
import secrets
from typing import BinaryIO, Final

from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from chalicelib.formats.canonical import associated_data
from chalicelib.formats.message import MessageKey
from chalicelib.hsm.port import Damaged, KeyKind

MAGIC: Final = b"KSBK\x01"
SALT_BYTES: Final = 16
FRAME_BYTES: Final = 1 << 20
_OVERHEAD: Final = 41
_COST: Final = 2**17
"""scrypt's N (RFC 7914), with r = 8 and p = 1: 128 MiB for each guess."""


class Writer(io.RawIOBase):
    """Seals what is written to it. Only `finish` makes the file whole."""

    def __init__(self, file: BinaryIO, passphrase: bytes) -> None:
        self._file = file
        self._header = MAGIC + secrets.token_bytes(SALT_BYTES)
        self._key = _key(self._header, passphrase)
        self._number = 0
        self._pending = bytearray()
        file.write(self._header)

    def writable(self) -> bool:
        return True

    def write(self, data: bytes, /) -> int:  # type: ignore[override] # every buffer of bytes will do
        self._pending += data
        # A whole frame stays behind: it may be the last one.
        while len(self._pending) > FRAME_BYTES:
            self._put(bytes(self._pending[:FRAME_BYTES]), is_last=False)
            del self._pending[:FRAME_BYTES]
        return len(data)

    def finish(self) -> None:
        """Write the last frame."""
        self._put(bytes(self._pending), is_last=True)
        self._pending.clear()

    def _put(self, plaintext: bytes, *, is_last: bool) -> None:
        sealed = self._key.seal(plaintext, _place(self._header, self._number, is_last=is_last))
        self._file.write(len(sealed).to_bytes(4) + sealed)
        self._number += 1


class Reader(io.RawIOBase):
    """Opens what `Writer` sealed; nothing of a frame comes out before it is authenticated. Raises Damaged.

    Whoever reads has to go on to the end before trusting anything: only there it is known that nothing is missing.
    """

    def __init__(self, file: BinaryIO, passphrase: bytes) -> None:
        self._file = file
        self._header = file.read(len(MAGIC) + SALT_BYTES)
        if not self._header.startswith(MAGIC) or len(self._header) != len(MAGIC) + SALT_BYTES:
            raise Damaged
        self._key = _key(self._header, passphrase)
        self._number = 0
        self._ready = b""
        self._sealed = self._next(may_end=False)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview, /) -> int:  # type: ignore[override] # every writable buffer will do
        while not self._ready:
            if self._sealed is None:
                return 0
            following = self._next(may_end=True)
            place = _place(self._header, self._number, is_last=following is None)
            self._ready = self._key.open_sealed(self._sealed, place)
            self._number += 1
            self._sealed = following
        count = min(len(buffer), len(self._ready))
        buffer[:count] = self._ready[:count]
        self._ready = self._ready[count:]
        return count

    def _next(self, *, may_end: bool) -> bytes | None:
        """The next frame as it is in the file; None at its end."""
        length = self._file.read(4)
        if not length and may_end:
            return None
        size = int.from_bytes(length)
        if len(length) != 4 or not _OVERHEAD <= size <= FRAME_BYTES + _OVERHEAD:  # noqa: PLR2004 - the length's own
            raise Damaged
        sealed = self._file.read(size)
        if len(sealed) != size:
            raise Damaged
        return sealed


def _key(header: bytes, passphrase: bytes) -> MessageKey:
    salt = header[len(MAGIC) :]
    return MessageKey(KeyKind.AES_256, Scrypt(salt=salt, length=32, n=_COST, r=8, p=1).derive(passphrase))


def _place(header: bytes, number: int, *, is_last: bool) -> bytes:
    return associated_data("backup", header, number, int(is_last))
