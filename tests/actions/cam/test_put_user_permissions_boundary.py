import functools

import pytest

from chalicelib.clock import ManualClock
from tests.actions.cam.arrange_policies import NOBODY, check_attachments, document, listed, make_policy, may
from tests.actions.ssm.arrange import outputs, together
from tests.inspected import Inspected
from tests.installation import Client, refused


@pytest.fixture
def installation(clock: ManualClock) -> Inspected:
    return Inspected(clock)


def test_only_what_both_allow_is_allowed(installation: Inspected, cam: Client) -> None:
    user = installation.add_user("u")
    uin = int(user.uin)
    lists, nothing = (
        make_policy(cam, "lists", document("kms:List*")),
        make_policy(cam, "ssm", document("ssm:*")),
    )
    cam.PutUserPermissionsBoundary(TargetUin=uin, PolicyId=lists)
    assert not may(installation, user), "a boundary allows nothing by itself"
    cam.AttachUserPolicy(AttachUin=uin, PolicyId=11)
    assert may(installation, user)
    with refused("AuthFailure.UnauthorizedOperation") as caught:
        installation.client("kms", who=user).GenerateRandom(NumberOfBytes=1)
    assert "no statement of the policy lists allows it" in caught.value.message
    assert outputs(cam.PutUserPermissionsBoundary(TargetUin=uin, PolicyId=nothing)) == {}
    assert not may(installation, user)
    cam.PutUserPermissionsBoundary(TargetUin=uin, PolicyId=1)
    assert may(installation, user)
    check_attachments(installation)


def test_it_bounds_what_groups_give(installation: Inspected, cam: Client) -> None:
    user, group = installation.add_user("u"), cam.CreateGroup(GroupName="g").GroupId
    cam.AddUserToGroup(Info=[{"Uin": int(user.uin), "GroupId": group}])
    cam.AttachGroupPolicy(AttachGroupId=group, PolicyId=1)
    assert may(installation, user)
    cam.PutUserPermissionsBoundary(TargetUin=int(user.uin), PolicyId=21)
    assert not may(installation, user)


def test_uses_are_counted(installation: Inspected, cam: Client) -> None:
    users = [int(installation.add_user(name).uin) for name in ("u", "v")]
    one, two = make_policy(cam, "one"), make_policy(cam, "two")
    for policy in (one, one, two, one):
        for uin in users:
            cam.PutUserPermissionsBoundary(TargetUin=uin, PolicyId=policy)
    cam.PutUserPermissionsBoundary(TargetUin=users[0], PolicyId=two)
    counts = [listed(cam, p).AttachEntityBoundaryCount for p in (one, two)]
    assert counts == [1, 1]
    cam.DeleteUser(Name="u", Force=1)
    assert listed(cam, two).AttachEntityBoundaryCount == 0
    check_attachments(installation)


def test_what_is_not_there(installation: Inspected, cam: Client) -> None:
    uin, policy = int(installation.add_user("u").uin), make_policy(cam)
    with refused("InvalidParameter.PolicyIdNotExist"):
        cam.PutUserPermissionsBoundary(TargetUin=uin, PolicyId=NOBODY)
    stranger = installation.client("cam", who=installation.add_account())
    for client, target in ((cam, NOBODY), (cam, int(installation.root.uin)), (stranger, uin)):
        with refused("InvalidParameter.UserNotExist"):
            client.PutUserPermissionsBoundary(TargetUin=target, PolicyId=1)
    with refused("InvalidParameter.PolicyIdNotExist"):
        other = int(stranger.AddUser(Name="x").Uin)
        stranger.PutUserPermissionsBoundary(TargetUin=other, PolicyId=policy)
    check_attachments(installation)


def test_a_policy_that_is_being_deleted_bounds_nobody(installation: Inspected, cam: Client) -> None:
    uin = int(installation.add_user("u").uin)
    for _ in range(4):
        policy = make_policy(cam)
        one, two = installation.client("cam"), installation.client("cam")
        ended = together(
            [
                functools.partial(one.PutUserPermissionsBoundary, TargetUin=uin, PolicyId=policy),
                functools.partial(two.DeletePolicy, PolicyId=[policy]),
            ]
        )
        assert ended in (["ok", "FailedOperation"], ["InvalidParameter.PolicyIdNotExist", "ok"])
        check_attachments(installation)
        cam.DeleteUserPermissionsBoundary(TargetUin=uin)
        if ended[1] != "ok":
            cam.DeletePolicy(PolicyId=[policy])
