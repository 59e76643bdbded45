"""Works through due rows in bounded pages: with a lease, a cursor, and a limit on time."""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from chalicelib.context import Service
from chalicelib.jobs.lease import Lease
from chalicelib.table.port import Row, TableError, due_position

_log: Final = logging.getLogger("keystead")
PAGE: Final = 100
MAX_SECONDS: Final = 60.0
"""A run ends after this long; the next one resumes. Half of the lease, so that a run never outlives it."""


@dataclass(slots=True)
class Outcome:
    """What one run did."""

    ran: bool = False
    """False when another runner holds the lease."""
    done: int = 0
    failed: int = 0
    finished: bool = False
    """Whether every row that was due has been looked at."""


def run(
    service: Service,
    region: str,
    kind: str,
    work: Callable[[Row], bool],
    *,
    max_seconds: float = MAX_SECONDS,
    page: int = PAGE,
) -> Outcome:
    """Call `work` with every row due for `kind`; it does its own conditional write and answers whether it did.

    A row that fails does not hold up the others: the cursor moves on, and the row, still due, is tried again by a
    later run that starts from the beginning. Killed anywhere, nothing is lost: what was written is done, what was not
    is still due.
    """
    table = service.table(region)
    lease = Lease(table, kind)
    outcome = Outcome()
    if not lease.acquire(service.clock.now()):
        return outcome
    outcome.ran = True
    end = time.monotonic() + max_seconds
    cursor = lease.cursor
    while time.monotonic() < end:
        rows = table.due(kind, service.clock.now(), after=cursor, limit=page)
        for row in rows:
            try:
                outcome.done += work(row)
            except TableError as error:
                outcome.failed += 1
                _log.warning("job %s in %s: a row failed: %s", kind, region, type(error).__name__)
        outcome.finished = len(rows) < page
        cursor = None if outcome.finished else due_position(rows[-1])
        if not lease.renew(service.clock.now(), cursor) or outcome.finished:
            break
    lease.release()
    return outcome
