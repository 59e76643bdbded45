"""A table and an HSM that fail on demand: before a call, after it, or as if the process died there."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Any, TypeVar, cast

from chalicelib.api.gateway import Gateway
from chalicelib.clock import ManualClock
from chalicelib.context import Service
from chalicelib.hsm.port import Hsm, HsmUnavailable
from chalicelib.table.port import Busy, Table, Unacknowledged
from tests.inspected import Inspected

T = TypeVar("T")


class Killed(BaseException):
    """The process ends here: nothing may catch it and go on."""


class Fault(Enum):
    """How a call fails. What a table cannot have done is Busy; a read that fails late has only lost its answer."""

    BEFORE = auto()
    """Nothing is done."""
    LOST = auto()
    """Nothing is done, and a writer does not know that."""
    DONE = auto()
    """All is done, and a writer does not know that."""
    KILLED_BEFORE = auto()
    KILLED_AFTER = auto()


@dataclass
class Saboteur:
    """Counts the calls of every port, and makes those from `first` to `last` fail with `fault`."""

    calls: list[str] = field(default_factory=list)
    first: int = 0
    last: int = 0
    fault: Fault = Fault.BEFORE
    only: str = ""
    """Spares the calls of other names."""
    before: Callable[[str], None] | None = None
    """Called with the name of each call before it is made."""

    def rest(self) -> None:
        """Let everything through, and count from the beginning."""
        self.calls.clear()
        self.first = self.last = 0
        self.only = ""
        self.before = None

    def fail(self, fault: Fault, first: int, last: int, *, only: str = "") -> None:
        """Fail the calls of these numbers; the first is 1."""
        self.rest()
        self.fault, self.first, self.last, self.only = fault, first, last, only

    def go_through(self, name: str, call: Callable[[], T], down: type[Exception], lost: type[Exception]) -> T:
        """Make a call that fails as was asked for."""
        self.calls.append(name)
        if self.before is not None:
            self.before(name)
        if not self.first <= len(self.calls) <= self.last or self.only not in ("", name):
            return call()
        match self.fault:
            case Fault.BEFORE:
                raise down
            case Fault.LOST:
                raise lost
            case Fault.DONE:
                call()
                raise lost
            case Fault.KILLED_BEFORE:
                raise Killed
            case _:
                call()
                raise Killed


class Behind:
    """A port, each of whose calls goes through a saboteur; typed as the port where it is made."""

    def __init__(self, inner: Table | Hsm, saboteur: Saboteur, down: type[Exception]) -> None:
        self._inner = inner
        self._saboteur = saboteur
        self._down = down

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._inner, name)
        if name in ("close", "describe"):
            return method
        lost = Unacknowledged if name == "write" else self._down

        def call(*args: Any, **kwargs: Any) -> Any:
            return self._saboteur.go_through(name, lambda: method(*args, **kwargs), self._down, lost)

        return call


class Broken(Inspected):
    """A whole service over them."""

    def __init__(self, clock: ManualClock | None = None) -> None:
        self.saboteur = Saboteur()
        self.hsms: dict[str, Hsm] = {}
        super().__init__(clock)

    def open_table(self, domain: str) -> Table:
        return cast(Table, Behind(super().open_table(domain), self.saboteur, Busy))

    def open_hsm(self, domain: str) -> Hsm:
        self.hsms[domain] = super().open_hsm(domain)
        return cast(Hsm, Behind(self.hsms[domain], self.saboteur, HsmUnavailable))

    def rival(self) -> Gateway:
        """Another process over the same tables and HSM, which never fails."""
        service = Service(self.settings, self.clock, self.tables.__getitem__, self.hsms.__getitem__)
        return Gateway(service)


def plans(calls: Sequence[str]) -> Iterator[tuple[Fault, int, int]]:
    """Every single fault in a run that makes these calls, and outages that do not end."""
    for number, name in enumerate(calls, 1):
        # What only reads fails in fewer ways: what it had done by then makes no difference.
        faults = tuple(Fault) if name == "write" else (Fault.BEFORE, Fault.DONE, Fault.KILLED_AFTER)
        for fault in faults:
            yield fault, number, number
        yield Fault.BEFORE, number, 10**9
        if name == "write":
            yield Fault.LOST, number, 10**9
            yield Fault.DONE, number, 10**9
