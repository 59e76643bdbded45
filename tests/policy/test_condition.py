"""Every operator at both ends, every qualifier, absent keys, variables."""

from typing import Any

import pytest

from chalicelib.policy.document import PolicyError
from tests.policy.asking import allowed, policy, request, statement

TAG = "qcs:resource_tag"
IP = "qcs:ip"
TIME = "qcs:current_time"
MFA = "qcs:mfa"
UIN = "qcs:create_uin"


def holds(operator: str, key: str, wanted: Any, *given: str) -> bool:
    """What an allow with this condition, and a deny with it, agree on."""
    condition = {operator: {key: wanted}}
    asked = request(attributes={key: given})
    allows = allowed(statement(condition=condition), asked=asked)
    assert allowed(statement(), statement("deny", condition=condition), asked=asked) is not allows
    return allows


@pytest.mark.parametrize(
    ("operator", "key", "wanted", "yes", "no"),
    [
        ("string_equal", TAG, "env&prod", ["env&prod"], ["env&Prod", "env&pro", "env&prod ", "*"]),
        ("string_equal", TAG, ["a&b", "a&c"], ["a&b", "a&c"], ["a&d"]),
        ("string_equal", TAG, "a&*", ["a&*"], ["a&b"]),
        ("string_not_equal", TAG, "env&prod", ["env&Prod", "x"], ["env&prod"]),
        ("string_not_equal", TAG, ["a&b", "a&c"], ["a&d"], ["a&b", "a&c"]),
        ("string_equal_ignore_case", TAG, "Env&Prod", ["env&prod", "ENV&PROD"], ["env&pro"]),
        ("string_not_equal_ignore_case", TAG, "Env&Prod", ["env&pro"], ["env&prod", "ENV&PROD"]),
        ("string_like", TAG, "env&*", ["env&", "env&prod", "env&a\nb"], ["env", "Env&prod", "xenv&prod"]),
        ("string_like", TAG, "e*v&?", ["ev&1", "eeev&2", "e*v&*"], ["ev&", "ev&12", "e1v1&"]),
        ("string_like", TAG, "a.c+(", ["a.c+("], ["abc+(", "a.cc("]),
        ("string_not_like", TAG, ["env&*", "x*"], ["en", "y"], ["env&prod", "x"]),
        ("numeric_equal", UIN, 11, ["11", "11.0", "1.1e1"], ["12", "10.999"]),
        ("numeric_equal", UIN, [1, "2"], ["1", "2"], ["3"]),
        ("numeric_equal", UIN, 10**20 + 1, [str(10**20 + 1)], [str(10**20)]),
        ("numeric_not_equal", UIN, 11, ["12", "-11"], ["11", "11.00"]),
        ("numeric_less_than", UIN, 11, ["10.99", "-11"], ["11", "12"]),
        ("numeric_less_than_equal", UIN, 11, ["10", "11"], ["11.01"]),
        ("numeric_greater_than", UIN, "11", ["11.01"], ["11", "9"]),
        ("numeric_less_than", UIN, [3, 20, 5], ["19", "4"], ["20", "21"]),
        ("numeric_less_than_equal", UIN, [3, 20], ["20", "2"], ["20.1"]),
        ("numeric_greater_than", UIN, [20, 3, 5], ["4", "21"], ["3", "2"]),
        ("numeric_greater_than_equal", UIN, [20, 3], ["3", "21"], ["2.9"]),
        ("numeric_greater_than_equal", UIN, 11.5, ["11.5", "12"], ["11.49", "2"]),
        ("date_equal", TIME, "2026-01-01T00:00:00Z", ["2026-01-01T00:00:00+00:00"], ["2026-01-01T00:00:01Z"]),
        ("date_equal", TIME, "2026-01-01T08:00:00+08:00", ["2026-01-01T00:00:00Z"], ["2026-01-01T08:00:00Z"]),
        ("date_equal", TIME, "2026-01-01 00:00:00", ["2026-01-01T00:00:00Z"], ["2026-01-01T00:00:01Z"]),
        ("date_not_equal", TIME, "2026-01-01T00:00:00Z", ["2026-01-01T00:00:01Z"], ["2026-01-01T00:00:00Z"]),
        ("date_less_than", TIME, "2026-01-01T00:00:00Z", ["2025-12-31T23:59:59Z"], ["2026-01-01T00:00:00Z"]),
        (
            "date_less_than_equal",
            TIME,
            "2026-01-01T00:00:00Z",
            ["2025-12-31T23:59:59Z", "2026-01-01T00:00:00Z"],
            ["2026-01-01T00:00:01Z"],
        ),
        (
            "date_greater_than",
            TIME,
            "2026-01-01T00:00:00Z",
            ["2026-01-01T00:00:01Z"],
            ["2026-01-01T00:00:00Z"],
        ),
        (
            "date_greater_than_equal",
            TIME,
            "2026-01-01T00:00:00Z",
            ["2026-01-01T00:00:00Z", "2026-01-01T00:00:01Z"],
            ["2025-12-31T23:59:59Z"],
        ),
        (
            "ip_equal",
            IP,
            "10.1.0.0/16",
            ["10.1.0.0", "10.1.255.255", "::ffff:10.1.2.3"],
            ["10.0.255.255", "10.2.0.0", "::1"],
        ),
        ("ip_equal", IP, ["10.1.2.3", "10.1.2.5"], ["10.1.2.3", "10.1.2.5"], ["10.1.2.4"]),
        ("ip_equal", IP, "10.1.2.3/24", ["10.1.2.0", "10.1.2.255"], ["10.1.3.0"]),
        ("ip_equal", IP, "2001:db8::/32", ["2001:db8::1", "2001:db8:ffff::"], ["2001:db9::", "10.1.2.3"]),
        ("ip_equal", IP, "0.0.0.0/0", ["255.255.255.255"], ["::1"]),
        ("ip_not_equal", IP, ["10.1.0.0/16", "10.3.0.0/16"], ["10.2.0.0"], ["10.1.0.0", "10.3.255.255"]),
        ("bool_equal", MFA, True, ["true", "True"], ["false"]),
        ("bool_equal", MFA, "False", ["false"], ["true"]),
        ("binary_equal", TAG, "YWI=", ["YWI="], ["YWM=", "YQ=="]),
    ],
)
def test_an_operator_divides_values(
    operator: str, key: str, wanted: Any, yes: list[str], no: list[str]
) -> None:
    assert {value: holds(operator, key, wanted, value) for value in yes + no} == dict.fromkeys(
        yes, True
    ) | dict.fromkeys(no, False)
    for value in yes + no:
        assert holds(operator + "_if_exist", key, wanted, value) is (value in yes)
        assert holds("for_any_value:" + operator, key, wanted, value) is (value in yes)
        assert holds("for_all_value:" + operator, key, wanted, value) is (value in yes)


