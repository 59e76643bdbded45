"""Overwrite the value of an existing version."""

from typing import Any

from chalicelib.actions.parameters import SecretBinary, SecretName, SecretString, VersionId
from chalicelib.context import Context
from chalicelib.model.secret import plain_value
from chalicelib.table import secrets


def update_secret(
    ctx: Context,
    *,
    secret_name: SecretName,
    version_id: VersionId,
    secret_binary: SecretBinary = b"",
    secret_string: SecretString = "",
) -> dict[str, Any]:
    value, is_binary = plain_value(
        secret_string, secret_binary, max_bytes=ctx.settings.secret_value_max_bytes
    )
    old = ctx.secrets.get(secret_name)
    old.check_writable()
    old.version(version_id)
    key = ctx.secrets.key_for(old.key_id)
    new = old.update_version(version_id, is_binary=is_binary, key_version=key.current.version)
    version = new.version(version_id)
    ctx.commit([*secrets.replace(old, new), ctx.secrets.seal(new, version, key, value)])
    return {"SecretName": new.name, "VersionId": version.id}
