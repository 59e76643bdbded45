"""Destroys keys whose deletion date has passed. They are gone for every call since that moment.

What is destroyed is the key tokens: without them no ciphertext of the key opens ever again. A tombstone stays.
"""

from typing import Final

from chalicelib.context import Service
from chalicelib.jobs import sweep
from chalicelib.table import keys
from chalicelib.table.port import Check, Delete, Row

_AT_ONCE: Final = 90


def delete_expired_keys(service: Service, region: str) -> sweep.Outcome:
    """Sweep one region; see `sweep.run` for what happens when it is killed or runs twice."""

    def destroy(row: Row) -> bool:
        key = keys.from_row(row)  # as it was when the page was read: its version is the condition
        ctx = sweep.act(service, region, "DeleteExpiredKey", key)
        if not key.is_gone(ctx.now):
            return False
        # Older material, bindings and the time of the last use go first: the key's own row is what is still due.
        while others := [r for r in ctx.table.query(row.pk, limit=_AT_ONCE) if r.sk != row.sk]:
            ctx.table.write(
                [Check(row.pk, row.sk, row.version), *(Delete(r.pk, r.sk, r.version) for r in others)]
            )
        ctx.commit(keys.destroy(key, ctx.now))
        return True

    return sweep.run(service, region, keys.DELETE_EXPIRED, destroy)
