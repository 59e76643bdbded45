"""Mistakes that policy engines of other systems made, as far as a decision alone can make them.

Those that take a whole call are in tests/security: test_visibility.py, test_tokens.py, test_conditions.py.
"""

import dataclasses
import time
from typing import Any

import pytest

from chalicelib.policy.decide import decide
from chalicelib.policy.document import PolicyError, parse
from chalicelib.policy.pattern import matcher
from tests.policy.asking import OWNER, SECRET, USER, allowed, policy, request, statement, text

SECRETS = f"qcs::ssm:ap-guangzhou:uin/{OWNER}:secret"


@pytest.mark.parametrize(
    "restricted", ["creatorUin/9/*", "creatorUin/9", "creatorUin/9/", "creatorUin/9/*/*"]
)
def test_a_list_does_not_bypass_an_explicit_deny(restricted: str) -> None:
    """GHSA-xp3c-3jw3-4vcr: a deny with a trailing wildcard was lost where a broader list was allowed."""
    policies = [
        policy(
            statement(action="ssm:ListSecrets", resource=f"{SECRETS}/*"),
            statement("deny", action="ssm:*", resource=f"{SECRETS}/{restricted}"),
        )
    ]
    whole = request("ssm:ListSecrets", f"{SECRETS}/*")
    assert decide(policies, whole).allowed
    below = "/deeper" if restricted.endswith("/*/*") else ""
    items = [f"{SECRETS}/creatorUin/{creator}/db{below}" for creator in (8, 9, 99)]
    shown = [i for i in items if decide(policies, dataclasses.replace(whole, resource=i)).allowed]
    assert shown == [items[0], items[2]]


def test_a_list_of_everything_is_denied_where_everything_is_denied() -> None:
    denial = statement("deny", action="ssm:List*", resource="qcs::ssm:::secret/*")
    assert not allowed(statement(), denial, asked=request("ssm:ListSecrets", f"{SECRETS}/*"))


@pytest.mark.parametrize(
    "name", ["*", "?", "**", "1*", "9/db", "../9", "/", "9:x", "", "$", "${owner_uin}", "9\n", "é"]
)
@pytest.mark.parametrize("variable", ["uin", "owner_uin", "app_id"])
def test_a_template_takes_no_wildcards_and_no_slashes(variable: str, name: str) -> None:
    """GHSA-59w7-v8rr-pr4p: a caller who chose a name like `*` or `a/b` widened the policies that mention it."""
    # The account segment needs the owner; so the resource is in any account.
    own = f"qcs::ssm::*:secret/creatorUin/${{{variable}}}"
    for path in ("secret/creatorUin/9/db", f"secret/creatorUin/{name}/db", "secret/creatorUin/9/db/x"):
        if ":" in path:
            continue
        callers: dict[str, Any] = {variable: name}
        asked = request("ssm:GetSecretValue", f"qcs::ssm:ap-guangzhou:uin/1:{path}", **callers)
        for tail in ("", "/*", "*", "/d*"):
            assert not allowed(statement(resource=own + tail), asked=asked)
            # Nor does such a name take the caller out of a denial.
            assert not allowed(statement(), statement("deny", resource=own + tail), asked=asked)


def test_a_template_takes_a_plain_name() -> None:
    for name in ("1", "100000000002", "role-id", "a@b.c", "x_y=z"):
        asked = request("ssm:GetSecretValue", f"{SECRETS}/creatorUin/{name}/db", uin=name)
        own = "qcs::ssm:::secret/creatorUin/${uin}/*"
        assert allowed(statement(resource=own), asked=asked)
        assert not allowed(statement(), statement("deny", resource=own), asked=asked)
        assert not allowed(statement(resource=own), asked=dataclasses.replace(asked, uin=name[:-1] + "~"))


def test_a_template_in_a_condition_takes_no_wildcards() -> None:
    condition = {"string_like": {"qcs:resource_tag": "owner&${uin}"}}
    asked = request(uin="*", attributes={"qcs:resource_tag": ("owner&somebody",)})
    assert not allowed(statement(condition=condition), asked=asked)
    assert not allowed(statement(), statement("deny", condition=condition), asked=asked)


@pytest.mark.parametrize("operator", ["string_like", "string_equal", "string_equal_ignore_case"])
def test_what_a_caller_sends_is_no_pattern(operator: str) -> None:
    condition = {operator: {"qcs:request_tag": "env&test"}}
    for value in ("*", "env&*", "env&tes?", "${uin}", "env&test,env&prod"):
        asked = request(attributes={"qcs:request_tag": (value,)})
        assert not allowed(statement(condition=condition), asked=asked)


def test_a_resource_that_is_asked_for_is_no_pattern() -> None:
    for tail in ("creatorUin/*", f"creatorUin/{USER}/*", "**", "creatorUin/${uin}/db"):
        asked = request("ssm:GetSecretValue", f"{SECRETS}/{tail}")
        assert not allowed(statement(resource=SECRET), asked=asked)


