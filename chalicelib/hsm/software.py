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
from chalicelib.hsm import asymmetric, sm2
from chalicelib.hsm.port import (
    Damaged,
    HsmKey,
    HsmMisconfigured,
    HsmUnavailable,
    KeyKind,
    Padding,
    SignatureAlgorithm,
)
from chalicelib.settings import Settings

CACHED_KEYS: Final = 4096
"""Unwrapped keys kept in memory; the least recently used goes first."""

_SEAL_KEY: Final = "seal.key"


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
        self._private_key = functools.lru_cache(CACHED_KEYS)(self._open_private_token)

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
        with _misconfigured_by_os():
            key_file = _KeyFile(settings.home, domain, settings.seal_passphrase)
            return cls(domain, key_file.read(), key_file)

    @classmethod
    def ephemeral(cls, domain: str) -> Self:
        """A domain whose keys are in memory only: its tokens end with it."""
        return cls(domain, {1: secrets.token_bytes(domain_keys.KEY_BYTES)})

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._domain!r})"

    def generate(self, kind: KeyKind, binding: bytes) -> HsmKey:
        """See `Hsm.generate`."""
        self._keys()
        if asymmetric.is_asymmetric(kind):
            return self._wrap(kind, binding, asymmetric.generate(kind, self._random))
        return self._wrap(kind, binding, self._random(aead.KEY_BYTES[kind]))

    def encrypt(self, key: HsmKey, plaintext: bytes, associated_data: bytes) -> bytes:
        """See `Hsm.encrypt`."""
        return self._find(key).seal(plaintext, associated_data, self._random)

    def decrypt(self, key: HsmKey, message: bytes, associated_data: bytes) -> bytes:
        """See `Hsm.decrypt`."""
        return self._find(key).open_sealed(message, associated_data)

    def public_key(self, key: HsmKey) -> bytes:
        """See `Hsm.public_key`."""
        return self._find_private(key).public_key

    def sign(self, key: HsmKey, algorithm: SignatureAlgorithm, message: bytes, *, is_digest: bool) -> bytes:
        """See `Hsm.sign`."""
        return self._find_private(key).sign(algorithm, message, is_digest=is_digest)

    def decrypt_asymmetric(self, key: HsmKey, padding: Padding, ciphertext: bytes) -> bytes:
        """See `Hsm.decrypt_asymmetric`."""
        return self._find_private(key).decrypt(padding, ciphertext)

    def decapsulate(self, key: HsmKey, encapsulated: bytes) -> bytes:
        """See `Hsm.decapsulate`."""
        return self._find_private(key).decapsulate(encapsulated)

    def import_key(
        self, wrapping_key: HsmKey, padding: Padding, wrapped: bytes, kind: KeyKind, binding: bytes
    ) -> HsmKey:
        """See `Hsm.import_key`."""
        if asymmetric.is_asymmetric(kind):
            raise asymmetric.WrongUse
        material = self._find_private(wrapping_key).unwrap(padding, wrapped)
        if len(material) != aead.KEY_BYTES[kind]:
            raise Damaged
        return self._wrap(kind, binding, material)

    def check_value(self, key: HsmKey) -> bytes:
        """See `Hsm.check_value`."""
        return self._find(key).check_value()

    def random(self, count: int) -> bytes:
        """See `Hsm.random`: the operating system's generator."""
        return self._random(count)

    def describe(self) -> Mapping[str, str]:
        """See `Hsm.describe`."""
        return {
            "technology": "software",
            "domain": self._domain,
            "generation": str(max(self._keys())),
            "kinds": ",".join(kind.name for kind in KeyKind if kind is not KeyKind.SM2 or sm2.is_usable()),
            "sm2": sm2.describe(),
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
                    self._domain_keys = _message_keys(self._key_file.add_generation())
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
            self._private_key.cache_clear()
            if self._key_file is not None:
                self._key_file.close()

    def _find(self, key: HsmKey) -> MessageKey:
        self._keys()
        if asymmetric.is_asymmetric(key.kind):
            raise asymmetric.WrongUse
        return self._message_key(key.kind, key.token, key.binding)

    def _find_private(self, key: HsmKey) -> asymmetric.PrivateKey:
        self._keys()
        if not asymmetric.is_asymmetric(key.kind):
            raise asymmetric.WrongUse
        return self._private_key(key.kind, key.token, key.binding)

    def _open_private_token(self, kind: KeyKind, token: bytes, binding: bytes) -> asymmetric.PrivateKey:
        return asymmetric.PrivateKey(kind, self._unwrap(kind, token, binding))

    def _open_token(self, kind: KeyKind, token: bytes, binding: bytes) -> MessageKey:
        return MessageKey(kind, self._unwrap(kind, token, binding))

    def _wrap(self, kind: KeyKind, binding: bytes, material: bytes) -> HsmKey:
        generation, domain_key = max(self._keys().items())
        token = key_token.seal(domain_key, generation, kind, binding, material, random=self._random)
        return HsmKey(kind, token, binding)

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
        """Makes the file where there is none."""
        self.sealed_by = SealedBy.PASSPHRASE if passphrase else SealedBy.RANDOM_KEY
        self._domain = domain
        self._path = home / "hsm" / f"{domain}.keys"
        self._seen: tuple[int, ...] = ()
        if not self._path.exists():
            self._create(home, passphrase)
        try:
            self._header = Header.read(self._path.read_bytes())
        except Damaged:
            raise HsmMisconfigured(
                f"{self._path} is not a key file of this release: put back its backup."
            ) from None
        if self._header.sealed_by is not self.sealed_by:
            raise HsmMisconfigured(
                f"{self._path} is sealed under {home / _SEAL_KEY}: unset KEYSTEAD_SEAL_PASSPHRASE."
                if passphrase
                else f"{self._path} is sealed under a passphrase: set KEYSTEAD_SEAL_PASSPHRASE to it."
            )
        self._seal_key = bytearray(self._header.seal_key(passphrase.encode() or _read_seal_key(home)))

    def read(self) -> dict[int, bytes]:
        """The key of each generation."""
        with self._path.open("rb") as file:
            self._seen = _identity(os.fstat(file.fileno()))
            content = file.read()
        try:
            return domain_keys.open_sealed(self._domain, bytes(self._seal_key), content)
        except Damaged:
            raise HsmMisconfigured(
                f"{self._path} does not open: "
                + ("KEYSTEAD_SEAL_PASSPHRASE" if self.sealed_by is SealedBy.PASSPHRASE else _SEAL_KEY)
                + " is not what it was sealed under, or it was changed."
            ) from None

    def read_if_changed(self) -> dict[int, bytes] | None:
        """As `read`, unless the file is still the one that was read last."""
        return None if _identity(self._path.stat()) == self._seen else self.read()

    def add_generation(self) -> dict[int, bytes]:
        """Add a key; returns all."""
        with _locked(self._path.with_suffix(".lock")):
            keys = self.read()
            keys[max(keys) + 1] = secrets.token_bytes(domain_keys.KEY_BYTES)
            content = domain_keys.seal(self._domain, self._header, bytes(self._seal_key), keys)
            with _temporary(self._path, content) as temporary:
                temporary.replace(self._path)
            _sync(self._path.parent)
            return self.read()

    def close(self) -> None:
        """Overwrite the seal key."""
        self._seal_key[:] = bytes(len(self._seal_key))

    def _create(self, home: Path, passphrase: str) -> None:
        _make_directory(self._path.parent)
        # Whoever starts at the same time makes the seal key first: key files without one mean that it was lost.
        if not passphrase and not any(self._path.parent.glob("*.keys")):
            _publish(home / _SEAL_KEY, secrets.token_hex(32).encode() + b"\n")
        header = Header(self.sealed_by, secrets.token_bytes(domain_keys.SALT_BYTES))
        seal_key = header.seal_key(passphrase.encode() or _read_seal_key(home))
        first = {1: secrets.token_bytes(domain_keys.KEY_BYTES)}
        _publish(self._path, domain_keys.seal(self._domain, header, seal_key, first))


def _message_keys(keys: Mapping[int, bytes]) -> dict[int, MessageKey]:
    return {generation: MessageKey(KeyKind.AES_256, key) for generation, key in keys.items()}


def _read_seal_key(home: Path) -> bytes:
    path = home / _SEAL_KEY
    try:
        with path.open("rb") as file:
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
            text = file.read()
    except FileNotFoundError:
        raise HsmMisconfigured(
            f"{path} is missing: put back its backup, or set KEYSTEAD_SEAL_PASSPHRASE if that was set before."
        ) from None
    if mode & 0o077:
        raise HsmMisconfigured(f"{path} is open to other users: set its mode to 0600.")
    if not re.fullmatch(rb"[0-9a-f]{64}\n?", text):
        raise HsmMisconfigured(f"{path} does not hold 64 hexadecimal digits: put back its backup.")
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
            path.mkdir(mode=0o700)
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
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