@pytest.mark.parametrize(
    ("operator", "outcomes"),
    [
        # Given: both wanted; one of two wanted; none of two wanted.
        ("string_equal", [True, True, False]),
        ("for_any_value:string_equal", [True, True, False]),
        ("for_all_value:string_equal", [True, False, False]),
        ("string_not_equal", [False, False, True]),
        ("for_any_value:string_not_equal", [False, True, True]),
        ("for_all_value:string_not_equal", [False, False, True]),
        ("string_like", [True, True, False]),
        ("for_all_value:string_like", [True, False, False]),
        ("string_not_like", [False, False, True]),
        ("for_any_value:string_not_like_if_exist", [False, True, True]),
    ],
)
def test_a_qualifier_says_how_many_values_count(operator: str, outcomes: list[bool]) -> None:
    given = [("a&b", "a&c"), ("a&b", "z"), ("y", "z")]
    assert [holds(operator, TAG, ["a&b", "a&c"], *values) for values in given] == outcomes
    assert [holds(operator, TAG, ["a&b", "a&c"], *reversed(values)) for values in given] == outcomes


OPERATORS = {
    "string_equal": "x",
    "string_not_equal": "x",
    "string_equal_ignore_case": "x",
    "string_not_equal_ignore_case": "x",
    "string_like": "*",
    "string_not_like": "x",
    **{
        f"{kind}_{name}": value
        for kind, value in (("numeric", "1"), ("date", "2026-01-01"))
        for name in (
            *("equal", "not_equal", "less_than", "less_than_equal"),
            *("greater_than", "greater_than_equal"),
        )
    },
    "ip_equal": "0.0.0.0/0",
    "ip_not_equal": "10.0.0.1",
    "bool_equal": "true",
    "binary_equal": "",
}


