"""Disable a secret: its values cannot be read until it is enabled. Repeating it succeeds."""

from typing import Any

from chalicelib.actions.parameters import SecretName
from chalicelib.context import Context
from chalicelib.table import secrets


def disable_secret(ctx: Context, *, secret_name: SecretName) -> dict[str, Any]:
    secret = ctx.secrets.get(secret_name)
    ctx.commit(secrets.replace(secret, secret.disable()))
    return {"SecretName": secret.name}
