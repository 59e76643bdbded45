"""Note that a cloud resource uses a key, which cannot be disabled or deleted then. Repeating it succeeds."""

from typing import Any

from chalicelib.actions.parameters import BoundName, KeyId
from chalicelib.context import Context
from chalicelib.table import keys


def bind_cloud_resource(
    ctx: Context, *, key_id: KeyId, product_id: BoundName, resource_id: BoundName
) -> dict[str, Any]:
    key = ctx.keys.get(key_id)
    new = key.bind()
    if ctx.table.get(*keys.binding_row_key(key, product_id, resource_id)) is None:
        ctx.commit([*keys.replace(key, new), keys.bind(key, product_id, resource_id)])
    return {}
