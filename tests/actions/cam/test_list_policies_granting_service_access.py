import pytest

from tests.actions.cam.arrange_policies import (
    KINDS,
    NO_ROLE,
    NOBODY,
    Holder,
    document,
    make_group,
    make_holder,
    make_policy,
)
from tests.installation import Client, Installation, refused


def granting(cam: Client, holder: Holder, **more: object) -> dict[str, list[str]]:
    named = holder.named("Target" if holder.kind == "User" else "")
    named = {name: int(value) for name, value in named.items()}
    found = cam.ListPoliciesGrantingServiceAccess(**named, **more).List
    return {node.Service.ServiceType: [p.PolicyName for p in node.Policy] for node in found}


@pytest.mark.parametrize("kind", KINDS)
def test_services_and_the_policies_that_give_access(
    installation: Installation, cam: Client, kind: str
) -> None:
    holder = make_holder(installation, cam, kind)
    assert granting(cam, holder) == {}
    for policy in (
        make_policy(cam, "decrypt", document("kms:Decrypt")),
        make_policy(cam, "denies", document("ssm:*", "deny")),
        make_policy(cam, "unknown", document("cvm:*")),
        11,
    ):
        holder.attach(cam, policy)
    found = granting(cam, holder)
    assert {service: sorted(names) for service, names in found.items()} == {
        "kms": ["QcloudKMSFullAccess", "decrypt"]
    }
    holder.attach(cam, 1)
    assert set(granting(cam, holder)) == {"kms", "ssm", "cam", "sts", "tag", "cloudaudit"}
    assert set(granting(cam, holder, ServiceType="ssm")) == {"ssm"}


def test_those_of_a_users_groups_count(installation: Installation, cam: Client) -> None:
    user, group = make_holder(installation, cam, "User"), make_group(cam)
    cam.AddUserToGroup(Info=[{"Uin": user.id, "GroupId": group}])
    cam.AttachGroupPolicy(PolicyId=21, AttachGroupId=group)
    assert granting(cam, user) == {"ssm": ["QcloudSSMFullAccess"]}


def test_the_actions_of_one_service(installation: Installation, cam: Client) -> None:
    user = make_holder(installation, cam, "User")
    policy = make_policy(cam, "p", document(["ssm:List*", "ssm:getsecretvalue", "kms:*"]), Description="d")
    user.attach(cam, policy)
    (node,) = cam.ListPoliciesGrantingServiceAccess(TargetUin=user.id, ServiceType="ssm").List
    assert node.Service.ServiceName == "Secrets Manager"
    assert [a.Name for a in node.Action] == ["GetSecretValue", "ListSecretVersionIds", "ListSecrets"]
    (line,) = node.Policy
    assert (line.PolicyId, line.PolicyName, line.PolicyType, line.PolicyDescription) == (
        str(policy),
        "p",
        "User",
        "d",
    )
    assert cam.ListPoliciesGrantingServiceAccess(TargetUin=user.id).List[0].Action == []


def test_one_of_three_is_named(installation: Installation, cam: Client) -> None:
    user = make_holder(installation, cam, "User")
    for wrong in ({}, {"TargetUin": user.id, "GroupId": 1}, {"TargetUin": user.id, "ServiceType": "cvm"}):
        with refused("InvalidParameter.ParamError"):
            cam.ListPoliciesGrantingServiceAccess(**wrong)
    with refused("InvalidParameter.ParamError"):
        cam.ListPoliciesGrantingServiceAccess(TargetUin=NOBODY)
    with refused("InvalidParameter.RoleNotExist"):
        cam.ListPoliciesGrantingServiceAccess(RoleId=int(NO_ROLE))
    with refused("ResourceNotFound.GroupNotExist"):
        cam.ListPoliciesGrantingServiceAccess(GroupId=NOBODY)
