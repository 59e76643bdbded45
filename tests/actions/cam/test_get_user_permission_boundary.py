from tests.actions.cam.arrange_policies import NOBODY, document, make_policy
from tests.actions.ssm.arrange import outputs
from tests.installation import Client, Installation, refused

NONE = {"PolicyId": None, "PolicyName": None, "PolicyDocument": None, "PolicyType": None, "CreateMode": None}


def test_none_a_policy_of_ones_own_and_a_preset_one(installation: Installation, cam: Client) -> None:
    uin, policy = int(installation.add_user("u").uin), make_policy(cam, "p")
    assert outputs(cam.GetUserPermissionBoundary(TargetUin=uin)) == NONE
    cam.PutUserPermissionsBoundary(TargetUin=uin, PolicyId=policy)
    assert outputs(cam.GetUserPermissionBoundary(TargetUin=uin)) == {
        "PolicyId": policy,
        "PolicyName": "p",
        "PolicyDocument": document(),
        "PolicyType": 1,
        "CreateMode": 2,
    }
    cam.PutUserPermissionsBoundary(TargetUin=uin, PolicyId=2)
    found = cam.GetUserPermissionBoundary(TargetUin=uin)
    assert (found.PolicyId, found.PolicyName, found.PolicyType) == (2, "ReadOnlyAccess", 2)
    assert found.PolicyDocument == cam.GetPolicy(PolicyId=2).PolicyDocument


def test_what_is_not_there(installation: Installation, cam: Client) -> None:
    uin = int(installation.add_user("u").uin)
    stranger = installation.client("cam", who=installation.add_account())
    for client, target in ((cam, NOBODY), (stranger, uin)):
        with refused("InvalidParameter.ParamError"):
            client.GetUserPermissionBoundary(TargetUin=target)
