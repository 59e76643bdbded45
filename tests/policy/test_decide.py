"""Which statement decides; sessions; trust."""

import pytest

from chalicelib.policy.decide import Decision, decide, decide_within
from chalicelib.policy.document import Policy
from tests.policy.asking import KEY, OWNER, USER, policy, request, statement

ALLOW = policy(statement(), name="All")
DENY = policy(statement(action="ssm:*"), statement("deny", action="kms:*"), name="NoKms")
OTHER = policy(statement(action="ssm:*"), name="Other")


def test_nothing_is_allowed_by_default() -> None:
    assert decide([], request()) == Decision(allowed=False)
    decision = decide([OTHER], request())
    assert decision == Decision(allowed=False)
    assert decision.explanation == "no statement allows it"


def test_the_statement_that_decided_is_named() -> None:
    decision = decide([OTHER, ALLOW], request())
    assert decision == Decision(True, "All", 0)  # noqa: FBT003
    assert decision.explanation == "statement 0 of the policy All allows it"


@pytest.mark.parametrize("policies", [[ALLOW, DENY], [DENY, ALLOW], [ALLOW, OTHER, DENY], [DENY]])
def test_a_denial_wins_in_any_order(policies: list[Policy]) -> None:
    decision = decide(policies, request())
    assert decision == Decision(False, "NoKms", 1)  # noqa: FBT003
    assert decision.explanation == "statement 1 of the policy NoKms denies it"


def test_a_denial_wins_within_a_policy() -> None:
    for statements in ([statement(), statement("deny")], [statement("deny"), statement()]):
        assert decide([policy(*statements)], request()).statement == statements.index(statement("deny"))


def test_a_denial_of_something_else_denies_nothing() -> None:
    assert decide([ALLOW, DENY], request("ssm:GetSecretValue", KEY.replace("kms", "ssm"))).allowed
    denial = policy(statement("deny", resource=KEY.replace("k1", "k2")))
    assert decide([ALLOW, denial], request()).allowed


def test_a_session_narrows_and_never_widens() -> None:
    own = policy(statement(action=["kms:Decrypt", "kms:Encrypt"]), name="Own")
    session = policy(statement(action=["kms:Decrypt", "kms:Sign"]), name="session")
    outcomes = {
        a: decide_within([own], [session], request(f"kms:{a}")) for a in ("Decrypt", "Encrypt", "Sign")
    }
    assert outcomes == {
        "Decrypt": Decision(True, "Own", 0),  # noqa: FBT003
        "Encrypt": Decision(allowed=False, policy="session"),
        "Sign": Decision(allowed=False),
    }
    assert decide_within([own], [None], request("kms:Encrypt")).allowed


def test_a_denial_in_a_session_counts() -> None:
    session = policy(statement(), statement("deny", resource=KEY), name="session")
    assert decide_within([ALLOW], [session], request()) == Decision(False, "session", 1)  # noqa: FBT003
    assert decide_within([ALLOW], [session], request(resource=KEY.replace("k1", "k2"))).allowed


def test_a_denial_outside_a_session_counts() -> None:
    assert decide_within([ALLOW, DENY], [ALLOW], request()) == Decision(False, "NoKms", 1)  # noqa: FBT003


ROOT = f"qcs::cam::uin/{OWNER}:root"
ME = f"qcs::cam::uin/{OWNER}:uin/{USER}"


@pytest.mark.parametrize(
    ("principal", "caller", "trusted"),
    [
        ({"qcs": ROOT}, {ROOT, ME}, True),
        ({"qcs": [ME]}, {ROOT, ME}, True),
        ({"qcs": [ME + "1", ME]}, {ROOT, ME}, True),
        ({"qcs": [ME + "1"]}, {ROOT, ME}, False),
        ({"qcs": [ME]}, {ROOT}, False),
        ({"qcs": ["qcs::cam::uin/1:root"]}, {ROOT, ME}, False),
        ({"qcs": [ROOT]}, set(), False),
        ({"service": ["ssm.qcloud.com"]}, {"ssm.qcloud.com"}, True),
        ({"service": ["ssm.qcloud.com"]}, {"kms.qcloud.com", ROOT}, False),
        ({"service": "kms.qcloud.com", "qcs": ROOT}, {ROOT}, True),
        ({"qcs": "qcs::cam::uin/1:saml-provider/idp"}, {"qcs::cam::uin/1:saml-provider/idp"}, True),
        ({"federated": "qcs::cam::uin/1:oidc-provider/idp"}, {"qcs::cam::uin/1:oidc-provider/idp"}, True),
    ],
)
def test_trust_is_given_by_name(principal: dict[str, object], caller: set[str], trusted: bool) -> None:  # noqa: FBT001
    members = {"effect": "allow", "action": "name/sts:AssumeRole", "principal": principal}
    asked = request("sts:AssumeRole", f"qcs::cam::uin/{OWNER}:role/1", principals=frozenset(caller))
    assert decide([policy(members, trust=True)], asked).allowed is trusted
    denial = members | {"effect": "deny"}
    everyone = members | {"principal": {"qcs": ROOT, "service": "kms.qcloud.com"}}
    outcome = decide([policy(everyone, denial, trust=True)], asked)
    assert (outcome.statement == 1) is trusted
    assert not (outcome.allowed and trusted)


def test_trust_covers_the_action_that_it_names() -> None:
    trust = policy({"effect": "allow", "action": "sts:AssumeRole", "principal": {"qcs": ROOT}}, trust=True)
    role = f"qcs::cam::uin/{OWNER}:role/1"
    assert decide([trust], request("sts:AssumeRole", role, principals=frozenset({ROOT}))).allowed
    assert not decide([trust], request("sts:AssumeRoleWithSAML", role, principals=frozenset({ROOT}))).allowed


@pytest.mark.parametrize(
    ("attributes", "trusted"),
    [
        ({"sts:external_id": ("x",)}, True),
        ({"sts:external_id": ("y",)}, False),
        ({}, False),
    ],
)
def test_trust_may_ask_for_an_external_id(attributes: dict[str, tuple[str, ...]], trusted: bool) -> None:  # noqa: FBT001
    members = {
        "effect": "allow",
        "action": "sts:AssumeRole",
        "principal": {"qcs": ROOT},
        "condition": {"string_equal": {"sts:external_id": "x"}},
    }
    asked = request(
        "sts:AssumeRole", f"qcs::cam::uin/{OWNER}:role/1", principals=frozenset({ROOT}), attributes=attributes
    )
    assert decide([policy(members, trust=True)], asked).allowed is trusted
