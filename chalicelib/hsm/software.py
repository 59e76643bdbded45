"""The software HSM: AES and SM4 in process memory, domain keys in a sealed file. The default: it needs no service.

Whoever reads the process's memory, or the key file and what it is sealed under, has the keys; so it does not start in
production unless a setting allows it. If the key file is lost, every token of the domain is lost with it, and the next
start cannot know: back it up (docs/formats.md, KS-FMT-8).
"""

import contextlib
import fcntl
import functools
import os
import re
import secrets
import stat
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Final, Self

from chalicelib.formats import aead, domain_keys, key_token
from chalicelib.formats.domain_keys import Header, SealedBy
from chalicelib.formats.message import MessageKey
from chalicelib.hsm.port import Damaged, HsmKey, HsmMisconfigured, HsmUnavailable, KeyKind
from chalicelib.settings import Settings

CACHED_KEYS: Final = 4096
"""Unwrapped keys kept in memory; the least recently used goes first."""


class SoftwareHsm:
    """One domain. Thread-safe. After its start it looks at the disk only for a token of a generation that it lacks."""

    def __init__(
        self,
        domain: str,
        keys: Mapping[int, bytes],
        key_file: "_KeyFile | None" = None,
        random: Callable[[int], bytes] = secrets.token_bytes,
    ) -> None:
        """`keys` has the domain key, 32 bytes, of each generation. Callers use `open` or `ephemeral`."""
        self._domain = domain
        self._key_file = key_file
        self._random = random
        self._lock = threading.Lock()
        self._domain_keys = _message_keys(keys)
        # Kind, token and binding are the cache's key as they are: a hit needs exactly what opened the token.
        self._message_key = functools.lru_cache(CACHED_KEYS)(self._open_token)

    @classmethod
    def open(cls, settings: Settings, domain: str) -> Self:
        """The domain whose keys are in `<home>/hsm/<domain>.keys`; the first start makes them.

        Processes that start at once agree on one file. Raises HsmMisconfigured for a stage, passphrase, path or
        permission that must be changed.
        """
        if settings.stage.lower().startswith("prod") and not settings.software_hsm_in_production:
            raise HsmMisconfigured(
                "The software HSM keeps keys in process memory and does not start in a production stage: choose another"
                " KEYSTEAD_HSM, or accept that with KEYSTEAD_SOFTWARE_HSM_IN_PRODUCTION=on."
            )
        if not re.fullmatch(r"[a-z0-9][a-z0-9-]{0,63}", domain):
            raise HsmMisconfigured("An HSM domain's name has lower-case letters, digits and hyphens only.")
        key_file = _KeyFile(settings.home, domain, settings.seal_passphrase)
        with _misconfigured_by_os():
            return cls(domain, key_file.open(), key_file)

    @classmethod
    def ephemeral(cls, domain: str) -> Self:
        """A domain whose keys are in memory only: its tokens end with it."""
        return cls(domain, {1: secrets.token_bytes(domain_keys.KEY_BYTES)})

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._domain!r})"

    def generate(self, kind: KeyKind, binding: bytes) -> HsmKey:
        """See `Hsm.generate`."""
        return self._wrap(kind, binding, self._random(aead.KEY_BYTES[kind]))

    def encrypt(self, key: HsmKey, plaintext: bytes, associated_data: bytes) -> bytes:
        """See `Hsm.encrypt`."""
        return self._find(key).seal(plaintext, associated_data, self._random)

    def decrypt(self, key: HsmKey, message: bytes, associated_data: bytes) -> bytes:
        """See `Hsm.decrypt`."""
        return self._find(key).open_sealed(message, associated_data)

    def random(self, count: int) -> bytes:
        """See `Hsm.random`: the operating system's generator."""
        return self._random(count)

    def describe(self) -> Mapping[str, str]:
        """See `Hsm.describe`."""
        return {
            "technology": "software",
            "domain": self._domain,
            "generation": str(max(self._keys())),
            "kinds": ",".join(kind.name for kind in KeyKind),
            "sealed_by": self._key_file.sealed_by.name.lower() if self._key_file else "not stored",
        }

    def rotate(self) -> int:
        """Start a new generation of the domain key and return its number; older tokens go on opening."""
        with self._lock:
            if self._key_file is None:
                new = {max(self._keys()) + 1: self._random(domain_keys.KEY_BYTES)}
                self._domain_keys = self._keys() | _message_keys(new)
            else:
                self._keys()
                with _misconfigured_by_os():
                    self._domain_keys = _message_keys(self._key_file.rotate())
            return max(self._domain_keys)

    def rewrap(self, key: HsmKey) -> HsmKey:
        """The same key material in a token of the newest generation."""
        return self._wrap(key.kind, key.binding, self._unwrap(key.kind, key.token, key.binding))

    def close(self) -> None:
        """Forget all key material, as far as Python can.

        The seal key is overwritten and OpenSSL erases expanded keys as they go; short-lived copies in freed memory stay
        until it is used again.
        """
        with self._lock:
            self._domain_keys = {}
            self._message_key.cache_clear()
            if self._key_file is not None:
                self._key_file.close()

    def _find(self, key: HsmKey) -> MessageKey:
        self._keys()
        return self._message_key(key.kind, key.token, key.binding)

    def _open_token(self, kind: KeyKind, token: bytes, binding: bytes) -> MessageKey:
        return MessageKey(kind, self._unwrap(kind, token, binding))

    def _wrap(self, kind: KeyKind, binding: bytes, material: bytes) -> HsmKey:
        generation, domain_key = max(self._keys().items())
        return HsmKey(
            kind, key_token.seal(domain_key, generation, kind, binding, material, self._random), binding
        )

    def _unwrap(self, kind: KeyKind, token: bytes, binding: bytes) -> bytes:
        generation = key_token.generation(token)
        domain_key = self._keys().get(generation) or self._read_again().get(generation)
        if domain_key is None:
            raise Damaged
        return key_token.open_sealed(domain_key, kind, binding, token)

    def _keys(self) -> dict[int, MessageKey]:
        keys = self._domain_keys
        if not keys:
            raise HsmUnavailable("The HSM is closed.")
        return keys

    def _read_again(self) -> dict[int, MessageKey]:
        """The domain keys, with those that another process's `rotate` has added meanwhile."""
        with self._lock:
            keys = self._keys()
            try:
                changed = self._key_file.read_if_changed() if self._key_file else None
            except OSError:
                raise HsmUnavailable("The HSM's key file cannot be read.") from None
            if changed:
                self._domain_keys = keys = _message_keys(changed)
            return keys


