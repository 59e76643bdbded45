import functools
from typing import Any

import pytest

from chalicelib.clock import ManualClock
from tests.actions.cam.arrange_policies import (
    MALFORMED,
    NO_ROLE,
    NOBODY,
    document,
    identity_rows,
    make_group,
    make_policy,
    make_role,
)
from tests.actions.ssm.arrange import code
from tests.inspected import Inspected
from tests.installation import SM, Client, Installation, refused


@pytest.fixture
def installation(clock: ManualClock) -> Inspected:
    return Inspected(clock)


def ask(cam: Client, action: str = "kms:Decrypt", **more: Any) -> dict[str, Any]:
    answer = cam.call_raw("SimulatePolicy", {"ActionName": action, **more})
    assert answer.pop("RequestId")
    return answer


def key(installation: Installation, name: str = "k", creator: str = "1") -> str:
    return f"qcs::kms:{SM}:uin/{installation.root.uin}:key/creatorUin/{creator}/{name}"


def test_the_statement_that_decides_is_named(installation: Inspected, cam: Client) -> None:
    uin = int(installation.add_user("u").uin)
    allows, denies = make_policy(cam, "allows"), make_policy(cam, "denies", document("kms:Sign*", "deny"))
    nothing: dict[str, Any] = {
        "PolicyId": None,
        "PolicyName": None,
        "StatementIndex": None,
        "MatchedStatements": [],
    }
    assert ask(cam, TargetUin=uin) == {
        "Decision": "deny",
        "Explanation": "no statement allows it",
        **nothing,
    }
    cam.AttachUserPolicy(AttachUin=uin, PolicyId=allows)
    cam.AttachUserPolicy(AttachUin=uin, PolicyId=denies)
    matched = {"PolicyId": allows, "PolicyName": "allows", "StatementIndex": 0, "Effect": "allow"}
    assert ask(cam, TargetUin=uin) == {
        "Decision": "allow",
        "Explanation": "statement 0 of the policy allows allows it",
        "PolicyId": allows,
        "PolicyName": "allows",
        "StatementIndex": 0,
        "MatchedStatements": [matched],
    }
    found = ask(cam, "kms:SignByAsymmetricKey", TargetUin=uin)
    assert (found["Decision"], found["PolicyId"], found["PolicyName"]) == ("deny", denies, "denies")
    assert found["Explanation"] == "statement 0 of the policy denies denies it"
    against = {"PolicyId": denies, "PolicyName": "denies", "StatementIndex": 0, "Effect": "deny"}
    assert sorted(found["MatchedStatements"], key=str) == sorted([matched, against], key=str)


def test_it_is_what_a_call_would_meet(installation: Inspected, cam: Client) -> None:
    user = installation.add_user("u")
    client = installation.client("kms", who=user)
    made = installation.client("kms").CreateKey(Alias="k")
    name = key(installation, made.KeyId, installation.root.uin)
    for resource in (name, name[:-1] + "x", "*"):
        policy = make_policy(cam, "p", document("kms:DescribeKey", resource=resource))
        cam.AttachUserPolicy(AttachUin=int(user.uin), PolicyId=policy)
        said = ask(cam, "kms:DescribeKey", TargetUin=int(user.uin), Resource=name)["Decision"]
        ended = code(functools.partial(client.DescribeKey, KeyId=made.KeyId))
        assert (said, ended) in (("allow", "ok"), ("deny", "AuthFailure.UnauthorizedOperation"))
        cam.DeletePolicy(PolicyId=[policy])


def test_groups_roles_and_boundaries(installation: Inspected, cam: Client) -> None:
    uin, group, role = int(installation.add_user("u").uin), make_group(cam), make_role(installation, cam)
    cam.AddUserToGroup(Info=[{"Uin": uin, "GroupId": group}])
    cam.AttachGroupPolicy(AttachGroupId=group, PolicyId=11)
    cam.AttachRolePolicy(AttachRoleId=role, PolicyId=11)
    for named in ({"GroupId": group}, {"TargetUin": uin}, {"RoleId": role}):
        assert ask(cam, **named)["PolicyName"] == "QcloudKMSFullAccess"
        assert ask(cam, "ssm:GetSecretValue", **named)["Decision"] == "deny"
    cam.PutUserPermissionsBoundary(TargetUin=uin, PolicyId=21)
    found = ask(cam, TargetUin=uin)
    assert (found["Decision"], found["PolicyName"]) == ("deny", "QcloudSSMFullAccess")
    assert found["Explanation"] == "no statement of the policy QcloudSSMFullAccess allows it"


