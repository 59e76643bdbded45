import json
import secrets
from typing import Any
from urllib.parse import quote, quote_plus

import pytest

from chalicelib.clock import ManualClock
from chalicelib.context import IDENTITY
from chalicelib.settings import Bootstrap
from tests import permissions
from tests.inspected import Inspected
from tests.installation import Client, Installation, refused
from tests.permissions import document, statement
from tests.sessions import arn, client_of, trusting

HOUR = 3600


def test_the_session_may_do_what_the_role_may(installation: Installation, sts: Client, role: str) -> None:
    answer = sts.AssumeRole(RoleArn=arn(installation, "reader"), RoleSessionName="s1")
    assert answer.ExpiredTime == installation.clock.now() + 7200
    assert answer.Expiration.endswith("Z")
    assert answer.Credentials.TmpSecretId.startswith("AKID")
    assert len(answer.Credentials.Token) <= 4096
    session = client_of(installation, answer, "ssm")
    assert session.GetSecretValue(SecretName="db", VersionId="v1").SecretString == "x"
    with refused("AuthFailure.UnauthorizedOperation"):
        session.DisableSecret(SecretName="db")


@pytest.mark.parametrize("sign", ["HmacSHA1", "HmacSHA256", "TC3-HMAC-SHA256"])
def test_every_signature_method_takes_tokens(
    installation: Installation, sts: Client, role: str, sign: str
) -> None:
    given = sts.AssumeRole(RoleArn=arn(installation, "reader"), RoleSessionName="s1").Credentials
    who = Bootstrap("", given.TmpSecretId, given.TmpSecretKey)
    client = installation.client("ssm", who=who, sign=sign, token=given.Token)
    assert client.DescribeSecret(SecretName="db").SecretName == "db"


def test_a_role_is_named_by_id_too(installation: Installation, sts: Client, role: str) -> None:
    by_id = f"qcs::cam::uin/{installation.root.uin}:role/{role}"
    assert sts.AssumeRole(RoleArn=by_id, RoleSessionName="s1").Credentials.Token


@pytest.mark.parametrize("encode", [str, quote, quote_plus, lambda text: "\n" + text])
def test_a_policy_of_the_session_is_a_bound(
    installation: Installation, sts: Client, role: str, encode: Any
) -> None:
    policy = document(statement(action="ssm:DescribeSecret"), statement(action="ssm:DisableSecret"))
    answer = sts.AssumeRole(RoleArn=arn(installation, "reader"), RoleSessionName="s1", Policy=encode(policy))
    session = client_of(installation, answer, "ssm")
    assert session.DescribeSecret(SecretName="db").SecretName == "db"
    with refused("AuthFailure.UnauthorizedOperation") as not_in_the_policy:
        session.GetSecretValue(SecretName="db", VersionId="v1")
    assert "of the session" in str(not_in_the_policy.value)
    with refused("AuthFailure.UnauthorizedOperation"):  # in the policy, but not the role's
        session.DisableSecret(SecretName="db")


@pytest.mark.parametrize(
    ("policy", "code"),
    [
        ("x", "InvalidParameter.StrategyFormatError"),
        ("{", "InvalidParameter.StrategyFormatError"),
        (quote(quote("{}")), "InvalidParameter.StrategyFormatError"),
        ('{"version": "2.0"}', "InvalidParameter.StrategyInvalid"),
        (document(statement("maybe")), "InvalidParameter.StrategyInvalid"),
        (document({**statement(), "principal": {"qcs": ["x"]}}), "InvalidParameter.StrategyInvalid"),
        (document(statement(resource="secret")), "InvalidParameter.ResouceError"),
        (document(statement(resource=["x" * 7000])), "InvalidParameter.PolicyTooLong"),
    ],
)
def test_policies_that_are_none(
    installation: Installation, sts: Client, role: str, policy: str, code: str
) -> None:
    with refused(code):
        sts.AssumeRole(RoleArn=arn(installation, "reader"), RoleSessionName="s1", Policy=policy)


def test_a_policy_that_does_not_fit_into_a_token_is_refused(
    installation: Installation, sts: Client, role: str
) -> None:
    # Random names: what repeats is compressed.
    names = [f"qcs::ssm:::secret/creatorUin/1/{secrets.token_urlsafe(60)}" for _ in range(48)]
    policy = document(statement(resource=names))
    with refused("InvalidParameter.PolicyTooLong"):
        sts.AssumeRole(RoleArn=arn(installation, "reader"), RoleSessionName="s1", Policy=policy)


