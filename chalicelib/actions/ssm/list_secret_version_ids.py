"""The versions of a secret, newest first."""

from typing import Any

from chalicelib.actions.parameters import SecretName
from chalicelib.context import Context


def list_secret_version_ids(ctx: Context, *, secret_name: SecretName) -> dict[str, Any]:
    secret = ctx.secrets.get(secret_name)
    versions = [{"VersionId": v.id, "CreateTime": v.created_at} for v in reversed(secret.versions)]
    return {"SecretName": secret.name, "Versions": versions}
