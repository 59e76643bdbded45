"""Note that a cloud resource does not use a key any more."""

from typing import Any

from chalicelib.actions.parameters import BoundName, KeyId
from chalicelib.context import Context
from chalicelib.errors import CloudResourceBindingNotFound
from chalicelib.table import keys


def unbind_cloud_resource(
    ctx: Context, *, key_id: KeyId, product_id: BoundName, resource_id: BoundName
) -> dict[str, Any]:
    key = ctx.keys.get(key_id)
    if ctx.table.get(*keys.binding_row_key(key, product_id, resource_id)) is None:
        raise CloudResourceBindingNotFound
    ctx.commit([*keys.replace(key, key.unbind()), keys.unbind(key, product_id, resource_id)])
    return {}