@pytest.mark.parametrize(
    ("members", "code"),
    [
        ({"DurationSeconds": 43201}, "InvalidParameter.OverTimeError"),
        ({"DurationSeconds": 0}, "InvalidParameter.OverTimeError"),
        ({"RoleSessionName": "s"}, "InvalidParameter.ParamError"),
        ({"RoleSessionName": "a:b"}, "InvalidParameter.ParamError"),
        ({"RoleSessionName": "a/b"}, "InvalidParameter.ParamError"),
        ({"RoleSessionName": "s" * 129}, "InvalidParameter.ParamError"),
        ({"RoleArn": "reader"}, "InvalidParameter.ParamError"),
        ({"RoleArn": "qcs::cam::uin/1:roleName/"}, "InvalidParameter.ParamError"),
        ({"RoleArn": "qcs::cam::uin/*:roleName/reader"}, "InvalidParameter.ParamError"),
        ({"ExternalId": "x"}, "InvalidParameter.ParamError"),
        ({"Tags": [{"Key": "a", "Value": "1"}, {"Key": "a", "Value": "2"}]}, "InvalidParameter.ParamError"),
        ({"SerialNumber": "qcs::cam:uin/1::mfa/softToken"}, "FailedOperation.MFATypeNotSupported"),
        ({"TokenCode": "123456"}, "FailedOperation.MFATypeNotSupported"),
    ],
)
def test_parameters_out_of_bounds(
    installation: Installation, sts: Client, role: str, members: dict[str, Any], code: str
) -> None:
    given = {"RoleArn": arn(installation, "reader"), "RoleSessionName": "s1", **members}
    with refused(code):
        sts.AssumeRole(**given)


def test_a_role_says_how_long_its_sessions_last(installation: Installation, sts: Client) -> None:
    permissions.add_role(installation, "brief", trusting(installation.root.uin), seconds=HOUR)
    brief = arn(installation, "brief")
    with refused("InvalidParameter.OverTimeError"):
        sts.AssumeRole(RoleArn=brief, RoleSessionName="s1", DurationSeconds=HOUR + 1)
    for members in ({"DurationSeconds": HOUR}, {}):
        answer = sts.AssumeRole(RoleArn=brief, RoleSessionName="s1", **members)
        assert answer.ExpiredTime == installation.clock.now() + HOUR


def test_a_role_that_does_not_exist(installation: Installation, sts: Client) -> None:
    for name in ("roleName/absent", "role/4611686018427000000", "role/tencentcloudServiceRole/1"):
        with refused("ResourceNotFound.RoleNotFound"):
            sts.AssumeRole(RoleArn=f"qcs::cam::uin/{installation.root.uin}:{name}", RoleSessionName="s1")


def test_the_caller_needs_both_trust_and_permission(installation: Installation, role: str) -> None:
    bob = installation.add_user("bob")
    sts = installation.client("sts", who=bob)
    call = {"RoleArn": arn(installation, "reader"), "RoleSessionName": "s1"}
    with refused("AuthFailure.UnauthorizedOperation"):
        sts.AssumeRole(**call)
    permissions.allow(
        installation, bob, statement(action="name/sts:AssumeRole", resource=arn(installation, "reader"))
    )
    assert sts.AssumeRole(**call).Credentials.Token
    other = {"qcs": [f"qcs::cam::uin/{installation.root.uin}:uin/{installation.add_user('carol').uin}"]}
    permissions.add_role(installation, "carols", other)
    permissions.allow(installation, bob, statement(action="sts:AssumeRole"))
    with refused("UnauthorizedOperation"):
        sts.AssumeRole(RoleArn=arn(installation, "carols"), RoleSessionName="s1")


def test_either_name_of_the_role_may_be_denied(
    installation: Installation, sts: Client, role: str, user: Bootstrap
) -> None:
    permissions.allow(
        installation, user, statement("deny", action="sts:AssumeRole", resource=arn(installation, "reader"))
    )
    by_id = f"qcs::cam::uin/{installation.root.uin}:role/{role}"
    for name in (by_id, arn(installation, "reader")):
        with refused("AuthFailure.UnauthorizedOperation"):
            sts.AssumeRole(RoleArn=name, RoleSessionName="s1")


def test_a_user_is_trusted_by_its_own_name(installation: Installation, sts: Client, user: Bootstrap) -> None:
    own = {"qcs": [f"qcs::cam::uin/{installation.root.uin}:uin/{user.uin}"]}
    permissions.add_role(installation, "own", own)
    assert sts.AssumeRole(RoleArn=arn(installation, "own"), RoleSessionName="s1").Credentials.Token
    # Not even the account itself is in the trust policy of a role for one user.
    with refused("UnauthorizedOperation"):
        installation.client("sts").AssumeRole(RoleArn=arn(installation, "own"), RoleSessionName="s1")


