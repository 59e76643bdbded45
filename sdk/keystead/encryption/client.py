"""Encrypt and decrypt; everything about keys happens inside."""

import asyncio
import errno
import io
import os
import secrets
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from hmac import compare_digest
from pathlib import Path
from typing import Any, BinaryIO, Final, Protocol

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from keystead.encryption import frames, signature
from keystead.encryption.cache import CacheLimits, DataKeyCache, Material, Opened
from keystead.encryption.envelope import Envelope, MasterKey
from keystead.encryption.errors import Damaged, Unsigned, Weak, WrongContext
from keystead.encryption.file_objects import MessageReader, MessageWriter, Seekable
from keystead.encryption.format import (
    MAX_EDKS,
    MAX_FRAME_BYTES,
    MESSAGE_ID_BYTES,
    PUBLIC_KEY,
    Header,
    Reader,
    core_begin,
    core_end,
    decode_context,
    decode_edks,
    edk_part,
    encode_context,
    encode_edks,
    exactly,
    header_of,
    read_header,
)
from keystead.encryption.kms import Kms
from keystead.encryption.suites import FrameCipher, MessageKeys, Suite, wipe

Place = str | os.PathLike[str]
"""A path, as `open` takes it."""
FRAME_BYTES: Final = 1 << 17
"""Plaintext of a frame unless said otherwise: what a reader of a stream needs in memory, twice."""


class Source(Protocol):
    """Where bytes come from: an open binary file, a socket's file, the body of an answer."""

    def read(self, size: int, /) -> bytes | None:
        """At most so many bytes; `b""` at the end. For None, nothing yet, BlockingIOError is raised."""
        ...


class Sink(Protocol):
    """Where bytes go."""

    def write(self, data: bytes, /) -> Any:
        """Take all of the bytes, or say how many were taken."""
        ...


@dataclass(frozen=True)
class Decrypted:
    """What a message said: both are authentic."""

    plaintext: bytes = field(repr=False)
    """What was encrypted; not shown by `repr`."""
    context: dict[str, str]
    """The encryption context, without what the SDK put there."""


