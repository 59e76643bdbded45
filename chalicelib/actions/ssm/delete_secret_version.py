"""Delete one version of a secret at once, whatever the secret's state; the last one too."""

from typing import Any

from chalicelib.actions.parameters import SecretName, VersionId
from chalicelib.context import Context
from chalicelib.table import secrets


def delete_secret_version(ctx: Context, *, secret_name: SecretName, version_id: VersionId) -> dict[str, Any]:
    secret = ctx.secrets.get(secret_name)
    ctx.commit(
        [*secrets.replace(secret, secret.drop_version(version_id)), secrets.delete_value(secret, version_id)]
    )
    return {"SecretName": secret.name, "VersionId": version_id}