def test_an_external_id_has_to_fit(installation: Installation, sts: Client) -> None:
    root = trusting(installation.root.uin)
    wanted = {"string_equal": {"sts:external_id": "ticket-1"}}
    permissions.add_role(installation, "guarded", root, condition=wanted)
    call = {"RoleArn": arn(installation, "guarded"), "RoleSessionName": "s1"}
    for external_id in ({}, {"ExternalId": "ticket-2"}, {"ExternalId": "ticket-11"}):
        with refused("UnauthorizedOperation"):
            sts.AssumeRole(**call, **external_id)
    assert sts.AssumeRole(**call, ExternalId="ticket-1").Credentials.Token


def test_the_tags_of_a_session_are_tags_of_the_request(installation: Installation, sts: Client) -> None:
    condition = {"for_any_value:string_equal": {"qcs:request_tag": "team&red"}}
    permissions.add_role(installation, "tagged", trusting(installation.root.uin), condition=condition)
    call = {"RoleArn": arn(installation, "tagged"), "RoleSessionName": "s1"}
    with refused("UnauthorizedOperation"):
        sts.AssumeRole(**call, Tags=[{"Key": "team", "Value": "blue"}])
    assert sts.AssumeRole(**call, Tags=[{"Key": "team", "Value": "red"}]).Credentials.Token


def test_another_account_takes_a_role_on(installation: Installation, role: str) -> None:
    other = installation.add_account()
    sts = installation.client("sts", who=other)
    call = {"RoleArn": arn(installation, "reader"), "RoleSessionName": "visitor"}
    # Untrusted or absent: who has no business there cannot tell.
    with refused("UnauthorizedOperation") as untrusted:
        sts.AssumeRole(**call)
    with refused("UnauthorizedOperation") as absent:
        sts.AssumeRole(RoleArn=arn(installation, "absent"), RoleSessionName="visitor")
    assert untrusted.value.message == absent.value.message
    permissions.add_role(installation, "shared", trusting(other.uin), statement(action="ssm:GetSecretValue"))
    answer = sts.AssumeRole(RoleArn=arn(installation, "shared"), RoleSessionName="visitor")
    session = client_of(installation, answer, "ssm")
    assert session.GetSecretValue(SecretName="db", VersionId="v1").SecretString == "x"
    identity = client_of(installation, answer, "sts").GetCallerIdentity()
    assert (identity.AccountId, identity.PrincipalId) == (installation.root.uin, other.uin)


def test_roles_in_a_chain_last_an_hour(installation: Installation, sts: Client) -> None:
    root = trusting(installation.root.uin)
    permissions.add_role(installation, "first", root, statement(action="sts:AssumeRole"))
    permissions.add_role(installation, "second", root)
    first = client_of(
        installation, sts.AssumeRole(RoleArn=arn(installation, "first"), RoleSessionName="s1"), "sts"
    )
    second = {"RoleArn": arn(installation, "second"), "RoleSessionName": "s2"}
    with refused("InvalidParameter.OverTimeError"):
        first.AssumeRole(**second, DurationSeconds=HOUR + 1)
    assert first.AssumeRole(**second).ExpiredTime == installation.clock.now() + HOUR


def test_the_event_names_role_and_session_and_no_credentials(clock: ManualClock) -> None:
    installation = Inspected(clock)
    role = permissions.add_role(
        installation, "reader", trusting(installation.root.uin), statement(action="ssm:ListSecrets")
    )
    sts = installation.client("sts")
    answer = sts.AssumeRole(
        RoleArn=arn(installation, "reader"), RoleSessionName="s1", SourceIdentity="alice@example"
    )
    assumed = installation.event(answer.RequestId, IDENTITY)
    assert (assumed["uin"], assumed["user"]) == (installation.root.uin, "root")
    assert assumed["resources"] == ["role/reader"]
    assert assumed["parameters"]["RoleSessionName"] == "s1"
    for given in (answer.Credentials.Token, answer.Credentials.TmpSecretKey):
        assert given not in json.dumps(assumed)
    listed = installation.event(client_of(installation, answer, "ssm").ListSecrets().RequestId)
    assert (listed["account"], listed["uin"], listed["user"]) == (installation.root.uin, role, "reader")
    assert (listed["user_type"], listed["session"]) == ("AssumedRole", "s1")
    assert listed["secret_id"] == answer.Credentials.TmpSecretId
