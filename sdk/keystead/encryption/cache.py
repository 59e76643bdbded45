"""Data keys that serve for more than one message, within limits."""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final, TypeVar

from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey

from keystead.encryption.suites import MessageKeys

_MAX_MESSAGES: Final = 1 << 32
_Place = TypeVar("_Place")
_Entry = TypeVar("_Entry")


@dataclass(frozen=True)
class CacheLimits:
    """How long and for how much a data key serves; then KMS is asked for the next one."""

    encrypt_seconds: float = 300.0
    """A data key encrypts for so long."""
    decrypt_seconds: float = 300.0
    """A data key decrypts for so long: so late does a client see that a CMK was disabled."""
    messages: int = 100_000
    """Messages encrypted under one data key."""
    plaintext_bytes: int = 1 << 36
    """Bytes encrypted under one data key."""
    keys: int = 1000
    """Data keys kept in memory; the least recently used ones go first."""

    def __post_init__(self) -> None:
        """Raise ValueError for limits that allow nothing."""
        if (
            min(self.encrypt_seconds, self.decrypt_seconds) <= 0
            or min(self.plaintext_bytes, self.keys) < 1
            or not 1 <= self.messages <= _MAX_MESSAGES
        ):
            raise ValueError(f"Limits of the cache are positive; messages are at most {_MAX_MESSAGES}.")


@dataclass
class Material:
    """What messages of one data key have in common."""

    keys: MessageKeys
    core_end: bytes
    """The context as in the header; of a signed message with the public key."""
    edk_part: bytes
    """The last part of the header."""
    signing_key: EllipticCurvePrivateKey | None = None


@dataclass
class Opened:
    """A data key that opens messages, and what its EDKs were authenticated with."""

    keys: MessageKeys
    edk_tag: bytes
    context: dict[str, str]


@dataclass
class _Encrypting:
    material: Material
    until: float
    messages: int = 0
    plaintext_bytes: int = 0


class DataKeyCache:
    """The data keys of one client; it may be used by many threads.

    One of them asks KMS where several want the same data key. A key that is dropped is overwritten when the last
    message that is being made with it is done (`MessageKeys`).
    """

    def __init__(self, limits: CacheLimits, clock: Callable[[], float] = time.monotonic) -> None:
        self._limits = limits
        self._clock = clock
        self._lock = threading.Lock()
        self._encrypting: OrderedDict[bytes, _Encrypting] = OrderedDict()
        self._decrypting: OrderedDict[tuple[int, bytes, bytes], tuple[Opened, float]] = OrderedDict()
        self._makers: dict[bytes, tuple[threading.Lock, int]] = {}

    def material(self, context: bytes, length: int, make: Callable[[], Material]) -> Material:
        """What to encrypt a message of `length` bytes with. Its use is counted before it is handed out."""
        if (found := self._use(context, length)) is not None:
            return found
        with self._making(context):
            if (found := self._use(context, length)) is not None:
                return found
            began = self._clock()
            made = make()
            if length > self._limits.plaintext_bytes:
                return made
            with self._lock:
                entry = _Encrypting(made, began + self._limits.encrypt_seconds, 1, length)
                self._keep(self._encrypting, context, entry)
            return made

    def opened(self, suite: int, context: bytes, edks: bytes) -> Opened | None:
        """The data key of these EDKs, if it was kept and is not too old."""
        place = (suite, context, edks)
        with self._lock:
            found = self._decrypting.get(place)
            if found is None:
                return None
            if found[1] <= self._clock():
                del self._decrypting[place]
                return None
            self._decrypting.move_to_end(place)
            return found[0]

    def keep_opened(self, suite: int, context: bytes, edks: bytes, opened: Opened) -> None:
        """Keep what was opened and found to be authentic."""
        with self._lock:
            until = self._clock() + self._limits.decrypt_seconds
            self._keep(self._decrypting, (suite, context, edks), (opened, until))

    def clear(self) -> None:
        """Drop all data keys."""
        with self._lock:
            self._encrypting.clear()
            self._decrypting.clear()

    def _use(self, context: bytes, length: int) -> Material | None:
        with self._lock:
            entry = self._encrypting.get(context)
            if entry is None:
                return None
            if entry.until <= self._clock() or entry.messages >= self._limits.messages:
                del self._encrypting[context]
                return None
            if entry.plaintext_bytes + length > self._limits.plaintext_bytes:
                return None  # a shorter message may still fit; the new key takes the place
            entry.messages += 1
            entry.plaintext_bytes += length
            self._encrypting.move_to_end(context)
            return entry.material

    def _keep(self, kept: OrderedDict[_Place, _Entry], place: _Place, entry: _Entry) -> None:
        kept[place] = entry
        kept.move_to_end(place)
        while len(kept) > self._limits.keys:
            kept.popitem(last=False)

    @contextmanager
    def _making(self, context: bytes) -> Iterator[None]:
        with self._lock:
            lock, users = self._makers.get(context, (threading.Lock(), 0))
            self._makers[context] = lock, users + 1
        try:
            with lock:
                yield
        finally:
            with self._lock:
                lock, users = self._makers.pop(context)
                if users > 1:
                    self._makers[context] = lock, users - 1
