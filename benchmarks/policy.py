"""How long a decision over 50 statements takes, and what it costs to compile them.

usage: python -m benchmarks.policy
"""  # noqa: INP001 - a script

import json
import sys
import time
from collections.abc import Callable
from typing import Any

from chalicelib.policy.decide import decide
from chalicelib.policy.document import parse
from chalicelib.policy.request import Request

STATEMENTS = 50
POLICIES = 5
"""As long as the statements are, fewer policies would not hold them."""
OWNER, USER = "100000000001", "100000000002"
SECRETS = f"qcs::ssm:ap-guangzhou:uin/{OWNER}:secret/creatorUin"


def main() -> None:
    # None of these statements is about the resource that is asked for, and all are about the action.
    resources: dict[str, Callable[[int], str]] = {
        "names": lambda n: f"{SECRETS}/{USER}/other-{n}",
        "prefixes": lambda n: f"{SECRETS}/{USER}/team-{n}-*",
        "stars inside": lambda n: f"{SECRETS}/*/team-{n}/*",
        "variables": lambda n: f"qcs::ssm:::secret/creatorUin/${{uin}}/team-{n}-*",
    }
    for name, resource in resources.items():
        _measure(
            name, [{"effect": "deny", "action": "ssm:*", "resource": resource(n)} for n in range(STATEMENTS)]
        )
    conditions: dict[str, Any] = {
        "addresses": {"ip_equal": {"qcs:ip": ["172.16.0.0/12", "192.168.0.0/16"]}},
        "times": {"date_less_than": {"qcs:current_time": "2020-01-01T00:00:00Z"}},
        "tags": {"for_any_value:string_equal": {"qcs:resource_tag": ["env&test", "env&dev"]}},
    }
    for name, condition in conditions.items():
        one = {"effect": "deny", "action": "ssm:*", "resource": "*", "condition": condition}
        _measure(name, [one] * STATEMENTS)


def _measure(name: str, statements: list[dict[str, Any]]) -> None:
    last = {"effect": "allow", "action": "ssm:GetSecretValue", "resource": "*"}
    every = [*statements[1:], last]
    texts = [json.dumps({"version": "2.0", "statement": every[first::POLICIES]}) for first in range(POLICIES)]
    policies = [parse(text, name=f"benchmark {n}") for n, text in enumerate(texts)]
    request = Request(
        "ssm:GetSecretValue",
        f"{SECRETS}/{USER}/db",
        USER,
        OWNER,
        attributes={
            "qcs:ip": ("10.1.2.3",),
            "qcs:current_time": ("2026-01-01T00:00:00Z",),
            "qcs:resource_tag": ("env&prod", "team&a"),
        },
    )
    if not decide(policies, request).allowed:
        raise SystemExit("The last statement should have allowed it.")
    sys.stdout.write(
        f"{name:12}: {_microseconds(lambda: decide(policies, request), 1000):6.1f} us a decision, "
        f"{_microseconds(lambda: [parse(t) for t in texts], 10):6.0f} us to compile\n"
    )


def _microseconds(work: Callable[[], object], times: int) -> float:
    # Of the processor's time, and the best of some: a busy machine should not count.
    best = float("inf")
    for _ in range(7):
        begin = time.process_time()
        for _ in range(times):
            work()
        best = min(best, (time.process_time() - begin) / times)
    return best * 1e6


if __name__ == "__main__":
    main()
