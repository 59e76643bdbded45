"""Delete a key's imported material; the same material can be imported again."""

from typing import Any

from chalicelib.actions.parameters import KeyId
from chalicelib.context import Context
from chalicelib.table import keys


def delete_imported_key_material(ctx: Context, *, key_id: KeyId) -> dict[str, Any]:
    key = ctx.keys.get(key_id)
    ctx.commit(keys.replace(key, key.delete_material()))
    return {}
