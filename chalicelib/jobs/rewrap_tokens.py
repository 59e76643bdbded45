"""Puts the key tokens of a domain under the newest generation of its domain key, so that older ones can be retired.

A pass reads every row of the domain's table. It is clean if it found no token of an older generation; only a clean pass
that began some time after the newest generation appeared says that none is left, since until then processes may
have gone on making tokens of the generation before (chalicelib/domain_rotation.py).
"""

import json
import logging
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any, Final, Self

from chalicelib import sealed_row
from chalicelib.context import Service
from chalicelib.formats import key_token
from chalicelib.hsm.port import Hsm, HsmKey
from chalicelib.jobs import lease
from chalicelib.jobs.lease import Lease
from chalicelib.jobs.sweep import MAX_SECONDS, Outcome
from chalicelib.table import accounts, audit_digests, domains, keys
from chalicelib.table.port import Conflict, Put, Row, Table, due_kind
from chalicelib.table.tokens import Rewrap

JOB: Final = "rewrap_tokens"
PAGE: Final = 500

SETTLING_SECONDS: Final = 3600
"""How long after a generation appeared tokens of the one before may still be written.

A process notices a new generation within 30 seconds, calls and jobs end within minutes, and clocks may differ: an hour
is longer than all of them together.
"""

HOLDERS: Final[tuple[Callable[[Row, str, Rewrap], Row], ...]] = (
    keys.rewrapped,
    accounts.rewrapped,
    sealed_row.rewrapped,
    audit_digests.rewrapped,
    domains.rewrapped,
)
"""Who knows rows with key tokens: each answers a row of the domain with other tokens, or as it is."""

_log: Final = logging.getLogger("keystead")


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a domain has got with its newest generation. Kept as the cursor of the job's lease."""

    newest: int
    since: int
    """When a run first saw that generation, in epoch seconds."""
    began: int = 0
    """When the pass began that is under way, or the last one."""
    after: tuple[str, str] | None = None
    """The last row that the pass under way has done with."""
    under_way: bool = False
    left: int = 0
    """In how many rows the pass found older tokens, or what nobody can read."""
    clean: bool = False
    """Whether nothing is left to do."""

    @classmethod
    def of(cls, table: Table, domain: str) -> Self | None:
        """As the table has it; None before the first run that had something to do."""
        return cls.decode(lease.cursor(table, due_kind(JOB, domain)))

    def is_idle(self, newest: int, now: int) -> bool:
        """Whether there is nothing to do now: all is done, or another pass would come too early to tell anything new."""
        settled = self.since + SETTLING_SECONDS
        is_early = not self.under_way and 0 < self.began < settled and now < settled
        return self.newest == newest and (self.clean or is_early)

    def begin(self, now: int) -> Self:
        """A pass begins."""
        return replace(self, began=now, after=None, under_way=True, left=0, clean=False)

    def end(self) -> Self:
        """The pass has seen every row."""
        clean = not self.left and self.began >= self.since + SETTLING_SECONDS
        return replace(self, after=None, under_way=False, clean=clean)

    def encode(self) -> str:
        """The lease's cursor."""
        return json.dumps(asdict(self))

    @classmethod
    def decode(cls, cursor: str | None) -> Self | None:
        """What `encode` made."""
        if cursor is None:
            return None
        members: dict[str, Any] = json.loads(cursor)
        after = members.pop("after")
        return cls(**members, after=(after[0], after[1]) if after else None)


def rewrap_tokens(
    service: Service, domain: str, *, max_seconds: float = MAX_SECONDS, page: int = PAGE
) -> Outcome:
    """Go on with the pass over one domain, or begin the next one.

    Killed anywhere, or run twice, it does no harm: each row is a conditional write of its own, which changes nothing but
    the tokens; a row that somebody else has changed meanwhile is left to the next pass. A row that fails does not
    hold up the others. Where there is nothing to do, it costs a look at the HSM's generations and one row at most.
    """
    hsm = service.hsm(domain)
    generations = hsm.generations()
    if len(generations) < 2:  # noqa: PLR2004 - an older one beside the newest
        return Outcome(ran=True, finished=True)
    newest, now = generations[-1], service.clock.now()
    table = service.table(domain)
    known = Progress.of(table, domain)
    if known is not None and known.newest > newest:
        _log.error("job %s in %s: the HSM lacks generation %d", JOB, domain, known.newest)
        return Outcome(ran=True, failed=1)
    if known is not None and known.is_idle(newest, now):
        return Outcome(ran=True, finished=True)
    held = Lease(table, due_kind(JOB, domain))
    if not held.acquire(now):
        return Outcome()
    known = Progress.decode(held.cursor)  # another run may have gone on since
    if known is None or not known.is_idle(newest, now):
        progress = known if known is not None and known.newest == newest else Progress(newest, now)
        run = _Run(service, domain, hsm, held, progress if progress.under_way else progress.begin(now))
        run.go_on(time.monotonic() + max_seconds, page)
        outcome = run.outcome
    else:
        outcome = Outcome(ran=True, finished=True)
    held.release()
    return outcome


def tokens_of(row: Row, domain: str) -> list[HsmKey]:
    """The keys whose tokens a row keeps; whatever an unreadable row raises."""
    found: list[HsmKey] = []

    def note(key: HsmKey) -> bytes:
        found.append(key)
        return key.token

    for replaced in HOLDERS:
        replaced(row, domain, note)
    return found


class _Run:
    """One run's part of a pass."""

    def __init__(self, service: Service, domain: str, hsm: Hsm, lease: Lease, progress: Progress) -> None:
        self.outcome = Outcome(ran=True)
        self._clock = service.clock
        self._table = service.table(domain)
        self._domain = domain
        self._hsm = hsm
        self._lease = lease
        self._progress = progress

    def go_on(self, end: float, page: int) -> None:
        """Work until the end of the pass, or until `end` by the monotonic clock."""
        while not self.outcome.finished and time.monotonic() < end:
            done, failed = self.outcome.done, self.outcome.failed
            rows = self._table.scan(after=self._progress.after, limit=page)
            for row in rows:
                self._work(row)
                self._progress = replace(self._progress, after=(row.pk, row.sk))
                if time.monotonic() >= end:
                    break
            else:
                self.outcome.finished = len(rows) < page
            if self.outcome.finished:
                self._progress = self._progress.end()
            if not self._lease.renew(self._clock.now(), self._progress.encode()):
                break
            if self.outcome.failed > failed and self.outcome.done == done:
                break  # an outage, most likely: the next run goes on behind this page

    def _work(self, row: Row) -> None:
        try:
            new = row
            for replaced in HOLDERS:
                new = replaced(new, self._domain, self._rewrap)
            if new is row:
                return
            self._table.write([Put(new, row.version)])
            self.outcome.done += 1
        except Conflict:
            pass  # somebody else has changed or removed it: the next pass sees what it is now
        except Exception as error:  # noqa: BLE001 - a row that cannot even be read must not hold up the others
            self.outcome.failed += 1
            _log.warning("job %s in %s: %s, %s: %s", JOB, self._domain, row.pk, row.sk, type(error).__name__)
        self._progress = replace(self._progress, left=self._progress.left + 1)

    def _rewrap(self, key: HsmKey) -> bytes:
        if key_token.generation_of(key.token) >= self._progress.newest:
            return key.token
        return self._hsm.rewrap(key).token
