import pytest

from tests.actions.cam.arrange_users import NOBODY, caller, make_group, put_into, resource, uin_of
from tests.installation import Client, Installation, refused


def test_oldest_first_in_pages(installation: Installation, cam: Client) -> None:
    group = make_group(cam)
    uins = []
    for number in range(5):
        uins.append(uin_of(cam, f"u{number}"))
        installation.clock.advance(1)
    put_into(cam, group, *reversed(uins))
    pages = [cam.ListUsersForGroup(GroupId=group, Page=page, Rp=2) for page in (1, 2, 3, 4)]
    assert [[user.Uin for user in page.UserInfo] for page in pages] == [uins[:2], uins[2:4], uins[4:], []]
    assert {page.TotalNum for page in pages} == {5}


def test_a_group_of_nobody(cam: Client) -> None:
    answer = cam.ListUsersForGroup(GroupId=make_group(cam))
    assert (answer.TotalNum, answer.UserInfo) == (0, [])


def test_groups_that_are_not_there(installation: Installation, cam: Client) -> None:
    group = make_group(cam)
    stranger = installation.client("cam", who=installation.add_account())
    for client, wrong in ((cam, NOBODY), (stranger, group)):
        with refused("ResourceNotFound.GroupNotExist"):
            client.ListUsersForGroup(GroupId=wrong)


@pytest.mark.parametrize("wrong", [{"Page": 0}, {"Rp": 0}, {"Rp": 201}], ids=str)
def test_pages_that_are_refused(cam: Client, wrong: dict[str, int]) -> None:
    with refused("InvalidParameter.ParamError"):
        cam.ListUsersForGroup(GroupId=make_group(cam), **wrong)


def test_a_policy_may_allow_it_for_one_group(installation: Installation, cam: Client) -> None:
    group, other = make_group(cam), make_group(cam, "other")
    client = caller(installation, "ListUsersForGroup", resource(installation, f"groupId/{group}"))
    assert client.ListUsersForGroup(GroupId=group).TotalNum == 0
    for wrong in (other, NOBODY):
        with refused("AuthFailure.UnauthorizedOperation"):
            client.ListUsersForGroup(GroupId=wrong)