@pytest.mark.parametrize("operator", OPERATORS)
@pytest.mark.parametrize("qualifier", ["", "for_any_value:", "for_all_value:"])
def test_an_absent_key_satisfies_if_exist_and_nothing_else(qualifier: str, operator: str) -> None:
    wanted = OPERATORS[operator]
    for attributes in ({}, {TAG: ()}):
        asked = request(attributes=attributes)
        for suffix, outcome in (("", False), ("_if_exist", True)):
            condition = {qualifier + operator + suffix: {TAG: wanted}}
            assert allowed(statement(condition=condition), asked=asked) is outcome
            assert allowed(statement(), statement("deny", condition=condition), asked=asked) is not outcome


def test_null_equal_asks_whether_a_key_is_absent() -> None:
    outcomes = {}
    for wanted in (True, "false", [True, False]):
        conditional = statement(condition={"null_equal": {MFA: wanted}})
        outcomes[str(wanted)] = [
            allowed(conditional, asked=request(attributes=a)) for a in ({}, {MFA: ()}, {MFA: ("false",)})
        ]
    assert outcomes == {
        "True": [True, True, False],
        "false": [False, False, True],
        "[True, False]": [True, True, True],
    }


def test_all_keys_and_all_operators_have_to_hold() -> None:
    condition = {
        "string_equal": {"qcs:uin": "1", "qcs:owner_uin": "2"},
        "ip_equal": {IP: ["10.0.0.1", "10.0.0.2"]},
    }
    good = {"qcs:uin": ("1",), "qcs:owner_uin": ("2",), IP: ("10.0.0.2",)}
    assert allowed(statement(condition=condition), asked=request(attributes=good))
    for key in good:
        assert not allowed(
            statement(condition=condition), asked=request(attributes=good | {key: ("10.0.0.3",)})
        )
        assert not allowed(
            statement(condition=condition),
            asked=request(attributes={k: v for k, v in good.items() if k != key}),
        )


def test_an_empty_condition_is_none() -> None:
    assert allowed(statement(condition={}))


@pytest.mark.parametrize(
    ("operator", "wanted", "yes", "no"),
    [
        ("string_equal", "${uin}", "100000000002", "100000000001"),
        ("string_equal", "${owner_uin}", "100000000001", "100000000002"),
        ("string_equal", "app&${app_id}", "app&77", "app&78"),
        ("string_like", "${uin}/*", "100000000002/x", "1/x"),
        ("string_not_equal", "${uin}", "100000000001", "100000000002"),
        ("numeric_equal", "${uin}", "100000000002.0", "100000000001"),
    ],
)
def test_a_variable_stands_for_the_caller(operator: str, wanted: str, yes: str, no: str) -> None:
    for value in (yes, no):
        condition = {operator: {UIN: ["other", wanted] if "string" in operator else wanted}}
        asked = request(app_id="77", attributes={UIN: (value,)})
        assert allowed(statement(condition=condition), asked=asked) is (value == yes)


@pytest.mark.parametrize(
    ("operator", "key", "wanted", "given"),
    [
        ("string_equal", UIN, "${app_id}", ("77",)),  # this caller has none
        ("string_not_equal", UIN, "${app_id}", ("77",)),
        ("string_not_like", UIN, ["${app_id}", "x"], ("77",)),
        ("numeric_less_than", UIN, "5", ("many",)),
        ("numeric_not_equal", UIN, "5", ("NaN",)),
        ("numeric_greater_than", UIN, "5", ("Infinity",)),
        ("ip_not_equal", IP, "10.0.0.1", ("nowhere",)),
        ("ip_equal", IP, "10.0.0.1", ("10.0.0.0/8",)),
        ("date_less_than", TIME, "2026-01-01", ("soon",)),
        ("bool_equal", MFA, "true", ("1",)),
        ("binary_equal", TAG, "YQ==", ("?",)),
        ("for_all_value:numeric_equal", UIN, "5", ("5", "many")),
        ("for_any_value:numeric_equal", UIN, "5", ("many", "6")),
        ("numeric_equal", UIN, "a${uin}", ("5",)),
    ],
)
def test_in_doubt_nothing_is_allowed_and_a_denial_stands(
    operator: str, key: str, wanted: Any, given: tuple[str, ...]
) -> None:
    condition = {operator: {key: wanted}}
    asked = request(attributes={key: given})
    assert not allowed(statement(condition=condition), asked=asked)
    assert not allowed(statement(), statement("deny", condition=condition), asked=asked)


