from tests.actions.cam.arrange_users import NOBODY, caller, make_group, put_into, resource, uin_of
from tests.installation import Client, Installation, refused


def test_oldest_first_in_pages(installation: Installation, cam: Client) -> None:
    uin, groups = uin_of(cam), []
    for number in range(5):
        groups.append(make_group(cam, f"g{number}"))
        installation.clock.advance(1)
    for group in reversed(groups):
        put_into(cam, group, uin)
    make_group(cam, "another")
    pages = [cam.ListGroupsForUser(SubUin=uin, Page=page, Rp=2) for page in (1, 2, 3)]
    assert [[g.GroupId for g in page.GroupInfo] for page in pages] == [groups[:2], groups[2:4], groups[4:]]
    assert {page.TotalNum for page in pages} == {5}
    assert [g.GroupName for g in cam.ListGroupsForUser(Uid=uin).GroupInfo] == [f"g{n}" for n in range(5)]


def test_ones_own_where_nobody_is_named(installation: Installation, cam: Client) -> None:
    assert cam.ListGroupsForUser().TotalNum == 0
    client = caller(installation, "ListGroupsForUser", resource(installation, "uin/${uin}"))
    group = make_group(cam)
    (own,) = [user.Uin for user in cam.ListUsers().Data]
    put_into(cam, group, own)
    assert [g.GroupId for g in client.ListGroupsForUser().GroupInfo] == [group]


def test_who_is_not_there(installation: Installation, cam: Client) -> None:
    uin, other = uin_of(cam), uin_of(cam, "bob")
    stranger = installation.client("cam", who=installation.add_account())
    for client, named in (
        (cam, {"SubUin": NOBODY}),
        (cam, {"Uid": NOBODY}),
        (cam, {"SubUin": uin, "Uid": other}),
        (stranger, {"SubUin": uin}),
    ):
        with refused("ResourceNotFound.UserNotExist"):
            client.ListGroupsForUser(**named)
    with refused("InvalidParameter.ParamError"):
        cam.ListGroupsForUser(SubUin=uin, Rp=0)


def test_a_policy_may_allow_it_for_one_user(installation: Installation, cam: Client) -> None:
    uin, other = uin_of(cam), uin_of(cam, "bob")
    client = caller(installation, "ListGroupsForUser", resource(installation, f"uin/{uin}"))
    assert client.ListGroupsForUser(SubUin=uin).TotalNum == 0
    for wrong in (other, NOBODY):
        with refused("AuthFailure.UnauthorizedOperation"):
            client.ListGroupsForUser(SubUin=wrong)
