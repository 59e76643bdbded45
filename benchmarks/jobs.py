"""How many due rows a second each job works through, on SQLite and the software HSM.

usage: python -m benchmarks.jobs [ROWS] [DIRECTORY] [JOB]
"""  # noqa: INP001 - a script

import importlib
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from chalicelib import ids, wiring
from chalicelib.access_keys import Caller
from chalicelib.audit import Event
from chalicelib.context import Context, Service
from chalicelib.model.data_key import DataKey, DataKeyState
from chalicelib.model.key import BackingKey, Key, KeyState, Origin
from chalicelib.model.secret import Secret, SecretState
from chalicelib.model.user import ROOT
from chalicelib.settings import Settings
from chalicelib.table import data_keys, keys, secrets
from chalicelib.table.port import Add, Op

REGION = "ap-guangzhou"
PER_ACCOUNT = 200
MOST = 100_000
DAY = 86400


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
    directory = sys.argv[2] if len(sys.argv) > 2 else "."
    makers = {
        "delete_expired_keys": lambda ctx: keys.create(_key(ctx, state=KeyState.PENDING_DELETE), MOST),
        "expire_imported_material": lambda ctx: keys.create(_key(ctx, origin=Origin.EXTERNAL), MOST),
        "rewrap_tokens": lambda ctx: keys.create(
            ctx.keys.with_new_backing(replace(_key(ctx), backing=())), MOST
        ),
        "rotate_keys": lambda ctx: keys.create(_key(ctx), MOST),
        "delete_expired_secrets": lambda ctx: secrets.create(_secret(ctx), MOST),
        "delete_expired_data_keys": lambda ctx: data_keys.create(_data_key(ctx)),
    }
    only = sys.argv[3:] or list(makers)
    for job in only:
        with tempfile.TemporaryDirectory(dir=directory) as home:
            _measure(wiring.build(Settings(home=Path(home))), job, makers[job], count)


def _measure(service: Service, job: str, make: Callable[[Context], list[Op]], count: int) -> None:
    table = service.table(REGION)
    ops: list[Op] = []
    for number in range(count):
        ctx = _context(service, str(10**11 + number // PER_ACCOUNT))
        ops += [op for op in make(ctx) if not isinstance(op, Add)]
        if len(ops) > 90 or number == count - 1:
            table.write(ops)
            ops = []
    for first in range(0, count, PER_ACCOUNT):
        account = 10**11 + first // PER_ACCOUNT
        table.write([Add(f"CT#{account}#{REGION}", "secrets", min(PER_ACCOUNT, count - first))])
    if job == "rewrap_tokens":
        service.hsm(REGION).rotate()
    function = getattr(importlib.import_module(f"chalicelib.jobs.{job}"), job)
    begin, runs, done, failed = time.monotonic(), 0, 0, 0
    while True:
        outcome = function(service, REGION)
        runs, done, failed = runs + 1, done + outcome.done, failed + outcome.failed
        if outcome.finished:
            break
    seconds = time.monotonic() - begin
    sys.stdout.write(
        f"{job:25} {done:7} done, {failed} failed, {runs} runs, {seconds:6.1f} s, {done / seconds:6.0f} rows/s\n"
    )
    service.close()


def _context(service: Service, account: str) -> Context:
    now_ms = service.clock.now_ms()
    caller = Caller(account, account, "root", ROOT, "")
    return Context(service, caller, REGION, Event(id=ids.request_id(now_ms), at_ms=now_ms))


def _key(ctx: Context, *, state: KeyState = KeyState.ENABLED, origin: Origin = Origin.TENCENT_KMS) -> Key:
    past = ctx.now - 40 * DAY
    key_id = ids.key_id(ctx.now_ms)
    return Key(
        id=key_id,
        account=ctx.caller.account,
        region=REGION,
        creator_uin=ctx.caller.uin,
        alias=key_id,
        created_ms=past * 1000,
        usage="ENCRYPT_DECRYPT",
        standard="sm",
        state=state,
        origin=origin,
        rotation_enabled=True,
        rotate_days=30,
        deletion_at=past if state is KeyState.PENDING_DELETE else 0,
        valid_to=past if origin is Origin.EXTERNAL else 0,
        backing=(BackingKey(1, "SM4", bytes(70), past),),
    )


def _secret(ctx: Context) -> Secret:
    uid = ids.key_id(ctx.now_ms)
    return Secret(
        uid=uid,
        account=ctx.caller.account,
        region=REGION,
        name=f"s-{uid}",
        creator_uin=ctx.caller.uin,
        key_id=uid,
        default_key=True,
        created_ms=ctx.now_ms,
        state=SecretState.PENDING_DELETE,
        delete_at=ctx.now - DAY,
    )


def _data_key(ctx: Context) -> DataKey:
    data_key_id = ids.key_id(ctx.now_ms)
    return DataKey(
        id=data_key_id,
        account=ctx.caller.account,
        region=REGION,
        creator_uin=ctx.caller.uin,
        key_id=data_key_id,
        name=data_key_id,
        number_of_bytes=32,
        created_ms=ctx.now_ms,
        blob="x" * 150,
        sealed="x" * 150,
        state=DataKeyState.PENDING_DELETE,
        deletion_at=ctx.now - DAY,
    )


if __name__ == "__main__":
    main()
