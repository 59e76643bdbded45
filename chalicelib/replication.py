"""Copies of secrets in other regions, kept in step with their primaries (docs/adr/0023).

A write to a primary leaves a row of what is to be done, in the same atomic write. Whoever finds that row - the call itself
once it is answered for, the job later - does it by conditional writes. Killed anywhere or run twice, the row is still due,
or the second finds it done: a replica knows which state of its primary it has, and takes later ones only.
"""

import logging
from collections.abc import Iterable
from dataclasses import replace
from typing import Final

from chalicelib import audit, ids
from chalicelib.access_keys import Caller
from chalicelib.context import Context, Service
from chalicelib.errors import (
    AccessKmsError,
    ApiError,
    FailedOperation,
    LimitExceeded,
    SecretExists,
    UnsupportedRegion,
)
from chalicelib.hsm.port import Damaged
from chalicelib.model.key import Key
from chalicelib.model.secret import Replica, Secret, SecretVersion
from chalicelib.model.user import ROOT
from chalicelib.secret_store import purge
from chalicelib.table import replicas
from chalicelib.table import secrets as rows
from chalicelib.table.port import Conflict, Op, Row
from chalicelib.table.replicas import Status, Todo, Verb

_log: Final = logging.getLogger("keystead")


def attempt(service: Service, left: Iterable[Row]) -> None:
    """Do at once what a call has left to do; whatever fails stays due for the job, and is no failure of the call."""
    for row in left:
        try:
            work(service, replicas.from_row(row).region, row)
        except Exception as error:  # noqa: BLE001 - the call has had its effect, and is answered
            _log.warning("a replica has to wait for the job: %s", type(error).__name__)


def work(service: Service, region: str, row: Row) -> bool:
    """Do what a row of the region says; whether that was anything."""
    found = service.table(region).get(row.pk, row.sk)
    if found is None or found.due is None:
        return False
    todo = replicas.from_row(found)
    if todo.verb is not Verb.COPY and todo.other not in service.settings.regions:
        # A region that is served no more: if it comes back, what is there is stopped there.
        service.table(region).write([replicas.delete(todo)])
        return True
    match todo.verb:
        case Verb.COPY:
            return _copy(service, todo)
        case Verb.STOP:
            return _stop(service, todo)
        case Verb.FORGET:
            return _forget(service, todo)


def _copy(service: Service, todo: Todo) -> bool:
    here = _act(service, todo, todo.region, "ReplicateSecret")
    primary = _at(here, todo.name)
    replica = primary.replica_by(todo.link) if primary is not None else None
    if primary is None or replica is None:
        here.table.write([replicas.delete(todo)])  # fails where it was given up just now: the row says so
        return False
    (before,) = replicas.statuses(here.table, primary, [replica])
    try:
        _bring_in_step(here, _act(service, todo, todo.other, "ReplicateSecret"), primary, replica)
    except ApiError as error:
        if before.message != str(error):
            # Not the only sign of it: the row stays due, and whoever describes the secret sees why.
            status = replace(before, message=str(error))
            here.table.write([replicas.keep(todo), replicas.put_status(primary, replica, status)])
        return False
    status = Status(primary.row_version, here.now)
    here.commit([replicas.rest(todo), replicas.put_status(primary, replica, status)])
    return True


