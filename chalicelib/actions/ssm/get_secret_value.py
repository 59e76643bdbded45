"""The value of one version of an enabled secret."""

import base64
from typing import Any

from chalicelib.actions.parameters import SecretName, VersionId
from chalicelib.context import Context
from chalicelib.errors import UnsupportedOperation


def get_secret_value(
    ctx: Context,
    *,
    secret_name: SecretName,
    version_id: VersionId,
    encryption_public_key: str = "",
    encryption_algorithm: str = "",
) -> dict[str, Any]:
    del encryption_algorithm  # has a meaning with EncryptionPublicKey only
    if encryption_public_key:
        raise UnsupportedOperation("EncryptionPublicKey is not supported yet: leave it out.")
    version, value = ctx.secrets.read(secret_name, version_id)
    # The unused member is "": Terraform dereferences both.
    return {
        "SecretName": secret_name,
        "VersionId": version.id,
        "SecretBinary": base64.b64encode(value).decode() if version.is_binary else "",
        "SecretString": "" if version.is_binary else value.decode(),
    }
