"""Works through due rows in bounded pages: with a lease, a cursor, and a limit on time."""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from chalicelib import audit
from chalicelib.access_keys import Caller
from chalicelib.context import Context, Service
from chalicelib.jobs.lease import Lease
from chalicelib.model.key import Key
from chalicelib.model.user import ROOT
from chalicelib.table.port import Conflict, Row, due_kind, due_position

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


def act(service: Service, region: str, action: str, key: Key) -> Context:
    """A Context in which the service itself acts on an account's key, with an event that says so."""
    event = audit.by_service(service.clock.now_ms(), "kms", action, key.account, region, ("key", key.id))
    ctx = Context(service, Caller(key.account, key.account, audit.SERVICE, ROOT, ""), region, event)
    ctx.authorise(ctx.keys.resource(key))
    return ctx


def run(
    service: Service,
    region: str,
    job: str,
    work: Callable[[Row], bool],
    *,
    max_seconds: float = MAX_SECONDS,
    page: int = PAGE,
) -> Outcome:
    """Call `work` with every row of the region that is due for `job`; it does its own conditional write and answers whether it did.

    A row that fails does not hold up the others: the cursor moves on, and the row, still due, is tried again by a
    later run that starts from the beginning. Killed anywhere, nothing is lost: what was written is done, what was not
    is still due.
    """
    table = service.table(region)
    kind = due_kind(job, region)
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
            except Conflict:
                continue  # somebody else was faster; if anything is left to do, the row is still due
            except Exception as error:  # noqa: BLE001 - a row that cannot even be read must not hold up the others
                outcome.failed += 1
                _log.warning("job %s in %s: a row failed: %s", job, region, type(error).__name__)
        outcome.finished = len(rows) < page
        cursor = None if outcome.finished else due_position(rows[-1])
        if not lease.renew(service.clock.now(), cursor) or outcome.finished:
            break
    lease.release()
    return outcome
