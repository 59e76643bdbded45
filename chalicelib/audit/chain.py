"""Ties a process's events together: each names, by number and hash, the events that were written before it.

So an event that is removed or changed before it is sealed is missed by the next one of its writer. Threads write at the
same time, so an event may come after several others, and all of them are named; a number that was given to an event
which was never written (a conflict, a crash) is named by nobody and missed by nobody.
"""

import base64
import hashlib
import os
import secrets
import threading
from dataclasses import dataclass
from typing import Final

_MOST: Final = 32
"""So many events are named by one; whatever is left is named by the next ones."""


@dataclass(frozen=True, slots=True)
class Link:
    """An event's place: who writes it, its number there, and what was written before it as (number, hash)."""

    writer: str
    number: int
    after: tuple[tuple[int, str], ...]

    def members(self) -> list[object]:
        """The link as it stands in an event."""
        return [self.writer, self.number, [list(each) for each in self.after]]


class Chain:
    """The links of one process. Thread-safe; a forked child is a writer of its own."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._pid = 0
        self._writer = ""
        self._number = 0
        self._loose: list[tuple[int, str]] = []

    def link(self) -> Link:
        """The next event's link; `written` or `lost` tells how its writing ended."""
        with self._lock:
            if self._pid != os.getpid():
                self._pid, self._writer = os.getpid(), secrets.token_hex(8)
                self._number, self._loose = 0, []
            self._number += 1
            after, self._loose = tuple(self._loose[:_MOST]), self._loose[_MOST:]
            return Link(self._writer, self._number, after)

    def written(self, link: Link, record: bytes) -> None:
        """The event is known to be in the table: the next one will name it."""
        with self._lock:
            if link.writer == self._writer:
                self._loose.append((link.number, fingerprint(record)))

    def lost(self, link: Link) -> None:
        """The event is not known to be in the table: the next one will name what this one did."""
        with self._lock:
            if link.writer == self._writer:
                self._loose[:0] = link.after


def fingerprint(record: bytes) -> str:
    """How a later event names one: 128 bits of SHA-256, 22 digits of base64url."""
    return base64.urlsafe_b64encode(hashlib.sha256(record).digest()[:16])[:22].decode()
