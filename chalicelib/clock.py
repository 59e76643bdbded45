"""Time: the only reader of the system clock."""

import time
from typing import Protocol


class Clock(Protocol):
    """Wall-clock time as the service sees it."""

    def now_ms(self) -> int:
        """Milliseconds since 1970-01-01 UTC."""

    def now(self) -> int:
        """Whole seconds since 1970-01-01 UTC."""


class SystemClock:
    """The operating system's clock."""

    def now_ms(self) -> int:
        return time.time_ns() // 1_000_000

    def now(self) -> int:
        return int(time.time())


class ManualClock:
    """A clock that moves only when told: tests and rehearsals of scheduled work."""

    def __init__(self, at: int) -> None:
        self._ms = at * 1000

    def now_ms(self) -> int:
        return self._ms

    def now(self) -> int:
        return self._ms // 1000

    def advance(self, seconds: float) -> None:
        """Move forward by `seconds`."""
        self._ms += round(seconds * 1000)
