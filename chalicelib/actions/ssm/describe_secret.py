"""A secret's properties, never its value."""

from typing import Any

from chalicelib.actions.parameters import SecretName
from chalicelib.context import Context
from chalicelib.secret_store import replication_status


def describe_secret(ctx: Context, *, secret_name: SecretName) -> dict[str, Any]:
    secret = ctx.secrets.get(secret_name)
    # Terraform dereferences these members without a check: none may be null.
    described = {**secret.metadata(), "RotationStatus": False, "NextRotationTime": "", "AdditionalConfig": ""}
    # Extensions, where they say something.
    if secret.replicas:
        described["ReplicationStatus"] = replication_status(ctx.table, secret, secret.row_version)
    if secret.primary_region:
        described["PrimaryRegion"] = secret.primary_region
    return described
