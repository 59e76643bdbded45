import functools

from tests.actions.cam.arrange_users import NOBODY, caller, make_group, put_into, resource, uin_of, users_of
from tests.actions.ssm.arrange import outputs, together
from tests.installation import Client, Installation, refused


def noted(cam: Client, group: int) -> tuple[str, str]:
    found = cam.GetGroup(GroupId=group)
    return found.GroupName, found.Remark


def test_what_is_not_given_stays(cam: Client) -> None:
    group = int(cam.CreateGroup(GroupName="g", Remark="r").GroupId)
    uin = uin_of(cam)
    put_into(cam, group, uin)
    assert outputs(cam.UpdateGroup(GroupId=group, GroupName="new")) == {}
    assert noted(cam, group) == ("new", "r")
    cam.UpdateGroup(GroupId=group, Remark="")
    cam.UpdateGroup(GroupId=group, GroupName="")
    assert noted(cam, group) == ("new", "")
    assert users_of(cam, group) == [uin]


def test_the_old_name_is_free_again(cam: Client) -> None:
    group = make_group(cam)
    cam.UpdateGroup(GroupId=group, GroupName="G")
    assert noted(cam, group)[0] == "G"
    cam.UpdateGroup(GroupId=group, GroupName="other")
    make_group(cam)
    with refused("InvalidParameter.GroupNameInUse"):
        cam.UpdateGroup(GroupId=group, GroupName="g", Remark="lost")
    assert noted(cam, group) == ("other", "")


def test_of_many_that_want_one_name_one_succeeds(installation: Installation, cam: Client) -> None:
    groups = [make_group(cam, f"g{number}") for number in range(3)]
    calls = [
        functools.partial(installation.client("cam").UpdateGroup, GroupId=group, GroupName="wanted")
        for group in groups
    ]
    assert sorted(together(calls)) == ["InvalidParameter.GroupNameInUse"] * 2 + ["ok"]


def test_groups_that_are_not_there(installation: Installation, cam: Client) -> None:
    group = make_group(cam)
    stranger = installation.client("cam", who=installation.add_account())
    for client, wrong in ((cam, NOBODY), (stranger, group)):
        with refused("ResourceNotFound.GroupNotExist"):
            client.UpdateGroup(GroupId=wrong, GroupName="new")
    with refused("InvalidParameter.ParamError"):
        cam.UpdateGroup(GroupId=group, GroupName="x" * 65)


def test_a_policy_may_allow_it_for_one_group(installation: Installation, cam: Client) -> None:
    group, other = make_group(cam), make_group(cam, "other")
    client = caller(installation, "UpdateGroup", resource(installation, f"groupId/{group}"))
    client.UpdateGroup(GroupId=group, Remark="new")
    for wrong in (other, NOBODY):
        with refused("AuthFailure.UnauthorizedOperation"):
            client.UpdateGroup(GroupId=wrong, Remark="new")
