import pytest

from chalicelib.clock import ManualClock
from tests.actions.cam.arrange_policies import NOBODY, Holder, at, make_group, make_policy
from tests.actions.ssm.arrange import outputs
from tests.installation import Client, Installation, refused

ALL = {"Page": 1, "Rp": 20, "AttachType": 0}


@pytest.fixture
def user(installation: Installation, cam: Client) -> Holder:
    """A user of the groups `a` and `b`."""
    uin = int(installation.add_user("u").uin)
    for name in ("a", "b"):
        cam.AddUserToGroup(Info=[{"Uin": uin, "GroupId": make_group(cam, name)}])
    return Holder("User", uin)


def names(cam: Client, user: Holder, **more: object) -> list[str]:
    answer = cam.ListAttachedUserAllPolicies(**{"TargetUin": user.id, **ALL, **more})
    assert answer.TotalNum == len(answer.PolicyList)
    return [p.PolicyName for p in answer.PolicyList]


def group(cam: Client, name: str) -> Holder:
    (found,) = [g.GroupId for g in cam.ListGroups().GroupInfo if g.GroupName == name]
    return Holder("Group", found)


def test_every_member(clock: ManualClock, cam: Client, user: Holder) -> None:
    policy = make_policy(cam, "p", Description="d")
    group(cam, "a").attach(cam, policy)
    answer = outputs(cam.ListAttachedUserAllPolicies(TargetUin=user.id, **ALL))
    assert answer == {
        "TotalNum": 1,
        "PolicyList": [
            {
                "PolicyId": str(policy),
                "PolicyName": "p",
                "Description": "d",
                "AddTime": at(clock),
                "StrategyType": "1",
                "CreateMode": "2",
                "Groups": [{"GroupId": group(cam, "a").id, "GroupName": "a"}],
                "Deactived": 0,
                "DeactivedDetail": [],
            }
        ],
    }


def test_own_and_through_groups(clock: ManualClock, cam: Client, user: Holder) -> None:
    own, both, shared = (make_policy(cam, name) for name in ("own", "both", "shared"))
    for holder, policy in (
        (user, own),
        (user, both),
        (group(cam, "a"), both),
        (group(cam, "a"), shared),
        (group(cam, "b"), shared),
        (group(cam, "b"), 2),
    ):
        holder.attach(cam, policy)
        clock.advance(1)
    assert names(cam, user) == ["own", "both", "shared", "ReadOnlyAccess"]
    assert names(cam, user, AttachType=1) == ["own", "both"]
    assert names(cam, user, AttachType=2) == ["both", "shared", "ReadOnlyAccess"]
    assert names(cam, user, StrategyType=1) == ["own", "both", "shared"]
    assert names(cam, user, StrategyType=2) == ["ReadOnlyAccess"]
    assert names(cam, user, Keyword="O", AttachType=1) == ["own", "both"]
    assert names(cam, user, Keyword="HARE") == ["shared"]
    answer = cam.ListAttachedUserAllPolicies(TargetUin=user.id, Page=3, Rp=1, AttachType=0)
    (line,) = answer.PolicyList
    assert (line.PolicyName, sorted(g.GroupName for g in line.Groups)) == ("shared", ["a", "b"])
    assert answer.TotalNum == 4


def test_what_is_wrong_or_not_there(installation: Installation, cam: Client, user: Holder) -> None:
    for wrong in ({"AttachType": 3}, {"StrategyType": 3}, {"Page": 0}, {"Rp": 201}):
        with refused("InvalidParameter.ParamError"):
            names(cam, user, **wrong)
    stranger = installation.client("cam", who=installation.add_account())
    for client, uin in ((cam, NOBODY), (stranger, user.id), (cam, int(installation.root.uin))):
        with refused("ResourceNotFound.UserNotExist"):
            names(client, Holder("User", uin))
