"""A secret's properties, never its value."""

from typing import Any

from chalicelib.actions.parameters import SecretName
from chalicelib.context import Context


def describe_secret(ctx: Context, *, secret_name: SecretName) -> dict[str, Any]:
    secret = ctx.secrets.get(secret_name)
    # Terraform dereferences these members without a check: none may be null.
    return {**secret.metadata(), "RotationStatus": False, "NextRotationTime": "", "AdditionalConfig": ""}
