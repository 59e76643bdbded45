"""A trail with events in it, sealed as the job does it, and its export."""

from collections.abc import Iterable, Sequence
from typing import Any, cast

from chalicelib import ids
from chalicelib.audit import Event
from chalicelib.audit.export import Span, export
from chalicelib.audit.seal import GRACE_SECONDS, signer
from chalicelib.audit.verify import Report, Verifier, verify
from chalicelib.clock import ManualClock
from chalicelib.context import Service
from chalicelib.hsm.port import Hsm
from chalicelib.hsm.software import SoftwareHsm
from chalicelib.jobs.seal_audit import seal_audit
from chalicelib.jobs.sweep import Outcome
from chalicelib.settings import Settings
from chalicelib.table.port import Table
from tests.inspected import NOW, InspectedTable
from tests.installation import FIPS, SM

ACCOUNT, OTHER = "100000000001", "100000000002"
DOMAINS = (SM, FIPS, "identity")


class Rig:
    """One installation whose processes come and go."""

    def __init__(self, settings: Settings | None = None) -> None:
        self.clock = ManualClock(NOW)
        self.settings = settings or Settings()
        self.tables: dict[str, InspectedTable] = {}
        self.hsms: dict[str, Hsm] = {}
        self.service = self.process()

    def process(self) -> Service:
        """Another process over the same tables and HSM domains."""
        return Service(self.settings, self.clock, self.open_table, self.open_hsm)

    def open_table(self, domain: str) -> Table:
        return cast(Table, self.tables.setdefault(domain, InspectedTable(":memory:", self.clock)))

    def open_hsm(self, domain: str) -> Hsm:
        return self.hsms.setdefault(domain, cast(Hsm, SoftwareHsm.ephemeral(domain)))

    def event(self, account: str = ACCOUNT, **members: Any) -> Event:
        now_ms = self.clock.now_ms()
        given = {"service": "kms", "action": "Encrypt", "uin": account, "region": SM, **members}
        return Event(id=ids.request_id(now_ms), at_ms=now_ms, account=account, **given)

    def write(
        self, count: int, domain: str = SM, *, service: Service | None = None, **members: Any
    ) -> list[Event]:
        """Events a millisecond apart."""
        written = []
        for _ in range(count):
            self.clock.advance(0.001)
            written.append(self.event(**members))
            (service or self.service).trail(domain).keep(written[-1])
        return written

    def seal(self, domain: str = SM) -> Outcome:
        """Run the job when all that was written may be sealed."""
        self.clock.advance(GRACE_SECONDS + 1)
        return seal_audit(self.process(), domain)

    def windows(self, sizes: Iterable[int], domain: str = SM, accounts: Sequence[str] = (ACCOUNT,)) -> None:
        """Several sealed windows, their events by these accounts in turn."""
        for size in sizes:
            for number in range(size):
                self.write(1, domain, account=accounts[number % len(accounts)])
            assert self.seal(domain).finished

    def public_key(self, domain: str = SM) -> bytes:
        return signer(self.service, domain).public_key()

    def export(self, domain: str = SM, **span: Any) -> list[bytes]:
        return list(export(self.process(), domain, Span(**span)))

    def verify(self, lines: Iterable[bytes], domain: str = SM, **options: Any) -> Report:
        return verify(lines, Verifier(self.public_key(domain), **options))

    def rows(self, domain: str = SM) -> InspectedTable:
        return self.tables[domain]
