"""The audit trail: one event per call, written before its answer leaves.

A mutation and its event are one atomic write, so the event is also the witness of a write whose acknowledgement got
lost: if the event is there, the mutation is. No parameter value gets into an event unless its type is marked as
harmless (`params.RECORDED`). An event is never written over: what turns out later is a further event of the same call.
docs/audit.md says how events are found, sealed and verified.
"""

import functools
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

from chalicelib import ids
from chalicelib.audit.chain import Chain, Link
from chalicelib.clock import Clock
from chalicelib.formats import record
from chalicelib.table.port import (
    AUDIT_PREFIX,
    MAX_OPS,
    Busy,
    Conflict,
    Due,
    Expect,
    Op,
    Put,
    Row,
    Table,
    Unacknowledged,
    due_kind,
)

SHARDS: Final = 8
"""Over how many partitions the events of an account and day may be spread."""
DAY: Final = 86400
SEAL: Final = "seal_audit"
"""The job that events are due for from the second in which they are written."""
SERVICE: Final = "Service"
"""Who acts in the events of jobs."""

NOBODY: Final = "0"
"""The account of events whose caller could not be found."""

_TRIES: Final = 4
_PAUSE: Final = 0.02
_TEXT_MAX: Final = 256
_POINTER: Final = "#P"


@dataclass(slots=True)
class Event:
    """What happened, who did it, and how it ended. Filled in while a call goes through the pipeline."""

    id: str
    at_ms: int
    service: str = ""
    action: str = ""
    version: str = ""
    region: str = ""
    is_read: bool = True
    account: str = NOBODY
    uin: str = ""
    user_name: str = ""
    user_type: str = ""
    session: str = ""
    """The name of a role's session, or of a federated user."""
    secret_id: str = ""
    authentication: str = ""
    """How the caller proved who it is: the signature's algorithm, or `job` for scheduled work."""
    source_ip: str = ""
    user_agent: str = ""
    parameters: dict[str, Any] = field(default_factory=dict)
    resources: list[tuple[str, str]] = field(default_factory=list)
    """(type, name), such as (`secret`, the name) or (`key`, the id)."""
    error_code: str = ""
    warning: str = ""

    def note(self, kind: str, name: str) -> None:
        """Record that the call concerns this resource."""
        if (kind, name) not in self.resources:
            self.resources.append((kind, name))

    def members(self) -> dict[str, Any]:
        """What a row says of the event; what is empty takes no place."""
        members = {
            "id": self.id,
            "at": self.at_ms,
            "service": self.service,
            "action": self.action,
            "version": self.version,
            "region": self.region,
            "read": self.is_read,
            "account": self.account,
            "uin": self.uin,
            "user": self.user_name,
            "user_type": self.user_type,
            "session": self.session,
            "secret_id": self.secret_id,
            "auth": self.authentication,
            "ip": _text(self.source_ip),
            "agent": _text(self.user_agent),
            "parameters": self.parameters,
            "resources": [f"{kind}/{name}" for kind, name in self.resources],
            "error": self.error_code,
            "warning": self.warning,
        }
        return {name: value for name, value in members.items() if value or value is False}


def by_service(  # noqa: PLR0917 - as many as an event says
    now_ms: int, api: str, action: str, account: str, region: str, resource: tuple[str, str]
) -> Event:
    """The event of something that the service does by itself, to a resource of an account."""
    event = Event(
        id=ids.request_id(now_ms),
        at_ms=now_ms,
        service=api,
        action=action,
        region=region,
        is_read=False,
        account=account,
        user_name=SERVICE,
        user_type=SERVICE,
        authentication="job",
    )
    event.note(*resource)
    return event


@dataclass(frozen=True, slots=True)
class _Entry:
    """An event as it is going to be written."""

    link: Link
    row: Row
    ops: tuple[Op, ...]
    """The event's row, and one for each further resource, by which it is found."""


