"""A token and a public key with which the material of a key is imported, valid for 24 hours and one import."""

import base64
from typing import Annotated, Any

from chalicelib.actions.parameters import KeyId, RsaPadding
from chalicelib.context import Context
from chalicelib.errors import InvalidParameter
from chalicelib.params import RECORDED, OneOf


def get_parameters_for_import(
    ctx: Context,
    *,
    key_id: KeyId,
    wrapping_algorithm: RsaPadding,
    wrapping_key_spec: Annotated[str, OneOf(("RSA_2048",), InvalidParameter), RECORDED],
) -> dict[str, Any]:
    key = ctx.keys.get(key_id)
    key.check_takes_import_parameters()
    token, public_key, expires_at, ops = ctx.keys.import_parameters(key, wrapping_algorithm)
    ctx.commit(ops)
    return {
        "KeyId": key.id,
        "ImportToken": base64.b64encode(token).decode(),
        "PublicKey": base64.b64encode(public_key).decode(),
        "ParametersValidTo": expires_at,
    }