def test_a_doubt_gives_way_to_certainty() -> None:
    asked = request(attributes={UIN: ("many", "5")})
    assert allowed(statement(condition={"for_any_value:numeric_equal": {UIN: "5"}}), asked=asked)
    denial = statement("deny", condition={"for_all_value:numeric_equal": {UIN: "6"}})
    assert allowed(statement(), denial, asked=asked)
    sure = {"string_not_equal": {UIN: ["${app_id}", "5"]}}
    assert allowed(statement(), statement("deny", condition=sure), asked=request(attributes={UIN: ("5",)}))


@pytest.mark.parametrize(
    ("condition", "part"),
    [
        ([], "Condition"),
        ("", "Condition"),
        (None, "Condition"),
        ({"string_equal": {}}, "Condition"),
        ({"string_equal": []}, "Condition"),
        ({"string_equal": {TAG: "a"}, "ip_equal": {}}, "Condition"),
        ({"StringEquals": {TAG: "a"}}, "ConditionType"),
        ({"String_equal": {TAG: "a"}}, "ConditionType"),
        ({"bool_not_equal": {MFA: "true"}}, "ConditionType"),
        ({"null_equal_if_exist": {TAG: "true"}}, "ConditionType"),
        ({"for_any_value:null_equal": {TAG: "true"}}, "ConditionType"),
        ({"for_some_value:string_equal": {TAG: "a"}}, "ConditionType"),
        ({":string_equal": {TAG: "a"}}, "ConditionType"),
        ({"for_any_value:for_all_value:string_equal": {TAG: "a"}}, "ConditionType"),
        ({"string_equal_if_exist_if_exist": {TAG: "a"}}, "ConditionType"),
        ({"_if_exist": {TAG: "a"}}, "ConditionType"),
        ({"string_equal": {"qcs:Ip": "a"}}, "ConditionContent"),
        ({"string_equal": {"sts:external_id": "a"}}, "ConditionContent"),  # but see trust policies
        ({"string_equal": {TAG: []}}, "ConditionContent"),
        ({"string_equal": {TAG: None}}, "ConditionContent"),
        ({"string_equal": {TAG: [["a"]]}}, "ConditionContent"),
        ({"string_equal": {TAG: {"a": "b"}}}, "ConditionContent"),
        ({"string_equal": {TAG: "${user}"}}, "ConditionContent"),
        ({"string_equal": {TAG: "${UIN}"}}, "ConditionContent"),
        ({"string_equal": {TAG: "${${uin}uin}"}}, "ConditionContent"),
        ({"numeric_equal": {UIN: "many"}}, "ConditionContent"),
        ({"numeric_equal": {UIN: "NaN"}}, "ConditionContent"),
        ({"numeric_less_than": {UIN: "Infinity"}}, "ConditionContent"),
        ({"numeric_equal": {UIN: [1, "x"]}}, "ConditionContent"),
        ({"date_equal": {TIME: "soon"}}, "ConditionContent"),
        ({"date_equal": {TIME: 1}}, "ConditionContent"),
        ({"ip_equal": {IP: "10.0.0.256"}}, "ConditionContent"),
        ({"ip_equal": {IP: "10.0.0.0/33"}}, "ConditionContent"),
        ({"ip_equal": {IP: "10.0.*"}}, "ConditionContent"),
        ({"ip_equal": {IP: "::ffff:10.0.0.0/104"}}, "ConditionContent"),
        ({"bool_equal": {MFA: "yes"}}, "ConditionContent"),
        ({"null_equal": {MFA: "maybe"}}, "ConditionContent"),
        ({"binary_equal": {TAG: "?"}}, "ConditionContent"),
    ],
)
def test_a_condition_that_means_nothing_is_refused(condition: Any, part: str) -> None:
    with pytest.raises(PolicyError) as refused:
        policy(statement(condition=condition))
    assert (refused.value.part, refused.value.code) == (part, f"InvalidParameter.{part}Error")
