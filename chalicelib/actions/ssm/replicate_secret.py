"""Keep a copy of a secret in other regions, in step with this one. An extension; repeating it succeeds."""

from dataclasses import dataclass
from typing import Annotated, Any, Final

from chalicelib import ids
from chalicelib.actions.parameters import SecretName
from chalicelib.context import EVERYTHING, Context
from chalicelib.errors import (
    AccessKmsError,
    InvalidParameterValue,
    SecretExists,
    UnauthorizedByPolicy,
    UnsupportedRegion,
)
from chalicelib.model.secret import Replica, Secret
from chalicelib.params import RECORDED, Characters, Items
from chalicelib.secret_store import replication_status
from chalicelib.table import secrets

MAX_REGIONS: Final = 20


@dataclass(frozen=True, slots=True)
class ReplicaRegion:
    """A region that gets a copy, and the key there that seals it; none: Secrets Manager's own."""

    region: Annotated[str, Characters(64, 1), RECORDED]
    kms_key_id: Annotated[str, Characters(36, error=AccessKmsError), RECORDED] = ""


def replicate_secret(
    ctx: Context,
    *,
    secret_name: SecretName,
    replica_regions: Annotated[list[ReplicaRegion], Items(MAX_REGIONS, 1), RECORDED],
) -> dict[str, Any]:
    secret = ctx.secrets.get(secret_name)
    secret.check_writable()
    if len({wanted.region for wanted in replica_regions}) != len(replica_regions):
        raise InvalidParameterValue("ReplicaRegions names a region twice.")
    has = {replica.region: replica for replica in secret.replicas}
    added = []
    for wanted in replica_regions:
        if wanted.region not in has:
            _check(ctx, secret, wanted)
            added.append(Replica(wanted.region, wanted.kms_key_id, ids.key_id(ctx.now_ms)))
        elif wanted.kms_key_id != has[wanted.region].key_id:
            raise InvalidParameterValue(
                "The region has a replica under another key: stop that replication first."
            )
    new = secret.with_replicas(added)
    status = replication_status(ctx.table, new, new.row_version + 1)
    ctx.commit(secrets.replace(secret, new))
    return {"SecretName": new.name, "ReplicationStatus": status}


def _check(ctx: Context, secret: Secret, wanted: ReplicaRegion) -> None:
    """Refuse a region that cannot get a copy, or where the caller may not create one."""
    if wanted.region not in ctx.settings.regions:
        raise UnsupportedRegion
    if wanted.region == ctx.region:
        raise InvalidParameterValue("The secret's own region cannot have a replica of it.")
    there = ctx.beside(wanted.region)
    there.request_tags = secret.tags
    decision = there.decide(there.resource(EVERYTHING["ssm"]), action="ssm:CreateSecret")
    if not decision.allowed:
        raise UnauthorizedByPolicy(
            f"You are not authorized to perform operation (ssm:CreateSecret) in the replica's region: {decision.explanation}."
        )
    if there.table.get(*secrets.secret_row_key(secret.account, wanted.region, secret.name)) is not None:
        raise SecretExists("The replica's region has a secret of this name already.")
    if wanted.kms_key_id:
        there.secrets.key_for(wanted.kms_key_id)
