from tests.actions.cam.arrange_users import (
    NOBODY,
    caller,
    is_time,
    make_group,
    put_into,
    resource,
    uin_of,
)
from tests.installation import Client, Installation, refused


def test_a_group_and_its_users(installation: Installation, cam: Client) -> None:
    group = int(cam.CreateGroup(GroupName="g", Remark="r").GroupId)
    alice = cam.AddUser(Name="alice", Remark="a", PhoneNum="1", CountryCode="86", Email="a@b.example").Uin
    installation.clock.advance(1)
    bob = uin_of(cam, "bob")
    put_into(cam, group, bob, alice)
    found = cam.GetGroup(GroupId=group)
    assert (found.GroupId, found.GroupName, found.Remark, found.GroupNum) == (group, "g", "r", 2)
    assert is_time(found.CreateTime)
    assert [user.Uin for user in found.UserInfo] == [alice, bob]
    line = found.UserInfo[0]._serialize(allow_none=True)
    assert is_time(line.pop("CreateTime"))
    assert line == {
        "Uid": alice,
        "Uin": alice,
        "Name": "alice",
        "PhoneNum": "1",
        "CountryCode": "86",
        "PhoneFlag": 0,
        "Email": "a@b.example",
        "EmailFlag": 0,
        "UserType": 2,
        "IsReceiverOwner": 0,
        "Remark": "a",
    }


def test_groups_that_are_not_there(installation: Installation, cam: Client) -> None:
    group = make_group(cam)
    stranger = installation.client("cam", who=installation.add_account())
    for client, wrong in ((cam, NOBODY), (cam, 0), (stranger, group)):
        with refused("ResourceNotFound.GroupNotExist"):
            client.GetGroup(GroupId=wrong)


def test_a_policy_may_allow_it_for_one_group(installation: Installation, cam: Client) -> None:
    group, other = make_group(cam), make_group(cam, "other")
    client = caller(installation, "GetGroup", resource(installation, f"groupId/{group}"))
    assert client.GetGroup(GroupId=group).GroupNum == 0
    for wrong in (other, NOBODY):
        with refused("AuthFailure.UnauthorizedOperation"):
            client.GetGroup(GroupId=wrong)
