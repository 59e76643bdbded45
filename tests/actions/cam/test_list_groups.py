import pytest

from tests.actions.cam.arrange_users import caller, is_time, make_group
from tests.installation import Client, Installation, refused


@pytest.fixture
def groups(installation: Installation, cam: Client) -> list[int]:
    made = []
    for name in ("Admins", "readers", "writers", "admins of b"):
        made.append(make_group(cam, name))
        installation.clock.advance(1)
    return made


def ids(answer: object) -> list[int]:
    return [group.GroupId for group in answer.GroupInfo]  # type: ignore[attr-defined]


def test_oldest_first_in_pages(cam: Client, groups: list[int]) -> None:
    whole = cam.ListGroups()
    assert (whole.TotalNum, ids(whole)) == (4, groups)
    pages = [cam.ListGroups(Page=page, Rp=3) for page in (1, 2, 3)]
    assert [ids(page) for page in pages] == [groups[:3], groups[3:], []]
    assert {page.TotalNum for page in pages} == {4}


def test_a_line(cam: Client) -> None:
    group = int(cam.CreateGroup(GroupName="g", Remark="r").GroupId)
    (line,) = cam.ListGroups().GroupInfo
    members = line._serialize(allow_none=True)
    assert is_time(members.pop("CreateTime"))
    assert members == {"GroupId": group, "GroupName": "g", "Remark": "r"}


def test_a_keyword_is_part_of_the_name_in_any_case(cam: Client, groups: list[int]) -> None:
    found = cam.ListGroups(Keyword="ADMIN", Rp=1)
    assert (found.TotalNum, ids(found)) == (2, groups[:1])
    assert cam.ListGroups(Keyword="nothing").TotalNum == 0


def test_of_the_callers_account_only(installation: Installation, groups: list[int]) -> None:
    stranger = installation.client("cam", who=installation.add_account())
    assert stranger.ListGroups().TotalNum == 0


@pytest.mark.parametrize("wrong", [{"Page": 0}, {"Rp": 0}, {"Rp": 201}, {"Page": -1}], ids=str)
def test_pages_that_are_refused(cam: Client, wrong: dict[str, int]) -> None:
    with refused("InvalidParameter.ParamError"):
        cam.ListGroups(**wrong)


def test_a_policy_may_allow_it(installation: Installation, groups: list[int]) -> None:
    assert ids(caller(installation, "ListGroups").ListGroups()) == groups
    with refused("AuthFailure.UnauthorizedOperation"):
        caller(installation, "GetGroup").ListGroups()
