"""`keystead encrypt` and `keystead decrypt`: files and pipes, as messages of the Encryption SDK."""

from __future__ import annotations

import io
import os
import stat
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, BinaryIO, Final

import typer

from keystead.cli import files
from keystead.cli.exits import Exit, Failure, exit_of
from keystead.cli.output import say
from keystead.cli.session import Session, session

if TYPE_CHECKING:
    from keystead.encryption import Client, EncryptionError

SUFFIX: Final = ".kse"

_PIECE: Final = 1 << 20
_WORTH_A_BAR: Final = 8 << 20


class SuiteName(str, Enum):
    """`--suite`: those of `keystead.encryption.Suite` that are not weak and not for messages of old."""

    AES_256_GCM = "aes-256-gcm"
    AES_256_GCM_SIGNED = "aes-256-gcm-signed"
    SM4_GCM = "sm4-gcm"
    SM4_GCM_SIGNED = "sm4-gcm-signed"


_Source = Annotated[str, typer.Argument(metavar="[SOURCE]", help="A file, or - for standard input.")]
_Target = Annotated[
    str | None,
    typer.Option("--to", "-o", metavar="PATH", help="The new file, or - for standard output."),
]
_Key = Annotated[
    str,
    typer.Option(
        "--key",
        metavar="KEYID",
        envvar="KEYSTEAD_KEY",
        show_default=False,
        help="The CMK, in the region in use.",
    ),
]
_Backup = Annotated[
    list[str] | None,
    typer.Option("--backup", metavar="REGION:KEYID", help="A CMK that stands in for it; up to four."),
]
_Context = Annotated[
    list[str] | None,
    typer.Option(
        "--context", "-c", metavar="NAME=VALUE", help="Bound to the message, not secret; repeatable."
    ),
]
_Force = Annotated[bool, typer.Option("--force", help="Replace the file that is there.")]


def encrypt(
    context: typer.Context,
    key: _Key,
    source: _Source = files.STANDARD,
    to: _Target = None,
    backup: _Backup = None,
    pairs: _Context = None,
    suite: Annotated[SuiteName, typer.Option(help="Algorithms of the message.")] = SuiteName.AES_256_GCM,
    force: _Force = False,
) -> None:
    """Encrypt a file to SOURCE.kse, or standard input to standard output."""
    here = session(context)
    bound = _context(pairs)
    target = to or (files.STANDARD if source == files.STANDARD else source + SUFFIX)
    if target == files.STANDARD and sys.stdout.isatty():
        raise Failure("A message is not text for a terminal: say --to, or pipe it on.", Exit.USAGE)
    with _opened(source, "Encrypting") as read, _written(target, force=force) as write, _errors():
        client = _client(here, key, backup, suite=suite)
        message = _Begun(write)
        client.encrypt_stream(read, message, bound)
        lacking = client.missing(message.first)
    for each in lacking:
        say(f"keystead: {each.region}:{each.key_id} did not answer or refused: it will not open the message.")


def decrypt(
    context: typer.Context,
    key: _Key,
    source: _Source = files.STANDARD,
    to: _Target = None,
    backup: _Backup = None,
    pairs: _Context = None,
    signed_only: Annotated[
        bool, typer.Option("--signed-only", help="Refuse messages without a signature.")
    ] = False,
    verify_first: Annotated[
        bool,
        typer.Option(
            "--verify-first", help="Write nothing to standard output before the whole message was checked."
        ),
    ] = False,
    force: _Force = False,
) -> None:
    """Decrypt SOURCE.kse to SOURCE, or standard input to standard output.

    A file appears when all was checked. In a pipe, what was written counts only where the exit code is 0.
    """
    here = session(context)
    bound = _context(pairs)
    target = to or _without_suffix(source)
    with _opened(source, "Decrypting") as read, _errors():
        client = _client(here, key, backup, signed_only=signed_only)
        if target == files.STANDARD and verify_first:
            _decrypt_checked(client, read, bound)
            return
        with _written(target, force=force) as write:
            client.decrypt_stream(read, write, bound)


def _decrypt_checked(client: Client, read: _Counted, bound: dict[str, str]) -> None:
    # The ciphertext is what is kept meanwhile, in a file without a name: it cannot change between the two passes, and
    # no plaintext touches the disk.
    with tempfile.TemporaryFile() as spool:
        while piece := read.read(_PIECE):
            spool.write(piece)
        spool.seek(0)
        client.decrypt_stream(spool, _Nowhere(), bound)
        spool.seek(0)
        client.decrypt_stream(spool, sys.stdout.buffer, bound)
        sys.stdout.buffer.flush()


