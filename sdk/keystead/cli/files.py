"""Files that appear when they are complete, and values that come in without standing on a command line."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Final

from keystead.cli.exits import Exit, Failure
from keystead.cli.output import say

if TYPE_CHECKING:
    from keystead.cli.session import Session

STANDARD: Final = "-"
"""Standard input or output, in place of a path."""

_MAX_VALUE: Final = 1 << 20  # far above what the service takes


@contextmanager
def appearing(place: Path, *, replace: bool) -> Iterator[BinaryIO]:
    """A new file of mode 0600 that is at `place` if all goes well, and leaves nothing otherwise.

    Failure where there is a file already, unless it may be replaced.
    """
    if str(place) == STANDARD:
        raise Failure("This is written to a file, and - would be the name of one.", Exit.USAGE)
    if not replace and os.path.lexists(place):
        raise _exists(place)
    if place.exists() and not place.is_file():
        raise Failure(f"{place} is not a file, and is not replaced.", Exit.USAGE)
    try:
        number, made = tempfile.mkstemp(prefix=".keystead-", dir=place.parent)
    except OSError as error:
        raise Failure(f"{place.parent}: {error.strerror}") from None
    try:
        with os.fdopen(number, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        if replace:
            Path(made).replace(place)
        else:
            _rename_to_new(made, place)
    except BaseException:
        with suppress(OSError):
            Path(made).unlink()
        raise


def value(session: Session, prompt: str, source: str | None, *, trim: bool) -> bytes:
    """A secret value: from a file, from standard input (`-`), or typed twice where nothing was said.

    With `trim`, line ends at its end are left out.
    """
    if source is None:
        return session.ask_hidden(prompt, twice=True).encode()
    read = content(source)
    if trim:
        return read.rstrip(b"\r\n")
    if read.endswith(b"\n") and read.count(b"\n") == 1:
        say("keystead: the value ends with a line end, which is a part of it; --trim leaves it out.")
    return read


def content(source: str) -> bytes:
    """All of a file, or of standard input (`-`): at most 1 MiB."""
    if source == STANDARD:
        if sys.stdin.isatty():
            raise Failure("Standard input is the terminal, which would show the value.", Exit.USAGE)
        read = sys.stdin.buffer.read(_MAX_VALUE + 1)
    else:
        with Path(source).open("rb") as file:
            read = file.read(_MAX_VALUE + 1)
    if len(read) > _MAX_VALUE:
        raise Failure("The value is longer than 1 MiB.", Exit.USAGE)
    return read


def print_value(raw: bytes) -> None:
    """A secret value to standard output: its bytes alone into a pipe, with a line end on a terminal.

    A terminal gets no control characters: whoever wrote the secret could steer it. Nor does it get a value with
    characters that it cannot show: what stands in their place would be taken for the value.
    """
    if not sys.stdout.isatty():
        sys.stdout.buffer.write(raw)
        sys.stdout.buffer.flush()
        return
    encoding = sys.stdout.encoding
    text = raw.decode("utf-8", "replace").encode(encoding, "replace").decode(encoding)
    if text.encode() != raw or not all(c.isprintable() or c in "\n\t" for c in text):
        raise Failure("The value is not plain text: say --to-file, or pipe it on.", Exit.USAGE)
    sys.stdout.write(f"{text}\n")


def _rename_to_new(made: str, place: Path) -> None:
    try:
        os.link(made, place)  # a rename would replace what has appeared meanwhile
    except FileExistsError:
        raise _exists(place) from None
    except OSError:  # a file system without links
        Path(made).replace(place)
    else:
        Path(made).unlink()


def _exists(place: Path) -> Failure:
    return Failure(
        f"{place} exists: take another name, or say --force where there is that option.", Exit.USAGE
    )
