"""Store a new secret with its first version."""

from typing import Annotated, Any

from chalicelib import ids
from chalicelib.actions.parameters import (
    SecretBinary,
    SecretDescription,
    SecretName,
    SecretString,
    Tags,
    Unsigned,
    VersionId,
    tag_map,
)
from chalicelib.context import Context
from chalicelib.errors import (
    AccessKmsError,
    InvalidParameterValue,
    LimitExceeded,
    MissingParameter,
    SecretExists,
)
from chalicelib.model.secret import CURRENT, Secret, plain_value
from chalicelib.params import RECORDED, Characters, OneOf
from chalicelib.table import secrets
from chalicelib.table.port import Conflict


def create_secret(
    ctx: Context,
    *,
    secret_name: SecretName,
    version_id: VersionId | None = None,
    description: SecretDescription = "",
    kms_key_id: Annotated[str, Characters(36, error=AccessKmsError), RECORDED] = "",
    secret_type: Unsigned = 0,
    secret_binary: SecretBinary = b"",
    secret_string: SecretString = "",
    additional_config: str = "",
    tags: Tags | None = None,
    kms_hsm_cluster_id: Annotated[str, OneOf(("", "default")), RECORDED] = "",
    encrypt_type: Unsigned = 0,
) -> dict[str, Any]:
    ctx.request_tags = tag_map(tags or ())
    ctx.authorise()
    if version_id is None and ctx.settings.strict_private_edition:
        raise MissingParameter("VersionId is required.")
    if secret_type or encrypt_type or additional_config:
        raise InvalidParameterValue("SecretType and EncryptType are 0 here, and AdditionalConfig is empty.")
    value, is_binary = plain_value(
        secret_string, secret_binary, max_bytes=ctx.settings.secret_value_max_bytes
    )
    ctx.event.note("secret", secret_name)
    key, key_ops = (ctx.secrets.key_for(kms_key_id), []) if kms_key_id else ctx.secrets.default_key()

    secret = Secret(
        uid=ids.key_id(ctx.now_ms),
        account=ctx.caller.account,
        region=ctx.region,
        name=secret_name,
        creator_uin=ctx.caller.uin,
        key_id=key.id,
        default_key=not kms_key_id,
        created_ms=ctx.now_ms,
        description=description,
        tags=ctx.request_tags,
    ).add_version(version_id or CURRENT, now=ctx.now, is_binary=is_binary, key_version=key.current.version)
    version = secret.versions[-1]
    ops = [
        *secrets.create(secret, ctx.settings.max_secrets),
        ctx.secrets.seal(secret, version, key, value),
        *key_ops,
    ]
    try:
        ctx.commit(ops, {0: SecretExists, 2: LimitExceeded})
    except (SecretExists, LimitExceeded):
        # What is past its deletion date must not be in the way, swept or not.
        if ctx.secrets.make_room(secret_name):
            raise Conflict(()) from None
        raise
    return {"SecretName": secret.name, "VersionId": version.id, "TagCode": 0, "TagMsg": ""}
