"""Import a key's material, or the same material again with another end."""

from typing import Annotated, Any

from chalicelib.actions.parameters import KeyId
from chalicelib.context import Context
from chalicelib.errors import DecryptMaterialError, InvalidParameter
from chalicelib.params import RECORDED, Base64, Between
from chalicelib.table import keys


def import_key_material(
    ctx: Context,
    *,
    encrypted_key_material: Annotated[bytes, Base64(256, error=DecryptMaterialError)],
    import_token: Annotated[bytes, Base64(32, 32, InvalidParameter)],
    key_id: KeyId,
    valid_to: Annotated[int, Between(0, 2147443200, InvalidParameter), RECORDED] = 0,
) -> dict[str, Any]:
    key = ctx.keys.get(key_id)
    key.check_takes_material()
    if 0 < valid_to <= ctx.now:
        raise InvalidParameter("ValidTo is later than now, or 0 for never.")
    new, ops = ctx.keys.imported(key, import_token, encrypted_key_material, valid_to=valid_to)
    ctx.commit([*keys.replace(key, new), *ops])
    return {}
