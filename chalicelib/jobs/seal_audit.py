"""Seals the audit trail into signed digests (docs/audit.md)."""

from chalicelib.audit import SEAL
from chalicelib.audit.seal import seal
from chalicelib.context import Service
from chalicelib.jobs import sweep
from chalicelib.jobs.lease import Lease
from chalicelib.table.port import due_kind


def seal_audit(service: Service, domain: str) -> sweep.Outcome:
    """Seal one domain; killed or run twice, see `seal`. `done` counts events."""
    lease = Lease(service.table(domain), due_kind(SEAL, domain))
    if not lease.acquire(service.clock.now()):
        return sweep.Outcome()
    sealed = seal(service, domain, max_seconds=sweep.MAX_SECONDS)
    lease.release()
    return sweep.Outcome(ran=True, done=sealed.events, failed=sealed.failed, finished=sealed.finished)
