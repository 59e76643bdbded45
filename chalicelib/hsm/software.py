"""The software HSM: AES and SM4 in process memory, domain keys in a sealed file. The default: it needs no service.

Whoever reads the process's memory, or the key file and what it is sealed under, has the keys; so it does not start in
production unless a setting allows it. If the key file is lost, every token of the domain is lost with it, and the next
start cannot know: back it up (docs/formats.md, KS-FMT-8).
"""

import contextlib
import fcntl
import functools
import hmac
import os
import re
import secrets
import stat
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final, Protocol, Self

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from chalicelib.formats import aead, domain_keys, key_token, sealed_generation
from chalicelib.formats.domain_keys import Header, SealedBy
from chalicelib.formats.message import MessageKey
from chalicelib.formats.sealed_generation import OaepHash, SealedGeneration, Technology
from chalicelib.hsm import asymmetric, sm2
from chalicelib.hsm.port import (
    Damaged,
    HsmKey,
    HsmMisconfigured,
    HsmUnavailable,
    KeyKind,
    NewGeneration,
    Padding,
    Protection,
    SignatureAlgorithm,
)
from chalicelib.settings import Settings

CACHED_KEYS: Final = 4096
"""Unwrapped keys kept in memory; the least recently used goes first."""

REFRESH_SECONDS: Final = 30.0
"""How long a generation that another process made or destroyed may stay unnoticed."""

_SEAL_KEY: Final = "seal.key"


