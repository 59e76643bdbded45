"""Replace a secret's description; an empty one clears it."""

from typing import Any

from chalicelib.actions.parameters import SecretDescription, SecretName
from chalicelib.context import Context
from chalicelib.table import secrets


def update_description(
    ctx: Context, *, secret_name: SecretName, description: SecretDescription
) -> dict[str, Any]:
    secret = ctx.secrets.get(secret_name)
    ctx.commit(secrets.replace(secret, secret.describe(description)))
    return {"SecretName": secret.name}