def test_circumstances(installation: Inspected, cam: Client) -> None:
    uin = int(installation.add_user("u").uin)
    tag = [{"Key": "team", "Value": "blue"}]
    cases: list[tuple[dict[str, Any], dict[str, Any], dict[str, Any]]] = [
        ({"ip_equal": {"qcs:ip": "192.0.2.0/24"}}, {"SourceIp": "192.0.2.9"}, {"SourceIp": "198.51.100.1"}),
        (
            {"date_less_than": {"qcs:current_time": "2026-01-01T00:00:00Z"}},
            {"CurrentTime": "2025-12-31T23:59:59Z"},
            {"CurrentTime": "2026-01-01T00:00:00Z"},
        ),
        (
            {"for_any_value:string_equal": {"qcs:resource_tag": "team&blue"}},
            {"ResourceTags": tag},
            {"RequestTags": tag},
        ),
        (
            {"for_any_value:string_equal": {"qcs:request_tag": "team&blue"}},
            {"RequestTags": tag},
            {"ResourceTags": tag},
        ),
        (
            {"for_any_value:string_equal": {"kms:encryption_context": "purpose&test"}},
            {"EncryptionContext": '{"purpose": "test"}'},
            {"EncryptionContext": '{"purpose": "other"}'},
        ),
        (
            {"string_equal": {"qcs:create_uin": "7"}},
            {"Resource": key(installation, creator="7")},
            {"Resource": key(installation, creator="8")},
        ),
        ({"string_equal": {"qcs:uin": str(uin)}}, {}, {"TargetUin": 0, "GroupId": make_group(cam)}),
    ]
    for condition, good, bad in cases:
        tried = {"TargetUin": uin, "PolicyDocument": document(condition=condition)}
        assert ask(cam, **{**tried, **good})["Decision"] == "allow", condition
        assert ask(cam, **{**tried, **bad})["Decision"] == "deny", condition


def test_a_policy_that_is_not_attached_yet(installation: Inspected, cam: Client) -> None:
    uin = int(installation.add_user("u").uin)
    before = identity_rows(installation)
    found = ask(cam, TargetUin=uin, PolicyDocument=document())
    assert (found["Decision"], found["PolicyName"], found["PolicyId"]) == ("allow", "PolicyDocument", None)
    assert ask(cam, TargetUin=uin)["Decision"] == "deny"
    assert identity_rows(installation) == before
    for text, wrong in MALFORMED.values():
        with refused(f"InvalidParameter.{wrong}"):
            ask(cam, TargetUin=uin, PolicyDocument=text)


def test_without_a_target_it_is_about_the_caller(installation: Inspected, cam: Client) -> None:
    found = ask(cam)
    assert (found["Decision"], found["Explanation"]) == ("allow", "the account itself may do everything")
    assert ask(cam, TargetUin=int(installation.root.uin)) == found
    user = installation.add_user("u")
    policy = make_policy(cam, "p", document(["cam:SimulatePolicy", "kms:Decrypt"]))
    cam.AttachUserPolicy(AttachUin=int(user.uin), PolicyId=policy)
    mine = installation.client("cam", who=user)
    assert ask(mine)["PolicyName"] == "p"
    assert ask(mine, "kms:Encrypt")["Decision"] == "deny"
    assert ask(mine, TargetUin=int(installation.root.uin))["Decision"] == "allow"


def test_who_may_ask(installation: Inspected, cam: Client) -> None:
    user, other = installation.add_user("u"), int(installation.add_user("v").uin)
    mine = installation.client("cam", who=user)
    with refused("AuthFailure.UnauthorizedOperation"):
        ask(mine)
    own = f"qcs::cam::uin/{installation.root.uin}:uin/{user.uin}"
    policy = make_policy(cam, "p", document("cam:SimulatePolicy", resource=own))
    cam.AttachUserPolicy(AttachUin=int(user.uin), PolicyId=policy)
    assert ask(mine)["Decision"] == "deny"
    group, role = make_group(cam), make_role(installation, cam)
    absent = ({"TargetUin": NOBODY}, {"GroupId": NOBODY}, {"RoleId": NO_ROLE})
    for named in ({"TargetUin": other}, {"GroupId": group}, {"RoleId": role}, *absent):
        with refused("AuthFailure.UnauthorizedOperation"):
            ask(mine, **named)


def test_a_resource_need_not_exist(installation: Inspected, cam: Client) -> None:
    made = installation.client("kms").CreateKey(Alias="k").KeyId
    uin = int(installation.add_user("u").uin)
    answers = [
        ask(cam, TargetUin=uin, Resource=key(installation, k), PolicyDocument=document())
        for k in (made, made[:-1] + ("0" if made[-1] != "0" else "1"))
    ]
    assert answers[0] == answers[1]


def test_what_is_wrong_or_not_there(installation: Inspected, cam: Client) -> None:
    uin = int(installation.add_user("u").uin)
    for wrong in (
        {"ActionName": "Decrypt"},
        {"ActionName": "kms:*"},
        {"ActionName": ""},
        {"TargetUin": uin, "GroupId": 1},
        {"SourceIp": "192.0.2.0/24"},
        {"SourceIp": "here"},
        {"CurrentTime": "soon"},
        {"EncryptionContext": "[]"},
        {"RoleId": "r"},
    ):
        with refused("InvalidParameter.ParamError"):
            ask(cam, **wrong)
    with refused("InvalidParameter.ResourceQcsError"):
        ask(cam, Resource="key/k")
    with refused("MissingParameter"):
        cam.call_raw("SimulatePolicy", {})
    for named, missing in (
        ({"TargetUin": NOBODY}, "ResourceNotFound.UserNotExist"),
        ({"GroupId": NOBODY}, "ResourceNotFound.GroupNotExist"),
        ({"RoleId": NO_ROLE}, "InvalidParameter.RoleNotExist"),
    ):
        with refused(missing):
            ask(cam, **named)
