"""Cancel a scheduled deletion; the secret is disabled afterwards."""

from typing import Any

from chalicelib.actions.parameters import SecretName
from chalicelib.context import Context
from chalicelib.table import secrets


def restore_secret(ctx: Context, *, secret_name: SecretName) -> dict[str, Any]:
    secret = ctx.secrets.get(secret_name)
    ctx.commit(secrets.replace(secret, secret.restore()))
    return {"SecretName": secret.name}
