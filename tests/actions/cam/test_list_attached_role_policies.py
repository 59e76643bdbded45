from chalicelib.clock import ManualClock
from tests.actions.cam.arrange_policies import NO_ROLE, at, make_holder, make_policy
from tests.actions.ssm.arrange import outputs
from tests.installation import Client, Installation, refused

ALL = {"Page": 1, "Rp": 20}


def test_every_member(clock: ManualClock, installation: Installation, cam: Client) -> None:
    holder = make_holder(installation, cam, "Role")
    policy = make_policy(cam, "p", Description="d")
    holder.attach(cam, policy)
    assert outputs(cam.ListAttachedRolePolicies(RoleName="r", **ALL)) == {
        "TotalNum": 1,
        "List": [
            {
                "PolicyId": policy,
                "PolicyName": "p",
                "AddTime": at(clock),
                "PolicyType": "User",
                "CreateMode": 2,
                "Deactived": 0,
                "DeactivedDetail": [],
                "Description": "d",
            }
        ],
    }


def test_types_keywords_and_pages(installation: Installation, cam: Client) -> None:
    holder = make_holder(installation, cam, "Role")
    for policy in (make_policy(cam, "Reader"), 2, 11):
        holder.attach(cam, policy)
    expected = {
        ("", ""): ["Reader", "ReadOnlyAccess", "QcloudKMSFullAccess"],
        ("User", ""): ["Reader"],
        ("QCS", ""): ["ReadOnlyAccess", "QcloudKMSFullAccess"],
        ("", "read"): ["Reader", "ReadOnlyAccess"],
        ("QCS", "read"): ["ReadOnlyAccess"],
    }
    for (policy_type, keyword), names in expected.items():
        wanted = {"RoleId": holder.id, "PolicyType": policy_type, "Keyword": keyword}
        answer = cam.ListAttachedRolePolicies(**wanted, **ALL)
        assert [p.PolicyName for p in answer.List] == names
        second = cam.ListAttachedRolePolicies(**wanted, Page=2, Rp=1)
        assert [p.PolicyName for p in second.List] == names[1:2]
        assert second.TotalNum == answer.TotalNum == len(names)
    for wrong in ({"PolicyType": "Custom"}, {"Page": 0}, {"Rp": 201}):
        with refused("InvalidParameter.ParamError"):
            cam.ListAttachedRolePolicies(**{"RoleId": holder.id, **ALL, **wrong})


def test_what_is_not_there(installation: Installation, cam: Client) -> None:
    holder = make_holder(installation, cam, "Role")
    with refused("InvalidParameter.ParamError"):
        cam.ListAttachedRolePolicies(**ALL)
    stranger = installation.client("cam", who=installation.add_account())
    for client, named in ((cam, NO_ROLE), (stranger, holder.id)):
        with refused("InvalidParameter.RoleNotExist"):
            client.ListAttachedRolePolicies(RoleId=named, **ALL)
