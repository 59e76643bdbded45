import pytest

from tests.actions.cam.arrange_users import NOBODY, caller, uin_of
from tests.installation import Client, Installation, refused


def found(cam: Client, *uins: int) -> list[int]:
    return [user.Uin for user in cam.DescribeSubAccounts(FilterSubAccountUin=list(uins)).SubAccounts]


def test_a_line(cam: Client) -> None:
    made = cam.AddUser(Name="alice", Remark="r")
    (line,) = cam.DescribeSubAccounts(FilterSubAccountUin=[made.Uin]).SubAccounts
    assert line._serialize(allow_none=True) == {
        "Uin": made.Uin,
        "Name": "alice",
        "Uid": made.Uin,
        "Remark": "r",
        "CreateTime": line.CreateTime,
        "UserType": 2,
        "LastLoginIp": "",
        "LastLoginTime": "",
    }


def test_who_is_not_there_is_left_out(installation: Installation, cam: Client) -> None:
    alice, bob = uin_of(cam), uin_of(cam, "bob")
    stranger = installation.client("cam", who=installation.add_account())
    theirs = uin_of(stranger)
    assert found(cam, alice, NOBODY, bob, theirs, int(installation.root.uin), alice) == [alice, bob]
    assert found(stranger, alice) == []


@pytest.mark.parametrize("wrong", [[], list(range(51)), [-1], ["x"]], ids=lambda value: str(len(value)))
def test_lists_that_are_refused(cam: Client, wrong: list[object]) -> None:
    with refused("InvalidParameter"):
        cam.call_raw("DescribeSubAccounts", {"FilterSubAccountUin": wrong})


def test_fifty_at_once(cam: Client) -> None:
    alice = uin_of(cam)
    assert found(cam, *range(1, 50), alice) == [alice]


def test_a_policy_may_allow_it(installation: Installation, cam: Client) -> None:
    alice = uin_of(cam)
    assert found(caller(installation, "DescribeSubAccounts"), alice) == [alice]
    with refused("AuthFailure.UnauthorizedOperation"):
        found(caller(installation, "ListUsers"), alice)