def _client(
    here: Session,
    key: str,
    backup: Sequence[str] | None,
    *,
    suite: SuiteName = SuiteName.AES_256_GCM,
    signed_only: bool = False,
) -> Client:
    from keystead.encryption import ApiKms, Client, MasterKey, Suite, libgcrypt

    backups = []
    for named in backup or ():
        region, colon, key_id = named.partition(":")
        if not (region and colon and key_id):
            raise Failure("--backup is REGION:KEYID.", Exit.USAGE)
        backups.append(MasterKey(region, key_id))
    with suppress(libgcrypt.Unusable):  # SM4 is slower then
        libgcrypt.enable()
    try:
        return Client(
            ApiKms(here.api()),
            MasterKey(here.region, key),
            backups,
            suite=Suite[suite.name],
            signed_only=signed_only,
        )
    except ValueError as error:
        raise Failure(str(error), Exit.USAGE) from None


def _context(pairs: Sequence[str] | None) -> dict[str, str]:
    read = [pair.partition("=") for pair in pairs or ()]
    bound = {name: value for name, _, value in read}
    if len(bound) != len(read) or not all(name and equals for name, equals, _ in read):
        raise Failure("--context is NAME=VALUE, each name once.", Exit.USAGE)
    return bound


def _without_suffix(source: str) -> str:
    if source == files.STANDARD:
        return source
    if not source.endswith(SUFFIX) or source == SUFFIX:
        raise Failure(f"The file does not end in {SUFFIX}: say --to.", Exit.USAGE)
    return source.removesuffix(SUFFIX)


@contextmanager
def _errors() -> Iterator[None]:
    """What the Encryption SDK raises, as the exit code that fits."""
    from keystead.encryption import EncryptionError

    try:
        yield
    except EncryptionError as error:
        raise _failure(error) from None
    except ValueError as error:  # of a context that cannot be
        raise Failure(str(error), Exit.USAGE) from None


def _failure(error: EncryptionError) -> Failure:
    from keystead.encryption import KeysUnavailable

    if not isinstance(error, KeysUnavailable):
        return Failure(str(error), Exit.DAMAGED)
    if not error.refusals:
        return Failure(
            "The message has no key that was named: say --key, --backup and --region.", Exit.NOT_FOUND
        )
    code = error.refusals[0].code
    return Failure(str(error), Exit.UNREACHABLE if code == "Unreachable" else exit_of(code))


@contextmanager
def _opened(source: str, label: str) -> Iterator[_Counted]:
    with ExitStack() as stack:
        if source == files.STANDARD:
            if sys.stdin.isatty():
                raise Failure(
                    "Standard input is the terminal: name a file, or pipe something in.", Exit.USAGE
                )
            file: Any = sys.stdin.buffer
            size = None
        else:
            file = stack.enter_context(Path(source).open("rb"))
            state = os.fstat(file.fileno())
            size = state.st_size if stat.S_ISREG(state.st_mode) else None
        yield _Counted(file, stack.enter_context(_bar(label, size)))


@contextmanager
def _written(target: str, *, force: bool) -> Iterator[BinaryIO]:
    if target == files.STANDARD:
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    with files.appearing(Path(target), replace=force) as file:
        yield file


@contextmanager
def _bar(label: str, size: int | None) -> Iterator[Callable[[int], None]]:
    """What is told how many bytes were read: a progress bar on a terminal, where it takes long enough to see one."""
    if not sys.stderr.isatty() or (size is not None and size < _WORTH_A_BAR):
        yield lambda _bytes: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TimeRemainingColumn, TransferSpeedColumn

    console = Console(stderr=True)
    columns = (BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
    with Progress(label, *columns, console=console, transient=True) as progress:
        task = progress.add_task(label, total=size)
        yield lambda count: progress.advance(task, count)


class _Counted:
    """A source that tells how far it was read, in steps that a bar can show."""

    def __init__(self, file: BinaryIO, advance: Callable[[int], None]) -> None:
        self._file = file
        self._advance = advance
        self._untold = 0

    def read(self, size: int, /) -> bytes | None:
        piece = self._file.read(size)
        self._untold += len(piece)
        if self._untold >= _PIECE or not piece:
            self._advance(self._untold)
            self._untold = 0
        return piece


class _Begun(io.RawIOBase):
    """A sink that keeps what was written first: the header, which has the CMKs that answered."""

    def __init__(self, sink: BinaryIO) -> None:
        self._sink = sink
        self.first = b""

    def write(self, data: Any, /) -> int:
        self.first = self.first or bytes(data)
        return self._sink.write(data)


class _Nowhere:
    def write(self, data: bytes, /) -> int:
        return len(data)
