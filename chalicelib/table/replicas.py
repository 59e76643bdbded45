"""What is to be done about the copies of a secret in other regions, and how far they are.

| row | pk | sk |
| --- | --- | --- |
| something to do, due until it is done | `SR#<account>#<region>#<name>` | `T#<other region>#<link>` |
| what has been copied so far | same | `R#<other region>#<link>` |

A link is one region's time as a replica: it is made up anew each time, so that no row of an earlier time is taken for one
of a later. Rows of what is to be done outlive the secret, if it is deleted first.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from chalicelib.formats import record
from chalicelib.model.secret import Replica, Secret
from chalicelib.table.port import Delete, Due, Expect, Op, Put, Row, Table, due_kind

REPLICATE: Final = "replicate_secrets"
"""The job that the rows are due for."""


class Verb(StrEnum):
    """What to do."""

    COPY = "copy"
    """Bring the replica in the other region in step."""
    STOP = "stop"
    """Make the replica in the other region a secret of its own."""
    FORGET = "forget"
    """Tell the primary in the other region that this replica is a secret of its own."""


@dataclass(frozen=True, slots=True)
class Todo:
    """Something to do about a link; `region` is where the row is, `other` the region that it concerns."""

    account: str
    region: str
    name: str
    other: str
    link: str
    verb: Verb
    row_version: int = 0

    @property
    def row_key(self) -> tuple[str, str]:
        """Where the row is."""
        return _pk(self.account, self.region, self.name), f"T#{self.other}#{self.link}"


@dataclass(frozen=True, slots=True)
class Status:
    """How far a replica is: the state of the primary that it has, when it got that, and what keeps it from the next."""

    serial: int = 0
    """The version of the primary's row that was copied."""
    at: int = 0
    """Epoch seconds; 0 is never."""
    message: str = ""


def follow(old: Secret, new: Secret) -> list[Op]:
    """The ops that go along with a write to a primary: its replicas are due, and those that it gives up are let go."""
    ops = [put(_todo(new, replica, Verb.COPY)) for replica in new.replicas]
    kept = {replica.link for replica in new.replicas}
    for replica in old.replicas:
        if replica.link not in kept:
            ops.append(put(_todo(new, replica, Verb.STOP)))
            ops.append(Delete(*_status_row_key(new, replica), Expect.ANY))
    return ops


def put(todo: Todo) -> Op:
    """The op that makes something due at once."""
    return Put(_row(todo, is_due=True), Expect.ANY)


def keep(todo: Todo) -> Op:
    """The op that leaves it due, unless somebody else has been there since it was read."""
    return Put(_row(todo, is_due=True), todo.row_version)


def rest(todo: Todo) -> Op:
    """The op that says that it is done, unless there is more to do by now; the row stays for the next time."""
    return Put(_row(todo, is_due=False), todo.row_version)


def delete(todo: Todo) -> Op:
    """The op that says that it is done once and for all."""
    return Delete(*todo.row_key, todo.row_version)


def from_row(row: Row) -> Todo:
    """What is to be done."""
    members = record.decode(row.body)
    return Todo(
        account=members["account"],
        region=members["region"],
        name=members["name"],
        other=members["other"],
        link=members["link"],
        verb=Verb(members["verb"]),
        row_version=row.version,
    )


def put_status(secret: Secret, replica: Replica, status: Status) -> Op:
    """The op that writes down how far a replica is."""
    pk, sk = _status_row_key(secret, replica)
    body = record.encode({"serial": status.serial, "at": status.at, "message": status.message})
    return Put(Row(pk=pk, sk=sk, body=body), Expect.ANY)


def statuses(table: Table, secret: Secret, replicas: Sequence[Replica]) -> list[Status]:
    """How far replicas are, one by one."""
    if not replicas:
        return []
    rows = table.batch_get([_status_row_key(secret, replica) for replica in replicas])
    return [Status(**record.decode(row.body)) if row is not None else Status() for row in rows]


def _row(todo: Todo, *, is_due: bool) -> Row:
    pk, sk = todo.row_key
    members = {
        "account": todo.account,
        "region": todo.region,
        "name": todo.name,
        "other": todo.other,
        "link": todo.link,
        "verb": todo.verb.value,
    }
    # Due since ever: whatever a clock says, it is due now.
    due = Due(due_kind(REPLICATE, todo.region), 0) if is_due else None
    return Row(pk=pk, sk=sk, body=record.encode(members), due=due)


def _todo(secret: Secret, replica: Replica, verb: Verb) -> Todo:
    return Todo(secret.account, secret.region, secret.name, replica.region, replica.link, verb)


def _status_row_key(secret: Secret, replica: Replica) -> tuple[str, str]:
    return _pk(secret.account, secret.region, secret.name), f"R#{replica.region}#{replica.link}"


def _pk(account: str, region: str, name: str) -> str:
    return f"SR#{account}#{region}#{name}"