class SoftwareHsm:
    """One domain. Thread-safe.

    After its start it looks at the disk when a token names a generation that it lacks, and every 30 seconds whether the
    key file is another one.
    """

    def __init__(
        self,
        domain: str,
        keys: Mapping[int, bytes],
        key_file: "_KeyFile | None" = None,
        random: Callable[[int], bytes] = secrets.token_bytes,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        """`keys` has the domain key, 32 bytes, of each generation. Callers use `open` or `ephemeral`.

        `now` is any clock that counts seconds.
        """
        self._domain = domain
        self._key_file = key_file
        self._store: _Store = key_file or _Memory(keys)
        self._random = random
        self._now = now
        self._lock = threading.RLock()
        self._closed = False
        self._preferred: int | None = None
        self._looked_at = now()
        self._domain_keys = _message_keys(keys)
        # Kind, token and binding are the cache's key as they are: a hit needs exactly what opened the token.
        self._message_key = functools.lru_cache(CACHED_KEYS)(self._open_token)
        self._private_key = functools.lru_cache(CACHED_KEYS)(self._open_private_token)

    @classmethod
    def open(
        cls,
        settings: Settings,
        domain: str,
        *,
        create: bool = True,
        now: Callable[[], float] = time.monotonic,
    ) -> Self:
        """The domain whose keys are in `<home>/hsm/<domain>.keys`; the first start makes them.

        Without `create` it does not: the domain has no generation then until `rotate`, `receive` or `restore`. Processes that start at once agree on one file. Raises HsmMisconfigured for a stage, passphrase, path or
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
            key_file = _KeyFile(settings, domain, create=create)
            return cls(domain, key_file.read(), key_file, now=now)

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
            "generation": str(max(self.generations(), default=0)),
            "kinds": ",".join(kind.name for kind in KeyKind if kind is not KeyKind.SM2 or sm2.is_usable()),
            "sm2": sm2.describe(),
            "sealed_by": self._key_file.sealed_by.name.lower() if self._key_file else "not stored",
        }

    def protection(self, kind: KeyKind) -> Protection:  # noqa: ARG002 - the port's
        """See `Hsm.protection`."""
        return Protection.PROCESS

    def generations(self) -> Sequence[int]:
        """See `Hsm.generations`."""
        return tuple(sorted(self._look()))

    def rewrap(self, key: HsmKey) -> HsmKey:
        """See `Hsm.rewrap`."""
        return self._wrap(key.kind, key.binding, self._unwrap(key.kind, key.token, key.binding))

    def use_generation(self, generation: int | None) -> None:
        """See `Hsm.use_generation`."""
        self._preferred = generation

    def rotate(
        self, recipients: Sequence[bytes] = (), keep: Callable[[NewGeneration], None] | None = None
    ) -> NewGeneration:
        """See `Hsm.rotate`."""
        for recipient in recipients:
            sealed_generation.recipient(recipient)
        made: list[NewGeneration] = []

        def add(keys: dict[int, bytes]) -> dict[int, bytes]:
            number, key = max(keys, default=0) + 1, self._random(domain_keys.KEY_BYTES)
            sealed = [self._seal(number, key, keys, recipient) for recipient in recipients]
            made[:] = [NewGeneration(number, tuple(sealed))]
            if keep is not None:
                try:
                    keep(made[0])
                except OSError as error:  # not one of the key file's
                    raise _NotKept from error
            return keys | {number: key}

        try:
            self._change(add)
        except _NotKept as error:
            raise error.__cause__ or error from None
        return made[0]

    def retire(self, generation: int) -> None:
        """See `Hsm.retire`."""

        def remove(keys: dict[int, bytes]) -> dict[int, bytes]:
            if generation == max(keys, default=0):
                raise ValueError("the newest generation cannot be retired: rotate first")
            return {number: key for number, key in keys.items() if number != generation}

        self._change(remove)

    def export(self, generation: int, recipient: bytes) -> bytes:
        """See `Hsm.export`."""
        sealed_generation.recipient(recipient)
        with self._lock, _misconfigured_by_os():
            self._look()
            keys = self._store.read()
        if generation not in keys:
            raise ValueError(f"there is no generation {generation}")
        older = {number: key for number, key in keys.items() if number < generation}
        return self._seal(generation, keys[generation], older, recipient)

    def transport_key(self) -> bytes:
        """See `Hsm.transport_key`."""
        with self._lock, _misconfigured_by_os():
            self._look()
            return sealed_generation.public_half(self._store.transport_key())

    def receive(self, generation: int, sealed: bytes) -> None:
        """See `Hsm.receive`."""
        with self._lock, _misconfigured_by_os():
            self._look()
            private_key = self._store.transport_key()
        self._take(generation, sealed, private_key, is_trusted=False)

    def restore(self, generation: int, sealed: bytes, private_key: bytes) -> None:
        """See `Hsm.restore`."""
        self._take(generation, sealed, private_key, is_trusted=True)

    def close(self) -> None:
        """Forget all key material, as far as Python can.

        The seal key is overwritten and OpenSSL erases expanded keys as they go; short-lived copies in freed memory stay
        until it is used again.
        """
        with self._lock:
            self._closed = True
            self._domain_keys = {}
            self._message_key.cache_clear()
            self._private_key.cache_clear()
            self._store.close()

    def _find(self, key: HsmKey) -> MessageKey:
        if asymmetric.is_asymmetric(key.kind):
            self._keys()
            raise asymmetric.WrongUse
        self._domain_key(key.token)
        return self._message_key(key.kind, key.token, key.binding)

    def _find_private(self, key: HsmKey) -> asymmetric.PrivateKey:
        if not asymmetric.is_asymmetric(key.kind):
            self._keys()
            raise asymmetric.WrongUse
        self._domain_key(key.token)
        return self._private_key(key.kind, key.token, key.binding)

    def _open_private_token(self, kind: KeyKind, token: bytes, binding: bytes) -> asymmetric.PrivateKey:
        return asymmetric.PrivateKey(kind, self._unwrap(kind, token, binding))

    def _open_token(self, kind: KeyKind, token: bytes, binding: bytes) -> MessageKey:
        return MessageKey(kind, self._unwrap(kind, token, binding))

    def _wrap(self, kind: KeyKind, binding: bytes, material: bytes) -> HsmKey:
        keys = self._keys()
        preferred = self._preferred
        generation = preferred if preferred is not None and preferred in keys else max(keys)
        token = key_token.seal(keys[generation], generation, kind, binding, material, random=self._random)
        return HsmKey(kind, token, binding)

    def _unwrap(self, kind: KeyKind, token: bytes, binding: bytes) -> bytes:
        return key_token.open_sealed(self._domain_key(token), kind, binding, token)

    def _domain_key(self, token: bytes) -> MessageKey:
        """The one of the generation that a token names, a cached one's too: that may have been retired."""
        keys = self._keys()
        generation = key_token.generation(token)
        domain_key = keys.get(generation) or self._read_again().get(generation)
        if domain_key is None:
            raise Damaged
        return domain_key

    def _keys(self) -> dict[int, MessageKey]:
        keys = self._look()
        if not keys:
            raise HsmMisconfigured(
                f"The domain {self._domain} has no domain key:"
                " run `python -m chalicelib.hsm init`, or `restore` if it had one."
            )
        return keys

    def _look(self) -> dict[int, MessageKey]:
        """The domain keys, with what other processes made and destroyed until 30 seconds ago."""
        if self._closed:
            raise HsmUnavailable("The HSM is closed.")
        if self._now() - self._looked_at >= REFRESH_SECONDS:
            # What is in memory goes on working without the file.
            with contextlib.suppress(HsmUnavailable, HsmMisconfigured):
                self._read_again()
        return self._domain_keys

    def _read_again(self) -> dict[int, MessageKey]:
        with self._lock:
            self._looked_at = self._now()
            try:
                changed = self._store.read_if_changed()
            except OSError:
                raise HsmUnavailable("The HSM's key file cannot be read.") from None
            if changed is not None:
                self._remember(changed)
            return self._domain_keys

    def _remember(self, keys: Mapping[int, bytes]) -> None:
        if self._closed:
            raise HsmUnavailable("The HSM is closed.")
        lost = self._domain_keys.keys() - keys.keys()
        self._domain_keys = _message_keys(keys)
        if lost:
            self._message_key.cache_clear()
            self._private_key.cache_clear()

    def _change(self, change: Callable[[dict[int, bytes]], dict[int, bytes]]) -> None:
        with self._lock, _misconfigured_by_os():
            self._look()
            self._remember(self._store.change(change))

    def _seal(self, number: int, key: bytes, older: Mapping[int, bytes], recipient: bytes) -> bytes:
        oaep_hash = OaepHash.SHA_256
        keys = sealed_generation.seal_keys(recipient, oaep_hash, [key])
        sealed = SealedGeneration(Technology.SOFTWARE, oaep_hash, self._domain, number, keys)
        return sealed.proved(
            functools.partial(_prove, key),
            {other: functools.partial(_prove, older[other]) for other in older},
        ).encode()

    def _take(self, generation: int, text: bytes, private_key: bytes, *, is_trusted: bool) -> None:
        sealed = SealedGeneration.decode(text)
        sealed.check(Technology.SOFTWARE, self._domain, generation)
        opened = sealed_generation.open_keys(sealed, private_key)
        if [len(key) for key in opened] != [domain_keys.KEY_BYTES]:
            raise Damaged
        key = opened[0]
        if not hmac.compare_digest(_prove(key, sealed.proven()), sealed.proof):
            raise Damaged

        def add(keys: dict[int, bytes]) -> dict[int, bytes]:
            if generation in keys:
                if not hmac.compare_digest(keys[generation], key):
                    raise ValueError(f"generation {generation} is there already, with another key")
                return keys
            voucher = sealed.voucher_of(keys, is_trusted=is_trusted)
            if voucher and not hmac.compare_digest(
                _prove(keys[voucher], sealed.proven()), sealed.vouchers[voucher]
            ):
                raise Damaged
            return keys | {generation: key}

        self._change(add)


class _NotKept(Exception):
    """`keep` failed."""


class _Store(Protocol):
    """Where the domain keys are."""

    def read(self) -> dict[int, bytes]:
        """The key of each generation."""

    def read_if_changed(self) -> dict[int, bytes] | None:
        """As `read`, unless nothing has changed since."""

    def change(self, change: Callable[[dict[int, bytes]], dict[int, bytes]]) -> dict[int, bytes]:
        """Replace the keys by what `change` makes of them; nobody else does that meanwhile."""

    def transport_key(self) -> bytes:
        """The private key, PKCS#8 in DER, made on the first call."""

    def close(self) -> None:
        """Forget."""


class _Memory:
    """Keys that end with the process."""

    def __init__(self, keys: Mapping[int, bytes]) -> None:
        self._keys = dict(keys)
        self._transport_key = b""

    def read(self) -> dict[int, bytes]:
        return dict(self._keys)

    def read_if_changed(self) -> dict[int, bytes] | None:
        return None

    def change(self, change: Callable[[dict[int, bytes]], dict[int, bytes]]) -> dict[int, bytes]:
        self._keys = change(dict(self._keys))
        return dict(self._keys)

    def transport_key(self) -> bytes:
        self._transport_key = self._transport_key or sealed_generation.new_private_key()
        return self._transport_key

    def close(self) -> None:
        self._keys, self._transport_key = {}, b""


class _KeyFile:
    """`<home>/hsm/<domain>.keys`: mode 0600, replaced as a whole or not at all."""

    def __init__(self, settings: Settings, domain: str, *, create: bool) -> None:
        """Makes the file where there is none, if it may."""
        self.sealed_by = SealedBy.PASSPHRASE if settings.seal_passphrase else SealedBy.RANDOM_KEY
        self._domain = domain
        self._settings = settings  # which show no secret
        self._path = settings.home / "hsm" / f"{domain}.keys"
        self._transport_path = self._path.with_suffix(".transport")
        self._seen: tuple[int, ...] = ()
        self._header: Header | None = None
        self._seal_key = bytearray()
        if create and not self._path.exists():
            first = {1: secrets.token_bytes(domain_keys.KEY_BYTES)}
            self._publish_first(first)
        if self._path.exists():
            self._open()

    def read(self) -> dict[int, bytes]:
        """The key of each generation."""
        if self._header is None:
            if not self._path.exists():
                return {}
            self._open()
        with self._path.open("rb") as file:
            self._seen = _identity(os.fstat(file.fileno()))
            content = file.read()
        try:
            return domain_keys.open_sealed(self._domain, bytes(self._seal_key), content)
        except Damaged:
            raise self._does_not_open(self._path) from None

    def read_if_changed(self) -> dict[int, bytes] | None:
        """As `read`, unless the file is still the one that was read last, or still missing."""
        if self._header is None and not self._path.exists():
            return None
        return None if _identity(self._path.stat()) == self._seen else self.read()

    def change(self, change: Callable[[dict[int, bytes]], dict[int, bytes]]) -> dict[int, bytes]:
        """Replace the file by one with the keys that `change` makes of those in it."""
        _make_directory(self._path.parent)
        with _locked(self._path.with_suffix(".lock")):
            keys = self.read()
            changed = change(dict(keys))
            if changed == keys:
                return keys
            if self._header is None:
                self._publish_first(changed)
                if self.read() != changed:
                    raise HsmUnavailable("Another process made the first domain key: try again.")
                return changed
            content = domain_keys.seal(self._domain, self._header, bytes(self._seal_key), changed)
            with _temporary(self._path, content) as temporary:
                temporary.replace(self._path)
            _sync(self._path.parent)
            return self.read()

    def transport_key(self) -> bytes:
        """The private key in `<domain>.transport`, sealed like the key file."""
        if not self._transport_path.exists():
            private_key = sealed_generation.new_private_key()
            header, seal_key = self._new_seal_key()
            content = domain_keys.seal_transport_key(self._domain, header, seal_key, private_key)
            _publish(self._transport_path, content)
        content = self._transport_path.read_bytes()
        try:
            seal_key = Header.read(content).seal_key(self._secret())
            return domain_keys.open_transport_key(self._domain, seal_key, content)
        except Damaged:
            raise self._does_not_open(self._transport_path) from None

    def close(self) -> None:
        """Overwrite the seal key."""
        self._seal_key[:] = bytes(len(self._seal_key))

    def _open(self) -> None:
        try:
            header = Header.read(self._path.read_bytes())
        except Damaged:
            raise HsmMisconfigured(
                f"{self._path} is not a key file of this release: put back its backup."
            ) from None
        if header.sealed_by is not self.sealed_by:
            raise HsmMisconfigured(
                f"{self._path} is sealed under a key, that of {self._settings.home / _SEAL_KEY} or"
                " KEYSTEAD_SEAL_KEY: unset KEYSTEAD_SEAL_PASSPHRASE."
                if self.sealed_by is SealedBy.PASSPHRASE
                else f"{self._path} is sealed under a passphrase: set KEYSTEAD_SEAL_PASSPHRASE to it."
            )
        self._seal_key = bytearray(header.seal_key(self._secret()))
        self._header = header

    def _publish_first(self, keys: Mapping[int, bytes]) -> None:
        header, seal_key = self._new_seal_key()
        _publish(self._path, domain_keys.seal(self._domain, header, seal_key, keys))

    def _new_seal_key(self) -> tuple[Header, bytes]:
        folder = self._path.parent
        _make_directory(folder)
        # Whoever starts at the same time makes the seal key first: key files without one mean that it was lost.
        is_first = not any([*folder.glob("*.keys"), *folder.glob("*.transport")])
        if is_first and self.sealed_by is SealedBy.RANDOM_KEY and not self._settings.seal_key:
            _publish(self._settings.home / _SEAL_KEY, secrets.token_hex(32).encode() + b"\n")
        header = Header(self.sealed_by, secrets.token_bytes(domain_keys.SALT_BYTES))
        return header, header.seal_key(self._secret())

    def _secret(self) -> bytes:
        """What the seal key is made of."""
        settings = self._settings
        return (
            settings.seal_passphrase.encode()
            or bytes.fromhex(settings.seal_key)
            or _read_seal_key(settings.home)
        )

    def _does_not_open(self, path: Path) -> HsmMisconfigured:
        return HsmMisconfigured(
            f"{path} does not open: "
            + (
                "KEYSTEAD_SEAL_PASSPHRASE"
                if self._settings.seal_passphrase
                else "KEYSTEAD_SEAL_KEY"
                if self._settings.seal_key
                else _SEAL_KEY
            )
            + " is not what it was sealed under, or it was changed."
        )


def _message_keys(keys: Mapping[int, bytes]) -> dict[int, MessageKey]:
    return {generation: MessageKey(KeyKind.AES_256, key) for generation, key in keys.items()}


def _prove(key: bytes, proven: bytes) -> bytes:
    """KS-FMT-21: a proof by a domain key. That one does nothing but AES, so a key for HMAC is derived."""
    proof_key = HKDF(SHA256(), domain_keys.KEY_BYTES, None, b"keystead generation proof").derive(key)
    return hmac.digest(proof_key, proven, "sha256")


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