class Trail:
    """The events of one domain, a region's or identity's, as this process writes them.

    They are spread over `shards` partitions of their day, at most SHARDS: one, where the table is one file.
    """

    def __init__(
        self, table: Table, domain: str, clock: Clock, keep_days: int, *, shards: int = SHARDS
    ) -> None:
        self._table = table
        self._shards = shards
        self._kind = due_kind(SEAL, domain)
        self._clock = clock
        self._keep_days = keep_days
        self._chain = Chain()
        self._written_at = 0

    def commit(self, ops: Sequence[Op], event: Event, trailing: Sequence[Op] = ()) -> None:
        """Write `ops` and their event in one atomic step, exactly once, and unconditional ops beside it.

        Raises Conflict with the positions in `ops`, or Busy; never Unacknowledged, unless the table stays silent to the
        very end, when nobody can know.
        """
        entry = self._enter(event)
        size = len(ops) + len(trailing)
        if size + len(entry.ops) > MAX_OPS:
            self._chain.lost(entry.link)
            self._announce(ops, event, trailing)
            return
        try:
            _write_once(self._table, [*ops, *trailing, *entry.ops], size, entry.row)
        except BaseException:
            self._chain.lost(entry.link)
            raise
        self._chain.written(entry.link, entry.row.body)

    def keep(self, event: Event, trailing: Sequence[Op] = ()) -> None:
        """Write an event that belongs to no mutation, and unconditional ops beside it: no audit, no answer.

        Where the call has an event already, because it failed after its effect or its outcome is unknown, that one
        stays, and this one becomes a further event of the call.
        """
        part = 1
        while True:
            entry = self._enter(event, part)
            try:
                is_kept = self._try_to_keep(entry, trailing)
            except BaseException:
                self._chain.lost(entry.link)
                raise
            if is_kept:
                self._chain.written(entry.link, entry.row.body)
                return
            self._chain.lost(entry.link)
            part += 1

    def _announce(self, ops: Sequence[Op], event: Event, trailing: Sequence[Op]) -> None:
        """A hundred keys at once leave no room for the event: it goes first, with what trails, and says so.

        If the effect does not follow, the call's refusal is a further event.
        """
        entry = self._enter(event, announces=True)
        try:
            is_first = self._try_to_keep(entry, trailing)
        except BaseException:
            self._chain.lost(entry.link)
            raise
        if is_first:
            self._chain.written(entry.link, entry.row.body)
        else:
            self._chain.lost(entry.link)  # the call's first try has announced it, and met a conflict
        self._table.write(ops)

    def _try_to_keep(self, entry: _Entry, trailing: Sequence[Op]) -> bool:
        """Write a new event; False if its place is taken by another one."""
        fits = len(entry.ops) + len(trailing) <= MAX_OPS
        for attempt in range(_TRIES):
            try:
                self._table.write([*entry.ops, *trailing] if fits else entry.ops)
                break
            except Conflict:
                found = self._table.get(entry.row.pk, entry.row.sk)
                if found is None or found.body != entry.row.body:
                    return False
                break  # the write that got no answer had happened
            except (Busy, Unacknowledged):
                if attempt == _TRIES - 1:
                    raise
                time.sleep(_PAUSE * 2**attempt)
        if not fits:
            self._table.write(trailing)
        return True

    def _enter(self, event: Event, part: int = 1, *, announces: bool = False) -> _Entry:
        link = self._chain.link()
        # A clock that is set back must not put events into a time that has been sealed.
        self._written_at = max(self._written_at, self._clock.now())
        members = event.members()
        if part > 1:
            members["part"] = part
        if announces:
            members["announces"] = True
        members["chain"] = link.members()
        shard = int(event.id[-1], 16) % self._shards
        row = Row(
            pk=partition(event.account, event.at_ms // 1000 // DAY, shard),
            sk=f"{event.at_ms:013d}#{event.id}" + (f"#{part}" if part > 1 else ""),
            body=record.encode(members),
            expires_at=event.at_ms // 1000 + self._keep_days * DAY,
            due=Due(self._kind, self._written_at),
            index={name: f"{event.account}#{value}#{shard}" for name, value in _indexed(event).items()},
        )
        return _Entry(
            link, row, tuple(Put(each, Expect.ABSENT) for each in (row, *_pointers(row, event, shard)))
        )


def partition(account: str, day: int, shard: int) -> str:
    """The `pk` of an account's events of a day, which is a number of days since 1970."""
    return f"{AUDIT_PREFIX}{account}#{_date(day)}#{shard}"


@functools.lru_cache(maxsize=32)
def _date(number: int) -> str:
    return datetime.fromtimestamp(number * DAY, UTC).strftime("%Y%m%d")


def pointed(row: Row) -> tuple[str, str]:
    """The key of the event that an index has led to: through a pointer, if the event concerns several resources."""
    return (
        (row.pk[: -len(_POINTER)], row.sk.rpartition("~")[0])
        if row.pk.endswith(_POINTER)
        else (row.pk, row.sk)
    )


def _indexed(event: Event) -> dict[str, str]:
    index = {"action": event.action or "-"}
    if event.uin:
        index["user"] = event.uin
    if event.resources:
        index["resource"] = event.resources[0][1]
    if event.error_code or event.warning:
        index["error"] = event.error_code or event.warning
    return index


def _pointers(row: Row, event: Event, shard: int) -> list[Row]:
    """A row for each resource beyond the first: whoever acts on many at once is found by each."""
    return [
        Row(
            pk=row.pk + _POINTER,
            sk=f"{row.sk}~{place}",
            expires_at=row.expires_at,
            index={"resource": f"{event.account}#{name}#{shard}"},
        )
        for place, (_, name) in enumerate(event.resources[1:MAX_OPS], 2)
    ]


def _write_once(table: Table, witnessed: Sequence[Op], size: int, event: Row) -> None:
    """Write `size` ops and the event that follows them; the event tells whether a write without an answer happened."""
    doubtful = False
    for attempt in range(_TRIES):
        try:
            table.write(witnessed)
        except Unacknowledged:
            doubtful = True
        except Conflict as conflict:
            if doubtful and size in conflict.positions:
                return  # the event was there already: the write that got no answer had happened
            raise Conflict([p for p in conflict.positions if p < size]) from None
        except Busy:
            if attempt == _TRIES - 1 and not doubtful:
                raise
        else:
            return
        if doubtful and _is_there(table, event):
            return
        time.sleep(_PAUSE * 2**attempt)
    raise Unacknowledged


def _text(value: str) -> str:
    """A client's text as far as a row can hold it."""
    return value[:_TEXT_MAX].encode(errors="replace").decode()


def _is_there(table: Table, event: Row) -> bool:
    try:
        return table.get(event.pk, event.sk) is not None
    except Busy:
        return False