class Client:
    """Encrypts and decrypts under one primary CMK and up to four backups. Threads may share it.

    - `kms`: `ApiKms(Api(...))`, or an adapter of your own.
    - `minimum`: so many CMKs must answer before anything is encrypted. With 1, encryption goes on as long as one region
      is up, and `heal` adds the others later; with 2, no message is ever lost with a single region.
    - `cache`: lets a data key serve for several messages; without it, each message costs a call to KMS for each CMK.
    - `signed_only`: refuse messages without a signature.
    - `allow_weak`: write and read the suites that are weak (`Suite.is_weak`) as well; for data of old, never for new.
    - `patience`: seconds to wait for a region before the next one is asked as well.

    Errors: KeysUnavailable (KMS), Damaged, WrongContext, Unsigned and Weak (messages), ValueError (arguments).
    """

    def __init__(
        self,
        kms: Kms,
        primary: MasterKey,
        backups: Sequence[MasterKey] = (),
        *,
        suite: Suite = Suite.AES_256_GCM,
        frame_bytes: int = FRAME_BYTES,
        minimum: int = 1,
        cache: CacheLimits | None = None,
        signed_only: bool = False,
        allow_weak: bool = False,
        patience: float = 1.0,
    ) -> None:
        if not 1 <= frame_bytes <= MAX_FRAME_BYTES:
            raise ValueError(f"A frame has 1 to {MAX_FRAME_BYTES} bytes.")
        if suite.is_weak and not allow_weak:
            raise ValueError("The suite is weak: choose another one, or say allow_weak=True.")
        self._envelope = Envelope(kms, (primary, *backups), minimum=minimum, patience=patience)
        self._suite = suite
        self._frame_bytes = frame_bytes
        self._core_begin = core_begin(suite, frame_bytes)
        self._cache = None if cache is None else DataKeyCache(cache)
        self._signed_only = signed_only
        self._allow_weak = allow_weak

    @property
    def frame_bytes(self) -> int:
        """Bytes of plaintext in a frame."""
        return self._frame_bytes

    def encrypt(self, plaintext: bytes, context: Mapping[str, str] | None = None) -> bytes:
        """The message. `context` is not secret: it is in the message, and KMS sees it and writes it down."""
        material = self._material(context, len(plaintext))
        header, cipher = self._begin(material)
        if len(plaintext) < self._frame_bytes and material.signing_key is None:
            return b"".join((*header, *frames.seal_only(cipher, plaintext)))
        message = io.BytesIO()
        frames.copy(self._message(material, header, cipher, io.BytesIO(plaintext).read), message)
        return message.getvalue()

    def decrypt(self, message: bytes, context: Mapping[str, str] | None = None) -> Decrypted:
        """What is in the message, after all of it was checked. The message must have each pair of `context`."""
        source = io.BytesIO(message)
        begun = header, cipher, found, _ = self._begun(exactly(source.read), context)
        left = len(message) - source.tell()
        if not header.suite.signed and left <= frames.size_of(header.suite, header.frame_bytes):
            frame = source.read()
            return Decrypted(
                frames.open_at(cipher, header.suite, header.frame_bytes, 0, frame, last=True), found
            )
        plaintext = io.BytesIO()
        self._rest(source.read, plaintext.write, *begun)
        return Decrypted(plaintext.getvalue(), found)

    def encrypt_stream(
        self,
        source: Source,
        sink: Sink,
        context: Mapping[str, str] | None = None,
        *,
        length: int | None = None,
    ) -> int:
        """Write the message of all that the source gives, frame by frame; its length in bytes.

        The stream gets a data key of its own, unless there is a cache and `length` says how many bytes it has at most:
        then ValueError is raised, and the message stays without an end, if there are more.
        """
        return frames.copy(self.pieces(source, context, length=length), sink)

    def decrypt_stream(
        self, source: Source, sink: Sink, context: Mapping[str, str] | None = None
    ) -> dict[str, str]:
        """Write what is in the message, frame by frame; its context.

        What was written is authentic but may lack its end, or its signature, until this returns: if it raises, throw it
        away. A message of one frame is written only after everything was checked. Nothing may follow the message.
        """
        read = frames.reader(source)
        begun = self._begun(exactly(read), context)
        self._rest(read, lambda piece: frames.copy((piece,), sink), *begun)
        return begun[2]

    def pieces(
        self, source: Source, context: Mapping[str, str] | None = None, *, length: int | None = None
    ) -> Iterator[bytes | memoryview]:
        """As `encrypt_stream`, for who fetches the message: the header, each frame of `frame_bytes`, what comes last.

        A frame is sealed when it is asked for, and there until the next one is. The source is read no further than that.
        """
        material = self._material(context, length)
        header, cipher = self._begin(material)
        read = frames.reader(source)
        if length is not None and self._cache is not None:
            read = _at_most(length, read)
        return self._message(material, header, cipher, read)

    def reader(self, source: Seekable, context: Mapping[str, str] | None = None) -> MessageReader:
        """A file object that opens the message in `source`, which can be sought, at any position; see `MessageReader`."""
        source.seek(0)
        begun = self._begun(exactly(frames.reader(source)), context)
        return MessageReader(source, *begun)

    def writer(self, sink: Sink, context: Mapping[str, str] | None = None) -> MessageWriter:
        """A file object that makes a message in `sink`, which is whole after `finish`; see `MessageWriter`."""
        return MessageWriter(lambda source: self.pieces(source, context), self._frame_bytes, sink)

    def encrypt_file(self, source: Place, target: Place, context: Mapping[str, str] | None = None) -> None:
        """Encrypt a file to another, or in place. The target appears when it is complete, with mode 0600."""
        with Path(source).open("rb") as read, replacing(target) as write:
            length = os.fstat(read.fileno()).st_size or None  # pipes and /proc do not say theirs
            self.encrypt_stream(read, write, context, length=length)

    def decrypt_file(
        self, source: Place, target: Place, context: Mapping[str, str] | None = None
    ) -> dict[str, str]:
        """Decrypt a file to another, or in place; its context. The target appears when all was checked, mode 0600.

        Until then the plaintext is in a file of mode 0600 beside the target, which is removed on any error; a process
        that is killed leaves it (`.keystead-*`).
        """
        with Path(source).open("rb") as read, replacing(target) as write:
            return self.decrypt_stream(read, write, context)

    def missing(self, message: bytes) -> tuple[MasterKey, ...]:
        """The CMKs of this client for which the message says to have no EDK. Nothing is checked and KMS not asked."""
        return self._missing(header_of(message))

    def heal(self, message: bytes) -> bytes:
        """The message with an EDK for each CMK of this client that answers; see `missing` for what still lacks.

        The frames are carried over and not checked. Raises ValueError where there would be more than five EDKs.
        """
        healed = io.BytesIO()
        self.heal_stream(io.BytesIO(message), healed)
        return healed.getvalue()

    def heal_stream(self, source: Source, sink: Sink) -> int:
        """As `heal`; how many EDKs were added."""
        read = frames.reader(source)
        header = read_header(exactly(read))
        missing = self._missing(header)
        added = 0
        if missing:
            header, added = self._healed(header, missing)
        else:
            self._opened(header)
        frames.copy((header.encode(),), sink)
        frames.copy(iter(lambda: read(FRAME_BYTES), b""), sink)
        return added

    def heal_file(self, path: Place) -> int:
        """As `heal`, in place; how many EDKs were added. The file is not touched where none was.

        Raises OSError (ESTALE) where somebody else has written to it meanwhile: that is not written over.
        """
        with Path(path).open("rb") as read:
            version = _version(os.fstat(read.fileno()))
            header = read_header(exactly(read.read))
            missing = self._missing(header)
            if not missing:
                return 0
            header, added = self._healed(header, missing)
            if added:
                with replacing(path) as write:
                    write.write(header.encode())
                    shutil.copyfileobj(read, write)
                    shutil.copymode(path, write.name)
                    if _version(Path(path).stat()) != version:
                        raise OSError(errno.ESTALE, "The file was changed meanwhile", os.fspath(path))
            return added

    def forget(self) -> None:
        """Drop all cached data keys."""
        if self._cache is not None:
            self._cache.clear()

    def _message(
        self,
        material: Material,
        header: tuple[bytes, ...],
        cipher: FrameCipher,
        read: Callable[[int], bytes],
    ) -> Iterator[bytes | memoryview]:
        yield b"".join(header)
        sealed = frames.seal(cipher, self._suite, self._frame_bytes, read)
        if material.signing_key is None:
            yield from sealed
            return
        digest = hashes.Hash(hashes.SHA256())
        digest.update(header[0] + header[1])
        for piece in sealed:
            digest.update(piece)
            yield piece
        yield signature.sign(material.signing_key, digest.finalize())

    def _begin(self, material: Material) -> tuple[tuple[bytes, ...], FrameCipher]:
        core = self._core_begin + secrets.token_bytes(MESSAGE_ID_BYTES) + material.core_end
        commitment, cipher = material.keys.derive(core)
        return (core, commitment, material.edk_part), cipher

    def _material(self, context: Mapping[str, str] | None, length: int | None) -> Material:
        given = dict(context or {})  # read once: it may be changed while KMS is asked
        encoded = encode_context(given)
        if PUBLIC_KEY in given:
            raise ValueError(f"The name {PUBLIC_KEY} of a context belongs to the SDK.")
        if self._cache is None or length is None:
            return self._new_material(given)
        return self._cache.material(encoded, length, lambda: self._new_material(given))

    def _new_material(self, given: Mapping[str, str]) -> Material:
        signing_key = None
        context = dict(given)
        if self._suite.signed:
            signing_key = ec.generate_private_key(ec.SECP256R1())
            context[PUBLIC_KEY] = signature.public_key(signing_key)
        end = core_end(encode_context(context))
        data_key, edks = self._envelope.new(context)
        try:
            keys = MessageKeys(self._suite, data_key)
        finally:
            wipe(data_key)
        encoded_edks = encode_edks(edks)
        return Material(keys, end, edk_part(encoded_edks, keys.edk_tag(encoded_edks)), signing_key)

    @staticmethod
    def _rest(
        read: Reader,
        write: Callable[[bytes], object],
        header: Header,
        cipher: FrameCipher,
        _context: dict[str, str],
        public_key: str,
    ) -> None:
        """Write the plaintext of what `read` gives after the header."""
        whole = exactly(read)
        digest = None
        if header.suite.signed:
            digest = hashes.Hash(hashes.SHA256())
            digest.update(header.core + header.commitment)
        # The last frame is held back until all else was checked.
        held = b""
        for plaintext in frames.open_sealed(
            cipher, header.suite, header.frame_bytes, whole, None if digest is None else digest.update
        ):
            if held:
                write(held)
            held = plaintext
        if digest is not None:
            signature.verify(public_key, whole(signature.SIGNATURE_BYTES), digest.finalize())
        if read(1):
            raise Damaged
        if held:
            write(held)

    def _begun(
        self, read: Reader, expected: Mapping[str, str] | None
    ) -> tuple[Header, FrameCipher, dict[str, str], str]:
        """The header that `read` gives, found to be authentic; what opens its frames, its context and its public key."""
        header = read_header(read)
        if self._signed_only and not header.suite.signed:
            raise Unsigned
        if header.suite.is_weak and not self._allow_weak:
            raise Weak
        opened, cipher = self._opened(header)
        context = dict(opened.context)
        public_key = context.pop(PUBLIC_KEY, "")
        if expected and not context.items() >= expected.items():
            raise WrongContext
        return header, cipher, context, public_key

    def _opened(self, header: Header) -> tuple[Opened, FrameCipher]:
        """The keys of an authentic header. KMS is asked where they are not in the cache."""

        def make() -> Opened:
            opened, data_key = self._unwrapped(header)
            wipe(data_key)
            _checked(header, opened)  # before it is kept
            return opened

        if self._cache is None:
            opened = make()
        else:
            opened = self._cache.opened(header.suite, header.context, header.edks, make)
        return opened, _checked(header, opened)

    def _unwrapped(self, header: Header) -> tuple[Opened, bytearray]:
        """By KMS; nothing of the header is authentic yet. The data key is only for `heal`."""
        context = decode_context(header.context)
        if header.suite.signed != (PUBLIC_KEY in context):
            raise Damaged
        data_key = self._envelope.open(decode_edks(header.edks), context)
        keys = MessageKeys(header.suite, data_key)
        return Opened(keys, keys.edk_tag(header.edks), context), data_key

    def _missing(self, header: Header) -> tuple[MasterKey, ...]:
        there = {(edk.region, edk.key_id) for edk in decode_edks(header.edks)}
        return tuple(key for key in self._envelope.keys if (key.region, key.key_id) not in there)

    def _healed(self, header: Header, missing: tuple[MasterKey, ...]) -> tuple[Header, int]:
        edks = decode_edks(header.edks)
        if len(edks) + len(missing) > MAX_EDKS:
            raise ValueError(f"The message would have more than {MAX_EDKS} EDKs.")
        opened, data_key = self._unwrapped(header)
        try:
            _checked(header, opened)
            added = self._envelope.wrap(data_key, opened.context, missing, len(missing), [])
        finally:
            wipe(data_key)
        encoded = encode_edks((*edks, *(added[key] for key in missing if key in added)))
        return header._replace(edks=encoded, edk_tag=opened.keys.edk_tag(encoded)), len(added)


