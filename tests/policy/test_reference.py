"""The engine and the reference decide alike, over random policies and requests."""

import json
from collections import Counter
from typing import Any, Final

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from chalicelib.policy.decide import decide_within
from chalicelib.policy.document import parse
from chalicelib.policy.request import Request
from tests.policy import reference

RUNS: Final = 4
POLICIES: Final = 500
REQUESTS: Final = 50
"""Per policy; 4 x 500 x 50 make 100,000 decisions."""

ACTIONS: Final = ["kms:Decrypt", "kms:ListKeys", "ssm:GetSecretValue", "ssm:PutSecretValue"]
ACTION_PATTERNS: Final = [
    *("*", "*:*", "kms:*", "name/kms:*", "ssm:*", "name/ssm:*"),
    *("KMS:decrypt", "name/kms:Decrypt", "kms:*Key*", "kms:*e*y*", "kms:Decryp", "*:*SecretValue"),
    *("ssm:Get*", "ssm:Get**Value", "ssm:Put*Value*", "ssm:GetSecretValue", "*:List*"),
]
REGIONS: Final = ["", "", "*", "ap-guangzhou", "ap-guangzhou", "ap-shanghai"]
ACCOUNTS: Final = ["", "", "*", "uin/*", "uin/1", "uin/1", "uin/2", "uin/${uin}", "uin/${owner_uin}"]
PATHS: Final = [
    *("*", "key/*", "secret/*", "key", "secret/", "**", "*/db", "*db*", "*/creatorUin/*"),
    *("secret/creatorUin/*", "secret/creatorUin/11", "secret/creatorUin/11/", "secret/creatorUin/11/*"),
    *("secret/creatorUin/11/db", "secret/creatorUin/1*", "secret/creatorUin/*/d*", "key/creatorUin/12/k1"),
    *("secret/creatorUin/${uin}", "secret/creatorUin/${uin}/*", "*/${uin}/*", "key/creatorUin/${uin}*"),
    *("secret/${app_id}/*", "secret/creatorUin/${owner_uin}/db", "${app_id}*", "s*/c*/1*/d"),
]
ASKED_PATHS: Final = [
    *("key/*", "secret/*", "secret/creatorUin/11/db", "secret/creatorUin/11/db2", "secret/creatorUin/12/db"),
    *("key/creatorUin/12/k1", "key/creatorUin/11/k2", "secret/creatorUin/1/db", "secret/creatorUin/11"),
    *("secret/77/x", "secret/creatorUin/11/db/below"),
]
UINS: Final = ["11", "11", "12", "1", "*", "11/db", "", "1?"]
APP_IDS: Final = ["", "77", "77", "creatorUin", "*", "creatorUin/11"]

TEXTS: Final = [
    "a&b",
    "A&B",
    "a&c",
    "env&prod",
    "env&*",
    "*",
    "e*v&p?od",
    "11",
    "${uin}",
    "${uin}&b",
    "",
    "true",
]
VALUES: Final[dict[str, list[Any]]] = {
    "string": TEXTS,
    "numeric": [11, 12, 11.5, "11.0", "-3", "${uin}", 10**20],
    "date": ["2026-01-01T00:00:00Z", "2026-01-01T08:00:00+08:00", "2026-06-01T00:00:00Z"],
    "ip": ["10.0.0.0/8", "10.1.2.3", "10.1.2.0/31", "0.0.0.0/0", "192.168.1.1/24"],
    "bool": [True, False, "true", "TRUE"],
    "binary": ["YQ==", "YWI=", ""],
}
GIVEN: Final = {
    "qcs:ip": ["10.1.2.3", "10.1.2.1", "192.168.1.200", "8.8.8.8", "nowhere"],
    "qcs:current_time": ["2026-01-01T00:00:00Z", "2026-03-01T12:00:00Z", "2027-01-01T00:00:00Z", "soon"],
    "qcs:resource_tag": ["a&b", "a&c", "env&prod", "env&prood", "A&b", "env&*", "11&b"],
    "qcs:request_tag": ["a&b", "*", "11", "${uin}", "YQ==", "YWI="],
    "qcs:uin": ["11", "12", "-3", "11.50", "100000000000000000000", "many"],
    "qcs:mfa": ["true", "false", "True", "perhaps"],
}
OPERATORS: Final = (
    ["string_equal", "string_not_equal", "string_equal_ignore_case", "string_not_equal_ignore_case"]
    + ["string_like", "string_not_like", "ip_equal", "ip_not_equal", "bool_equal", "binary_equal"]
    + [
        f"{kind}_{name}"
        for kind in ("numeric", "date")
        for name in (
            *("equal", "not_equal", "less_than", "less_than_equal"),
            *("greater_than", "greater_than_equal"),
        )
    ]
)
KEYS_OF: Final = {
    "numeric": ["qcs:uin"],
    "date": ["qcs:current_time"],
    "ip": ["qcs:ip"],
    "bool": ["qcs:mfa"],
}


