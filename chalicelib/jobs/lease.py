"""One runner at a time: a lease row with an owner and an end, and the place to resume from.

Schedules deliver at least once and may overlap; a runner may die anywhere. Whoever holds the lease works; when it
runs out, the next one goes on from the cursor. Two runners that believe in the same lease do no harm, because every
step of a job is a conditional write of its own.
"""

import secrets
from typing import Any, Final

from chalicelib.formats import record
from chalicelib.table.port import Busy, Conflict, Expect, Put, Row, Table, Unacknowledged

LEASE_SECONDS: Final = 120
_SK: Final = "L"


def cursor(table: Table, job: str) -> str | None:
    """Where the job's next runner would go on."""
    row = table.get(f"JOB#{job}", _SK)
    return record.decode(row.body).get("cursor") if row is not None else None


class Lease:
    """The right to run one job in one region for a while."""

    def __init__(self, table: Table, job: str) -> None:
        self._table = table
        self._pk = f"JOB#{job}"
        self._owner = secrets.token_hex(16)
        self._version = 0
        self.cursor: str | None = None

    def acquire(self, now: int) -> bool:
        """Take the lease unless somebody else holds it."""
        row = self._table.get(self._pk, _SK)
        members: dict[str, Any] = record.decode(row.body) if row is not None else {}
        if members.get("until", 0) > now and members.get("owner") != self._owner:
            return False
        self._version = row.version if row is not None else 0
        self.cursor = members.get("cursor")
        return self._write(now + LEASE_SECONDS)

    def renew(self, now: int, cursor: str | None) -> bool:
        """Keep the lease and remember how far the work got; False when it is somebody else's by now."""
        self.cursor = cursor
        return self._write(now + LEASE_SECONDS)

    def release(self) -> None:
        """Let the next runner start at once; losing the race for it is fine."""
        self._write(0)

    def _write(self, until: int) -> bool:
        body = record.encode({"owner": self._owner, "until": until, "cursor": self.cursor})
        put = Put(Row(pk=self._pk, sk=_SK, body=body), self._version or Expect.ABSENT)
        try:
            self._table.write([put])
        except Conflict:
            return False
        except Unacknowledged:
            row = self._table.get(self._pk, _SK)
            if row is None or row.body != body:
                return False
            self._version = row.version
            return True
        except Busy:
            return False
        self._version += 1
        return True
