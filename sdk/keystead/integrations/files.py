"""Encrypted files that are opened like others.

    with open_encrypted("report.csv.kse", "w", client, {"report": "2026"}, newline="") as file:
        csv.writer(file).writerow(...)

The bytes are one message of docs/encryption-sdk-format.md: `Client.encrypt_file` and the like read and write the same.
"""

import io
import os
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Literal, overload

from keystead.encryption.client import Client, Place, replacing
from keystead.encryption.file_objects import MessageReader

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer


class EncryptedWriter(io.BufferedIOBase):
    """A new encrypted file, which takes the place of `path` when it is closed; `open_encrypted` makes it.

    Until then it has another name in the same folder (`.keystead-*`, mode 0600), is ciphertext, and goes away with any error: of
    a write, in the `with` block, or where the object is forgotten without `close`. A process that is killed leaves it there.
    """

    def __init__(self, path: Place, client: Client, context: Mapping[str, str] | None = None) -> None:
        super().__init__()
        self._target = ExitStack()
        self.name = os.fspath(path)
        """The path that was given."""
        with ExitStack() as target:
            self._message = client.writer(target.enter_context(replacing(path)), context)
            self._target = target.pop_all()

    def writable(self) -> bool:
        """True."""
        return True

    def tell(self) -> int:
        """How many bytes were written."""
        return self._message.tell()

    def write(self, data: "ReadableBuffer", /) -> int:
        """Take all of the bytes; how many there were. After an error there is nothing but `discard`."""
        if self.closed:
            raise ValueError("The file is closed.")
        return self._message.write(data)

    def close(self) -> None:
        """End the message and put the file in its place; what was there before stays where that fails."""
        if not self.closed:
            try:
                with self._target:
                    self._message.finish()
            finally:
                super().close()

    def discard(self) -> None:
        """Throw away what was written; what was there before stays."""
        self._target.__exit__(_Discarded, _Discarded(), None)
        super().close()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close, or discard where the block failed."""
        if error is not None:
            self.discard()
        self.close()

    def __del__(self) -> None:
        """Discard: whoever forgets to close it may not have written everything."""
        self.discard()


class _Discarded(Exception):
    """What the new file is told when it is not wanted."""


class _EncryptedText(io.TextIOWrapper):
    """Text for an EncryptedWriter, which would otherwise be closed, and so kept, after any error."""

    def __init__(self, writer: EncryptedWriter, encoding: str, errors: str, newline: str | None) -> None:
        self._writer = writer
        super().__init__(writer, encoding, errors, newline)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is not None:
            self._writer.discard()
        self.close()

    def __del__(self) -> None:
        self._writer.discard()


@overload
def open_encrypted(
    path: Place, mode: Literal["rb"], client: Client, context: Mapping[str, str] | None = None
) -> "io.BufferedReader[MessageReader]": ...


@overload
def open_encrypted(
    path: Place, mode: Literal["wb"], client: Client, context: Mapping[str, str] | None = None
) -> EncryptedWriter: ...


@overload
def open_encrypted(
    path: Place,
    mode: Literal["r", "w"],
    client: Client,
    context: Mapping[str, str] | None = None,
    *,
    encoding: str = ...,
    errors: str = ...,
    newline: str | None = ...,
) -> io.TextIOWrapper: ...


def open_encrypted(
    path: Place,
    mode: Literal["rb", "wb", "r", "w"],
    client: Client,
    context: Mapping[str, str] | None = None,
    *,
    encoding: str = "utf-8",
    errors: str = "strict",
    newline: str | None = None,
) -> "io.BufferedReader[MessageReader] | EncryptedWriter | io.TextIOWrapper":
    """Open an encrypted file as `open` opens others: "rb", "wb", and "r", "w" for text.

    Reading: at any position, frame by frame; `MessageReader` says what is checked when, and is the `raw` of the binary file.
    The file must have each pair of `context`. Writing: from one end to the other; the file appears when it is closed, complete (`EncryptedWriter`).

    Raises OSError, and as the client: Damaged (also on `read`), WrongContext, Unsigned, Weak, KeysUnavailable.
    """
    if mode not in ("rb", "wb", "r", "w"):
        raise ValueError("An encrypted file is opened with rb, wb, r or w.")
    if mode.startswith("w"):
        writer = EncryptedWriter(path, client, context)
        return writer if mode == "wb" else _EncryptedText(writer, encoding, errors, newline)
    with ExitStack() as failed:
        file = failed.enter_context(Path(path).open("rb"))
        reader = io.BufferedReader(client.reader(file, context))
        opened = reader if mode == "rb" else io.TextIOWrapper(reader, encoding, errors, newline)
        failed.pop_all()
    return opened
