"""An installation whose tables can be listed, copied and put back."""

import functools
import secrets
import sqlite3
from typing import Any, Final

from chalicelib.clock import ManualClock
from chalicelib.formats import record
from chalicelib.hsm import asymmetric
from chalicelib.hsm.port import Hsm, HsmKey, KeyKind
from chalicelib.hsm.software import SoftwareHsm
from chalicelib.settings import Settings
from chalicelib.table.port import INDEXES, Due, Row, Table
from chalicelib.table.sqlite import SqliteTable
from tests import hsms
from tests.installation import SM, Installation

NOW: Final = 1_800_000_000


class InspectedTable(SqliteTable):
    """A table in memory that shows everything in it."""

    def rows(self, where: str = "1") -> dict[tuple[str, str], Row]:
        """Every row, in the order of its key."""
        found = {}
        query = f"SELECT * FROM item WHERE {where} ORDER BY pk, sk"  # noqa: S608 - the tests' own conditions
        for columns in self._memory().execute(query).fetchall():
            pk, sk, version, number, body, expires_at, kind, position, *values, _ = columns
            found[pk, sk] = Row(
                pk=pk,
                sk=sk,
                body=body,
                expires_at=expires_at,
                due=Due(kind, int(position.partition("#")[0])) if kind else None,
                index={name: value for name, value in zip(INDEXES, values, strict=True) if value},
                version=version,
                number=number,
            )
        return found

    def snapshot(self) -> bytes:
        """All that is in the table."""
        return self._memory().serialize()

    def restore(self, image: bytes) -> None:
        """Put a snapshot back."""
        self._memory().deserialize(image)

    def _memory(self) -> sqlite3.Connection:
        return self._shared.idle[-1]


class QuickHsm(SoftwareHsm):
    """The software HSM, but that all RSA keys are one: making one takes a tenth of a second."""

    def generate(self, kind: KeyKind, binding: bytes) -> HsmKey:
        if kind is KeyKind.RSA_2048:
            return self._wrap(kind, binding, _rsa_key())
        return super().generate(kind, binding)


@functools.cache
def _rsa_key() -> bytes:
    return asymmetric.generate(KeyKind.RSA_2048, secrets.token_bytes)


class Inspected(Installation):
    """A whole service over such tables."""

    def __init__(self, clock: ManualClock | None = None, settings: Settings | None = None) -> None:
        self.tables: dict[str, InspectedTable] = {}
        super().__init__(clock or ManualClock(NOW), settings)

    def open_table(self, domain: str) -> Table:
        self.tables[domain] = InspectedTable(":memory:", self.clock)
        return self.tables[domain]

    def open_hsm(self, domain: str) -> Hsm:
        return QuickHsm.ephemeral(domain) if hsms.chosen == ["software"] else hsms.fresh(domain)

    def data(self, region: str = SM) -> dict[tuple[str, str], Row]:
        """The rows of a region that are neither audit events nor times of an access key's last use."""
        return self.tables[region].rows("pk NOT LIKE 'E#%' AND NOT (pk LIKE 'AK#%' AND sk = 'U')")

    def events(self, domain: str = SM) -> list[dict[str, Any]]:
        """The audit events of a region, oldest first."""
        found = self.tables[domain].rows("pk GLOB 'E#[0-9]*[0-9]'").values()
        return [record.decode(row.body) for row in sorted(found, key=lambda row: row.sk)]

    def event(self, request_id: str, domain: str = SM) -> dict[str, Any]:
        """The one event of a call."""
        (row,) = self.tables[domain].rows(f"pk LIKE 'E#%' AND sk LIKE '%{request_id}'").values()
        return record.decode(row.body)