class _KeyFile:
    """`<home>/hsm/<domain>.keys`: mode 0600, replaced as a whole or not at all."""

    def __init__(self, home: Path, domain: str, passphrase: str) -> None:
        self.sealed_by = SealedBy.PASSPHRASE if passphrase else SealedBy.RANDOM_KEY
        self._home = home
        self._path = home / "hsm" / f"{domain}.keys"
        self._domain = domain
        self._passphrase = passphrase
        self._header: Header | None = None
        self._seal_key = bytearray()
        self._seen: tuple[int, ...] = ()

    def open(self) -> dict[int, bytes]:
        """The keys; makes the file where there is none."""
        if not self._path.exists():
            self._create()
        file = self._read()
        try:
            self._header = Header.read(file)
        except Damaged:
            raise HsmMisconfigured(
                f"{self._path} is not a key file of this release: put back its backup."
            ) from None
        if self._header.sealed_by is not self.sealed_by:
            raise HsmMisconfigured(
                f"{self._path} is sealed under {self._home / 'seal.key'}: unset KEYSTEAD_SEAL_PASSPHRASE."
                if self.sealed_by is SealedBy.PASSPHRASE
                else f"{self._path} is sealed under a passphrase: set KEYSTEAD_SEAL_PASSPHRASE to it."
            )
        self._seal_key[:] = self._header.seal_key(self._secret())
        self._passphrase = ""
        return self._open_sealed(file)

    def read_if_changed(self) -> dict[int, bytes] | None:
        """The keys, unless the file is the one that was read last."""
        return None if _identity(self._path.stat()) == self._seen else self._open_sealed(self._read())

    def rotate(self) -> dict[int, bytes]:
        """Add a generation; returns the keys of all."""
        with _locked(self._path.parent):
            keys = self._open_sealed(self._read())
            keys[max(keys) + 1] = secrets.token_bytes(domain_keys.KEY_BYTES)
            file = domain_keys.seal(self._domain, self._header, bytes(self._seal_key), keys)
            with _temporary(self._path, file) as temporary:
                temporary.replace(self._path)
            _sync(self._path.parent)
            return self._open_sealed(self._read())

    def close(self) -> None:
        """Overwrite the seal key."""
        self._seal_key[:] = bytes(len(self._seal_key))

    def _create(self) -> None:
        _make_directory(self._path.parent)
        if self.sealed_by is SealedBy.RANDOM_KEY:
            _create_seal_key(self._home)
        header = Header(self.sealed_by, secrets.token_bytes(domain_keys.SALT_BYTES))
        first = {1: secrets.token_bytes(domain_keys.KEY_BYTES)}
        _publish(self._path, domain_keys.seal(self._domain, header, header.seal_key(self._secret()), first))

    def _secret(self) -> bytes:
        return self._passphrase.encode() or _read_seal_key(self._home)

    def _read(self) -> bytes:
        with self._path.open("rb") as file:
            self._seen = _identity(os.fstat(file.fileno()))
            return file.read()

    def _open_sealed(self, file: bytes) -> dict[int, bytes]:
        try:
            return domain_keys.open_sealed(self._domain, bytes(self._seal_key), file)
        except Damaged:
            sealed_under = (
                "KEYSTEAD_SEAL_PASSPHRASE"
                if self.sealed_by is SealedBy.PASSPHRASE
                else str(self._home / "seal.key")
            )
            raise HsmMisconfigured(
                f"{sealed_under} does not open {self._path}: it is not what the file was sealed under, or the file was"
                " changed."
            ) from None


