"""Actions and resources in every spelling, and documents that are refused."""

import json
from typing import Any

import pytest

from chalicelib.policy.document import MAX_CHARACTERS, MAX_STATEMENTS, PolicyError, parse, split_resource
from tests.policy.asking import KEY, OWNER, SECRET, USER, allowed, policy, request, statement, text

CODES = {
    f"InvalidParameter.{name}"
    for name in (
        *("ActionError", "EffectError", "VersionError", "StatementError", "PrincipalError"),
        *("ConditionError", "ConditionTypeError", "ConditionContentError", "PrincipalQcsError"),
        *("ResourceError", "ResourceQcsError", "ResourceUinError", "ResourceRegionError"),
        *("ResourceProjectError", "ResourceContentError"),
        *("PolicyDocumentError", "PolicyDocumentLengthOverLimit"),
    )
}
"""Those of CreatePolicy that speak of the document."""


@pytest.mark.parametrize(
    ("pattern", "covered"),
    [
        ("*", ["kms:Decrypt", "kms:DescribeKey", "ssm:GetSecretValue"]),
        ("*:*", ["kms:Decrypt", "kms:DescribeKey", "ssm:GetSecretValue"]),
        ("name/*:*", ["kms:Decrypt", "kms:DescribeKey", "ssm:GetSecretValue"]),
        ("kms:*", ["kms:Decrypt", "kms:DescribeKey"]),
        ("name/kms:*", ["kms:Decrypt", "kms:DescribeKey"]),
        ("kms:Decrypt", ["kms:Decrypt"]),
        ("name/kms:Decrypt", ["kms:Decrypt"]),
        ("KMS:DECRYPT", ["kms:Decrypt"]),
        ("Name/kms:decrypt", ["kms:Decrypt"]),
        ("kms:De*", ["kms:Decrypt", "kms:DescribeKey"]),
        ("kms:*Key", ["kms:DescribeKey"]),
        ("kms:*Key*", ["kms:DescribeKey"]),
        ("kms:**crypt", ["kms:Decrypt"]),
        ("kms:D*e*t", ["kms:Decrypt"]),
        ("kms:Decryp", []),
        ("kms:ecrypt", []),
        ("*:Get*", ["ssm:GetSecretValue"]),
        ("ssm:Decrypt", []),
        (["ssm:*", "kms:Decrypt"], ["kms:Decrypt", "ssm:GetSecretValue"]),
    ],
)
def test_actions(pattern: Any, covered: list[str]) -> None:
    asked = ["kms:Decrypt", "kms:DescribeKey", "ssm:GetSecretValue"]
    found = [a for a in asked if allowed(statement(action=pattern), asked=request(a))]
    assert found == covered
    assert found == [a for a in asked if allowed(statement(action=pattern), asked=request(a.upper()))]


