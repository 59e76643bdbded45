"""What it adds to a call to ask the caller's policies, and what opening credentials costs every few seconds.

usage: python -m benchmarks.authorisation
"""  # noqa: INP001 - a script

import sys
import time
from collections.abc import Callable
from typing import Any

from chalicelib import sessions
from chalicelib.api.credentials import Credentials
from chalicelib.audit import Event
from chalicelib.clock import SystemClock
from chalicelib.context import IDENTITY, Context
from chalicelib.settings import Bootstrap
from tests import permissions
from tests.installation import SM, Installation
from tests.permissions import statement

TIMES = 2000


def main() -> None:
    """Print microseconds."""
    installation = Installation(SystemClock())  # type: ignore[arg-type]
    root = installation.root.uin
    secrets = f"qcs::ssm:{SM}:uin/{root}:secret/creatorUin/{root}"
    condition = {"ip_equal": {"qcs:ip": "192.0.2.0/24"}}
    one, fifty = installation.add_user("one"), installation.add_user("fifty")
    wanted = statement(action="ssm:GetSecretValue", resource=f"{secrets}/db", condition=condition)
    permissions.allow(installation, one, wanted)
    others = [
        statement(action="ssm:GetSecretValue", resource=f"{secrets}/team-{n}-*", condition=condition)
        for n in range(49)
    ]
    for at in range(0, 49, 10):
        permissions.allow(installation, fifty, *others[at : at + 10])
    permissions.allow(installation, fifty, wanted)
    service = installation.service
    kept, fresh = (
        Credentials(
            service.table(IDENTITY),
            lambda: service.hsm(IDENTITY),
            service.seals,
            service.clock,
            cache_seconds=seconds,
        )
        for seconds in (300, 0)
    )

    def authorise(who: Bootstrap) -> Callable[[], object]:
        caller = kept.find(who.secret_id, "").caller
        event = Event(
            "x", service.clock.now_ms(), service="ssm", action="GetSecretValue", source_ip="192.0.2.1"
        )

        def run() -> None:
            Context(service, caller, SM, event).authorise(f"{secrets}/db", creator_uin=root, tags={"a": "b"})

        return run

    for name, who in (
        ("the account itself", installation.root),
        ("1 statement", one),
        ("50 statements", fifty),
    ):
        _show(f"authorise, {name}", authorise(who))
    _show("open an access key of the account itself", lambda: fresh.find(installation.root.secret_id, ""))
    _show("open an access key of a user, 6 policies", lambda: fresh.find(fifty.secret_id, ""))
    members: dict[str, Any] = {
        "account": root,
        "uin": fifty.uin,
        "name": "fifty",
        "issued_by": fifty.secret_id,
    }
    session = sessions.Session(type="CAMUser", expires_at=service.clock.now() + 300, **members)
    hsm = service.hsm(IDENTITY)
    _show("make a token", lambda: sessions.issue(hsm, session))
    given = sessions.issue(hsm, session)
    _show("open a token", lambda: fresh.find(given.secret_id, given.token))
    _show("find a token that is open", lambda: kept.find(given.secret_id, given.token))


def _show(name: str, run: Callable[[], object]) -> None:
    best = float("inf")
    for _ in range(5):
        begin = time.perf_counter()
        for _ in range(TIMES // 10):
            run()
        best = min(best, time.perf_counter() - begin)
    sys.stdout.write(f"{name:45}{best / (TIMES // 10) * 1e6:8.1f} us\n")


if __name__ == "__main__":
    main()