class AsyncClient:
    """A `Client` for asyncio: each call runs in a thread, and so do the calls to KMS.

    One that is cancelled goes on in its thread, to the end: a file may appear afterwards.
    """

    def __init__(self, client: Client) -> None:
        self._client = client

    async def encrypt(self, plaintext: bytes, context: Mapping[str, str] | None = None) -> bytes:
        """As `Client.encrypt`."""
        return await asyncio.to_thread(self._client.encrypt, plaintext, context)

    async def decrypt(self, message: bytes, context: Mapping[str, str] | None = None) -> Decrypted:
        """As `Client.decrypt`."""
        return await asyncio.to_thread(self._client.decrypt, message, context)

    async def encrypt_stream(
        self,
        source: Source,
        sink: Sink,
        context: Mapping[str, str] | None = None,
        *,
        length: int | None = None,
    ) -> int:
        """As `Client.encrypt_stream`; source and sink are used in a thread."""
        return await asyncio.to_thread(self._client.encrypt_stream, source, sink, context, length=length)

    async def decrypt_stream(
        self, source: Source, sink: Sink, context: Mapping[str, str] | None = None
    ) -> dict[str, str]:
        """As `Client.decrypt_stream`; source and sink are used in a thread."""
        return await asyncio.to_thread(self._client.decrypt_stream, source, sink, context)

    async def encrypt_file(
        self, source: Place, target: Place, context: Mapping[str, str] | None = None
    ) -> None:
        """As `Client.encrypt_file`."""
        await asyncio.to_thread(self._client.encrypt_file, source, target, context)

    async def decrypt_file(
        self, source: Place, target: Place, context: Mapping[str, str] | None = None
    ) -> dict[str, str]:
        """As `Client.decrypt_file`."""
        return await asyncio.to_thread(self._client.decrypt_file, source, target, context)

    async def heal(self, message: bytes) -> bytes:
        """As `Client.heal`."""
        return await asyncio.to_thread(self._client.heal, message)

    async def heal_file(self, path: Place) -> int:
        """As `Client.heal_file`."""
        return await asyncio.to_thread(self._client.heal_file, path)


