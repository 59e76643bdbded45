"""Gives fresh material to the keys whose automatic rotation is due."""

from chalicelib.context import Service
from chalicelib.jobs import sweep
from chalicelib.table import keys
from chalicelib.table.port import Row


def rotate_keys(service: Service, region: str) -> sweep.Outcome:
    """Sweep one region; see `sweep.run` for what happens when it is killed or runs twice."""

    def rotate(row: Row) -> bool:
        ctx = sweep.act(service, region, "RotateKey", keys.from_row(row))
        key = ctx.keys.find_for_service(keys.from_row(row).id)  # as it is now, not when the page was read
        if not key.rotation_enabled or key.next_rotate_at > ctx.now:
            return False
        key.check_rotatable()
        ctx.commit(keys.replace(key, ctx.keys.rotated(key)))
        return True

    return sweep.run(service, region, keys.ROTATE, rotate)
