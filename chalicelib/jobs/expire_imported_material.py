"""Removes imported key material whose end has come. It is unusable since that moment."""

from chalicelib.context import Service
from chalicelib.jobs import sweep
from chalicelib.table import keys
from chalicelib.table.port import Row


def expire_imported_material(service: Service, region: str) -> sweep.Outcome:
    """Sweep one region; see `sweep.run` for what happens when it is killed or runs twice."""

    def expire(row: Row) -> bool:
        key = keys.from_row(row)  # as it was when the page was read: its version is the condition
        ctx = sweep.act(service, region, "ExpireKeyMaterial", key)
        expired = key.as_of(ctx.now)
        if expired == key:
            return False
        ctx.commit(keys.replace(key, expired))
        return True

    return sweep.run(service, region, keys.EXPIRE_MATERIAL, expire)
