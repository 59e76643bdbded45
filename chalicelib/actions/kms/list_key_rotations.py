"""The generations of a key's material, newest first. An extension: the product has no such action."""

from typing import Any

from chalicelib.actions.parameters import KeyId, PageLimit, Unsigned
from chalicelib.context import Context


def list_key_rotations(
    ctx: Context, *, key_id: KeyId, offset: Unsigned = 0, limit: PageLimit = 10
) -> dict[str, Any]:
    history = ctx.keys.backing_history(ctx.keys.get(key_id))[::-1]
    return {
        "TotalCount": len(history),
        "Rotations": [
            {"Version": backing.version, "CreateTime": backing.created_at, "Current": backing is history[0]}
            for backing in history[offset : offset + limit]
        ],
    }
