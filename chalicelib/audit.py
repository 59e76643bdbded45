"""The audit trail: one event per call, written before its answer leaves.

A mutation and its event are one atomic write, so the event is also the witness of a write whose acknowledgement got
lost: if the event is there, the mutation is. No parameter value gets into an event unless its type is marked as
harmless (`params.RECORDED`).
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

from chalicelib import ids
from chalicelib.formats import record
from chalicelib.table.port import MAX_OPS, Busy, Conflict, Expect, Op, Put, Row, Table, Unacknowledged

SHARDS: Final = 8
DAY: Final = 86400
SERVICE: Final = "Service"
"""Who acts in the events of jobs."""

NOBODY: Final = "0"
"""The account of events whose caller could not be found."""

_TRIES: Final = 4
_PAUSE: Final = 0.02
_TEXT_MAX: Final = 256


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
    secret_id: str = ""
    authentication: str = ""
    """How the caller proved who it is: the signature's algorithm, or `job` for scheduled work."""
    source_ip: str = ""
    user_agent: str = ""
    parameters: dict[str, Any] = field(default_factory=dict)
    resources: list[tuple[str, str]] = field(default_factory=list)
    """(type, name), such as (`secret`, the name) or (`key`, the id); the first one is indexed."""
    error_code: str = ""
    warning: str = ""

    def note(self, kind: str, name: str) -> None:
        """Record that the call concerns this resource."""
        if (kind, name) not in self.resources:
            self.resources.append((kind, name))

    def row(self, keep_days: int) -> Row:
        """The event as a row of the audit table."""
        day = datetime.fromtimestamp(self.at_ms / 1000, UTC).strftime("%Y%m%d")
        shard = int(self.id[-1], 16) % SHARDS
        index = {"action": f"{self.account}#{self.service}:{self.action}#{shard}"}
        if self.uin:
            index["user"] = f"{self.account}#{self.uin}#{shard}"
        if self.resources:
            kind, name = self.resources[0]
            index["resource"] = f"{self.account}#{kind}/{name}#{shard}"
        if self.error_code or self.warning:
            index["error"] = f"{self.account}#{self.error_code or self.warning}#{shard}"
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
            "secret_id": self.secret_id,
            "auth": self.authentication,
            "ip": _text(self.source_ip),
            "agent": _text(self.user_agent),
            "parameters": self.parameters,
            "resources": [f"{kind}/{name}" for kind, name in self.resources],
            "error": self.error_code,
            "warning": self.warning,
        }
        return Row(
            pk=f"E#{self.account}#{day}#{shard}",
            sk=f"{self.at_ms:013d}#{self.id}",
            body=record.encode({k: v for k, v in members.items() if v not in ("", [], {})}),
            expires_at=self.at_ms // 1000 + keep_days * DAY,
            index=index,
        )


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
        user_type=SERVICE,
        authentication="job",
    )
    event.note(*resource)
    return event


def commit(table: Table, ops: Sequence[Op], event: Row) -> None:
    """Write `ops` and their event in one atomic step, exactly once.

    Raises Conflict with the positions in `ops`, or Busy; never Unacknowledged, unless the table stays silent to the
    very end, when nobody can know.
    """
    if len(ops) >= MAX_OPS:
        # A hundred keys at once leave no room for the event: it goes first, and a write that fails corrects it.
        keep(table, event)
        table.write(ops)
        return
    witnessed = [*ops, Put(event, Expect.ABSENT)]
    doubtful = False
    for attempt in range(_TRIES):
        try:
            table.write(witnessed)
        except Unacknowledged:
            doubtful = True
        except Conflict as conflict:
            if doubtful and len(ops) in conflict.positions:
                return  # the event was there already: the write that got no answer had happened
            raise Conflict([p for p in conflict.positions if p < len(ops)]) from None
        except Busy:
            if attempt == _TRIES - 1 and not doubtful:
                raise
        else:
            return
        if doubtful and _is_there(table, event):
            return
        time.sleep(_PAUSE * 2**attempt)
    raise Unacknowledged


def keep(table: Table, event: Row, trailing: Sequence[Op] = ()) -> None:
    """Write an event that belongs to no mutation, and unconditional ops beside it: no audit, no answer."""
    for attempt in range(_TRIES):
        try:
            table.write([Put(event, Expect.ANY), *trailing])
        except (Busy, Unacknowledged):
            if attempt == _TRIES - 1:
                raise
            time.sleep(_PAUSE * 2**attempt)
        else:
            return


def _text(value: str) -> str:
    """A client's text as far as a row can hold it."""
    return value[:_TEXT_MAX].encode(errors="replace").decode()


def _is_there(table: Table, event: Row) -> bool:
    try:
        return table.get(event.pk, event.sk) is not None
    except Busy:
        return False
