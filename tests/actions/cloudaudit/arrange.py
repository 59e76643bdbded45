"""What the tests of CloudAudit need: events of several services, users and outcomes, and a count of reads."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, cast

from chalicelib.audit import Event
from chalicelib.clock import ManualClock
from chalicelib.settings import Settings
from chalicelib.table.port import Row, Table
from tests.installation import Client, Installation

HOUR = 3600
DAY = 86400


class CountingTable:
    """Another table, whose reads are counted."""

    def __init__(self, inner: Table, reads: list[str]) -> None:
        self._inner = inner
        self._reads = reads

    def get(self, pk: str, sk: str) -> Row | None:
        self._reads.append("get")
        return self._inner.get(pk, sk)

    def batch_get(self, keys: Sequence[tuple[str, str]]) -> list[Row | None]:
        self._reads.append("batch_get")
        return self._inner.batch_get(keys)

    def query(self, pk: str, **bounds: Any) -> list[Row]:
        self._reads.append("query")
        return self._inner.query(pk, **bounds)

    def by_index(self, index: str, value: str, **bounds: Any) -> list[Row]:
        self._reads.append("by_index")
        return self._inner.by_index(index, value, **bounds)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)


class Counted(Installation):
    """An installation that counts the reads of its tables."""

    def __init__(self, clock: ManualClock, settings: Settings | None = None) -> None:
        self.reads: list[str] = []
        super().__init__(clock, settings)

    def open_table(self, domain: str) -> Table:
        return cast(Table, CountingTable(super().open_table(domain), self.reads))

    @contextmanager
    def at_most(self, reads: int) -> Iterator[None]:
        """What is done inside takes no more reads than this."""
        self.reads.clear()
        yield
        assert len(self.reads) <= reads, len(self.reads)

    def put(self, domain: str, *events: Event) -> None:
        """Write events as a process would."""
        for event in events:
            self.service.trail(domain).keep(event)


def every_page(client: Client, action: str, **parameters: Any) -> Iterator[list[Any]]:
    """The pages of a search, until it is over."""
    token: Any = None
    while True:
        more = {"NextToken": token} if token else {}
        answer = getattr(client, action)(**parameters, **more)
        yield answer.Events
        if answer.ListOver:
            assert not answer.NextToken
            return
        assert answer.NextToken
        token = answer.NextToken
