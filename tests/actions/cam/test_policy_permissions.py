"""Users who may do some of access management: to some policies, users and roles, and without learning of the others."""

from typing import Any

import pytest

from tests.actions.cam.arrange_policies import NO_ROLE, NOBODY, document, make_group, make_policy, make_role
from tests.actions.ssm.arrange import code
from tests.installation import Client, Installation, refused

DENIED = "AuthFailure.UnauthorizedOperation"


class Office:
    """A clerk with rights of access management on `resources`, and what there is to do things to."""

    def __init__(self, installation: Installation, cam: Client) -> None:
        self.installation, self.cam = installation, cam
        self.clerk, self.user, self.other = (installation.add_user(n) for n in ("clerk", "user", "other"))
        self.mine, self.theirs = make_policy(cam, "mine"), make_policy(cam, "theirs")
        self.role, self.group = make_role(installation, cam, "role"), make_group(cam, "group")

    def allow(self, action: str | list[str], *paths: str, effect: str = "allow") -> None:
        resources = [f"qcs::cam::uin/{self.installation.root.uin}:{path}" for path in paths]
        name = f"clerk{self.cam.ListPolicies(Scope='Local').TotalNum}"
        policy = make_policy(self.cam, name, document(action, effect, resources))
        self.cam.AttachUserPolicy(PolicyId=policy, AttachUin=int(self.clerk.uin))

    def ends(self, action: str, **given: Any) -> str:
        client = self.installation.client("cam", who=self.clerk)
        return code(lambda: client.call_raw(action, given))


@pytest.fixture
def office(installation: Installation, cam: Client) -> Office:
    return Office(installation, cam)


def test_one_policy_to_one_user(office: Office) -> None:
    mine, user = {"PolicyId": office.mine}, {"AttachUin": int(office.user.uin)}
    office.allow("cam:AttachUserPolicy", f"uin/{office.user.uin}")
    assert office.ends("AttachUserPolicy", **mine, **user) == DENIED
    office.allow("cam:AttachUserPolicy", f"policyid/{office.mine}")
    assert office.ends("AttachUserPolicy", **mine, **user) == "ok"
    assert office.ends("AttachUserPolicy", PolicyId=office.theirs, **user) == DENIED
    assert office.ends("AttachUserPolicy", PolicyId=1, **user) == DENIED
    assert office.ends("AttachUserPolicy", **mine, AttachUin=int(office.other.uin)) == DENIED
    assert office.ends("AttachUserPolicy", **mine, AttachUin=int(office.clerk.uin)) == DENIED
    assert office.ends("DetachUserPolicy", **mine, DetachUin=int(office.user.uin)) == DENIED


def test_a_role_by_either_of_its_names(office: Office) -> None:
    office.allow("cam:GetRole", "roleName/role")
    for named in ({"RoleName": "role"}, {"RoleId": office.role}):
        assert office.ends("GetRole", **named) == "ok"
    office.allow("cam:GetRole", f"role/{office.role}", effect="deny")
    for named in ({"RoleName": "role"}, {"RoleId": office.role}):
        assert office.ends("GetRole", **named) == DENIED


def test_what_may_not_be_touched_might_as_well_not_be_there(office: Office) -> None:
    office.allow("cam:*", f"policyid/{office.mine}", "roleName/nothing", "uin/1")
    cases: list[tuple[str, str, Any, Any]] = [
        ("GetPolicy", "PolicyId", office.theirs, NOBODY),
        ("UpdatePolicy", "PolicyName", "theirs", "nobody"),
        ("GetRole", "RoleName", "role", "elor"),
        ("GetRole", "RoleId", office.role, NO_ROLE),
        ("ListAttachedUserPolicies", "TargetUin", int(office.user.uin), NOBODY),
        ("ListAttachedGroupPolicies", "TargetGroupId", office.group, NOBODY),
    ]
    client = office.installation.client("cam", who=office.clerk)
    for action, name, real, absent in cases:
        said = []
        for value in (real, absent):
            with refused(DENIED) as caught:
                client.call_raw(action, {name: value})
            said.append(caught.value.message)
        assert said[0] == said[1], action


def test_lists_take_a_right_to_everything(office: Office) -> None:
    office.allow(["cam:ListPolicies", "cam:CreatePolicy", "cam:DescribeRoleList"], f"policyid/{office.mine}")
    assert office.ends("ListPolicies") == DENIED
    assert office.ends("DescribeRoleList", Page=1, Rp=1) == DENIED
    assert office.ends("CreatePolicy", PolicyName="new", PolicyDocument=document()) == DENIED
    office.allow(["cam:ListPolicies", "cam:CreatePolicy", "cam:DescribeRoleList"], "*")
    assert office.ends("ListPolicies") == "ok"
    assert office.ends("DescribeRoleList", Page=1, Rp=1) == "ok"
    assert office.ends("CreatePolicy", PolicyName="new", PolicyDocument=document()) == "ok"


def test_read_only_access_changes_nothing_and_sees_no_secret(office: Office) -> None:
    office.cam.AttachUserPolicy(PolicyId=2, AttachUin=int(office.clerk.uin))
    kms, ssm = (office.installation.client(s) for s in ("kms", "ssm"))
    key = kms.CreateKey(Alias="k").KeyId
    ssm.CreateSecret(SecretName="s", VersionId="v1", SecretString="x")
    hosted = kms.GenerateDataKey(KeyId=key, KeySpec="AES_256", IsHostedByKms=1, DataKeyName="d").DataKeyId
    assert office.ends("ListPolicies") == office.ends("GetPolicy", PolicyId=1) == "ok"
    assert office.ends("DeletePolicy", PolicyId=[office.mine]) == DENIED
    ours: dict[str, Client] = {
        s: office.installation.client(s, who=office.clerk) for s in ("kms", "ssm", "cloudaudit")
    }
    allowed: list[tuple[str, str, dict[str, Any]]] = [
        ("kms", "DescribeKey", {"KeyId": key}),
        ("kms", "ListKeyDetail", {}),
        ("kms", "DescribeDataKey", {"DataKeyId": hosted}),
        ("ssm", "DescribeSecret", {"SecretName": "s"}),
        ("ssm", "ListSecrets", {}),
    ]
    denied: list[tuple[str, str, dict[str, Any]]] = [
        ("kms", "GetDataKeyPlaintext", {"DataKeyId": hosted}),
        ("kms", "Encrypt", {"KeyId": key, "Plaintext": "eA=="}),
        ("ssm", "GetSecretValue", {"SecretName": "s", "VersionId": "v1"}),
        ("ssm", "UpdateDescription", {"SecretName": "s", "Description": "x"}),
    ]
    for cases, ended in ((allowed, "ok"), (denied, DENIED)):
        for service, action, given in cases:
            assert code(lambda: ours[service].call_raw(action, given)) == ended, action  # noqa: B023 - called at once
