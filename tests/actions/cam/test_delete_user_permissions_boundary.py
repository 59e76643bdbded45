from tests.actions.cam.arrange_policies import NOBODY, make_policy, may
from tests.actions.ssm.arrange import outputs
from tests.installation import Client, Installation, refused


def test_without_it_policies_allow_all_that_they_say(installation: Installation, cam: Client) -> None:
    user, policy = installation.add_user("u"), make_policy(cam)
    uin = int(user.uin)
    cam.AttachUserPolicy(AttachUin=uin, PolicyId=policy)
    cam.PutUserPermissionsBoundary(TargetUin=uin, PolicyId=21)
    assert not may(installation, user)
    for _ in range(2):
        assert outputs(cam.DeleteUserPermissionsBoundary(TargetUin=uin)) == {}, "twice is no error"
    assert may(installation, user)
    assert cam.GetUserPermissionBoundary(TargetUin=uin).PolicyId is None


def test_what_is_not_there(installation: Installation, cam: Client) -> None:
    uin = int(installation.add_user("u").uin)
    stranger = installation.client("cam", who=installation.add_account())
    for client, target in ((cam, NOBODY), (stranger, uin)):
        with refused("InvalidParameter.UserNotExist"):
            client.DeleteUserPermissionsBoundary(TargetUin=target)
