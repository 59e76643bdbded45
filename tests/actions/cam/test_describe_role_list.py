from chalicelib.clock import ManualClock
from tests.actions.cam.arrange_policies import make_role
from tests.installation import Client, Installation, refused


def names(cam: Client, **more: object) -> list[str]:
    return [r.RoleName for r in cam.DescribeRoleList(**{"Page": 1, "Rp": 200, **more}).List]


def test_oldest_first_and_like_get_role(clock: ManualClock, installation: Installation, cam: Client) -> None:
    for name in ("b", "a"):
        make_role(installation, cam, name)
        clock.advance(1)
    assert names(cam) == ["b", "a"]
    for role in cam.DescribeRoleList(Page=1, Rp=20).List:
        assert role._serialize() == cam.GetRole(RoleId=role.RoleId).RoleInfo._serialize()
    assert names(installation.client("cam", who=installation.add_account())) == []


def test_tags_have_to_match_all(installation: Installation, cam: Client) -> None:
    blue, red, old = ({"Key": k, "Value": v} for k, v in (("c", "blue"), ("c", "red"), ("age", "old")))
    for name, tags in (("x", [blue]), ("y", [blue, old]), ("z", [red])):
        make_role(installation, cam, name, Tags=tags)
    assert sorted(names(cam, Tags=[blue])) == ["x", "y"]
    assert names(cam, Tags=[blue, old]) == ["y"]
    assert names(cam, Tags=[blue, red]) == []


def test_pages(installation: Installation, cam: Client) -> None:
    made = [make_role(installation, cam, f"r{i}") for i in range(5)]
    pages = [cam.DescribeRoleList(Page=page, Rp=2) for page in (1, 2, 3, 4)]
    assert [len(page.List) for page in pages] == [2, 2, 1, 0]
    assert sorted(r.RoleId for page in pages for r in page.List) == sorted(made)
    assert {page.TotalNum for page in pages} == {5}
    for wrong in ({"Page": 0}, {"Rp": 0}, {"Rp": 201}):
        with refused("InvalidParameter.ParamError"):
            names(cam, **wrong)