def _checked(header: Header, opened: Opened) -> FrameCipher:
    """The cipher of the frames, if the header belongs to the data key as it is, byte by byte."""
    commitment, cipher = opened.keys.derive(header.core)
    if not (compare_digest(commitment, header.commitment) and compare_digest(opened.edk_tag, header.edk_tag)):
        raise Damaged
    return cipher


def _version(file: os.stat_result) -> tuple[int, ...]:
    return file.st_dev, file.st_ino, file.st_size, file.st_mtime_ns


def _at_most(length: int, read: Callable[[int], bytes]) -> Callable[[int], bytes]:
    left = length

    def bounded(size: int) -> bytes:
        nonlocal left
        piece = read(size)
        left -= len(piece)
        if left < 0:
            raise ValueError("The source has more bytes than `length` says.")
        return piece

    return bounded


@contextmanager
def replacing(target: Place) -> Iterator[BinaryIO]:
    """A new file of mode 0600 that takes the place of the target if all goes well, and leaves nothing otherwise."""
    path = Path(target).absolute()  # wherever the process is in the end
    number, name = tempfile.mkstemp(prefix=".keystead-", dir=path.parent)
    try:
        with os.fdopen(number, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    with suppress(OSError):  # the name, too, is to outlast a power failure, where the system does that
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
