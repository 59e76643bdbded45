"""Enable a disabled secret. Repeating it succeeds."""

from typing import Any

from chalicelib.actions.parameters import SecretName
from chalicelib.context import Context
from chalicelib.table import secrets


def enable_secret(ctx: Context, *, secret_name: SecretName) -> dict[str, Any]:
    secret = ctx.secrets.get(secret_name)
    ctx.commit(secrets.replace(secret, secret.enable()))
    return {"SecretName": secret.name}
