"""Data keys that serve for more than one message, within limits."""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final, TypeVar

from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey

from keystead._fork import reset_in_child
from keystead.encryption.suites import MessageKeys

_MAX_MESSAGES: Final = 1 << 32
_Place = tuple[int, bytes, bytes]
_Key = TypeVar("_Key")
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
    """Data keys kept in memory, so many that encrypt and so many that decrypt; the least recently used ones go first."""

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
    """Derives the keys of each message."""
    core_end: bytes
    """The context as in the header; of a signed message with the public key."""
    edk_part: bytes
    """The last part of the header."""
    signing_key: EllipticCurvePrivateKey | None = None
    """Of a signed suite: P-256, for the messages of this data key."""


@dataclass
class Opened:
    """A data key that opens messages, and what its EDKs were authenticated with."""

    keys: MessageKeys
    """Derives the keys of each message."""
    edk_tag: bytes
    """The tag that a header with these EDKs has to have, 32 bytes."""
    context: dict[str, str]
    """With the public key of a signed message."""


@dataclass
class _Encrypting:
    material: Material
    until: float
    messages: int = 0
    plaintext_bytes: int = 0


class DataKeyCache:
    """The data keys of one client. Threads may share it, and it goes on after a fork.

    One thread asks KMS where several want the same data key; where it fails, the others that waited ask at once, each
    for itself. A key that is dropped is overwritten when the last message that is being made with it is done
    (`MessageKeys`). `clock` gives seconds.
    """

    def __init__(self, limits: CacheLimits, clock: Callable[[], float] = time.monotonic) -> None:
        self._limits = limits
        self._clock = clock
        self._encrypting: OrderedDict[bytes, _Encrypting] = OrderedDict()
        self._decrypting: OrderedDict[_Place, tuple[Opened, float]] = OrderedDict()
        self._clearings = 0
        self._reset()
        reset_in_child(self)

    def material(self, context: bytes, length: int, make: Callable[[], Material]) -> Material:
        """What to encrypt a message of `length` bytes with. Its use is counted before it is handed out."""
        if (found := self._use(context, length)) is not None:
            return found
        with self._turn(context):
            if (found := self._use(context, length)) is not None:
                return found
            began, clearings = self._clock(), self._clearings
            made = make()
            if length <= self._limits.plaintext_bytes:
                entry = _Encrypting(made, began + self._limits.encrypt_seconds, 1, length)
                self._keep(self._encrypting, context, entry, clearings)
            return made

    def opened(self, suite: int, context: bytes, edks: bytes, make: Callable[[], Opened]) -> Opened:
        """The data key of these EDKs. `make` asks KMS, and raises for what is not authentic, which is not kept."""
        place = (suite, context, edks)
        if (found := self._find(place)) is not None:
            return found
        with self._turn(place):
            if (found := self._find(place)) is not None:
                return found
            # Its age counts from the question: the CMK may be disabled while the answer travels.
            until, clearings = self._clock() + self._limits.decrypt_seconds, self._clearings
            made = make()
            self._keep(self._decrypting, place, (made, until), clearings)
            return made

    def clear(self) -> None:
        """Drop all data keys, and keep none that was asked for before this call."""
        with self._lock:
            self._clearings += 1
            self._encrypting.clear()
            self._decrypting.clear()

    def _find(self, place: _Place) -> Opened | None:
        with self._lock:
            found = self._decrypting.get(place)
            if found is None:
                return None
            if found[1] <= self._clock():
                del self._decrypting[place]
                return None
            self._decrypting.move_to_end(place)
            return found[0]

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

    def _keep(self, kept: OrderedDict[_Key, _Entry], key: _Key, entry: _Entry, clearings: int) -> None:
        with self._lock:
            if clearings != self._clearings:
                return
            kept[key] = entry
            kept.move_to_end(key)
            while len(kept) > self._limits.keys:
                kept.popitem(last=False)

    @contextmanager
    def _turn(self, place: Hashable) -> Iterator[None]:
        """The first goes at once. Whoever comes meanwhile waits for that one alone: nobody queues for failures."""
        with self._lock:
            first = self._going.get(place)
            mine = self._going[place] = threading.Event() if first is None else first
        if first is not None:
            first.wait()
            yield
            return
        try:
            yield
        finally:
            with self._lock:
                del self._going[place]
            mine.set()

    def _reset(self) -> None:
        self._lock = threading.Lock()
        self._going: dict[Hashable, threading.Event] = {}