def test_nothing_is_true_of_no_values() -> None:
    """A rule that asks for zero approvals fails open (openbao/openbao#3666); so does `all` of nothing."""
    for operator in ("for_all_value:string_equal", "for_all_value:string_not_equal", "string_not_equal"):
        condition = {operator: {"qcs:resource_tag": "a&b"}}
        assert not allowed(statement(condition=condition), asked=request(attributes={"qcs:resource_tag": ()}))
    nothing: list[dict[str, Any]] = [
        {"action": []},
        {"resource": []},
        {"condition": {"ip_equal": {"qcs:ip": []}}},
    ]
    for empty in nothing:
        with pytest.raises(PolicyError):
            policy(statement(**empty))
    with pytest.raises(PolicyError):
        parse(text())


def test_a_repeated_member_cannot_hide_a_denial() -> None:
    hidden = '{"version":"2.0","statement":[{"effect":"deny","effect":"allow","action":"*","resource":"*"}]}'
    with pytest.raises(PolicyError) as refused:
        parse(hidden)
    assert refused.value.part == "PolicyDocument"


def test_a_denial_that_could_never_apply_is_refused() -> None:
    for members in (
        {"action": "kms:De?rypt"},
        {"resource": "qcs::kms:ap-*::key/*"},
        {"resource": "qcs::KMS:::key/*"},
        {"resource": "qcs::kms:::key/${user}"},
        {"condition": {"ip_equal": {"qcs:source_ip": "10.0.0.1"}}},
        {"condition": {"IpAddress": {"qcs:ip": "10.0.0.1"}}},
        {"condition": {"ip_equal": {"qcs:ip": "10.0.0.300"}}},
    ):
        with pytest.raises(PolicyError):
            policy(statement("deny", **members))


def test_refusals_do_not_repeat_what_was_written() -> None:
    """Plaintext in validation messages: a secret that was pasted into a policy stays out of errors and logs."""
    mark = "s3cr3t"
    for members in (
        {"effect": mark},
        {"action": mark},
        {"resource": mark},
        {"resource": f"qcs:{mark}:kms:::key/*"},
        {"resource": f"qcs::kms:{mark}*::key/*"},
        {"resource": f"qcs::kms::{mark}:key/*"},
        {"resource": f"qcs::kms:::key/${mark}"},
        {mark: mark},
        {"condition": {mark: {"qcs:ip": "1"}}},
        {"condition": {"string_equal": {mark: "1"}}},
        {"condition": {"ip_equal": {"qcs:ip": mark}}},
        {"condition": {"date_equal": {"qcs:current_time": mark}}},
        {"condition": {"numeric_equal": {"qcs:uin": mark}}},
        {"principal": {"qcs": mark}},
    ):
        with pytest.raises(PolicyError) as refused:
            policy(statement(**members))
        assert mark not in str(refused.value)
        assert refused.value.__suppress_context__ or refused.value.__context__ is None


def test_an_explanation_names_no_resource() -> None:
    policies = [policy(statement(), statement("deny", resource=[SECRET, f"{SECRETS}/creatorUin/9/hidden"]))]
    explanation = decide(policies, request("ssm:GetSecretValue", SECRET)).explanation
    assert explanation == "statement 1 of the policy P denies it"


@pytest.mark.parametrize(
    ("pattern", "text"),
    [
        ("*a" * 2000 + "*b", "a" * 6000),
        ("*" * 6000 + "b", "a" * 6000),
        ("*" + "a" * 3000 + "b*", "a" * 6000),
        ("*aab" * 1500 + "c", "aab" * 2000),
        ("*a?" * 1500 + "*b", "a" * 6000),
        ("*" + "?" * 3000 + "b*", "a" * 6000),
    ],
)
def test_many_stars_do_not_make_a_match_slow(pattern: str, text: str) -> None:
    compiled = matcher(pattern)
    begin = time.process_time()
    assert not compiled(text)
    # An expression that comes back to what it has matched would need longer than there is time.
    assert time.process_time() - begin < 1


def test_many_stars_do_not_make_a_decision_slow() -> None:
    stars = "*a" * 1200
    asked = request("ssm:" + "a" * 3000, f"{SECRETS}/" + "a" * 6000, attributes={"qcs:uin": ("a" * 6000,)})
    begin = time.process_time()
    for members in (
        {"action": f"ssm:{stars}*b"},
        {"resource": f"{SECRETS}/{stars}*b"},
        {"resource": f"qcs::ssm:::*/{stars}*b${{uin}}"},
        {"condition": {"string_like": {"qcs:uin": f"{stars}*b"}}},
    ):
        assert not allowed(statement(**members), asked=asked)
    assert time.process_time() - begin < 1
