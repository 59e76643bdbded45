"""The value of one version of an enabled secret."""

import base64
from typing import Annotated, Any

from chalicelib.actions.parameters import SecretName, VersionId
from chalicelib.context import Context
from chalicelib.errors import EncryptionError, FailedOperation
from chalicelib.params import RECORDED, Characters


def get_secret_value(
    ctx: Context,
    *,
    secret_name: SecretName,
    version_id: VersionId,
    encryption_public_key: str = "",
    encryption_algorithm: Annotated[str, Characters(64, error=FailedOperation), RECORDED] = "",
) -> dict[str, Any]:
    version, value = ctx.secrets.read(secret_name, version_id)
    if encryption_public_key:
        try:
            text = ctx.keys.wrap_plaintext(value, encryption_public_key, encryption_algorithm)
        except EncryptionError as error:
            raise FailedOperation(str(error)) from None
    else:
        text = base64.b64encode(value).decode() if version.is_binary else value.decode()
    # The unused member is "": Terraform dereferences both.
    return {
        "SecretName": secret_name,
        "VersionId": version.id,
        "SecretBinary": text if version.is_binary else "",
        "SecretString": "" if version.is_binary else text,
    }