@pytest.mark.parametrize(
    ("pattern", "covered"),
    [
        # Six segments.
        (KEY, True),
        (f"qcs::kms:ap-guangzhou:uin/{OWNER}:key/creatorUin/{USER}/*", True),
        (f"qcs::kms:ap-guangzhou:uin/{OWNER}:key/creatorUin/{USER}/k", False),
        (f"qcs::kms:ap-guangzhou:uin/{OWNER}:key/creatorUin/{USER}/k1/", False),
        (f"qcs::kms:ap-guangzhou:uin/{OWNER}:key/creatorUin/{USER}", True),
        (f"qcs::kms:ap-guangzhou:uin/{OWNER}:key/creatorUin/{USER}/", True),
        (f"qcs::kms:ap-guangzhou:uin/{OWNER}:key/creatorUin/{USER[:-1]}", False),
        (f"qcs::kms:ap-guangzhou:uin/{OWNER}:key/creatorUin/{USER[:-1]}*", True),
        (f"qcs::kms:ap-guangzhou:uin/{OWNER}:key/creatorUin/*", True),
        (f"qcs::kms:ap-guangzhou:uin/{OWNER}:key/*", True),
        (f"qcs::kms:ap-guangzhou:uin/{OWNER}:key", True),
        (f"qcs::kms:ap-guangzhou:uin/{OWNER}:ke", False),
        (f"qcs::kms:ap-guangzhou:uin/{OWNER}:key/*/k1", True),
        (f"qcs::kms:ap-guangzhou:uin/{OWNER}:key/*/k2", False),
        (f"qcs::kms:ap-guangzhou:uin/{OWNER}:key/*/{USER}", True),
        (f"qcs::kms:ap-guangzhou:uin/{OWNER}:*k1", True),
        (f"qcs::kms:ap-guangzhou:uin/{OWNER}:*/**/*1", True),
        (f"qcs::kms:ap-guangzhou:uin/{OWNER}:KEY/*", False),
        (f"qcs::kms:ap-guangzhou:uin/{OWNER}:*", True),
        (f"qcs::kms:ap-shanghai:uin/{OWNER}:*", False),
        (f"qcs::kms::uin/{OWNER}:*", True),
        (f"qcs::kms:*:uin/{OWNER}:*", True),
        (f"qcs::ssm::uin/{OWNER}:*", False),
        (f"qcs::*::uin/{OWNER}:key/*", True),
        ("qcs::*:*:*:*", True),
        ("qcs::kms:::key/*", True),
        ("qcs::kms::*:key/*", True),
        ("qcs::kms::uin/*:key/*", True),
        ("qcs::kms::uin/1:key/*", False),
        (f"qcs::kms::uin/{USER}:key/*", False),
        ("qcs::kms::uin/${uin}:key/*", True),  # the documents mean the account
        ("qcs::kms::uin/${owner_uin}:key/*", True),
        ("qcs::cos::uid/77:*", False),
        ("qcs::kms:::key/creatorUin/${uin}/*", True),
        ("qcs::kms:::key/creatorUin/${uin}", True),
        ("qcs::kms:::key/creatorUin/${owner_uin}/*", False),
        ("qcs::kms:::key/creatorUin/${uin}/k1", True),
        ("qcs::kms:::*/${uin}/*", True),
        # Five.
        (f"qcs:kms:ap-guangzhou:uin/{OWNER}:*", True),
        ("qcs:kms:ap-guangzhou:uin/${uin}:*", True),
        ("qcs:kms:ap-guangzhou:uin/1:*", False),
        (f"qcs:kms::uin/{OWNER}:key/creatorUin/{USER}/k1", True),
        ("qcs::kms:ap-guangzhou:*", True),
        ("qcs::kms:ap-guangzhou:secret/*", False),
        # Four.
        ("qcs:kms:ap-guangzhou:*", True),
        ("qcs:kms:ap-guangzhou:key/*", True),
        ("qcs:kms:ap-shanghai:*", False),
        ("qcs:ssm:ap-guangzhou:*", False),
        ("qcs:kms::*", True),
        # One.
        ("*", True),
        (["qcs:ssm::*", "qcs::kms:::key/creatorUin/1/*"], False),
        ([SECRET, KEY], True),
    ],
)
def test_resources(pattern: Any, covered: bool) -> None:  # noqa: FBT001 - the expected outcome
    assert allowed(statement(resource=pattern)) is covered
    assert allowed(statement(), statement("deny", resource=pattern)) is not covered


def test_an_empty_account_is_the_own_one() -> None:
    foreign = request(resource=KEY.replace(OWNER, "1"))
    assert not allowed(statement(resource="qcs::kms:::key/*"), asked=foreign)
    assert allowed(statement(resource="qcs::kms::*:key/*"), asked=foreign)
    assert allowed(statement(resource="qcs::kms::uin/1:key/*"), asked=foreign)


@pytest.mark.parametrize(
    ("pattern", "covered"),
    [
        ("*", True),
        ("qcs::kms:::*", True),
        ("qcs:kms:ap-guangzhou:*", True),
        (f"qcs::kms:ap-guangzhou:uin/{OWNER}:key/*", True),
        ("qcs::kms:::key", True),
        ("qcs::kms:::key/creatorUin/*", False),
        (f"qcs::kms:::key/creatorUin/{USER}/*", False),
        ("qcs::kms:::key/creatorUin/${uin}", False),
        (KEY, False),
        ("qcs::kms:::secret/*", False),
    ],
)
def test_an_action_on_no_resource_needs_all_of_them(pattern: str, covered: bool) -> None:  # noqa: FBT001
    asked = request("kms:CreateKey", f"qcs::kms:ap-guangzhou:uin/{OWNER}:key/*")
    assert allowed(statement(resource=pattern), asked=asked) is covered


@pytest.mark.parametrize(
    "name", ["", "*", "kms", "qcs", "qcs:a", "qcs:a:b", "qcs::a:b", "a::b:c:d:e", KEY + ":x"]
)
def test_a_request_names_one_resource(name: str) -> None:
    with pytest.raises(PolicyError) as refused:
        split_resource(name)
    assert refused.value.part == "ResourceQcs"


