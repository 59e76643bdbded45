"""Make replicas secrets of their own: called where the replica is, or at the primary with the replicas' regions.

An extension. Where the replica is, it takes effect at once, whether or not the primary's region can be reached.
"""

from typing import Annotated, Any

from chalicelib.actions.parameters import SecretName
from chalicelib.context import Context
from chalicelib.errors import FailedOperation, InvalidParameterValue
from chalicelib.params import RECORDED, Characters, Items
from chalicelib.secret_store import replication_status
from chalicelib.table import replicas, secrets
from chalicelib.table.replicas import Todo, Verb


def stop_secret_replication(
    ctx: Context,
    *,
    secret_name: SecretName,
    regions: Annotated[list[Annotated[str, Characters(64, 1)]], Items(20), RECORDED] | None = None,
) -> dict[str, Any]:
    secret = ctx.secrets.get_copy(secret_name)
    if secret.primary_region:
        if regions and set(regions) != {ctx.region}:
            raise InvalidParameterValue("At a replica, Regions is empty or the replica's own region.")
        new = secret.promote()
        left = Todo(
            secret.account, secret.region, secret.name, secret.primary_region, secret.link, Verb.FORGET
        )
        status: list[dict[str, Any]] = []
        ctx.commit([*secrets.replace(secret, new), replicas.put(left)])
    else:
        if not regions:
            raise InvalidParameterValue(
                "At the primary, Regions names the replicas that become secrets of their own."
            )
        found = {replica.region: replica.link for replica in secret.replicas}
        if not set(regions) <= found.keys():
            raise FailedOperation("The secret has no replica in such a region.")
        new = secret.without_replicas({found[region] for region in regions})
        status = replication_status(ctx.table, new, new.row_version + 1)
        ctx.commit(secrets.replace(secret, new))
    return {"SecretName": new.name, "ReplicationStatus": status}
