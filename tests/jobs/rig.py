"""A region with secrets that wait for the sweep, tables that fail on purpose, and what a sweep leaves."""

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from chalicelib.audit import SHARDS
from chalicelib.clock import ManualClock
from chalicelib.context import Service
from chalicelib.formats import record
from chalicelib.hsm.software import SoftwareHsm
from chalicelib.jobs import sweep
from chalicelib.jobs.sweep import Outcome
from chalicelib.model.secret import Secret, SecretState, SecretVersion
from chalicelib.secret_store import purge
from chalicelib.settings import Settings
from chalicelib.table import secrets as rows
from chalicelib.table.port import Add, Due, Expect, Op, Put, Row, Table, due_kind
from tests.installation import SM

ACCOUNT = "100000000001"
DAY = 86400
NOON = 1_790_596_800
"""Midday of some day in UTC: no test comes near a change of the audit partition's day."""

KIND = due_kind(rows.DELETE_EXPIRED, SM)


class Killed(BaseException):
    """What ends a process, for a test: no handler of errors catches it."""


class FaultyTable:
    """Another table's rows, where something happens before or after write number `at`.

    Written as a wrapper, so that the rows outlive it as those of a real table outlive a process.
    """

    def __init__(
        self,
        rows_of: Table,
        at: int = 0,
        *,
        before: Callable[[], object] | None = None,
        after: Callable[[], object] | None = None,
    ) -> None:
        self._table = rows_of
        self._at = at
        self._before = before
        self._after = after
        self.writes = 0

    def get(self, pk: str, sk: str) -> Row | None:
        return self._table.get(pk, sk)

    def batch_get(self, keys: Sequence[tuple[str, str]]) -> list[Row | None]:
        return self._table.batch_get(keys)

    def query(self, pk: str, **bounds: Any) -> list[Row]:
        return self._table.query(pk, **bounds)

    def by_index(self, index: str, value: str, **bounds: Any) -> list[Row]:
        return self._table.by_index(index, value, **bounds)

    def due(self, kind: str, upto: int, *, after: str | None = None, limit: int = 100) -> list[Row]:
        return self._table.due(kind, upto, after=after, limit=limit)

    def scan(self, *, after: tuple[str, str] | None = None, limit: int = 100) -> list[Row]:
        return self._table.scan(after=after, limit=limit)

    def write(self, ops: Sequence[Op]) -> None:
        self.writes += 1
        is_it = self.writes == self._at
        if is_it and self._before is not None:
            self._before()
        self._table.write(ops)
        if is_it and self._after is not None:
            self._after()

    def close(self) -> None:
        self._table.close()


def raises(error: type[BaseException]) -> Callable[[], None]:
    """A hook that raises."""

    def hook() -> None:
        raise error

    return hook


def service_on(table: Table, clock: ManualClock) -> Service:
    """A process that has this table for its regions."""
    return Service(Settings(), clock, lambda _domain: table, SoftwareHsm.ephemeral)


def secret(
    number: int, delete_at: int, *, state: SecretState = SecretState.PENDING_DELETE, region: str = SM
) -> Secret:
    """A secret with two versions."""
    return Secret(
        uid=f"uid-{number}",
        account=ACCOUNT,
        region=region,
        name=f"s{number:05d}",
        creator_uin=ACCOUNT,
        key_id="key",
        default_key=True,
        created_ms=(NOON - 100 * DAY) * 1000 + number,
        state=state,
        delete_at=delete_at,
        versions=(
            SecretVersion("v1", NOON, 1, is_binary=False, key_version=1),
            SecretVersion("v2", NOON, 2, is_binary=True, key_version=1),
        ),
    )


def seed(table: Table, secrets: Sequence[Secret]) -> None:
    """Write the rows that the service would have written for secrets of one region."""
    step = 20
    for start in range(0, len(secrets), step):
        ops: list[Op] = []
        for each in secrets[start : start + step]:
            ops += [op for op in rows.create(each, len(secrets)) if not isinstance(op, Add)]
            ops += [rows.put_value(each, version.id, b"sealed") for version in each.versions]
        table.write(ops)
    table.write([Add(f"CT#{ACCOUNT}#{secrets[0].region}", "secrets", len(secrets))])


def poison(name: str, body: bytes, due_at: int) -> Op:
    """The op that writes a due row which nobody can read."""
    return Put(
        Row(pk=f"S#{ACCOUNT}#{SM}#{name}", sk="M", body=body, due=Due(KIND, due_at)),
        Expect.ANY,
    )


def run(service: Service, page: int = sweep.PAGE) -> Outcome:
    """The job, with pages of another size."""
    return sweep.run(
        service, SM, rows.DELETE_EXPIRED, lambda row: purge(service, SM, row.pk, row.sk), page=page
    )


def left(table: Table, secrets: Sequence[Secret]) -> dict[str, Any]:
    """What there is after a sweep: the secrets, each with its rows, the quota, the due rows and the events."""
    counter = table.get(f"CT#{ACCOUNT}#{SM}", "secrets")
    return {
        "listed": [s.name for s in rows.list_all(table, ACCOUNT, SM)],
        "rows": {
            s.name: [row.sk for row in table.query(f"S#{ACCOUNT}#{SM}#{s.name}")]
            for s in secrets
            if table.query(f"S#{ACCOUNT}#{SM}#{s.name}")
        },
        "quota": counter.number if counter else None,
        "due": [row.pk.rpartition("#")[2] for row in table.due(KIND, NOON + 1000 * DAY)],
        "events": Counter(name for event in events(table) for name in event["resources"]),
    }


def events(table: Table) -> list[dict[str, Any]]:
    """The account's audit events of the day that NOON belongs to."""
    found = []
    for shard in range(SHARDS):
        after = None
        while True:
            page = table.query(f"E#{ACCOUNT}#20260928#{shard}", after=after, limit=1000)
            found += [record.decode(row.body) for row in page]
            if len(page) < 1000:
                break
            after = page[-1].sk
    return found
