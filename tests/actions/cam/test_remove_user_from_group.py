import functools

import pytest

from chalicelib.clock import ManualClock
from chalicelib.context import IDENTITY
from tests.actions.cam.arrange_policies import make_policy, may
from tests.actions.cam.arrange_users import (
    NOBODY,
    caller,
    groups_of,
    make_group,
    put_into,
    resource,
    uin_of,
    user_with_key,
    users_of,
)
from tests.actions.ssm.arrange import outputs, together
from tests.faults.stage import check_identities
from tests.inspected import Inspected
from tests.installation import Client, refused


@pytest.fixture
def installation(clock: ManualClock) -> Inspected:
    return Inspected(clock)


def test_a_user_loses_what_the_group_may(installation: Inspected, cam: Client) -> None:
    who = user_with_key(cam)
    group = make_group(cam)
    cam.AttachGroupPolicy(PolicyId=make_policy(cam), AttachGroupId=group)
    put_into(cam, group, int(who.uin))
    assert may(installation, who)
    for _ in range(2):
        assert outputs(cam.RemoveUserFromGroup(Info=[{"GroupId": group, "Uin": int(who.uin)}])) == {}
        assert not may(installation, who)
        assert users_of(cam, group) == []
    check_identities(installation.data(IDENTITY), installation.root.uin)


def test_only_those_who_are_named(installation: Inspected, cam: Client) -> None:
    uins = [uin_of(cam, f"u{number}") for number in range(3)]
    groups = [make_group(cam, f"g{number}") for number in range(2)]
    for group in groups:
        put_into(cam, group, *uins)
    cam.RemoveUserFromGroup(
        Info=[{"GroupId": groups[0], "Uid": uins[0]}, {"GroupId": groups[1], "Uin": uins[1]}]
    )
    assert sorted(users_of(cam, groups[0])) == sorted(uins[1:])
    assert sorted(users_of(cam, groups[1])) == sorted([uins[0], uins[2]])
    check_identities(installation.data(IDENTITY), installation.root.uin)


def test_what_is_not_there(installation: Inspected, cam: Client) -> None:
    uin, group = uin_of(cam), make_group(cam)
    put_into(cam, group, uin)
    good = {"GroupId": group, "Uin": uin}
    for wrong, refusal in (
        ({"GroupId": group}, "InvalidParameter.UserUinAndUinNotAllNull"),
        ({"GroupId": group, "Uin": NOBODY}, "ResourceNotFound.UserNotExist"),
        ({"GroupId": NOBODY, "Uin": uin}, "ResourceNotFound.GroupNotExist"),
    ):
        with refused(refusal):
            cam.RemoveUserFromGroup(Info=[good, wrong])
    stranger = installation.client("cam", who=installation.add_account())
    with refused("ResourceNotFound.GroupNotExist"):
        stranger.RemoveUserFromGroup(Info=[good])
    assert users_of(cam, group) == [uin]


def test_in_and_out_at_the_same_time(installation: Inspected, cam: Client) -> None:
    uins, group = [uin_of(cam, f"u{number}") for number in range(3)], make_group(cam)
    calls = [
        functools.partial(getattr(installation.client("cam"), action), Info=[{"GroupId": group, "Uin": uin}])
        for uin in uins
        for action in ("AddUserToGroup", "RemoveUserFromGroup")
    ]
    assert together(calls) == ["ok"] * 6
    check_identities(installation.data(IDENTITY), installation.root.uin)


def test_a_policy_may_allow_it_for_one_group(installation: Inspected, cam: Client) -> None:
    uin, group, other = uin_of(cam), make_group(cam), make_group(cam, "other")
    put_into(cam, group, uin)
    put_into(cam, other, uin)
    client = caller(installation, "RemoveUserFromGroup", resource(installation, f"groupId/{group}"))
    with refused("AuthFailure.UnauthorizedOperation"):
        client.RemoveUserFromGroup(Info=[{"GroupId": other, "Uin": uin}])
    client.RemoveUserFromGroup(Info=[{"GroupId": group, "Uin": uin}])
    assert groups_of(cam, uin) == [other]