def _bring_in_step(here: Context, there: Context, primary: Secret, replica: Replica) -> None:
    """Write the primary's state to its replica, unless it has that or a later one; raises what keeps it from that."""
    old = _at(there, primary.name)
    if old is not None and (old.link != replica.link or not old.primary_region):
        raise SecretExists(
            "The region has a secret of this name that is no replica: delete it there, or stop replicating to it."
        )
    if old is not None and old.source_version > primary.row_version:
        # Or somebody else was faster: then the row of what is to be done has changed, and this is not written down.
        raise FailedOperation(
            "The replica has a later state than this secret, which was restored: replicate it anew."
        )
    if old is not None and old.source_version == primary.row_version:
        return
    kept = {version.id: version for version in old.versions} if old is not None else {}
    fresh = [v for v in primary.versions if v.id not in kept or kept[v.id].serial != v.serial]
    base, key, key_ops = (old, None, []) if old is not None else _new(there, primary, replica)
    if fresh and key is None:
        key = there.secrets.key_for(base.key_id)
    written = {v.id: replace(v, key_version=key.current.version) for v in fresh} if key is not None else {}
    new = replace(
        base,
        description=primary.description,
        state=primary.state,
        tags=primary.tags,
        serial=primary.serial,
        source_version=primary.row_version,
        versions=tuple(written.get(v.id) or kept[v.id] for v in primary.versions),
    )
    ops = rows.replace(old, new) if old is not None else rows.create(new, there.settings.max_secrets)
    if key is not None:
        ops += [
            there.secrets.seal(new, written[version.id], key, value)
            for version, value in zip(fresh, _values(here, primary, fresh), strict=True)
        ]
    gone = kept.keys() - {version.id for version in primary.versions}
    ops += [rows.delete_value(new, version_id) for version_id in sorted(gone)]
    there.commit([*ops, *key_ops], None if old is not None else {2: LimitExceeded})


def _new(there: Context, primary: Secret, replica: Replica) -> tuple[Secret, Key | None, list[Op]]:
    """A replica that has nothing yet, its CMK, and the ops that create that one where there is none."""
    key, key_ops = (
        (there.secrets.key_for(replica.key_id), []) if replica.key_id else there.secrets.default_key()
    )
    made = Secret(
        uid=ids.key_id(there.now_ms),
        account=primary.account,
        region=there.region,
        name=primary.name,
        creator_uin=primary.creator_uin,
        key_id=key.id,
        default_key=not replica.key_id,
        created_ms=there.now_ms,
        link=replica.link,
        primary_region=primary.region,
    )
    return made, key, key_ops


def _values(here: Context, primary: Secret, fresh: list[SecretVersion]) -> list[bytes]:
    try:
        return here.secrets.values(primary, fresh)
    except Damaged:
        # The rows may straddle somebody's write: only rows that hold still are damaged.
        if _at(here, primary.name) != primary:
            raise Conflict(()) from None
        raise AccessKmsError("The stored value does not open: it was changed outside this service.") from None


def _stop(service: Service, todo: Todo) -> bool:
    """Make the replica a secret of its own; where there is none, or not of this link any more, that is done."""
    there = _act(service, todo, todo.other, "StopSecretReplication")
    replica = _at(there, todo.name)
    if replica is not None and replica.link == todo.link and replica.primary_region:
        there.commit(rows.replace(replica, replica.promote()))
    service.table(todo.region).write([replicas.delete(todo)])
    return True


def _forget(service: Service, todo: Todo) -> bool:
    """Have the primary do without the replica that has left it."""
    there = _act(service, todo, todo.other, "StopSecretReplication")
    primary = _at(there, todo.name)
    if primary is not None and primary.replica_by(todo.link) is not None:
        there.commit(rows.replace(primary, primary.without_replicas({todo.link})))
    service.table(todo.region).write([replicas.delete(todo)])
    attempt(service, there.left)
    return True


def _at(ctx: Context, name: str) -> Secret | None:
    """The secret of that name in the context's region, unless its deletion date has passed."""
    place = rows.secret_row_key(ctx.caller.account, ctx.region, name)
    row = ctx.table.get(*place)
    found = rows.from_row(row) if row is not None else None
    if found is not None and found.is_gone(ctx.now):
        purge(ctx.service, ctx.region, *place)
        return None
    return found


def _act(service: Service, todo: Todo, region: str, action: str) -> Context:
    """A Context in which the service itself acts on the account's secret, with an event that says so."""
    if region not in service.settings.regions:
        raise UnsupportedRegion
    resource = ("secret", todo.name)
    event = audit.by_service(service.clock.now_ms(), "ssm", action, todo.account, region, resource)
    ctx = Context(service, Caller(todo.account, todo.account, audit.SERVICE, ROOT, ""), region, event)
    ctx.authorise_anyway()
    return ctx