class Tape:
    """Choices out of random bytes: far cheaper than a strategy per choice, and a failing tape still gets shorter."""

    def __init__(self, data: bytes) -> None:
        self._data = iter(data)

    def one_in(self, count: int) -> bool:
        return next(self._data, 1) % count == 0

    def pick(self, options: list[Any]) -> Any:
        return options[next(self._data, 0) % len(options)]

    def some(self, options: list[Any], most: int) -> list[Any]:
        return [self.pick(options) for _ in range(1 + next(self._data, 0) % most)]


def resource(tape: Tape) -> str:
    if tape.one_in(4):
        return "*"
    service, region, path = tape.pick(["kms", "ssm", "ssm", "*"]), tape.pick(REGIONS), tape.pick(PATHS)
    project = tape.pick(["qcs::", "qcs::", "qcs:"])
    if tape.one_in(5):
        return f"{project}{service}:{region}:{path}"
    return f"{project}{service}:{region}:{tape.pick(ACCOUNTS)}:{path}"


def condition(tape: Tape) -> dict[str, dict[str, Any]]:
    operator = tape.pick([*OPERATORS, *OPERATORS, "null_equal"])
    kind = operator.split("_")[0]
    key = tape.pick(KEYS_OF.get(kind, list(GIVEN)))
    if operator == "null_equal":
        return {operator: {key: tape.pick([True, "false", ["true", "false"]])}}
    operator = tape.pick(["", "", "for_any_value:", "for_all_value:"]) + operator
    operator += tape.pick(["", "", "_if_exist"])
    values: Any = tape.some(VALUES[kind], 3)
    return {operator: {key: values[0] if len(values) == 1 and tape.one_in(2) else values}}


def document(tape: Tape) -> dict[str, Any]:
    statements = []
    for _ in range(1 + tape.pick([0, 1, 2])):
        statement: dict[str, Any] = {
            "effect": tape.pick(["allow", "allow", "deny"]),
            "action": tape.some(ACTION_PATTERNS, 3),
            "resource": [resource(tape) for _ in range(1 + tape.pick([0, 1, 2]))],
        }
        for _ in range(tape.pick([0, 0, 0, 1, 1, 2])):
            statement.setdefault("condition", {}).update(condition(tape))
        statements.append(statement)
    return {"version": "2.0", "statement": statements}


def ask(tape: Tape) -> reference.Ask:
    path = tape.pick(ASKED_PATHS)
    service = path.split("/")[0].replace("key", "kms").replace("secret", "ssm")
    region, owner = (
        tape.pick(["ap-guangzhou", "ap-guangzhou", "ap-shanghai"]),
        tape.pick(["1", "1", "1", "2"]),
    )
    return reference.Ask(
        tape.pick([a for a in ACTIONS if a.startswith(service)]),
        f"qcs::{service}:{region}:uin/{tape.pick(['1', '1', '1', '2'])}:{path}",
        tape.pick(UINS),
        owner,
        tape.pick(APP_IDS),
        {
            key: tape.some(values, 2 if "tag" in key else 1)
            for key, values in GIVEN.items()
            if not tape.one_in(4)
        }
        | ({"qcs:resource_tag": []} if tape.one_in(16) else {}),
    )


@pytest.mark.slow
@pytest.mark.timeout(400)  # hypothesis needs minutes to make a failing run short
@pytest.mark.parametrize("run", range(RUNS))
def test_the_engine_decides_like_the_reference(run: int) -> None:
    seen: Counter[str] = Counter()

    @settings(max_examples=POLICIES, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(st.binary(min_size=150, max_size=150), st.binary(min_size=1300, max_size=1300))
    def compare(policies: bytes, requests: bytes) -> None:
        tape = Tape(policies)
        documents = [document(tape) for _ in range(1 + tape.one_in(2))]
        session = document(tape) if tape.one_in(4) else None
        compiled = [parse(json.dumps(d), name=str(i)) for i, d in enumerate(documents)]
        compiled_session = parse(json.dumps(session), name="session") if session else None
        tape = Tape(requests)
        for _ in range(REQUESTS):
            asked = ask(tape)
            decision = decide_within(
                compiled,
                [compiled_session],
                Request(
                    asked.action,
                    asked.resource,
                    asked.uin,
                    asked.owner_uin,
                    asked.app_id,
                    {key: tuple(values) for key, values in asked.attributes.items()},
                ),
            )
            assert decision.allowed == reference.allows(documents, session, asked), (
                documents,
                session,
                asked,
            )
            seen["allowed" if decision.allowed else "denied" if decision.statement >= 0 else "unmatched"] += 1

    compare()
    assert seen.total() >= POLICIES * REQUESTS
    # Every outcome is frequent: a comparison of refusals alone would show nothing.
    assert min(seen["allowed"], seen["denied"], seen["unmatched"]) > seen.total() / 20, seen