def refusal(document: str, *, trust: bool = False) -> PolicyError:
    with pytest.raises(PolicyError) as refused:
        parse(document, trust=trust)
    assert refused.value.code in CODES
    return refused.value


@pytest.mark.parametrize(
    ("document", "part"),
    [
        ("", "PolicyDocument"),
        ("{", "PolicyDocument"),
        ("null", "PolicyDocument"),
        ("[]", "PolicyDocument"),
        ('"*"', "PolicyDocument"),
        ("[" * 100_000, "PolicyDocument"),
        ("[" * 900 + "]" * 900, "PolicyDocument"),
        ('{"version":"2.0","statement":[],"Statement":[]}', "PolicyDocument"),
        ('{"version":"2.0","version":"2.0","statement":[]}', "PolicyDocument"),
        (
            text(statement()).replace('"effect": "allow"', '"effect": "deny", "effect": "allow"'),
            "PolicyDocument",
        ),
        ('{"statement":[]}', "Version"),
        (text(statement(), version="1.0"), "Version"),
        (text(statement()).replace('"2.0"', "2.0"), "Version"),
        ('{"version":"2.0"}', "Statement"),
        ('{"version":"2.0","statement":null}', "Statement"),
        ('{"version":"2.0","statement":[]}', "Statement"),
        ('{"version":"2.0","statement":["allow"]}', "Statement"),
        ('{"version":"2.0","statement":[[]]}', "Statement"),
        (text(*[statement()] * (MAX_STATEMENTS + 1)), "Statement"),
        (text(statement(Effect="deny")), "Statement"),
        (text(statement(notAction="*")), "Statement"),
    ],
)
def test_a_document_that_is_no_policy_is_refused(document: str, part: str) -> None:
    assert refusal(document).part == part


@pytest.mark.parametrize(
    ("member", "value", "part"),
    [
        ("effect", "Allow", "Effect"),
        ("effect", "", "Effect"),
        ("effect", None, "Effect"),
        ("effect", ["allow"], "Effect"),
        ("action", None, "Action"),
        ("action", "", "Action"),
        ("action", [], "Action"),
        ("action", ["kms:Decrypt", ""], "Action"),
        ("action", ["kms:Decrypt", 1], "Action"),
        ("action", {"kms": "*"}, "Action"),
        ("action", "kms", "Action"),
        ("action", "kms:", "Action"),
        ("action", ":Decrypt", "Action"),
        ("action", "kms::Decrypt", "Action"),
        ("action", "kms:De?rypt", "Action"),
        ("action", "k*:Decrypt", "Action"),
        ("action", "permid/280649", "Action"),
        ("action", "name/name/kms:*", "Action"),
        ("action", "kms:Decrypt\n", "Action"),
        ("resource", None, "Resource"),
        ("resource", "", "Resource"),
        ("resource", [], "Resource"),
        ("resource", [1], "Resource"),
        ("resource", "key/*", "ResourceQcs"),
        ("resource", "**", "ResourceQcs"),
        ("resource", "qcs:kms:*", "ResourceQcs"),
        ("resource", "qcs::kms:*", "ResourceQcs"),
        ("resource", "arn::kms:::key/*", "ResourceQcs"),
        ("resource", "QCS::kms:::key/*", "ResourceQcs"),
        ("resource", "qcs::kms:::key/*:x", "ResourceQcs"),
        ("resource", "qcs:::::key/*", "ResourceQcs"),
        ("resource", "qcs::KMS:::key/*", "ResourceQcs"),
        ("resource", "qcs::k*:::key/*", "ResourceQcs"),
        ("resource", "qcs:1:kms:::key/*", "ResourceProject"),
        ("resource", "qcs:*:kms:::key/*", "ResourceProject"),
        ("resource", "qcs::kms:$region::key/*", "ResourceRegion"),
        ("resource", "qcs::kms:ap-*::key/*", "ResourceRegion"),
        ("resource", "qcs::kms:**::key/*", "ResourceRegion"),
        ("resource", "qcs::kms::100000000001:key/*", "ResourceUin"),
        ("resource", "qcs::kms::uin/:key/*", "ResourceUin"),
        ("resource", "qcs::kms::uin/1*:key/*", "ResourceUin"),
        ("resource", "qcs::kms::uin/$uin:key/*", "ResourceUin"),
        ("resource", "qcs::kms::uin/${app_id}:key/*", "ResourceUin"),
        ("resource", "qcs::kms::uid/77:key/*", "ResourceUin"),
        ("resource", "qcs::kms::uin/1\n:key/*", "ResourceUin"),
        ("resource", "qcs::kms:::", "ResourceContent"),
        ("resource", "qcs::kms:::key/?", "ResourceContent"),
        ("resource", "qcs::kms:::key/creatorUin/$creatorUin/*", "ResourceContent"),
        ("resource", "qcs::kms:::key/creatorUin/${user}/*", "ResourceContent"),
        ("resource", "qcs::kms:::key/creatorUin/${${uin}uin}/*", "ResourceContent"),
        ("principal", {"qcs": ["qcs::cam::uin/1:root"]}, "Principal"),
    ],
)
@pytest.mark.parametrize("effect", ["allow", "deny"])
def test_a_statement_that_means_nothing_is_refused(effect: str, member: str, value: Any, part: str) -> None:
    members = {"effect": effect, "action": "*", "resource": "*"} | {member: value}
    error = refusal(text(statement(), members))
    assert (error.part, error.code) == (part, f"InvalidParameter.{part}Error")
    if value is None:
        assert refusal(text({k: v for k, v in members.items() if k != member})).part == part


