"""What an action may use: one Context per call, over one Service per process."""

import functools
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from chalicelib import audit
from chalicelib.access_keys import Caller
from chalicelib.audit import Event
from chalicelib.clock import Clock
from chalicelib.data_key_store import DataKeyStore
from chalicelib.errors import ApiError, DryRunOperation, UnauthorizedByPolicy
from chalicelib.hsm.port import Hsm
from chalicelib.key_store import KeyStore
from chalicelib.secret_store import SecretStore
from chalicelib.settings import Settings
from chalicelib.table.port import Add, Conflict, Expect, Op, Row, Table, add_bounds, key_of

IDENTITY: Final = "identity"
_OF_NO_REGION: Final = frozenset({"cam", "cloudaudit", "sts"})
_MAX_USES: Final = 100_000


class Service:
    """The process's tables and HSM domains, opened on first use, and the little that calls share."""

    def __init__(
        self,
        settings: Settings,
        clock: Clock,
        open_table: Callable[[str], Table],
        open_hsm: Callable[[str], Hsm],
    ) -> None:
        self.settings = settings
        self.clock = clock
        self._open_table = open_table
        self._open_hsm = open_hsm
        self._tables: dict[str, Table] = {}
        self._hsms: dict[str, Hsm] = {}
        self._lock = threading.RLock()
        self.hints: dict[tuple[str, ...], tuple[str, ...]] = {}
        """Which rows the last call on a resource needed: saves a second read, decides nothing."""
        self.uses: dict[tuple[str, str, str], int] = {}
        """In which hour the use of a key was last written down: saves writes, decides nothing."""

    def table(self, domain: str) -> Table:
        """The rows of a region, or the identity rows."""
        table = self._tables.get(domain)
        if table is None:
            with self._lock:
                table = self._tables.get(domain) or self._open_table(domain)
                self._tables[domain] = table
        return table

    def hsm(self, domain: str) -> Hsm:
        """The keys of a region, or those that seal identity data."""
        hsm = self._hsms.get(domain)
        if hsm is None:
            with self._lock:
                hsm = self._hsms.get(domain) or self._open_hsm(domain)
                self._hsms[domain] = hsm
        return hsm

    def close(self) -> None:
        """Release every table and HSM domain."""
        with self._lock:
            for table in self._tables.values():
                table.close()
            for hsm in self._hsms.values():
                hsm.close()
            self._tables.clear()
            self._hsms.clear()


class Context:
    """One call of one action."""

    def __init__(
        self, service: Service, caller: Caller, region: str, event: Event, *, dry_run: bool = False
    ) -> None:
        self.service = service
        self.caller = caller
        self.region = region
        self.event = event
        self.settings = service.settings
        self.now_ms = event.at_ms
        self.now = event.at_ms // 1000
        self.table = service.table(domain(event.service, region))
        self.trailing: list[Op] = []
        """Unconditional ops that go along with whatever the call writes."""
        self.uses: dict[tuple[str, str, str], int] = {}
        """What to remember of `trailing` once it is written."""
        self.committed = False
        self.authorised = False
        self._dry_run = dry_run

    @property
    def standard(self) -> str:
        """`sm` or `fips`: the region's standard."""
        return self.settings.regions[self.region]

    @property
    def hsm(self) -> Hsm:
        """The region's HSM domain."""
        return self.service.hsm(self.region)

    @functools.cached_property
    def keys(self) -> KeyStore:
        """The account's CMKs in the region."""
        return KeyStore(self)

    @functools.cached_property
    def data_keys(self) -> DataKeyStore:
        """The account's hosted data keys in the region."""
        return DataKeyStore(self)

    @functools.cached_property
    def secrets(self) -> SecretStore:
        """The account's secrets in the region."""
        return SecretStore(self)

    def resource(self, path: str) -> str:
        """The six-segment name of a resource of the called service, as policies spell it."""
        return f"qcs::{self.event.service}:{self.region}:uin/{self.caller.account}:{path}"

    def authorise(self, resource: str = "*") -> None:  # noqa: ARG002 - what a policy will be matched with
        """Let the call go on only if the caller may do it to the resource; the pipeline insists on one such check."""
        if not self.caller.is_root:
            # Not the resource: it names its creator, which would tell that it exists.
            raise UnauthorizedByPolicy(
                f"You are not authorized to perform operation ({self.event.service}:{self.event.action})"
                " on this resource: ask an administrator for a policy that allows it."
            )
        self.authorised = True

    def commit(
        self, ops: Sequence[Op], refusals: Mapping[int, type[ApiError] | ApiError] | None = None
    ) -> None:
        """Write the call's effect and its audit event in one atomic step; at most once per call, as its last step.

        `refusals` says what the caller is told when the op of that position finds its condition broken. Any other
        broken condition means that somebody else was faster: the pipeline reads and decides again.
        """
        if not self.authorised or self.committed:
            raise RuntimeError("an action authorises first and commits once")
        try:
            if self._dry_run:
                _rehearse(self.table, ops)
            else:
                audit.commit(self.table, [*ops, *self.trailing], self.event.row(self.settings.audit_days))
        except Conflict as conflict:
            for position in conflict.positions:
                if refusals and position in refusals:
                    raise refusals[position] from None
            raise
        if self._dry_run:
            raise DryRunOperation
        self.written()

    def written(self) -> None:
        """Note that the call's write, and what trails it, has happened."""
        self.committed = True
        if len(self.service.uses) > _MAX_USES:
            self.service.uses.clear()
        self.service.uses.update(self.uses)


def domain(service: str, region: str) -> str:
    """Whose rows a service's calls in a region read and write, their events included: the region's or identity's."""
    return IDENTITY if service in _OF_NO_REGION else region


def _rehearse(table: Table, ops: Sequence[Op]) -> None:
    """Raise the Conflict that writing `ops` would raise now."""
    rows = table.batch_get([key_of(op) for op in ops]) if ops else []
    failed = [at for at, (op, row) in enumerate(zip(ops, rows, strict=True)) if not _holds(op, row)]
    if failed:
        raise Conflict(failed)


def _holds(op: Op, row: Row | None) -> bool:
    if isinstance(op, Add):
        low, high = add_bounds(op)
        return low <= (row.number if row else 0) + op.n <= high
    match op.expect:
        case Expect.ANY:
            return True
        case Expect.ABSENT:
            return row is None
        case Expect.EXISTS:
            return row is not None
        case version:
            return row is not None and row.version == version