def _message_keys(keys: Mapping[int, bytes]) -> dict[int, MessageKey]:
    return {generation: MessageKey(KeyKind.AES_256, key) for generation, key in keys.items()}


def _create_seal_key(home: Path) -> None:
    # Listed first: a process that starts at the same time makes the seal key before it makes a key file.
    used = any((home / "hsm").glob("*.keys"))
    if not (home / "seal.key").exists():
        if used:
            raise HsmMisconfigured(
                f"{home / 'seal.key'} is missing although key files in {home / 'hsm'} exist: put back its backup, or set"
                " KEYSTEAD_SEAL_PASSPHRASE if they are sealed under a passphrase."
            )
        _publish(home / "seal.key", secrets.token_hex(32).encode() + b"\n")


def _read_seal_key(home: Path) -> bytes:
    path = home / "seal.key"
    with path.open("rb") as file:
        if stat.S_IMODE(os.fstat(file.fileno()).st_mode) & 0o077:
            raise HsmMisconfigured(f"{path} can be read by others: set its mode to 0600.")
        text = file.read()
    if not re.fullmatch(rb"[0-9a-f]{64}\n?", text):
        raise HsmMisconfigured(f"{path} does not have 64 hexadecimal digits: put back its backup.")
    return bytes.fromhex(text.decode())


@contextlib.contextmanager
def _misconfigured_by_os() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise HsmMisconfigured(f"{error.filename}: {error.strerror}") from None


def _identity(status: os.stat_result) -> tuple[int, ...]:
    return status.st_ino, status.st_mtime_ns, status.st_size


def _make_directory(path: Path) -> None:
    """Make a directory, mode 0700, and what is missing above it, so that a power cut does not undo it."""
    if not path.is_dir():
        _make_directory(path.parent)
        with contextlib.suppress(FileExistsError):
            path.mkdir()
            path.chmod(0o700)  # whatever the umask
        _sync(path.parent)


def _publish(path: Path, content: bytes) -> None:
    """Make a file appear complete, mode 0600; where there is one already, that one stays."""
    with _temporary(path, content) as temporary, contextlib.suppress(FileExistsError):
        path.hardlink_to(temporary)
    _sync(path.parent)


@contextlib.contextmanager
def _temporary(path: Path, content: bytes) -> Iterator[Path]:
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            os.fchmod(descriptor, 0o600)  # whatever the umask
            file.write(content)
            file.flush()
            os.fsync(descriptor)
        yield temporary
    finally:
        temporary.unlink(missing_ok=True)


def _sync(directory: Path) -> None:
    with _opened(directory) as descriptor:
        os.fsync(descriptor)


@contextlib.contextmanager
def _locked(directory: Path) -> Iterator[None]:
    with _opened(directory) as descriptor:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield


@contextlib.contextmanager
def _opened(directory: Path) -> Iterator[int]:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield descriptor
    finally:
        os.close(descriptor)
