import functools

import pytest

from chalicelib.context import IDENTITY
from chalicelib.model.role import MAX_ROLES
from chalicelib.table.port import Add
from tests.actions.cam.arrange_policies import document, make_role, role_of, trust
from tests.actions.ssm.arrange import outputs, together
from tests.installation import Client, Installation, refused

OTHER = "100000000009"
MALFORMED = {
    "not JSON": ("{", "PolicyDocumentError"),
    "no principal": (document("sts:AssumeRole"), "StatementError"),
    "a resource": (trust("1", resource="*"), "StatementError"),
    "an empty principal": (trust("1", principal={}), "PrincipalError"),
    "another kind": (trust("1", principal={"aws": ["x"]}), "PrincipalError"),
    "everybody": (trust("1", principal={"qcs": ["*"]}), "PrincipalQcsError"),
    "a role": (trust("1", principal={"qcs": ["qcs::cam::uin/1:role/1"]}), "PrincipalQcsError"),
    "an effect": (trust("1", effect="maybe"), "EffectError"),
    "an action": (trust("1", action="assume role"), "ActionError"),
    "a condition": (trust("1", condition={"string_equal": {"x": "y"}}), "ConditionContentError"),
    "an operator": (trust("1", condition={"is": {"qcs:ip": "y"}}), "ConditionTypeError"),
    "a version": (trust("1").replace("2.0", "2.1"), "VersionError"),
}


def test_the_role_is_as_it_was_written(installation: Installation, cam: Client) -> None:
    text = " " + trust(installation.root.uin)
    tags = [{"Key": "k", "Value": "v"}]
    more = {"Description": "why", "ConsoleLogin": 1, "SessionDuration": 3600, "Tags": tags}
    made = cam.CreateRole(RoleName="r", PolicyDocument=text, **more)
    assert set(outputs(made)) == {"RoleId"}
    assert made.RoleId.isdigit()
    assert len(made.RoleId) == 19
    role = role_of(cam, made.RoleId)
    assert (role.RoleName, role.PolicyDocument, role.Description) == ("r", text, "why")
    assert (role.ConsoleLogin, role.SessionDuration) == (1, 3600)
    assert [(t.Key, t.Value) for t in role.Tags] == [("k", "v")]


@pytest.mark.parametrize(
    "principal",
    [
        {"qcs": [f"qcs::cam::uin/{OTHER}:root", f"qcs::cam::uin/{OTHER}:uin/100000000010"]},
        {"qcs": f"qcs::cam::uin/{OTHER}:root"},
        {"service": ["ssm.qcloud.com"]},
        {"federated": ["qcs::cam::uin/1:oidc-provider/github"]},
    ],
)
def test_principals(cam: Client, principal: object) -> None:
    text = trust("1", principal=principal, condition={"string_equal": {"sts:external_id": "x"}})
    assert cam.CreateRole(RoleName="r", PolicyDocument=text).RoleId


@pytest.mark.parametrize("case", MALFORMED)
def test_a_malformed_trust_policy_is_refused(cam: Client, case: str) -> None:
    text, code = MALFORMED[case]
    with refused(f"InvalidParameter.{code}"):
        cam.CreateRole(RoleName="r", PolicyDocument=text)
    assert cam.DescribeRoleList(Page=1, Rp=20).TotalNum == 0


def test_a_name_is_given_once_in_any_case(installation: Installation, cam: Client) -> None:
    make_role(installation, cam, "r")
    for name in ("r", "R"):
        with refused("InvalidParameter.RoleNameInUse"):
            make_role(installation, cam, name)
    make_role(installation, cam, "s")
    assert cam.DescribeRoleList(Page=1, Rp=20).TotalNum == 2


def test_one_of_many_gets_the_name(installation: Installation, cam: Client) -> None:
    clients = [installation.client("cam") for _ in range(4)]
    ended = together([functools.partial(make_role, installation, c, "r") for c in clients])
    assert sorted(ended) == ["InvalidParameter.RoleNameInUse"] * 3 + ["ok"]
    assert cam.DescribeRoleList(Page=1, Rp=20).TotalNum == 1


def test_limits(installation: Installation, cam: Client) -> None:
    make_role(installation, cam, "a" * 128, Description="x" * 1024, SessionDuration=43200)
    for name in ("", "a" * 129, "a b", "a/b", "*", "a\n"):
        with refused("InvalidParameter.RoleNameError"):
            make_role(installation, cam, name)
    for wrong in ({"SessionDuration": 43201}, {"SessionDuration": -1}, {"ConsoleLogin": 2}):
        with refused("InvalidParameter.ParamError"):
            make_role(installation, cam, "r", **wrong)
    with refused("InvalidParameter.DescriptionLengthOverlimit"):
        make_role(installation, cam, "r", Description="x" * 1025)
    with refused("InvalidParameter.TagParamError"):
        make_role(installation, cam, "r", Tags=[{"Key": "k", "Value": ""}] * 2)
    with refused("InvalidParameter.TagLimitExceeded"):
        make_role(installation, cam, "r", Tags=[{"Key": str(i), "Value": ""} for i in range(51)])
    assert role_of(cam, make_role(installation, cam, "r")).SessionDuration == 7200


def test_the_quota(installation: Installation, cam: Client) -> None:
    make_role(installation, cam, "r")
    counter = Add(f"AC#{installation.root.uin}", "CT#roles", MAX_ROLES - 2)
    installation.service.table(IDENTITY).write([counter])
    last = make_role(installation, cam, "last")
    with refused("InvalidParameter.RoleFull"):
        make_role(installation, cam, "more")
    cam.DeleteRole(RoleId=last)
    make_role(installation, cam, "more")