def test_length_counts_without_white_space() -> None:
    room = MAX_CHARACTERS - len(json.dumps(json.loads(text(statement(action="kms:"))), separators=(",", ":")))
    longest = json.dumps(json.loads(text(statement(action="kms:" + "a" * room))), indent=100)
    assert len(longest) > MAX_CHARACTERS
    assert len(parse(longest).statements) == 1
    error = refusal(text(statement(action="kms:" + "a" * (room + 1))))
    assert error.code == "InvalidParameter.PolicyDocumentLengthOverLimit"


def test_the_most_statements() -> None:
    assert (
        len(parse(text(*[{"effect": "deny", "action": "*", "resource": "*"}] * MAX_STATEMENTS)).statements)
        == 100
    )


def test_a_single_statement_needs_no_list() -> None:
    assert len(parse(json.dumps({"version": "2.0", "statement": statement()})).statements) == 1


TRUST = {"effect": "allow", "action": "name/sts:AssumeRole"}


@pytest.mark.parametrize(
    ("principal", "part"),
    [
        (None, "Principal"),
        ({}, "Principal"),
        ("*", "Principal"),
        ({"aws": "x"}, "Principal"),
        ({"qcs": []}, "Principal"),
        ({"qcs": [1]}, "Principal"),
        ({"qcs": "*"}, "PrincipalQcs"),
        ({"qcs": ["qcs::cam::uin/1:root", "*"]}, "PrincipalQcs"),
        ({"qcs": "qcs::cam::uin/*:root"}, "PrincipalQcs"),
        ({"qcs": "qcs::cam::uin/1:uin/*"}, "PrincipalQcs"),
        ({"qcs": "qcs::cam::uin/1:*"}, "PrincipalQcs"),
        ({"qcs": "qcs:cam::uin/1:root"}, "PrincipalQcs"),
        ({"qcs": "qcs::cam::uin/${uin}:root"}, "PrincipalQcs"),
        ({"qcs": "qcs::cam::uin/1:oidc-provider/x"}, "PrincipalQcs"),
        ({"federated": "qcs::cam::uin/1:root"}, "PrincipalQcs"),
        ({"service": "*"}, "Principal"),
        ({"service": "qcs::cam::uin/1:root"}, "Principal"),
        ({"service": "ssm"}, "Principal"),
    ],
)
def test_a_trust_policy_names_principals(principal: Any, part: str) -> None:
    members = TRUST if principal is None else TRUST | {"principal": principal}
    assert refusal(text(members), trust=True).part == part


def test_a_trust_policy_names_no_resources() -> None:
    members = TRUST | {"principal": {"qcs": "qcs::cam::uin/1:root"}, "resource": "*"}
    assert refusal(text(members), trust=True).part == "Statement"


def test_policies_are_compiled_once() -> None:
    compiled = policy(statement(action="kms:*"), statement("deny", action="kms:Decrypt"))
    first = compiled.about("kms:Decrypt")
    assert compiled.about("kms:Decrypt") is first
    assert [s.position for s in first] == [1, 0]
    assert [s.position for s in compiled.about("KMS:Encrypt")] == [0]


def test_made_up_actions_do_not_fill_the_memory() -> None:
    compiled = policy(statement())
    for n in range(2000):
        assert len(compiled.about(f"kms:A{n}")) == 1
    assert len(compiled._by_action) == 512
